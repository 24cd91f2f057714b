package workflows_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

// asked is the run of a past as restores reach it: it has ended, and answers.
type asked struct {
	*past
	run wflo.Run
}

func (a asked) Describe(context.Context, string, string) (activities.RunInfo, error) {
	return activities.RunInfo{WorkflowID: a.run.WorkflowID, FirstRunID: a.run.FirstRunID, RunID: a.run.FirstRunID, Workflow: "code", TaskQueue: "q", Latest: true}, nil
}

func (a asked) Query(_ context.Context, _ activities.RunInfo, query string, arg, out any) error {
	v, err := a.QueryWorkflow(query, arg)
	if err != nil {
		return err
	}
	return v.Get(out)
}

func (a asked) Update(context.Context, activities.RunInfo, string, string, any) error {
	return fmt.Errorf("the run has ended")
}

func (a asked) Start(context.Context, activities.RunStart) (string, error) {
	return "", fmt.Errorf("the test starts runs itself")
}

// spender is a past whose code pays, over the ledger.
type spender struct {
	*past
	n int // how often it went on from a snapshot
	// bundle are the policies that the run before had; pinned those that were asked for.
	bundle string
	pinned []string
}

func newSpender(t *testing.T, run wflo.Run) *spender {
	s := &spender{past: newPast(t)}
	header, err := converter.GetDefaultDataConverter().ToPayload(run)
	if err != nil {
		t.Fatal(err)
	}
	s.header = &commonpb.Header{Fields: map[string]*commonpb.Payload{wflo.HeaderRun: header}}
	s.begin = func(int) { s.register() }
	return s
}

func (s *spender) register() {
	s.RegisterActivityWithOptions(func(ctx context.Context, amount wflo.Money) error {
		run, _ := wflo.RunFrom(ctx)
		hold, err := s.ledger.Reserve(ctx, wflo.Reservation{
			Key: run.EffectKey(), Attempt: 1, Amount: amount, Budgets: run.Lines, Scopes: run.Scopes("p", "m"), Run: run, Provider: "p", Model: "m",
		})
		if err != nil {
			return temporal.NewNonRetryableApplicationError(err.Error(), "budget", err)
		}
		return s.ledger.Settle(ctx, wflo.Settlement{Key: hold.Key, Attempt: 1, Amount: amount, Provider: "p", Model: "m", ResponseID: string(hold.Key)})
	}, activity.RegisterOptions{Name: "spend"})
	s.RegisterActivityWithOptions(func(_ context.Context, req step.PinRequest) (wflo.Pin, error) {
		s.pinned = append(s.pinned, req.Bundle)
		if len(s.pinned) < 3 {
			return wflo.Pin{}, wflo.Errorf(wflo.CodePolicyDenied, "give all workers one database", "the bundle is gone")
		}
		return wflo.Pin{Bundle: req.Bundle, Quiet: true}, nil
	}, activity.RegisterOptions{Name: string(step.PolicyPin)})
}

// goOn opens the run again, or forks it, at its snapshot "s": as wflo.Restore does, but
// under a workflow id of its own, since here all runs have one run id.
func (s *spender) goOn(code any, mode wflo.RestoreMode) error {
	s.t.Helper()
	run := s.status().Run
	a := &activities.Restoring{Snapshot: s.snapshot, Runs: asked{s.past, run}, Ledger: s.ledger, Gates: s.ledger.Records(), Logger: s.logger}
	s.n++
	order := wflo.Restore{ID: fmt.Sprint("re", s.n), WorkflowID: run.WorkflowID, Mode: mode, To: wflo.RestorePoint{Snapshot: "s"}, By: "ann", Reason: "x", AcceptIrreversible: true}
	in, err := a.Plan(s.t.Context(), order)
	if err != nil {
		s.t.Fatal(err)
	}
	r, id := in.Restored, fmt.Sprint("other", s.n)
	r.Inherits.Bundle = s.bundle
	r.State, r.Into = wflo.RestoreRestoring, id+"/"
	if _, err := s.snapshot.Recovery.BeginRestore(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
	s.runs++
	s.env(code)
	s.register()
	fields := map[string]*commonpb.Payload{}
	for name, v := range map[string]any{
		wflo.HeaderRestore: order.ID, wflo.HeaderRun: wflo.Run{User: run.User, Budget: run.Budget},
	} {
		if fields[name], err = converter.GetDefaultDataConverter().ToPayload(v); err != nil {
			s.t.Fatal(err)
		}
	}
	s.SetHeader(&commonpb.Header{Fields: fields})
	s.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id, TaskQueue: "q"})
	s.ExecuteWorkflow("code")
	return s.GetWorkflowError()
}

func (s *spender) spent(run string) wflo.Money {
	s.t.Helper()
	got, err := s.ledger.Spend(s.t.Context(), wflo.RunBudgetID(run))
	if err != nil {
		s.t.Fatal(err)
	}
	return got.Spent
}

// spends is saved, and pays two dollars as often as it may.
func spends(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	if _, err := workflows.TakeSnapshot(ctx, "s"); err != nil {
		return err
	}
	for {
		if err := workflow.ExecuteActivity(ctx, "spend", 2*wflo.USD).Get(ctx, nil); err != nil {
			return err
		}
	}
}

