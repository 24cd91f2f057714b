// Command starter has a post moderated, and waits for what becomes of it:
//
//	go run ./examples/moderation/starter -author una "What a lovely day"
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/examples/moderation"
	"github.com/wflo-ai/wflo-go/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		message, hint := wflo.Explain(err)
		fmt.Fprintln(os.Stderr, "starter:", message)
		if hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	author := flag.String("author", "una", "who wrote it, and so cannot approve it")
	id := flag.String("id", "post-1", "the post's ID")
	flag.Parse()
	if flag.NArg() == 0 || *author == "" {
		return wflo.Invalid("the post", "has no text or no author", "give the text as argument, and -author")
	}
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return fmt.Errorf("read Temporal's settings: %w", err)
	}
	opts.Interceptors = append(opts.Interceptors, plugin.NewClientInterceptor())
	if err := envelope.FromEnv(&opts); err != nil {
		return fmt.Errorf("read payload keys: %w", err)
	}
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	defer c.Close()
	post := moderation.Post{ID: *id, Author: *author, Text: strings.Join(flag.Args(), " ")}
	ctx = wflo.WithRun(ctx, wflo.Run{User: *author})
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: moderation.TaskQueue}, moderation.Name, post)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	fmt.Println("run", started.GetID(), "is under way; `wflo approvals` shows whether it waits")
	var out moderation.Outcome
	if err := started.Get(ctx, &out); err != nil {
		return err
	}
	if !out.Published {
		fmt.Println("not published:", out.Reason)
		return nil
	}
	fmt.Println("published, by", out.By)
	return nil
}
