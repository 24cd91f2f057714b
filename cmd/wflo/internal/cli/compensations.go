package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

var compensationStates = []string{
	string(wflo.CompensationDead), string(wflo.CompensationRunning), string(wflo.CompensationRegistered), string(wflo.CompensationExecuted),
	string(wflo.CompensationUnknown), string(wflo.CompensationKept), string(wflo.CompensationDone), string(wflo.CompensationSkipped),
}

func (a *app) compensationsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compensations",
		Short: "See what undoes the effects of runs, and decide about what could not be undone",
		Long: `See what undoes the effects of runs, and decide about what could not be undone. A dead
letter is an effect that is there although it should be undone: retry tries again,
resolve says that somebody undid it by hand, skip that it is to stay.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.compensationsListCmd(), a.compensationsShowCmd(), a.compensationsRetryCmd(),
		a.compensationsEndCmd("resolve", "Say that somebody has undone the effect by hand", "paid back by hand, receipt 4711", "say that %s was undone by hand"),
		a.compensationsEndCmd("skip", "Say that the effect is to stay, or never happened", "the customer keeps it", "leave the effect of %s as it is"))
	return cmd
}

func (a *app) compensationsListCmd() *cobra.Command {
	var run string
	var states []string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List compensations, dead letters first",
		Example: "  wflo compensations list --state dead_letter",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range states {
				if err := oneOf("--state", s, compensationStates...); err != nil {
					return err
				}
			}
			if limit < 1 || limit > mostRecovery {
				return Usage(fmt.Sprintf("give a number from 1 to %d", mostRecovery), "--limit is %d", limit)
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			all, err := c.compensations(cmd.Context(), run, states, limit)
			if err != nil {
				return err
			}
			if len(all) == 0 && a.format == formatText {
				a.note("no compensations")
			}
			return printAll(a, all, []string{"ID", "STATE", "NAME", "RUN", "CHANGED", "ERROR"}, compensationRow)
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "only those of this run")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in these states, such as dead_letter")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	if err := cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(compensationStates, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

// compensations reads a list with its dead letters first. Where all states are asked
// for they are read by themselves, so that none is beyond the limit.
func (c *api) compensations(ctx context.Context, run string, states []string, limit int) (all []wflo.CompensationRecord, err error) {
	q := url.Values{"run": {run}, "state": {strings.Join(states, ",")}, "limit": {strconv.Itoa(limit)}}
	if len(states) == 0 {
		q.Set("state", string(wflo.CompensationDead))
		if err := c.get(ctx, "/compensations", q, &all); err != nil {
			return nil, err
		}
		q.Set("state", strings.Join(compensationStates[1:], ","))
	}
	var some []wflo.CompensationRecord
	if err := c.get(ctx, "/compensations", q, &some); err != nil {
		return nil, err
	}
	all = append(all, some...)
	dead := func(r wflo.CompensationRecord) int {
		if r.State == wflo.CompensationDead {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b wflo.CompensationRecord) int { return cmp.Compare(dead(a), dead(b)) })
	return all[:min(limit, len(all))], nil
}

// compensationRow is one line of the list. What went wrong before somebody undid it all the
// same is history, which show has.
func compensationRow(r wflo.CompensationRecord) []string {
	changed := ""
	if !r.ChangedAt.IsZero() {
		changed = since(r.ChangedAt) + " ago"
	}
	problem := ""
	if r.State == wflo.CompensationDead {
		problem = r.Error
	}
	return []string{r.ID, string(r.State), r.Name, r.Run.WorkflowID, changed, problem}
}

func (a *app) compensationsShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one compensation",
		Example: "  wflo compensations show undo-3f9a1c20b7de11112222",
		Args:    args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := a.api()
			if err != nil {
				return err
			}
			r, err := c.compensation(cmd.Context(), given[0])
			if err != nil {
				return err
			}
			return a.printCompensation(r)
		},
	}
}

func (c *api) compensation(ctx context.Context, id string) (r wflo.CompensationRecord, err error) {
	err = c.get(ctx, "/compensations"+segment(id), nil, &r)
	return r, err
}

func (a *app) printCompensation(r wflo.CompensationRecord) error {
	if a.format != formatText {
		return a.printJSON(r)
	}
	_, err := fmt.Fprint(a.deps.Stdout, compensationText(r))
	return err
}

// compensationText is everything about a compensation but what its activity is told.
func compensationText(r wflo.CompensationRecord) string {
	var w viewer
	w.line("compensation", r.ID)
	w.line("name", r.Name)
	w.line("state", string(r.State))
	w.line("run", r.Run.ID())
	w.line("org", r.Run.Org)
	w.line("step", r.Step)
	w.line("undoes", r.Undoes)
	w.line("undone by", r.Activity)
	w.line("group", r.Group)
	begun := "no: the effect cannot have happened"
	if r.Begun {
		begun = "yes"
	}
	w.line("begun", begun)
	w.line("cause", r.Cause)
	problem := "last error"
	if r.State == wflo.CompensationDead {
		problem = "error"
	}
	w.lines(problem, Escape(strings.TrimSpace(r.Error)))
	w.line("ended by", r.By)
	w.line("reason", r.Reason)
	if !r.At.IsZero() {
		w.line("registered", r.At.UTC().Format(time.RFC3339))
	}
	if !r.ChangedAt.IsZero() {
		w.line("changed", r.ChangedAt.UTC().Format(time.RFC3339))
	}
	if r.State == wflo.CompensationDead {
		w.line("decide with", "wflo compensations retry "+shellWord(r.ID))
		w.line("", "wflo compensations resolve "+shellWord(r.ID)+" --reason \"...\"")
		w.line("", "wflo compensations skip "+shellWord(r.ID)+" --reason \"...\"")
	}
	return w.String()
}

func (a *app) compensationsRetryCmd() *cobra.Command {
	var yes bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Try once more to undo the effect of a dead letter",
		Long: `Try once more to undo the effect of a dead letter, with all attempts, and wait for it.
