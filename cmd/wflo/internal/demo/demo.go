// Package demo is the command `wflo demo`: five agents on real parts, from
// nothing to a summary, in one process that ends by itself.
//
// The first agent finds duplicate charges in a file of orders with Python in a
// Docker sandbox, waits for an approval, and refunds them; one refund is
// refused, so the others are undone. The second works on until its budget stops
// it, is topped up once, and is stopped again; the third is stopped because it
// repeats itself. The fourth meets a policy: nobody answers, so that others are
// asked; who must not approve cannot; an edit voids a vote; and the audit trail of
// it all is verified. The fifth is rolled back when a program is wrong, is taken back
// to a time, and is terminated; one effect cannot be undone at first, and is retried by
// hand. The command then checks the books of all sides, and fails if they do not agree.
package demo

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devworker"
)

type flags struct {
	model, csv string
	wait       bool
}

// Command makes `wflo demo`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch agents work: sandbox, approval, undo, budget, policy, restore",
		Long: `Start everything in this process, run five agents on real parts, and stop.

The first agent finds the duplicate charges in a file of orders, with Python in a
Docker sandbox. It may refund them only after an approval, which the demo gives
itself. One refund is refused by the payment provider, so the others are undone.
The second agent works on until its budget stops it, gets more money once, and is
stopped again. The third repeats itself and is stopped for that. The fourth wants
to do what a policy lets two people decide; the demo plays those people too. The
fifth loads a day's orders: what a wrong program did is rolled back, the run is
taken back to a time after a dry run, and what it left when it is terminated is
undone, a dead letter by hand.

Without --model, models are scripted: they answer over the vendors' own wire
formats and are metered at real prices, but nothing leaves this machine. With
--model, the vendor's key is taken from the environment, and the demo costs money;
the models of the fourth and the fifth agent are scripted all the same.`,
		Example: "  wflo demo\n  OPENAI_API_KEY=... wflo demo --model gpt-5.4-mini",
		Args: func(_ *cobra.Command, given []string) error {
			if len(given) > 0 {
				return cli.Usage("see: wflo demo --help", "wflo demo takes no argument, got %q", given[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd, f) },
	}
	cmd.Flags().StringVar(&f.model, "model", "", "use this real model instead of the scripted one")
	cmd.Flags().StringVar(&f.csv, "csv", "", "another file of charges, in the format of examples/refund/data/orders.csv")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "keep everything running at the end, to look around, until Ctrl-C")
	return cmd
}

func run(cmd *cobra.Command, f flags) error {
	ctx := cmd.Context()
	dir, err := os.MkdirTemp("", "wflo-demo-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is in the temporary directory
	out := cmd.OutOrStdout()
	s := &show{out: out, width: 72}
	s.title("Starting Temporal, its Web UI and a worker in this process")
	server, err := devserver.Start(ctx, devserver.Config{Logger: quiet(), LogLevel: slog.LevelError})
	if err != nil {
		return err
	}
	defer server.Stop()
	key, err := approver.Ensure(dir)
	if err != nil {
		return err
	}
	s.pair("Temporal", server.HostPort())
	s.pair("Web UI", server.UIURL())
	worker, err := devworker.Start(ctx, dev.Info{
		HostPort: server.HostPort(), Namespace: server.Namespace(), UIURL: server.UIURL(),
		IP: "127.0.0.1", DataDir: dir, Ephemeral: true, Approver: key, Logger: quiet(), Announce: s.pair,
		Scripted: f.model == "",
	})
	if err != nil {
		return err
	}
	defer worker.Stop()
	d := &demo{
		show: s, worker: worker, key: key, model: f.model, dir: filepath.Join(dir, "parts"),
		hostPort: server.HostPort(), namespace: server.Namespace(), ui: server.UIURL() + "/namespaces/" + server.Namespace() + "/workflows/",
	}
	if err := d.play(ctx, f.csv); err != nil {
		return err
	}
	if f.wait {
		s.line("")
		s.line("Everything is still running. Look around; Ctrl-C stops it.")
		<-ctx.Done()
	}
	return nil
}

// quiet keeps the workers' logs out of the story; what fails is told in it.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// play runs the agents and adds up.
func (d *demo) play(ctx context.Context, csv string) error {
	first, err := d.refunds(ctx, csv)
	if err != nil {
		return err
	}
	second, err := d.runaway(ctx)
	if err != nil {
		return err
	}
	third, err := d.loop(ctx)
	if err != nil {
		return err
	}
	fourth, err := d.escalation(ctx)
	if err != nil {
		return err
	}
	fifth, err := d.takeBack(ctx)
	if err != nil {
		return err
	}
	return d.summary(first, second, third, fourth, fifth)
}
