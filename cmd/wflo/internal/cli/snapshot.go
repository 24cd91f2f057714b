package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/recovery"
)

// mostRecovery is how many snapshots or compensations the API lists at once.
const mostRecovery = 1000

func (a *app) snapshotCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save what a run knows and has, and see what was saved",
		Long: `Save what a run knows and has, and see what was saved. A snapshot holds the state of
a run, and where they are asked for the files of its sandbox and sets of tables.
wflo restore goes back to one.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.snapshotCreateCmd(), a.snapshotListCmd(), a.snapshotShowCmd(), a.snapshotDiffCmd(),
		a.snapshotPinCmd(true), a.snapshotPinCmd(false), a.snapshotRmCmd())
	return cmd
}

// parseParts reads state, workspace and tables:NAME with commas. The state is always
// there; naming it alone leaves out the others.
func parseParts(text string) (*wflo.Parts, error) {
	var parts wflo.Parts
	for one := range strings.SplitSeq(text, ",") {
		name, tables := strings.CutPrefix(strings.TrimSpace(one), "tables:")
		switch {
		case tables && name != "":
			parts.Tables = append(parts.Tables, name)
		case one == string(wflo.PartWorkspace):
			parts.Workspace = true
		case one == string(wflo.PartState):
		default:
			return nil, Usage("such as state,workspace,tables:orders", "--parts has %q", one)
		}
	}
	return &parts, nil
}

func (a *app) snapshotCreateCmd() *cobra.Command {
	var name, parts string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "create RUN",
		Short: "Have an open run take a snapshot of itself",
		Long: `Have an open run take a snapshot of itself, and wait for it. When the time is up the
run goes on with it: look with wflo snapshot list.`,
		Example:           "  wflo snapshot create refund-k3f9 --name before-critical-op",
		Args:              args("RUN"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, given []string) error {
			want, err := parseParts(parts)
			if err != nil {
				return err
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			s, err := c.takeSnapshot(cmd.Context(), given[0], console.SnapshotRequest{ID: recovery.NewID(), Name: name, Parts: *want}, patience)
			if err != nil {
				return refusedBack(err)
			}
			if a.format != formatText {
				return a.printJSON(s)
			}
			a.note("go back to it with: wflo restore %s --to %s --reason \"...\"", shellWord(given[0]), shellWord(s.ID))
			_, err = fmt.Fprintln(a.deps.Stdout, escapeLine(s.ID))
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what to restore it by; of several with one name the latest counts")
	cmd.Flags().StringVar(&parts, "parts", "state,workspace", "what it holds: state, workspace, tables:NAME, with commas")
	cmd.Flags().DurationVar(&patience, "timeout", 10*time.Minute, "how long to wait")
	return cmd
}

// takeSnapshot asks until there is an answer. The same request is the same snapshot.
func (c *api) takeSnapshot(ctx context.Context, run string, req console.SnapshotRequest, patience time.Duration) (s wflo.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err = c.write(ctx, http.MethodPost, "/runs"+segment(run)+"/snapshots", req, &s)
		if err == nil || exitCode(err) != ExitTimeout || ctx.Err() != nil {
			return s, err
		}
	}
}

// refusedBack gives its exit code to what cannot be now: because of the state that a
// run, a snapshot or a compensation is in.
func refusedBack(err error) error {
	var fixed *exitError
	if errors.Is(err, wflo.ErrConflict) && !errors.As(err, &fixed) {
		return &exitError{ExitRefused, err}
	}
	return err
}

func (a *app) snapshotListCmd() *cobra.Command {
	var run, name, kind string
	var limit int
	kinds := []string{string(wflo.SnapshotAuto), string(wflo.SnapshotManual), string(wflo.SnapshotPreRestore)}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List snapshots, the latest first",
		Example: "  wflo snapshot list --run refund-k3f9",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind != "" {
				if err := oneOf("--kind", kind, kinds...); err != nil {
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
			var all []wflo.Snapshot
			q := url.Values{"run": {run}, "name": {name}, "kind": {kind}, "limit": {strconv.Itoa(limit)}}
			if err := c.get(cmd.Context(), "/snapshots", q, &all); err != nil {
				return err
			}
			if len(all) == 0 && a.format == formatText {
				a.note("no snapshots")
			}
			return printAll(a, all, []string{"ID", "NAME", "KIND", "RUN", "AT", "SPENT", "PARTS", "PIN"}, snapshotRow)
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "only those of this run")
	cmd.Flags().StringVar(&name, "name", "", "only those with this name")
	cmd.Flags().StringVar(&kind, "kind", "", "only those that were taken like this: auto, manual or pre_restore")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	if err := cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

func snapshotRow(s wflo.Snapshot) []string {
	var parts []string
	for _, p := range s.Parts {
		parts = append(parts, partName(p.Kind, p.Name))
	}
	pin := ""
	if s.Pinned {
		pin = "pinned"
	}
	return []string{s.ID, s.Name, string(s.Kind), s.Run.WorkflowID, s.At.UTC().Format(time.RFC3339), s.Spent.String(), strings.Join(parts, ","), pin}
}

func partName(kind wflo.PartKind, name string) string {
	if name == "" {
		return string(kind)
	}
	return string(kind) + ":" + name
}

func (a *app) snapshotShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show what a snapshot holds",
		Example: "  wflo snapshot show snap-3f9a1c20b7de11112222",
		Args:    args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := a.api()
			if err != nil {
				return err
			}
			var s wflo.Snapshot
			if err := c.get(cmd.Context(), "/snapshots"+segment(given[0]), nil, &s); err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(s)
			}
			_, err = fmt.Fprint(a.deps.Stdout, snapshotText(s))
			return err
		},
	}
}

// snapshotText is everything about a snapshot.
func snapshotText(s wflo.Snapshot) string {
	var w viewer
	w.line("snapshot", s.ID)
	w.line("name", s.Name)
	w.line("kind", string(s.Kind))
	w.line("run", s.Run.ID())
	w.line("org", s.Run.Org)
	w.line("asked for", s.Run.User)
	w.line("step", s.Step)
	w.line("at", s.At.UTC().Format(time.RFC3339))
	w.line("epoch", strconv.Itoa(s.Run.Epoch))
	w.line("spent", fmt.Sprintf("%s in %s until then", s.Spent, plural(s.Calls, "model call")))
	for _, p := range s.Parts {
		text := fmt.Sprintf("%s, %d entries", size(p.Bytes), p.Count)
		if p.Kind == wflo.PartWorkspace && !p.Quiesced {
			text += "; programs may have been at work"
		}
		w.line(partName(p.Kind, p.Name), text)
	}
	w.line("open gates", strings.Join(s.Gates, ", "))
	w.line("undo actions", strconv.Itoa(s.Height))
	w.line("build", s.Build)
	if s.Pinned {
		w.line("pinned", "yes: retention keeps it")
	}
	w.line("digest", s.Digest)
	return w.String()
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	return fmt.Sprintf("%d %s", n, units[i])
}

func (a *app) snapshotDiffCmd() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "diff ID [OTHER]",
		Short: "Compare two snapshots of a run, or one with what there is now",
		Long: `Compare two snapshots of a run, or one with what there is now. For the latter the run
