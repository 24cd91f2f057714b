package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// stopRecorded is what both commands say about the trail.
const stopRecorded = `

It goes over the API of the worker or the console, which writes into the audit trail
who stopped what and why, and wants the role operator where people log in. `

// stop is a halt or a cancellation.
type stop struct {
	// what is halt or cancel, as the API's path has it.
	what, id string
	// by is who says so where the API asks nobody who they are; empty means the user.
	by, reason string
	// direct leaves the API out.
	direct bool
}

func (s *stop) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.by, "as", "", "who it is, where nobody logs in (also WFLO_USER; default: the login name)")
	cmd.Flags().BoolVar(&s.direct, "direct", false, "straight to Temporal: the audit trail does not get it")
}

func (a *app) haltCmd() *cobra.Command {
	s := stop{what: "halt"}
	cmd := &cobra.Command{
		Use:   "halt ID",
		Short: "Stop a run now and undo what it did",
		Long: `Stop a run: it starts nothing new, what is running is cancelled, and the
compensations that it registered are carried out.` + stopRecorded + `An
emergency does not wait: where no API answers, the run is told by Temporal, keeps the
name and the reason itself, and a note says that the trail has not got them.`,
		Example:           "  wflo halt refund-k3f9 --reason \"wrong customer\"",
		Args:              args("ID"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, names []string) error {
			if strings.TrimSpace(s.reason) == "" {
				return Usage("such as: --reason \"wrong customer\"", "--reason is missing")
			}
			s.id = names[0]
			return a.stop(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&s.reason, "reason", "", "why; required")
	s.add(cmd)
	return cmd
}

func (a *app) cancelCmd() *cobra.Command {
	s := stop{what: "cancel"}
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Ask a run to end",
		Long: "Ask a run to end. Its own code decides how; `wflo halt` does not ask." + stopRecorded + `Where
an API was named or logged in to and does not answer, nothing is cancelled. Without
one, Temporal is told, whose history has the name of the login but no reason, and a
note says that the trail has not got it.`,
		Example:           "  wflo cancel refund-k3f9\n  wflo cancel refund-k3f9 --reason \"not needed any more\"",
		Args:              args("ID"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, names []string) error {
			s.id = names[0]
			return a.stop(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&s.reason, "reason", "", "why, for the audit trail")
	s.add(cmd)
	return cmd
}

// stop tells a run over the API, or by Temporal where that is not to be had.
func (a *app) stop(ctx context.Context, s stop) error {
	if s.direct {
		return a.stopDirectly(ctx, s, "--direct leaves the API out")
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	if c.token != "" && s.by != "" {
		return Usage("leave it out", "--as is for where nobody logs in; the API knows who you are")
	}
	named := a.conn.api != "" || os.Getenv("WFLO_API") != "" || c.token != ""
	if !named && !a.onDefaults() {
		// What answers there may be of another Temporal, with a run of the same name.
		return a.stopDirectly(ctx, s, "name the API of this Temporal with --api or WFLO_API")
	}
	c.user = s.by
	var told console.RunControl
	err = c.write(ctx, http.MethodPost, "/runs"+segment(s.id)+"/"+s.what, console.ControlRequest{Reason: s.reason}, &told)
	switch {
	case err == nil:
		return a.stopped(told)
	case !errors.Is(err, errNoAPI) && !errors.Is(err, errNoPath):
		return err
	case named && s.what != "halt":
		return wflo.Errorf("", "start the API, or use --direct, of which the audit trail knows nothing", "nothing was cancelled, because it could not be recorded: %w", err)
	}
	return a.stopDirectly(ctx, s, "no API at "+c.base+" takes it")
}

// onDefaults says that Temporal is the one on this machine, as nobody named another.
func (a *app) onDefaults() bool {
	opts, err := temporalOptions(a.conn)
	return err == nil && opts.HostPort == DefaultAddress && opts.Namespace == client.DefaultNamespace
}

// stopDirectly has Temporal tell the run. why says why the trail has not got it.
func (a *app) stopDirectly(ctx context.Context, s stop, why string) error {
	s.by = cmp.Or(s.by, userName())
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	told := console.RunControl{ID: s.id, By: s.by, Reason: s.reason, State: "cancelling"}
	if s.what == "halt" {
		told.State = "halting"
		err = c.SignalWorkflow(ctx, s.id, "", wflo.SignalHalt, wflo.Halt{By: s.by, Reason: s.reason})
	} else {
		err = c.CancelWorkflow(ctx, s.id, "")
	}
	if err != nil {
		return c.explain(err, s.id)
	}
	a.note("not in the audit trail: %s", escapeLine(why))
	return a.stopped(told)
}

// stopped prints that a run was told.
func (a *app) stopped(told console.RunControl) error {
	if a.format != formatText {
		return a.printJSON(told)
	}
	if !told.Recorded && told.RunID != "" && strings.HasSuffix(told.State, "ing") {
		a.note("not in the audit trail: it could not be written; the API's log has the reason")
	}
	a.note("see: wflo status %s", shellWord(told.ID))
	_, err := fmt.Fprintf(a.deps.Stdout, "%s %s\n", told.State, escapeLine(told.ID))
	return err
}
