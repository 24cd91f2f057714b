// Command starter asks the quickstart's agent for an answer and waits for it:
//
//	go run ./examples/quickstart/starter "Where is my parcel?"
//
// Meanwhile approve the draft with `wflo approve`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/examples/quickstart"
	"github.com/wflo-ai/wflo-go/plugin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Join(os.Args[1:], " ")); err != nil {
		fmt.Fprintln(os.Stderr, "starter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, letter string) error {
	if letter == "" {
		return wflo.Invalid("the letter", "is empty", "give it as an argument")
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
	ctx = wflo.WithRun(ctx, wflo.Run{Budget: wflo.Budget{Limit: 10 * wflo.Cent}})
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: quickstart.TaskQueue}, quickstart.Answer, letter)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	fmt.Println("run", started.GetID(), "is under way; approve its draft")
	var answer string
	if err := started.Get(ctx, &answer); err != nil {
		return err
	}
	fmt.Println(answer)
	return nil
}
