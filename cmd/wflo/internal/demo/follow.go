package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
)

// fewSteps are told one by one.
const fewSteps = 8

// watcher tells what is new about a run and the runs that it started.
type watcher struct {
	*demo
	steps map[string]int
	gates map[string]wflo.GateStatus
	undo  map[string]wflo.CompensationState
	// alerts are those that were told.
	alerts   map[string]bool
	toppedUp bool
}

var outcome = map[wflo.Verdict]string{wflo.VerdictApprove: "approved", wflo.VerdictReject: "rejected"}

// follow tells a run's story until it ends, and answers its gates.
func (d *demo) follow(ctx context.Context, run client.WorkflowRun) (ended, error) {
	w := &watcher{demo: d, steps: map[string]int{}, gates: map[string]wflo.GateStatus{}, undo: map[string]wflo.CompensationState{}, alerts: map[string]bool{}}
	result := make(chan error, 1)
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() { result <- run.Get(waiting, nil) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ended{}, ctx.Err()
		case err := <-result:
			if ctx.Err() != nil {
				return ended{}, ctx.Err()
			}
			return w.end(ctx, run, err)
		case <-tick.C:
			if err := w.look(ctx, run.GetID()); err != nil {
				return ended{}, err
			}
		}
	}
}

// look asks the run and its children what they are doing. A run that has no
// answer yet, because no worker has seen it, is asked again later.
func (w *watcher) look(ctx context.Context, id string) error {
	status, err := w.status(ctx, id)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if err := w.tell(ctx, id, status); err != nil {
		return err
	}
	desc, err := w.worker.Client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil //nolint:nilerr // the next look will do
	}
	for _, child := range desc.GetPendingChildren() {
		if err := w.look(ctx, child.GetWorkflowId()); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) status(ctx context.Context, id string) (wflo.Status, error) {
	var s wflo.Status
	v, err := w.worker.Client.QueryWorkflow(ctx, id, "", wflo.QueryStatus)
	if err == nil {
		err = v.Get(&s)
	}
	return s, err
}

func (w *watcher) tell(ctx context.Context, id string, s wflo.Status) error {
	if err := w.alert(ctx, s.Run); err != nil {
		return err
	}
	for _, g := range s.Gates {
		if err := w.gate(ctx, id, g); err != nil {
			return err
		}
	}
	w.work(id, s)
	for _, c := range s.Compensations {
		if w.undo[c.Name] != c.State && undoing(c.State) {
			w.at("%-30s %s", "undo "+c.Name, c.State)
		}
		w.undo[c.Name] = c.State
	}
	return nil
}

// undoing says that a compensation has come to be used.
func undoing(s wflo.CompensationState) bool {
	return s == wflo.CompensationDone || s == wflo.CompensationSkipped || s == wflo.CompensationDead
}

// work tells of steps that are done and of money that is spent. After the first
// few it tells only of every tenth, because an agent that repeats itself makes a
// dull story.
func (w *watcher) work(id string, s wflo.Status) {
	for i, step := range s.Steps[min(w.steps[id], len(s.Steps)):] {
		n := w.steps[id] + i + 1
		switch {
		case step.Error != "":
			w.at("%-30s failed: %s", step.Key, step.Error)
		case n <= fewSteps || n%10 == 0 || !strings.HasPrefix(step.Key, "turn "):
			w.at("%-30s done; %s spent so far", step.Key, s.Spent)
		}
	}
	w.steps[id] = len(s.Steps)
}

// alert tells what the run's budget has alerted.
func (w *watcher) alert(ctx context.Context, run wflo.Run) error {
	given, err := w.worker.Plugin.Ledger().ListAlerts(ctx, wflo.RunBudgetID(run.RootID()), 100)
	if err != nil {
		return fmt.Errorf("read the alerts: %w", err)
	}
	for _, a := range slices.Backward(given) {
		if w.alerts[a.ID] {
			continue
		}
		w.alerts[a.ID] = true
		if a.Kind == wflo.AlertExceeded {
			w.at("alert: the budget has no room for the next call: %s of %s spent", a.Spent, a.Limit)
		} else {
			w.at("alert: %d %% of the budget: %s of %s spent", a.Percent, a.Spent, a.Limit)
		}
	}
	return nil
}

// gate shows an open gate and decides on it, as a person would. More money is
// given once.
func (w *watcher) gate(ctx context.Context, id string, g wflo.Gate) error {
	key := id + "/" + g.ID
	if w.gates[key] != "" || g.Status != wflo.GateOpen {
		return nil
	}
	w.gates[key] = g.Status
	w.at("waiting for approval: %s", g.Approval.Action)
	w.block(g.Approval.Details, 12)
	verdict, reason := wflo.VerdictApprove, "looks right"
	if strings.HasPrefix(g.ID, "budget/") {
		if w.toppedUp {
			verdict, reason = wflo.VerdictReject, "that is enough"
		}
		w.toppedUp = true
	}
	w.at("a reviewer would now type: wflo %s %s --run %s", verdict, g.ID, id)
	d := g.Decide(verdict, reviewer)
	d.Reason, d.At = reason, time.Now()
	d = d.Sign(w.key.Name, w.key.Private)
	u, err := w.worker.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: wflo.UpdateDecide, Args: []any{d}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = u.Get(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verdict, g.ID, err)
	}
	w.at("%s by %s (%s), signed with key %q", outcome[verdict], reviewer, reason, w.key.Name)
	return nil
}

func (w *watcher) end(ctx context.Context, run client.WorkflowRun, runErr error) (ended, error) {
	s, err := w.status(ctx, run.GetID())
	if err != nil {
		return ended{}, errors.Join(runErr, fmt.Errorf("ask the run how it ended: %w", err))
	}
	if err := w.tell(ctx, run.GetID(), s); err != nil {
		return ended{}, err
	}
	spend, err := w.worker.Plugin.Ledger().Spend(ctx, wflo.RunBudgetID(s.Run.RootID()))
	if err != nil {
		return ended{}, fmt.Errorf("read the ledger: %w", err)
	}
	return ended{id: run.GetID(), status: s, spend: spend, err: runErr}, nil
}
