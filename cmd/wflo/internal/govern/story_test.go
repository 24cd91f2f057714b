package govern

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	tale "github.com/wflo-ai/wflo-go/internal/story"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// storyOf is the whole story of a run.
func (w *world) storyOf(id string) (tale.Head, []tale.Row) {
	w.t.Helper()
	teller := w.guard.Story(w.Client)
	h, err := teller.Head(w.t.Context(), id, "")
	if err != nil {
		w.t.Fatal(err)
	}
	var rows []tale.Row
	for r, err := range teller.All(w.t.Context(), id, "") {
		if err != nil {
			w.t.Fatal(err)
		}
		rows = append(rows, r)
	}
	if w.t.Failed() {
		w.t.Log(asJSON(w.t, rows))
	}
	return h, rows
}

// told are rows in short.
func told(rows []tale.Row, kinds ...tale.Kind) []string {
	var out []string
	for _, r := range rows {
		if len(kinds) == 0 || slices.Contains(kinds, r.Kind) {
			out = append(out, strings.Join([]string{string(r.Kind), r.Name, string(r.State)}, " "))
		}
	}
	return out
}

func wantTold(t *testing.T, rows []tale.Row, want []string, kinds ...tale.Kind) {
	t.Helper()
	if diff := cmp.Diff(want, told(rows, kinds...)); diff != "" {
		t.Errorf("the story (-want +got):\n%s", diff)
	}
}

// TestStoryOfAnAgent tells its model calls with what the ledger has of them, and its
// programs with what became of them.
func TestStoryOfAnAgent(t *testing.T) {
	box := &sandboxtest.Fake{Do: func(context.Context, sandbox.Spec) (sandbox.Result, error) {
		return sandbox.Result{Outcome: sandbox.Nonzero, ExitCode: 3, Stdout: "1\n", Image: "sha256:1", Runtime: "runc", Profiles: []string{"seccomp=strict"}, Missing: []string{"apparmor"}}, nil
	}}
	w := newWorld(t, config{script: countOnce, box: box})
	run := w.start(wflo.Run{User: "ann", Budget: wflo.Budget{Limit: wflo.USD}}, wflo.WorkflowAgent, agentTask())
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	h, rows := w.storyOf(run.GetID())
	wantTold(t, rows, []string{"run wflo.Agent done", "model " + model + " done", "sandbox python done", "model " + model + " done"})
	var spent wflo.Money
	for _, e := range w.entries(run, h.FirstRunID) {
		spent += e.Amount
	}
	var told wflo.Money
	for _, r := range rows {
		if r.Kind == tale.KindModel {
			if r.Model == nil || r.Model.State != wflo.HoldSettled || r.Model.Usage.Total() == 0 {
				t.Fatalf("model row %+v", r.Model)
			}
			told += r.Model.Amount
		}
	}
	if told != spent || h.Spend.Spent != spent || spent == 0 || h.Calls != 2 || h.Run.User != "ann" || h.State != wflo.StateCompleted {
		t.Errorf("the rows cost %s, the head says %s for %d calls, the ledger %s", told, h.Spend.Spent, h.Calls, spent)
	}
	s := rows[2].Sandbox
	if s.Outcome != string(sandbox.Nonzero) || s.ExitCode != 3 || s.Profiles["seccomp"] != "strict" || s.Profiles["apparmor"] != "missing" || s.Network != "none" || s.Limits["memory"] != "512 MiB" {
		t.Errorf("sandbox %+v", s)
	}
	d, err := w.guard.Story(w.Client).Detail(t.Context(), run.GetID(), "", rows[2].ID)
	if err != nil || d.Stdout == nil || d.Stdout.Text != "1\n" || d.Input == nil {
		t.Errorf("detail %+v, %v", d, err)
	}
}

// TestStoryWaits tells what an open run waits for, while it waits, and how it went on.
func TestStoryWaits(t *testing.T) {
	w := newWorld(t, config{})
	run := w.start(wflo.Run{User: "ann"}, histories.Gated, time.Hour)
	g := w.gate(run, 1)
	h, rows := w.storyOf(run.GetID())
	wantTold(t, rows, []string{"run histories.Gated running", "approval delete waiting"})
	if !strings.Contains(h.Why, "it waits at gate delete") || h.Next != "wflo approve "+run.GetID() || len(h.Gates) != 1 || h.State != wflo.StateWaiting || h.Note != "" {
		t.Errorf("why %q, next %q, note %q, %d gates", h.Why, h.Next, h.Note, len(h.Gates))
	}
	teller := w.guard.Story(w.Client)
	page, err := teller.Rows(t.Context(), tale.Query{WorkflowID: run.GetID()})
	if err != nil || !page.Open || page.Next == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	w.signal(run, wflo.SignalDecide, g.Decide(wflo.VerdictApprove, "bob"))
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	// The same teller goes on from where it was.
	after, err := teller.Rows(t.Context(), tale.Query{WorkflowID: run.GetID(), After: page.Next})
	if err != nil {
		t.Fatal(err)
	}
	wantTold(t, after.Rows, []string{"activity " + histories.Do + " done"})
	_, rows = w.storyOf(run.GetID())
	wantTold(t, rows, []string{"run histories.Gated done", "approval delete done", "activity " + histories.Do + " done"})
	if gate := rows[1].Gate; gate == nil || gate.Status != wflo.GateApproved || !slices.Equal(gate.By, []string{"bob"}) {
		t.Errorf("gate %+v", rows[1].Gate)
	}
}