is asked, which takes the role operator and changes nothing.`,
		Example: "  wflo snapshot diff snap-3f9a1c20b7de11112222",
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) == 2 {
				return nil
			}
			return args("ID")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := a.api()
			if err != nil {
				return err
			}
			if len(given) == 1 {
				return a.diffWithNow(cmd.Context(), c, given[0], patience)
			}
			var d console.SnapshotDiff
			if err := c.get(cmd.Context(), "/snapshots"+segment(given[0])+"/diff", url.Values{"to": {given[1]}}, &d); err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(d)
			}
			_, err = fmt.Fprint(a.deps.Stdout, wrapped(fmt.Sprintf("from %s to %s", d.From.ID, d.To.ID), "", "  ")+diffsText(d.Diffs))
			return err
		},
	}
	cmd.Flags().DurationVar(&patience, "timeout", 10*time.Minute, "how long to wait for the run")
	return cmd
}

// diffWithNow has the run plan a fork from the snapshot, which looks at every part and
// is refused for no state that the run is in.
func (a *app) diffWithNow(ctx context.Context, c *api, id string, patience time.Duration) error {
	var s wflo.Snapshot
	if err := c.get(ctx, "/snapshots"+segment(id), nil, &s); err != nil {
		return err
	}
	order := wflo.Restore{
		WorkflowID: s.Run.WorkflowID, FirstRunID: s.Run.FirstRunID, To: wflo.RestorePoint{Snapshot: id}, Mode: wflo.RestoreFork, DryRun: true, Parts: &wflo.Parts{},
	}
	for _, p := range s.Parts {
		switch p.Kind {
		case wflo.PartWorkspace:
			order.Parts.Workspace = true
		case wflo.PartTables:
			order.Parts.Tables = append(order.Parts.Tables, p.Name)
		}
	}
	status, err := c.takeBack(ctx, order, patience)
	if err != nil {
		return refusedBack(err)
	}
	if a.format != formatText {
		return a.printJSON(status.Plan.Diffs)
	}
	text := wrapped("from "+s.ID+" to now", "", "  ") + diffsText(status.Plan.Diffs) + itemsText("done since", status.Plan.Again, status.Plan.More.Again)
	_, err = fmt.Fprint(a.deps.Stdout, text)
	return err
}

func (a *app) snapshotPinCmd(pinned bool) *cobra.Command {
	use, short, method := "pin ID", "Keep a snapshot from retention", http.MethodPost
	if !pinned {
		use, short, method = "unpin ID", "Let retention have a snapshot again", http.MethodDelete
	}
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Example: "  wflo snapshot " + strings.Fields(use)[0] + " 0199c7a2-5b1e-7c44-9d1f-2f6f0a8c1b3e",
		Args:    args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.changeSnapshot(cmd.Context(), method, given[0], "/pin", strings.Fields(use)[0]+"ned")
		},
	}
}

func (a *app) changeSnapshot(ctx context.Context, method, id, path, done string) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	var s wflo.Snapshot
	if err := c.write(ctx, method, "/snapshots"+segment(id)+path, nil, &s); err != nil {
		return refusedBack(err)
	}
	if a.format != formatText {
		return a.printJSON(s)
	}
	_, err = fmt.Fprintf(a.deps.Stdout, "%s %s\n", done, escapeLine(s.ID))
	return err
}

func (a *app) snapshotRmCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rm ID",
		Short: "Remove a snapshot",
		Long: `Remove a snapshot: no run goes back to it any more. What only it needs is removed from
the store by the next collection. A pinned one is refused. It takes the role admin.`,
		Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := a.canAsk(yes, "look at it with `wflo snapshot show "+shellWord(given[0])+"`"); err != nil {
				return err
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			if err := a.confirmChange(cmd.Context(), c, yes, "remove snapshot "+given[0]); err != nil {
				return err
			}
			return a.changeSnapshot(cmd.Context(), http.MethodDelete, given[0], "", "removed")
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