// TestReopenedRunsHaveOneBudget: however often a run is opened again, its lineage spends
// no more than its limit, and no more than its parent's.
func TestReopenedRunsHaveOneBudget(t *testing.T) {
	s := newSpender(t, wflo.Run{
		User: "ann", Root: "parent/p", Budget: wflo.Budget{Limit: 5 * wflo.USD}, Lines: []wflo.BudgetLine{{ID: wflo.RunBudgetID("parent/p"), Limit: 9 * wflo.USD}},
	})
	if err := s.run(spends); err == nil {
		t.Fatal("it pays for ever")
	}
	first := s.status().Run
	for range 3 {
		if err := s.goOn(spends, wflo.RestoreReopen); err == nil {
			t.Fatal("it pays for ever")
		}
		run := s.status().Run
		var ids []string
		for _, l := range run.Lines {
			ids = append(ids, l.ID)
		}
		want := []string{wflo.RunBudgetID("parent/p"), wflo.RunBudgetID(first.ID()), wflo.RunBudgetID(run.ID())}
		if !slices.Equal(ids, want) || run.Root != "parent/p" || run.Lines[1].Limit != 5*wflo.USD {
			t.Errorf("the reopened run has the lines %v under %q, want %v", run.Lines, run.Root, want)
		}
	}
	if got := s.spent(first.ID()); got != 4*wflo.USD {
		t.Errorf("the runs have spent %s of $5, in calls of $2", got)
	}
	if got := s.spent("parent/p"); got != 4*wflo.USD {
		t.Errorf("their parent was charged %s", got)
	}
}

// TestReopenedRunKnowsWhatWasSpent: policies and plans see all of it.
func TestReopenedRunKnowsWhatWasSpent(t *testing.T) {
	s := newSpender(t, wflo.Run{User: "ann", Budget: wflo.Budget{Limit: 5 * wflo.USD}})
	if err := s.run(spends); err == nil {
		t.Fatal("it pays for ever")
	}
	first := s.status().Run
	for range 2 {
		if err := s.goOn(spends, wflo.RestoreReopen); err == nil {
			t.Fatal("it pays for ever")
		}
		if st := s.status(); st.Spent != 4*wflo.USD || st.Run.RootID() != first.ID() {
			t.Errorf("the reopened run says that %s was spent, and that its root is %s", st.Spent, st.Run.RootID())
		}
	}
	entries, err := s.ledger.Entries(t.Context(), first.ID())
	if err != nil || len(entries) != 2 {
		t.Errorf("%d calls are on the ledger of the first run (%v)", len(entries), err)
	}
}

// TestReopenedRunKeepsItsPolicies: it goes on under those that it had, and waits for them.
func TestReopenedRunKeepsItsPolicies(t *testing.T) {
	s := newSpender(t, wflo.Run{User: "ann", Budget: wflo.Budget{Limit: 5 * wflo.USD}})
	if err := s.run(spends); err == nil {
		t.Fatal("it pays for ever")
	}
	s.bundle = "abc"
	if err := s.goOn(spends, wflo.RestoreReopen); err == nil {
		t.Fatal("it pays for ever")
	}
	if got := s.status().Run.Bundle; got != "abc" || !slices.Equal(s.pinned, []string{"abc", "abc", "abc"}) {
		t.Errorf("the reopened run is under the policies %q, after it asked for %q", got, s.pinned)
	}
}

// TestForkHasABudgetOfItsOwn under those of the parents of the run that it is a fork of.
func TestForkHasABudgetOfItsOwn(t *testing.T) {
	s := newSpender(t, wflo.Run{
		User: "ann", Root: "parent/p", Budget: wflo.Budget{Limit: 5 * wflo.USD}, Lines: []wflo.BudgetLine{{ID: wflo.RunBudgetID("parent/p"), Limit: 7 * wflo.USD}},
	})
	if err := s.run(spends); err == nil {
		t.Fatal("it pays for ever")
	}
	first := s.status().Run
	if err := s.goOn(spends, wflo.RestoreFork); err == nil {
		t.Fatal("it pays for ever")
	}
	st := s.status()
	if a, b, p := s.spent(first.ID()), s.spent(st.Run.ID()), s.spent("parent/p"); a != 4*wflo.USD || b != 2*wflo.USD || p != 6*wflo.USD || st.Spent != 0 {
		lines, _ := json.Marshal(st.Run.Lines)
		t.Errorf("the run has spent %s, the fork %s (it says %s), their parent was charged %s; the fork's lines are %s", a, b, st.Spent, p, lines)
	}
	// A fork of a run that was opened again is nobody's child either.
	s = newSpender(t, wflo.Run{User: "ann", Budget: wflo.Budget{Limit: 5 * wflo.USD}})
	for _, do := range []func() error{
		func() error { return s.run(spends) }, func() error { return s.goOn(spends, wflo.RestoreReopen) }, func() error { return s.goOn(spends, wflo.RestoreFork) },
	} {
		if err := do(); err == nil {
			t.Fatal("it pays for ever")
		}
	}
	if run := s.status().Run; run.Root != "" || len(run.Lines) != 1 || s.spent(run.ID()) != 4*wflo.USD {
		t.Errorf("the fork of a reopened run is %+v", run)
	}
}
