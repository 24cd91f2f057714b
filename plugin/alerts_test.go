package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// inbox is a ledger's list of alerts.
type inbox struct {
	activities.Alerts
	waiting []wflo.BudgetAlert
	taken   []string
	done    []string
	fail    error // of AlertDone
}

func (i *inbox) ClaimAlerts(_ context.Context, n int, lease time.Duration) ([]wflo.BudgetAlert, error) {
	if lease < time.Second {
		return nil, fmt.Errorf("lease of %s", lease)
	}
	n = min(n, len(i.waiting))
	out := i.waiting[:n]
	i.waiting = i.waiting[n:]
	for _, a := range out {
		i.taken = append(i.taken, a.ID)
	}
	return out, nil
}

func (i *inbox) AlertDone(_ context.Context, id string) error {
	if i.fail != nil {
		return i.fail
	}
	i.done = append(i.done, id)
	return nil
}

// starts is a server that knows which workflows were started.
type starts struct {
	options map[string]client.StartWorkflowOptions
	down    map[string]bool
}

func (s *starts) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error) {
	if workflow != wflo.WorkflowBudgetAlert || len(args) != 1 {
		return nil, fmt.Errorf("workflow %v with %d arguments", workflow, len(args))
	}
	if s.down[o.ID] {
		return nil, errors.New("the server is away")
	}
	if _, twice := s.options[o.ID]; twice {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("already started", "", "")
	}
	s.options[o.ID] = o
	return nil, nil
}

func alertsNamed(n int) []wflo.BudgetAlert {
	out := make([]wflo.BudgetAlert, n)
	for i := range out {
		out[i] = wflo.BudgetAlert{ID: fmt.Sprint("a", i), Kind: wflo.AlertThreshold, Budget: "team:books", Percent: 50}
	}
	return out
}

func TestAlertsBecomeWorkflows(t *testing.T) {
	box := &inbox{waiting: alertsNamed(2*alertBatch + 3)}
	server := &starts{options: map[string]client.StartWorkflowOptions{}}
	d := &alerts{ledger: box, starts: server, queue: "q"}
	if err := d.handOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(server.options) != 2*alertBatch+3 || len(box.done) != len(server.options) {
		t.Errorf("%d workflows, %d done", len(server.options), len(box.done))
	}
	o := server.options["wflo-alert/a0"]
	if o.TaskQueue != "q" || o.WorkflowIDReusePolicy != enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE || !o.WorkflowExecutionErrorWhenAlreadyStarted {
		t.Errorf("options %+v", o)
	}
}

// TestAlertThatWasStartedIsDone takes an alert again whose worker died between
// starting its workflow and saying so.
func TestAlertThatWasStartedIsDone(t *testing.T) {
	server := &starts{options: map[string]client.StartWorkflowOptions{}}
	first := &inbox{waiting: alertsNamed(1), fail: errors.New("the worker dies")}
	if err := (&alerts{ledger: first, starts: server, queue: "q"}).handOver(t.Context()); err == nil {
		t.Error("an alert that is not marked gave no error")
	}
	second := &inbox{waiting: alertsNamed(1)}
	if err := (&alerts{ledger: second, starts: server, queue: "q"}).handOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(server.options) != 1 || !slices.Equal(second.done, []string{"a0"}) {
		t.Errorf("%d workflows, done %v", len(server.options), second.done)
	}
}

// TestAlertThatCannotStartStays until its lease ends; the others go out.
func TestAlertThatCannotStartStays(t *testing.T) {
	box := &inbox{waiting: alertsNamed(3)}
	server := &starts{options: map[string]client.StartWorkflowOptions{}, down: map[string]bool{"wflo-alert/a1": true}}
	if err := (&alerts{ledger: box, starts: server, queue: "q"}).handOver(t.Context()); err == nil {
		t.Error("no error")
	}
	if !slices.Equal(box.done, []string{"a0", "a2"}) {
		t.Errorf("done %v", box.done)
	}
}

// TestHandlersAreCalledUntilEachSucceeds runs the workflow with a handler that
// fails at first: the one before it is called once all the same.
func TestHandlersAreCalledUntilEachSucceeds(t *testing.T) {
	var calls []string
	handler := func(name string, failures int) func(context.Context, wflo.BudgetAlert) error {
		return func(_ context.Context, a wflo.BudgetAlert) error {
			calls = append(calls, name+" "+a.ID)
			if failures--; failures >= 0 {
				return errors.New("not yet")
			}
			return nil
		}
	}
	p := newPlugin(t, func(c *Config) {
		c.OnBudgetAlert = []func(context.Context, wflo.BudgetAlert) error{handler("mail", 0), handler("chat", 2), handler("page", 0)}
		c.OnBudgetExceeded = []func(context.Context, wflo.BudgetAlert) error{handler("exceeded", 0)}
	})
	for _, tt := range []struct {
		alert wflo.BudgetAlert
		want  []string
	}{
		{wflo.BudgetAlert{ID: "1", Kind: wflo.AlertThreshold, Percent: 50}, []string{"mail 1", "chat 1", "page 1", "chat 1", "chat 1"}},
		{wflo.BudgetAlert{ID: "2", Kind: wflo.AlertExceeded, Percent: 100}, []string{"exceeded 2"}},
	} {
		calls = nil
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestWorkflowEnvironment()
		Register(env, p)
		env.ExecuteWorkflow(wflo.WorkflowBudgetAlert, tt.alert)
		if err := env.GetWorkflowError(); err != nil {
			t.Fatal(err)
		}
		// The environment does not hand heartbeats to the next attempt, so what is
		// done may be done again there: see TestHandlersThatSucceededAreNotCalledAgain.
		for _, want := range tt.want {
			if !slices.Contains(calls, want) {
				t.Errorf("calls %v, want %v", calls, tt.want)
			}
		}
	}
}

// TestHandlersThatSucceededAreNotCalledAgain gives an attempt the heartbeat of
// the one before.
func TestHandlersThatSucceededAreNotCalledAgain(t *testing.T) {
	var calls []string
	handler := func(name string) activities.AlertHandler {
		return func(context.Context, wflo.BudgetAlert) error { calls = append(calls, name); return nil }
	}
	b := &activities.Budget{
		OnAlert: []activities.AlertHandler{handler("mail"), handler("chat"), handler("page")},
		Logger:  slog.New(slog.DiscardHandler), Observer: telemetry.NewMetrics(telemetry.Config{}),
	}
	for _, tt := range []struct {
		before []bool
		want   []string
	}{
		{[]bool{true, false, true}, []string{"chat"}},
		{[]bool{true, true}, []string{"mail", "chat", "page"}}, // the worker has other handlers now
		{nil, []string{"mail", "chat", "page"}},
	} {
		calls = nil
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivityWithOptions(b, registerAs(step.PrefixBudget))
		if tt.before != nil {
			env.SetHeartbeatDetails(tt.before)
		}
		if _, err := env.ExecuteActivity(string(step.BudgetAlert), wflo.BudgetAlert{Kind: wflo.AlertThreshold}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(calls, tt.want) {
			t.Errorf("after %v: calls %v, want %v", tt.before, calls, tt.want)
		}
	}
}
