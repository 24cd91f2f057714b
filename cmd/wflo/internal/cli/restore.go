package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/recovery"
)

type restoreFlags struct {
	to, mode, parts, newID, firstRun, reason, plan string
	dryRun, accept, yes                            bool
	patience                                       time.Duration
}

func (a *app) restoreCmd() *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore RUN --to ID|NAME|TIME",
		Short: "Take a run back to an earlier moment",
		Long: `Take a run back to a snapshot, by its ID or name, or to a time such as
2026-11-22T10:00:00Z. What it did since is undone, the last first, parts of the
snapshot are brought back, and its code runs again: what it had done before is not
done again. Money stays spent.

--dry-run only shows the plan. Without it the plan is shown and somebody is asked,
unless --yes is given; what is then done is that plan or nothing. Exit code 7 says that it is refused, or would be; 6 that the
time was up, while the restore goes on.

Without --mode an open run goes back in place, and a closed one is reopened. A fork
leaves the run alone and starts another one.`,
		Example: `  wflo restore refund-k3f9 --to before-critical-op --dry-run
  wflo restore refund-k3f9 --to 2026-11-22T10:00:00Z --reason "wrong account"
  wflo restore refund-k3f9 --to before-critical-op --mode fork --new-id refund-twin --reason "try again"`,
		Args:              args("RUN"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, given []string) error {
			order, err := f.order(given[0])
			if err != nil {
				return err
			}
			return a.restore(cmd.Context(), order, f)
		},
	}
	modes := []string{string(wflo.RestoreInPlace), string(wflo.RestoreFork), string(wflo.RestoreReopen)}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "the ID or name of a snapshot, or a time; required")
	flags.StringVar(&f.mode, "mode", "", "in-place, fork or reopen")
	flags.StringVar(&f.parts, "parts", "", "what to bring back: state, workspace, tables:NAME, with commas (default: all that the snapshot has; of a fork, no tables)")
	flags.StringVar(&f.newID, "new-id", "", "the id of a fork")
	flags.StringVar(&f.firstRun, "first-run", "", "the first run id, where several runs had the id")
	flags.StringVar(&f.reason, "reason", "", "why; required unless --dry-run is given")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show what it would do")
	flags.StringVar(&f.plan, "plan", "", "the digest of the plan that a dry run showed: refuse where it would be another one by now")
	flags.BoolVar(&f.accept, "accept-irreversible", false, "let what cannot be undone happen again; takes the role admin")
	flags.DurationVar(&f.patience, "timeout", 10*time.Minute, "how long to wait")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	if err := cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
	if err := cmd.RegisterFlagCompletionFunc("to", a.completeSnapshots); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

// order is what the flags ask for.
func (f restoreFlags) order(run string) (wflo.Restore, error) {
	order := wflo.Restore{
		ID: recovery.NewID(), WorkflowID: run, FirstRunID: f.firstRun, Mode: wflo.RestoreMode(f.mode), DryRun: f.dryRun, AcceptIrreversible: f.accept, Plan: f.plan, NewID: f.newID, Reason: strings.TrimSpace(f.reason),
	}
	switch {
	case f.to == "":
		return order, Usage("such as --to before-critical-op, or --to 2026-11-22T10:00:00Z; see: wflo snapshot list --run "+shellWord(run), "--to is missing")
	case order.Reason == "" && !f.dryRun:
		return order, Usage("such as: --reason \"wrong account\"", "--reason is missing")
	case f.newID != "" && order.Mode != wflo.RestoreFork:
		return order, Usage("add --mode fork, or leave it out", "--new-id is for forks")
	}
	if f.mode != "" {
		if err := oneOf("--mode", f.mode, string(wflo.RestoreInPlace), string(wflo.RestoreFork), string(wflo.RestoreReopen)); err != nil {
			return order, err
		}
	}
	if at, err := time.Parse(time.RFC3339, f.to); err == nil {
		order.To.Time = at
	} else {
		order.To.Snapshot = f.to
	}
	var err error
	if f.parts != "" {
		order.Parts, err = parseParts(f.parts)
	}
	return order, err
}

