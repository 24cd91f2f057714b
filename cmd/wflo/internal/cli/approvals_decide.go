package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

func (a *app) approveCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:               "approve GATE",
		ValidArgsFunction: a.completeGates,
		Short:             "Let the action at a gate happen",
		Long: `Show what waits at a gate and let it happen. GATE is the gate's name, its nonce,
or the id of a run that has one open gate. The decision is bound to what was shown:
if the action changes in between, it does not count.

Where you have logged in, the API knows who you are and signs. Else the decision is
signed here, with --key.

--edit puts another payload in place; votes for the one before are void, and where
four eyes are needed somebody else approves it. --text and --form answer a question.
--all goes through all gates that wait, and asks at each. It passes over those where
you cannot approve.`,
		Example: `  wflo approve refunds
  wflo approve refunds --run refund-k3f9 --reason "checked the invoice" --yes
  wflo approve refunds --edit smaller.json
  wflo approve --all --mine`,
		Args: f.oneOrAll,
		RunE: func(cmd *cobra.Command, names []string) error {
			f.filter.run = f.run
			switch {
			case f.all:
				return a.decideAll(cmd.Context(), wflo.VerdictApprove, f)
			case f.filter != gateFilter{run: f.run}:
				return Usage("add --all, or leave them out", "--mine and --group are for --all")
			}
			return a.decide(cmd.Context(), names[0], wflo.VerdictApprove, f)
		},
	}
	f.add(cmd)
	f.addApprove(cmd)
	return cmd
}

// oneOrAll checks the arguments of commands that are about one gate, or all.
func (f *decideFlags) oneOrAll(cmd *cobra.Command, given []string) error {
	if f.all {
		return args()(cmd, given)
	}
	return args("GATE")(cmd, given)
}

// addAll adds the flags of commands that go through all gates.
func (f *decideFlags) addAll(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "all gates that wait, one after the other")
	flags.BoolVar(&f.filter.mine, "mine", false, "with --all: those that ask you")
	flags.StringVar(&f.filter.group, "group", "", "with --all: those that ask this group")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

func (f *decideFlags) addApprove(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "why")
	flags.StringVar(&f.text, "text", "", "the answer, where the gate asks a question")
	flags.StringVar(&f.form, "form", "", "file with the JSON that answers the gate's form, or - for standard input")
	flags.StringVar(&f.edit, "edit", "", "file with the whole payload as it shall be, in JSON, or - for standard input")
	f.addAll(cmd)
}

func (a *app) rejectCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:               "reject GATE",
		ValidArgsFunction: a.completeGates,
		Short:             "Forbid the action at a gate",
		Long: `Forbid the action at a gate. It counts for an approved gate too, as long as the
action has not begun.

--all goes through all gates that wait, with one reason, and asks at each. Each is a
decision of its own, with its own signature and record: one that fails is told and
holds up no other. It passes over those where you cannot reject.`,
		Example: `  wflo reject refunds --reason "not our customer"
  wflo reject --all --mine --reason "the campaign is off"
  wflo reject --all --run refund-k3f9 --reason "wrong customer" --yes`,
		Args: f.oneOrAll,
		RunE: func(cmd *cobra.Command, names []string) error {
			if strings.TrimSpace(f.reason) == "" {
				return Usage("such as: --reason \"not our customer\"", "--reason is missing")
			}
			f.filter.run = f.run
			switch {
			case f.all:
				return a.decideAll(cmd.Context(), wflo.VerdictReject, f)
			case f.filter != gateFilter{run: f.run}:
				return Usage("add --all, or leave them out", "--mine and --group are for --all")
			}
			return a.decide(cmd.Context(), names[0], wflo.VerdictReject, f)
		},
	}
	f.add(cmd)
	f.addAll(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "why; required")
	return cmd
}

func (a *app) respondCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:               "respond GATE",
		ValidArgsFunction: a.completeGates,
		Short:             "Answer the question at a gate",
		Example:           "  wflo respond ask_human-1 --text \"Use the invoice of May\"\n  wflo respond intake --form answers.json",
		Args:              args("GATE"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if strings.TrimSpace(f.text) == "" && f.form == "" {
				return Usage("such as: --text \"Use the invoice of May\", or --form answers.json", "--text is missing")
			}
			return a.decide(cmd.Context(), names[0], wflo.VerdictRespond, f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.text, "text", "", "the answer")
	cmd.Flags().StringVar(&f.form, "form", "", "file with the JSON that answers the gate's form, or - for standard input")
	return cmd
}

