package govern

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
)

// holdRound makes sweeps quick enough for a test.
const holdRound = 100 * time.Millisecond

// mailbox is a handler of alerts that remembers, and fails the first time.
type mailbox struct {
	mu   sync.Mutex
	got  []wflo.BudgetAlert
	fail bool
}

func (m *mailbox) handle(_ context.Context, a wflo.BudgetAlert) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail {
		m.fail = false
		return errors.New("the mail server is away")
	}
	m.got = append(m.got, a)
	return nil
}

func (m *mailbox) percents() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []int
	for _, a := range m.got {
		out = append(out, a.Percent)
	}
	slices.Sort(out)
	return out
}

// TestAlertsReachTheirHandlers spends past two thresholds and into the limit,
// with two workers that look for alerts at the same time.
func TestAlertsReachTheirHandlers(t *testing.T) {
	alerted, exceeded := &mailbox{fail: true}, &mailbox{}
	w := newWorld(t, config{plugin: func(c *plugin.Config) {
		c.AlertEvery = holdRound
		c.Budgets = []wflo.Budget{{Scope: wflo.ScopeTeam, Name: "books", Limit: 10 * wflo.Cent, Period: wflo.PeriodMonthly, Thresholds: []int{20, 60, 90}}}
		c.OnBudgetAlert = []func(context.Context, wflo.BudgetAlert) error{alerted.handle}
		c.OnBudgetExceeded = []func(context.Context, wflo.BudgetAlert) error{exceeded.handle}
	}})
	start(t, worker.New(w.Client, w.queue, worker.Options{}))
	ledger := w.guard.Ledger()
	run := wflo.Run{WorkflowID: "w", FirstRunID: "r", Team: "books"}
	spend := func(step string, amount wflo.Money) error {
		run.Step = step
		r := wflo.Reservation{Key: run.EffectKey(), Attempt: 1, Amount: amount, Run: run, Scopes: run.Scopes("", "")}
		if _, err := ledger.Reserve(t.Context(), r); err != nil {
			return err
		}
		return ledger.Settle(t.Context(), wflo.Settlement{Key: r.Key, Attempt: 1, Amount: amount, Provider: "p", Model: "m"})
	}
	if err := errors.Join(spend("one", 3*wflo.Cent), spend("two", 4*wflo.Cent)); err != nil {
		t.Fatal(err)
	}
	if err := spend("three", 4*wflo.Cent); !errors.Is(err, wflo.ErrBudgetExceeded) {
		t.Fatalf("the call that does not fit gave %v", err)
	}
	eventually(t, "the alerts", func() bool { return len(alerted.percents()) == 2 && len(exceeded.percents()) == 1 })
	if got := alerted.percents(); !slices.Equal(got, []int{20, 60}) {
		t.Errorf("alerts at %v", got)
	}
	all, err := ledger.ListAlerts(t.Context(), "team:books", 10)
	if err != nil || len(all) != 3 {
		t.Fatalf("alerts %+v, %v", all, err)
	}
	for _, a := range all {
		run := w.GetWorkflow(t.Context(), "wflo-alert/"+a.ID, "")
		if err := run.Get(t.Context(), nil); err != nil {
			t.Errorf("workflow of alert %s: %v", a.ID, err)
		}
		// A second workflow of the alert is not possible.
		_, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: "wflo-alert/" + a.ID, TaskQueue: w.queue, WorkflowExecutionErrorWhenAlreadyStarted: true,
			WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		}, wflo.WorkflowBudgetAlert, a)
		if err == nil {
			t.Errorf("alert %s was started twice", a.ID)
		}
	}
	eventually(t, "nothing left to hand over", func() bool {
		left, err := ledger.ClaimAlerts(t.Context(), 10, time.Second)
		return err == nil && len(left) == 0
	})
}