// restore plans, asks and goes back, as far as the flags say.
func (a *app) restore(ctx context.Context, order wflo.Restore, f restoreFlags) error {
	if !f.dryRun {
		if err := a.canAsk(f.yes, "look with --dry-run"); err != nil {
			return err
		}
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.dryRun(ctx, c, order, f.patience)
	}
	if !f.yes {
		if order, err = a.askRestore(ctx, c, order, f.patience); err != nil {
			return err
		}
	}
	status, err := c.takeBack(ctx, order, f.patience)
	if err != nil {
		return refusedBack(err)
	}
	return a.printRestored(status)
}

func (a *app) dryRun(ctx context.Context, c *api, order wflo.Restore, patience time.Duration) error {
	status, err := c.takeBack(ctx, order, patience)
	if err != nil {
		return refusedBack(err)
	}
	if a.format != formatText {
		err = a.printJSON(status.Plan)
	} else {
		_, err = fmt.Fprint(a.deps.Stdout, planText(status.Restored))
	}
	if err == nil && len(status.Plan.Refusals) > 0 {
		return told(ExitRefused)
	}
	return err
}

// askRestore shows a plan and asks for it. What is then done is what was shown, or
// nothing, whatever becomes of the run meanwhile.
func (a *app) askRestore(ctx context.Context, c *api, order wflo.Restore, patience time.Duration) (wflo.Restore, error) {
	plan := order
	plan.ID, plan.DryRun = recovery.NewID(), true
	status, err := c.takeBack(ctx, plan, patience)
	if err != nil {
		return order, refusedBack(err)
	}
	fmt.Fprint(a.deps.Stderr, planText(status.Restored))
	if len(status.Plan.Refusals) > 0 { // what is accepted is none of them
		return order, told(ExitRefused)
	}
	order.Mode, order.Plan = status.Plan.Mode, status.Plan.Digest
	return order, a.confirmChange(ctx, c, false, "take run "+order.WorkflowID+" back")
}

// pollFirst and pollMost are how often a restore under way is asked for.
const (
	pollFirst = 200 * time.Millisecond
	pollMost  = 5 * time.Second
)

// takeBack asks for a restore or a plan and follows it to its end. What was refused or
// failed is an error.
func (c *api) takeBack(ctx context.Context, order wflo.Restore, patience time.Duration) (status console.RestoreStatus, err error) {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if order.ID == "" {
		order.ID = recovery.NewID()
	}
	if err := c.write(within, http.MethodPost, "/runs"+segment(order.WorkflowID)+"/restores", order, &status); err != nil {
		return status, err
	}
	for wait := pollFirst; !status.Over(); wait = min(2*wait, pollMost) {
		status = console.RestoreStatus{}
		err := c.get(within, "/restores"+segment(order.ID), nil, &status)
		if err == nil && status.Over() {
			break
		}
		if err == nil {
			err = pause(within, wait)
		}
		switch {
		case ctx.Err() != nil:
			return status, ctx.Err()
		case within.Err() != nil:
			return status, &exitError{ExitTimeout, wflo.Errorf("", "see: wflo lineage "+shellWord(order.WorkflowID), "restore %s has not ended in time, and goes on", order.ID)}
		case err != nil:
			return status, err
		}
	}
	if p := status.Problem; p != nil {
		e := &wflo.Error{Message: c.hide(p.Message), Hint: c.hide(p.Hint)}
		if code := wflo.Code(p.Code); code.Sentinel() != nil {
			e.Code = code
		}
		return status, e
	}
	return status, nil
}

// pause waits, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errLeft says that a run went back and not all of its effects could be undone.
var errLeft = errors.New("dead letters")

func (a *app) printRestored(s console.RestoreStatus) error {
	if a.format != formatText {
		if err := a.printJSON(s.Restored); err != nil {
			return err
		}
	} else {
		run, _, _ := strings.Cut(s.Into, "/")
		if i := strings.LastIndexByte(s.Into, '/'); i > 0 {
			run = s.Into[:i]
		}
		a.note("see: wflo status %s", shellWord(run))
		if _, err := fmt.Fprint(a.deps.Stdout, restoredText(s.Restored)); err != nil {
			return err
		}
	}
	if n := len(s.Dead); n > 0 {
		return &wflo.Error{
			Message: fmt.Sprintf("the run went back, and %s could not be undone", plural(n, "effect")),
			Hint:    "see: wflo compensations list --state dead_letter --run " + shellWord(s.Restore.WorkflowID), Err: errLeft,
		}
	}
	return nil
}