func (a *app) escalateCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:               "escalate GATE",
		ValidArgsFunction: a.completeGates,
		Short:             "Ask the next level of a gate now",
		Long:              "Ask the next level of a gate's escalation now. The gate gets its whole time once more.",
		Example:           "  wflo escalate refunds --reason \"above my limit\"",
		Args:              args("GATE"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.decide(cmd.Context(), names[0], wflo.VerdictEscalate, f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "why")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) ackCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:               "ack GATE",
		ValidArgsFunction: a.completeGates,
		Short:             "Say that you look at a gate",
		Long: `Say that you look at a gate: there are no more reminders, and no escalation until
its time is up. It decides nothing.`,
		Example: "  wflo ack refunds",
		Args:    args("GATE"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.decide(cmd.Context(), names[0], wflo.VerdictAck, f)
		},
	}
	f.add(cmd)
	return cmd
}

// decideAll approves gates one after the other. One that is refused or passed over
// does not stop the others; the first refusal is how the command ends.
func (a *app) decideAll(ctx context.Context, verdict wflo.Verdict, f decideFlags) error {
	if f.edit != "" || f.form != "" || f.text != "" {
		return Usage("decide such gates one by one", "--all takes no --edit, --form or --text")
	}
	if err := f.filter.validate(); err != nil {
		return err
	}
	if err := a.canAsk(f.yes, "look at them with `wflo approvals`"); err != nil {
		return err
	}
	src, err := a.gateSource(ctx, f, false)
	if err != nil {
		return err
	}
	defer src.close()
	items, listed := src.list(ctx, f.filter)
	if len(items) == 0 && listed == nil {
		a.note("nothing waits for a decision")
	}
	if len(items) == 0 {
		return listed
	}
	if err := a.decideEach(ctx, src, items, verdict, f); err != nil {
		return err
	}
	return listed
}

// decideEach asks at each gate and tells how many of them were decided. One that fails
// holds up no other.
func (a *app) decideEach(ctx context.Context, src gateSource, items []desk.Item, verdict wflo.Verdict, f decideFlags) error {
	var done []desk.View
	var failures []error
	passed := 0
	for i, item := range items {
		a.note("%d of %d", i+1, len(items))
		after, err := a.decideListed(ctx, src, item, verdict, f)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			done = append(done, after)
		case exitCode(err) == ExitDenied && errors.Is(err, errPassed):
			passed++
		default:
			writeError(a.deps.Stderr, err)
			failures = append(failures, err)
		}
	}
	became := map[wflo.Verdict]string{wflo.VerdictApprove: "approved", wflo.VerdictReject: "rejected"}[verdict]
	a.note("%s %s, %d refused, %d passed over", plural(len(done), "gate"), became, len(failures), passed)
	if a.format != formatText {
		if err := printAll(a, done, nil, nil); err != nil {
			return err
		}
	}
	if len(failures) > 0 {
		return told(exitCode(failures[0]))
	}
	return nil
}

// errPassed says that somebody did not say yes to one gate of several.
var errPassed = errors.New("passed over")

func (a *app) decideListed(ctx context.Context, src gateSource, item desk.Item, verdict wflo.Verdict, f decideFlags) (desk.View, error) {
	v, err := src.view(ctx, item.Gate)
	if err != nil {
		return v, fmt.Errorf("gate %s of %s: %w", item.ID, item.WorkflowID, err)
	}
	if v.You.Why != "" && !slices.Contains(v.You.Can, verdict) {
		a.note("  gate  %s of %s passed over: %s", escapeLine(v.ID), escapeLine(v.WorkflowID), escapeLine(v.You.Why))
		return v, &exitError{ExitDenied, errPassed}
	}
	d, err := a.decision(verdict, f)
	if err != nil {
		return v, err
	}
	after, err := a.decideOne(ctx, src, v, d, f.yes)
	switch {
	case errors.Is(err, errNotConfirmed):
		return v, &exitError{ExitDenied, errPassed}
	case err != nil:
		return v, fmt.Errorf("gate %s of %s: %w", item.ID, item.WorkflowID, err)
	case a.format == formatText:
		return after, a.printDecided(after, d)
	}
	return after, nil
}