// TestStoryOfASaga tells what was undone, along a chain of runs.
func TestStoryOfASaga(t *testing.T) {
	w := newWorld(t, config{})
	run := w.start(wflo.Run{User: "ann"}, histories.Chain, 0)
	if err := w.wait(run, nil); err == nil {
		t.Fatal("the chain did not fail")
	}
	h, rows := w.storyOf(run.GetID())
	wantTold(t, rows, []string{
		"run histories.Chain done", "step reserve 0 undone", "activity histories.Do undone",
		"run histories.Chain failed", "step reserve 1 undone", "activity histories.Do undone", "activity histories.Do failed",
		"compensation reserve 1 done", "compensation reserve 0 done",
	})
	if h.State != wflo.StateFailed || !strings.Contains(h.Why, "told to") || h.Undo[wflo.CompensationDone] != 2 || h.RunID == h.FirstRunID {
		t.Errorf("state %s, why %q, undo %v", h.State, h.Why, h.Undo)
	}
}

// TestStoryOfARestore tells a run that was saved, taken back and went on.
func TestStoryOfARestore(t *testing.T) {
	w := newWorld(t, config{})
	run := w.start(wflo.Run{User: "ann"}, histories.Saved)
	eventually(t, "the second snapshot", func() bool {
		s := w.status(run)
		return len(s.Snapshots) > 1 && len(s.Steps) > 2
	})
	back, err := recovery.New(recovery.Config{Client: w.Client, TaskQueue: w.queue}), error(nil)
	if _, err = back.Do(t.Context(), wflo.Restore{WorkflowID: run.GetID(), To: wflo.RestorePoint{Snapshot: "looked"}, By: "bob", Reason: "once more"}); err != nil {
		t.Fatal(err)
	}
	w.signal(run, histories.SignalAct, "well")
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	h, rows := w.storyOf(run.GetID())
	if got := told(rows, tale.KindRestore); !slices.Contains(got, "restore restore done") || !slices.Contains(got, "restore come back done") {
		t.Errorf("restores %v", got)
	}
	if got := told(rows, tale.KindStep); !slices.Contains(got, "step book undone") || !slices.Contains(got, "step book done") || !slices.Contains(got, "step look done") {
		t.Errorf("steps %v", got)
	}
	if got := told(rows, tale.KindSnapshot); !slices.Contains(got, "snapshot looked done") {
		t.Errorf("snapshots %v", got)
	}
	if len(h.Snapshots) < 2 || h.State != wflo.StateCompleted {
		t.Errorf("state %s, snapshots %v", h.State, h.Snapshots)
	}
}

// TestStoryOfAPolicy tells who stopped a run, and by which rule.
func TestStoryOfAPolicy(t *testing.T) {
	const rules = `
default: allow
policies:
  - name: no deleting
    when: operation == "delete"
    do: [{halt: {reason: nothing is deleted here}}]
`
	deleting := func(ctx workflow.Context) error {
		_, err := workflows.Step(ctx, "clean", workflows.StepOptions{Operation: "delete"}, func(workflow.Context) (string, error) { return "", nil })
		return err
	}
	w := newWorld(t, config{
		plugin: under(t, rules),
		register: func(r worker.Registry) {
			r.RegisterWorkflowWithOptions(deleting, workflow.RegisterOptions{Name: "deleting"})
		},
	})
	run := w.start(wflo.Run{User: "ann"}, "deleting")
	if err := w.wait(run, nil); err == nil {
		t.Fatal("the run was not halted")
	}
	h, rows := w.storyOf(run.GetID())
	wantTold(t, rows, []string{"run deleting rejected", "policy no deleting rejected"})
	if p := rows[1].Policy; p.Verdict != "halt" || !slices.Equal(p.Rules, []string{"no deleting"}) || p.Bundle != h.Bundle || !strings.Contains(string(p.Inputs), "delete") {
		t.Errorf("policy %+v of bundle %s", p, h.Bundle)
	}
	if h.State != wflo.StateHalted || !strings.Contains(h.Why, "policy no deleting halted it: nothing is deleted here") {
		t.Errorf("state %s, why %q", h.State, h.Why)
	}
}

// TestStoryOfAPlainRun tells a run of a worker without the plugin, and says so; one whose
// activity fails again and again says why.
func TestStoryOfAPlainRun(t *testing.T) {
	w := newWorld(t, config{})
	c := dial(t, server, "", nil)
	queue := queueOf(t) + "-plain"
	plain := worker.New(c, queue, worker.Options{WorkerStopTimeout: time.Second})
	registerActivity(plain, "fails", func() error { return errors.New("no luck today") })
	plain.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Millisecond, BackoffCoefficient: 1000}})
		return workflow.ExecuteActivity(ctx, "fails").Get(ctx, nil)
	}, workflow.RegisterOptions{Name: "plain"})
	start(t, plain)
	w.Client, w.queue = c, queue
	run := w.start(wflo.Run{}, "plain")
	eventually(t, "two failures", func() bool {
		d, err := c.DescribeWorkflowExecution(t.Context(), run.GetID(), "")
		return err == nil && len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetAttempt() > 2
	})
	h, rows := w.storyOf(run.GetID())
	if !strings.Contains(h.Note, "without wflo's plugin") || !strings.Contains(h.Why, "activity fails has failed") || !strings.Contains(h.Why, "no luck today") {
		t.Errorf("note %q, why %q", h.Note, h.Why)
	}
	if len(rows) != 2 || rows[1].Error != "no luck today" || rows[1].State != tale.StateWaiting || rows[1].Attempts < 3 {
		t.Errorf("rows %s", asJSON(t, rows))
	}
	if err := c.TerminateWorkflow(t.Context(), run.GetID(), "", "enough"); err != nil {
		t.Fatal(err)
	}
}
