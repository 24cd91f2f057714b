package workflows_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

const anywhere = "default-test-workflow-id"

// TestRestoreToATime keeps what was there then, though no snapshot is of that moment, and
// does it again for another time.
func TestRestoreToATime(t *testing.T) {
	p := newPast(t)
	var begun time.Time
	var first, second answerOf
	p.begin = func(n int) {
		switch n {
		case 1:
			begun = p.Now()
			p.restoreAfter(150*time.Minute, wflo.Restore{ID: "t1", WorkflowID: anywhere, To: wflo.RestorePoint{Time: begun.Add(90 * time.Minute)}, By: "ann", Reason: "late", AcceptIrreversible: true}, &first)
		case 2:
			p.restoreAfter(30*time.Minute, wflo.Restore{ID: "t2", WorkflowID: anywhere, To: wflo.RestorePoint{Time: begun.Add(30 * time.Minute)}, By: "ann", Reason: "earlier", AcceptIrreversible: true}, &second)
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		for i := range 4 {
			if _, err := must(ctx, fmt.Sprint("a", i)); err != nil {
				return err
			}
			if err := workflow.Sleep(ctx, time.Hour); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || first.err != nil || first.rejected != nil || second.err != nil || second.rejected != nil {
		t.Fatalf("%v, the updates answered %+v and %+v", err, first, second)
	}
	// The run that went back the first time still sleeps before a2 when it goes back again.
	if want := []string{"a0", "a1", "a2", "a1", "a2", "a3"}; !slices.Equal(p.did, want) {
		t.Errorf("did %v, want %v", p.did, want)
	}
	if s := p.status(); s.Run.Epoch != 2 || p.runs != 3 {
		t.Errorf("epoch %d after %d runs", s.Run.Epoch, p.runs)
	}
}

// TestRestoreToTheMoment of an outcome keeps it; to the one before does it again.
func TestRestoreToTheMoment(t *testing.T) {
	for earlier, want := range map[time.Duration][]string{
		0: {"a0", "a1", "a2", "a2"}, time.Nanosecond: {"a0", "a1", "a2", "a1", "a2"},
	} {
		t.Run(earlier.String(), func(t *testing.T) {
			p := newPast(t)
			var got answerOf
			p.begin = func(n int) {
				if n > 1 {
					return
				}
				p.RegisterDelayedCallback(func() {
					at := p.outcome("g0/do#2").At.Add(-earlier)
					p.UpdateWorkflow(wflo.UpdateRestore, "t1", &got, wflo.Restore{ID: "t1", WorkflowID: anywhere, To: wflo.RestorePoint{Time: at}, By: "ann", Reason: "x", AcceptIrreversible: true})
				}, 150*time.Minute)
			}
			err := p.run(func(ctx workflow.Context) error {
				for i := range 3 {
					if _, err := must(ctx, fmt.Sprint("a", i)); err != nil {
						return err
					}
					if err := workflow.Sleep(ctx, time.Hour); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil || got.err != nil || got.rejected != nil || !slices.Equal(p.did, want) {
				t.Errorf("%v, %+v, did %v, want %v", err, got, p.did, want)
			}
		})
	}
}

// outcome finds one in the run's journal.
func (p *past) outcome(key string) step.Outcome {
	p.t.Helper()
	var page step.StatePage
	v, err := p.QueryWorkflow(wflo.QueryState, step.PageQuery{})
	if err == nil {
		err = v.Get(&page)
	}
	i := slices.IndexFunc(page.State.Outcomes, func(o step.Outcome) bool { return o.Key == key })
	if err != nil || i < 0 {
		p.t.Fatalf("no outcome of %s: %v", key, err)
	}
	return page.State.Outcomes[i]
}

// TestRestoreIntoTheMiddleOfAnEffect moves to before its step: what was begun then and
// ended later is undone, and done again as a whole. What had ended stays.
func TestRestoreIntoTheMiddleOfAnEffect(t *testing.T) {
	p := newPast(t)
	var got answerOf
	p.begin = func(n int) {
		if n == 1 {
			at := p.Now().Add(30 * time.Minute)
			p.restoreAfter(90*time.Minute, wflo.Restore{ID: "t1", WorkflowID: anywhere, To: wflo.RestorePoint{Time: at}, By: "ann", Reason: "x"}, &got)
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		if err := book(ctx, "flight"); err != nil {
			return err
		}
		_, err := workflows.Step(ctx, "room", workflows.StepOptions{
			Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: "room", Activity: "do", Input: "undo room"},
		}, func(ctx workflow.Context) (string, error) {
			if _, err := must(ctx, "reserve"); err != nil {
				return "", err
			}
			if err := workflow.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			return must(ctx, "room")
		})
		if err != nil {
			return err
		}
		return workflow.Sleep(ctx, time.Hour)
	})
	if want := []string{"flight", "reserve", "room", "undo room", "reserve", "room"}; err != nil || !slices.Equal(p.did, want) {
		t.Errorf("%v, did %v, want %v", err, p.did, want)
	}
	r, ok := got.value.(wflo.Restored)
	if !ok || len(r.Plan.Undo) != 1 || r.Plan.Undo[0].Name != "room" || r.Plan.Kept != 1 || len(r.Plan.Irreversible) != 0 {
		t.Errorf("the plan says %+v", got)
	}
}

// TestRestoreKeepsTheOrderOfSelectors and of signals: parallel branches, of which the
// first to answer decides what is done.
func TestRestoreKeepsTheOrderOfSelectors(t *testing.T) {
	p := newPast(t)
	var seen [][]string
	p.begin = func(n int) {
		if n == 1 {
			p.RegisterDelayedCallback(func() { p.SignalWorkflow("news", "first") }, 10*time.Minute)
			p.RegisterDelayedCallback(func() { p.SignalWorkflow("news", "second"); p.SignalWorkflow("news", "third") }, 70*time.Minute)
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		var saw []string
		defer func() { seen = append(seen, saw) }()
		news := workflow.GetSignalChannel(ctx, "news")
		slow, quick := workflow.NewTimer(ctx, 30*time.Minute), workflow.NewTimer(ctx, 5*time.Minute)
		pick := workflow.NewSelector(ctx)
		pick.AddFuture(slow, func(workflow.Future) { saw = append(saw, "slow") })
		pick.AddFuture(quick, func(workflow.Future) { saw = append(saw, "quick") })
		pick.AddReceive(news, func(c workflow.ReceiveChannel, _ bool) {
			var s string
			c.Receive(ctx, &s)
			saw = append(saw, s)
			workflow.Go(ctx, func(ctx workflow.Context) { _, _ = must(ctx, "for "+s) })
		})
		for range 3 {
			pick.Select(ctx)
		}
		// A step takes one of the two that come next.
		_, err := workflows.Step(ctx, "read", workflows.StepOptions{}, func(ctx workflow.Context) (string, error) {
			var s string
			news.Receive(ctx, &s)
			saw = append(saw, s)
			return s, nil
		})
		if err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
			return err
		}
		var s string
		news.Receive(ctx, &s)
		saw = append(saw, s)
		if p.runs < 3 {
			return workflows.Restore(ctx, "here")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all, again := []string{"quick", "first", "slow", "second", "third"}, []string{"quick", "first", "slow", "third"}
	if len(seen) != 3 || !slices.Equal(seen[0], all) || !slices.Equal(seen[1], again) || !slices.Equal(seen[2], again) {
		t.Errorf("the code saw %v", seen)
	}
	if !slices.Equal(p.did, []string{"for first"}) {
		t.Errorf("did %v", p.did)
	}
}

// TestRestoredCodeThatIsAnotherOne is told so, and does nothing.
func TestRestoredCodeThatIsAnotherOne(t *testing.T) {
	for name, tt := range map[string]struct {
		line, want string
		skip       bool
	}{
		"another input":     {line: "two", want: "activity g0/do#1: its input is not the recorded one"},
		"another call":      {line: "one", skip: true, want: "step g0/kept#1 was recorded and is not asked for; the code asks for [activity g0/do#2"},
		"the end too early": {line: "end", want: "was recorded, and the code ended"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			err := p.run(func(ctx workflow.Context) error {
				line := "one"
				if p.runs > 1 {
					line = tt.line
				}
				if line == "end" {
					return nil
				}
				if _, err := must(ctx, line); err != nil {
					return err
				}
				if p.runs > 1 && tt.skip {
					_, err := must(ctx, "something else")
					return err
				}
				_, err := workflows.Step(ctx, "kept", workflows.StepOptions{}, func(ctx workflow.Context) (string, error) { return must(ctx, "inside") })
				if err != nil {
					return err
				}
				if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
					return err
				}
				return workflows.Restore(ctx, "here")
			})
			var app *temporal.ApplicationError
			if !errors.As(err, &app) || app.Type() != string(wflo.CodeConflict) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it ended with %v, want %q", err, tt.want)
			}
			if !slices.Equal(p.did, []string{"one", "inside"}) {
				t.Errorf("did %v", p.did)
			}
		})
	}
}

// TestRestoresAreBounded, so that a run that fails in the same way each time ends.
func TestRestoresAreBounded(t *testing.T) {
	p := newPast(t)
	err := p.run(func(ctx workflow.Context) error {
		if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
			return err
		}
		if _, err := must(ctx, "again"); err != nil {
			return err
		}
		return workflows.Restore(ctx, "here")
	})
	if err == nil || !strings.Contains(err.Error(), "restored 10 times") || len(p.did) != 11 {
		t.Errorf("%v, did %d", err, len(p.did))
	}
}

// TestRollbackAsksWithNewKeys: a step that is tried again after its effects were undone
// is another effect.
func TestRollbackAsksWithNewKeys(t *testing.T) {
	p := newPast(t)
	p.fail["pay"] = temporal.NewNonRetryableApplicationError("declined", "test", nil)
	err := p.run(func(ctx workflow.Context) error {
		for range 2 {
			_, err := workflows.Step(ctx, "pay", workflows.StepOptions{
				Key: "order-17", Rollback: &workflows.Rollback{}, Effect: wflo.EffectReversible,
				Compensation: &workflows.Compensation{Name: "pay", Activity: "do", Input: "refund"},
			}, func(ctx workflow.Context) (string, error) {
				if _, err := must(ctx, "reserve"); err != nil {
					return "", err
				}
				return must(ctx, "pay")
			})
			if err == nil {
				return errors.New("the step did not fail")
			}
		}
		return nil
	})
	if want := []string{"reserve", "pay", "refund", "reserve", "pay", "refund"}; err != nil || !slices.Equal(p.did, want) {
		t.Errorf("%v, did %v, want %v", err, p.did, want)
	}
	for line, keys := range p.keys {
		if len(keys) != 2 || keys[0] == keys[1] {
			t.Errorf("%s has the keys %v", line, keys)
		}
	}
	if name := (wflo.Run{Step: "order-17~1/do#1"}).StepName(); name != "order-17" {
		t.Errorf("the step is called %s", name)
	}
}

// TestContinuedRunsGoBack to a snapshot of a run before, with its input; results under
// keys of their own last, and signals that nobody read go on.
func TestContinuedRunsGoBack(t *testing.T) {
	p := newPast(t)
	var inputs []int
	var heard []string
	p.begin = func(n int) {
		if n == 1 {
			p.RegisterDelayedCallback(func() { p.SignalWorkflow("news", "unread") }, time.Minute)
		}
	}
	err := p.run(func(ctx workflow.Context, n int) error {
		inputs = append(inputs, n)
		_, err := workflows.Step(ctx, "once", workflows.StepOptions{Key: "once"}, func(ctx workflow.Context) (string, error) { return must(ctx, "once") })
		if err != nil {
			return err
		}
		if _, err := must(ctx, fmt.Sprint("in ", n)); err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, fmt.Sprint("snap ", n)); err != nil {
			return err
		}
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return err
		}
		switch {
		case n < 2:
			return workflow.NewContinueAsNewError(ctx, "code", n+1)
		case p.runs < 4:
			return workflows.Restore(ctx, "snap 1")
		}
		var s string
		workflow.GetSignalChannel(ctx, "news").Receive(ctx, &s)
		heard = append(heard, s)
		return nil
	}, 0)
	if want := []string{"once", "in 0", "in 1", "in 2", "in 2"}; err != nil || !slices.Equal(p.did, want) {
		t.Errorf("%v, did %v, want %v", err, p.did, want)
	}
	if !slices.Equal(inputs, []int{0, 1, 2, 1, 2}) || !slices.Equal(heard, []string{"unread"}) {
		t.Errorf("began with %v, heard %v", inputs, heard)
	}
	if k := p.keys["in 2"]; len(k) == 2 && k[0] == k[1] {
		t.Error("two epochs have one effect key")
	}
}

// TestApprovalsAfterARestore: those before the snapshot count, where their activity is
// kept or they are for none; those after are asked for again.
func TestApprovalsAfterARestore(t *testing.T) {
	p := newPast(t)
	var asked []string
	ask := func(ctx workflow.Context, gate string) error {
		_, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: gate, Action: "do " + gate, OnTimeout: wflo.OnTimeoutApprove, Timeout: time.Hour, Risk: wflo.RiskLow})
		return err
	}
	err := p.run(func(ctx workflow.Context) error {
		if err := ask(ctx, "before"); err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
			return err
		}
		if err := ask(ctx, "after"); err != nil {
			return err
		}
		if p.runs == 1 {
			return workflows.Restore(ctx, "here")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	gates, err := p.ledger.Records().ListGates(t.Context(), activities.GateQuery{Closed: true})
	for _, g := range gates {
		asked = append(asked, g.Approval.Gate)
	}
	slices.Sort(asked)
	if err != nil || !slices.Equal(asked, []string{"after", "after", "before"}) {
		t.Errorf("%v, people were asked about %v", err, asked)
	}
}

// TestPlanByQuery says what a restore would do, and changes nothing; pages of the state
// hold all outcomes.
func TestPlanByQuery(t *testing.T) {
	p := newPast(t)
	err := p.run(func(ctx workflow.Context) error {
		if _, err := must(ctx, "one"); err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
			return err
		}
		_, err := workflows.Step(ctx, "two", workflows.StepOptions{Effect: wflo.EffectRead}, func(ctx workflow.Context) (string, error) { return must(ctx, "two") })
		if err != nil {
			return err
		}
		_, err = must(ctx, "three")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := p.ledger.Recovery().ListSnapshots(t.Context(), activities.SnapshotQuery{Name: "here"})
	if err != nil || len(snaps) != 1 {
		t.Fatalf("%d snapshots, %v", len(snaps), err)
	}
	var plan wflo.RestorePlan
	v, err := p.QueryWorkflow(wflo.QueryPlan, step.PlanQuery{Snapshot: &snaps[0], Restore: wflo.Restore{To: wflo.RestorePoint{Snapshot: "here"}}})
	if err == nil {
		err = v.Get(&plan)
	}
	if err != nil || plan.Kept != 1 || len(plan.Again) != 2 || plan.Again[0].Key != "g0/two#1" ||
		len(plan.Irreversible) != 1 || plan.Irreversible[0].Key != "g0/do#2" {
		t.Errorf("%v, %+v", err, plan)
	}
	var page step.StatePage
	v, err = p.QueryWorkflow(wflo.QueryState, step.PageQuery{})
	if err == nil {
		err = v.Get(&page)
	}
	if err != nil || page.Next != 0 || len(page.State.Outcomes) != 4 || page.State.Workflow != "code" {
		t.Errorf("%v, %+v", err, page)
	}
}

// TestSnapshotByUpdate is what an operator asks for.
func TestSnapshotByUpdate(t *testing.T) {
	p := newPast(t)
	var got answerOf
	p.begin = func(int) {
		p.RegisterDelayedCallback(func() { p.UpdateWorkflow(wflo.UpdateSnapshot, "u", &got, wflo.SnapshotOrder{Name: "by hand"}) }, time.Minute)
	}
	err := p.run(func(ctx workflow.Context) error { return workflow.Sleep(ctx, time.Hour) })
	s, ok := got.value.(wflo.Snapshot)
	if err != nil || !ok || got.err != nil || s.Name != "by hand" || s.Kind != wflo.SnapshotManual || s.Part(wflo.PartState, "") == nil {
		t.Errorf("%v, the update answered %+v", err, got)
	}
}