When the time is up it goes on: look with wflo compensations show.`,
		Example: "  wflo compensations retry undo-3f9a1c20b7de11112222",
		Args:    args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.retryUndo(cmd.Context(), given[0], yes, patience)
		},
	}
	cmd.Flags().DurationVar(&patience, "timeout", 15*time.Minute, "how long to wait")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirmUndo shows a compensation to whoever is asked about it, and asks.
func (a *app) confirmUndo(ctx context.Context, id, what string, yes bool) (*api, wflo.CompensationRecord, error) {
	var r wflo.CompensationRecord
	if err := a.canAsk(yes, "look at it with `wflo compensations show "+shellWord(id)+"`"); err != nil {
		return nil, r, err
	}
	c, err := a.api()
	if err != nil {
		return nil, r, err
	}
	if r, err = c.compensation(ctx, id); err != nil {
		return nil, r, err
	}
	if r.State != wflo.CompensationDead {
		return nil, r, &exitError{ExitRefused, wflo.Errorf(wflo.CodeConflict, "nothing was changed", "compensation %s is %s, and only dead letters wait for a person", id, stateWords(r.State))}
	}
	if !yes {
		a.note("  %s of run %s could not be undone: %s", escapeLine(r.Name), escapeLine(r.Run.WorkflowID), escapeLine(r.Error))
	}
	return c, r, a.confirmChange(ctx, c, yes, what)
}

func (a *app) retryUndo(ctx context.Context, id string, yes bool, patience time.Duration) error {
	c, before, err := a.confirmUndo(ctx, id, "try to undo "+id+" again", yes)
	if err != nil {
		return err
	}
	var r wflo.CompensationRecord
	if err := c.write(ctx, http.MethodPost, "/compensations"+segment(id)+"/retry", nil, &r); err != nil {
		return refusedBack(err)
	}
	if r, err = c.awaitUndo(ctx, r, before.ChangedAt, patience); err != nil {
		return err
	}
	if err := a.printUndone(r); err != nil {
		return err
	}
	if r.State == wflo.CompensationDead {
		return wflo.Errorf("", "look into it, and retry, resolve or skip it", "%s could not be undone again: %s", id, r.Error)
	}
	return nil
}

// awaitUndo follows a compensation that is tried again until it has ended, or is a dead
// letter once more.
func (c *api) awaitUndo(ctx context.Context, r wflo.CompensationRecord, since time.Time, patience time.Duration) (wflo.CompensationRecord, error) {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for wait := pollFirst; !r.State.Ended() && (r.State != wflo.CompensationDead || r.ChangedAt.Equal(since)); wait = min(2*wait, pollMost) {
		err := pause(within, wait)
		if err == nil {
			r, err = c.compensation(within, r.ID)
		}
		switch {
		case ctx.Err() != nil:
			return r, ctx.Err()
		case within.Err() != nil:
			return r, &exitError{ExitTimeout, wflo.Errorf("", "see: wflo compensations list", "it is not known yet whether it could be undone; it goes on")}
		case err != nil:
			return r, err
		}
	}
	return r, nil
}

func (a *app) printUndone(r wflo.CompensationRecord) error {
	if a.format != formatText {
		return a.printJSON(r)
	}
	_, err := fmt.Fprintf(a.deps.Stdout, "%s is %s\n", escapeLine(r.ID), stateWords(r.State))
	return err
}

// stateWords says what a compensation is.
func stateWords(s wflo.CompensationState) string {
	if s == wflo.CompensationDead {
		return "a dead letter"
	}
	return escapeLine(strings.ReplaceAll(string(s), "_", " "))
}

func (a *app) compensationsEndCmd(verb, short, example, question string) *cobra.Command {
	var yes bool
	var reason string
	cmd := &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Long:    short + ". The reason is recorded. It takes the role admin.",
		Example: "  wflo compensations " + verb + " undo-3f9a1c20b7de11112222 --reason \"" + example + "\"",
		Args:    args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if strings.TrimSpace(reason) == "" {
				return Usage("such as: --reason \""+example+"\"", "--reason is missing")
			}
			c, _, err := a.confirmUndo(cmd.Context(), given[0], fmt.Sprintf(question, given[0]), yes)
			if err != nil {
				return err
			}
			var r wflo.CompensationRecord
			if err := c.write(cmd.Context(), http.MethodPost, "/compensations"+segment(given[0])+"/"+verb, console.CompensationDecision{Reason: reason}, &r); err != nil {
				return refusedBack(err)
			}
			return a.printUndone(r)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; required")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
