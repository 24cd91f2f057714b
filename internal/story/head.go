package story

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// mostSnapshots is how many snapshots a head lists.
const mostSnapshots = 20

// sources are what a head is made of.
type sources struct {
	r         run
	read      reader
	about     about
	status    *wflo.Status
	gates     []wflo.Gate
	spend     wflo.Spend
	snapshots []wflo.SnapshotRef
	undo      []wflo.CompensationRecord
	restores  []wflo.Restored
	idle      bool
	told      bool // that there is a history
	program   *Row // the last program that did not end well
	note      notes
}

// notes are what is missing. Those who find out work at the same time.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

// Head says what the top of a run's page says.
func (t *Teller) Head(ctx context.Context, workflowID, runID string) (Head, error) {
	r, err := t.describe(ctx, workflowID, runID)
	if err != nil {
		return Head{}, err
	}
	s := &sources{r: r, read: t.read}
	var all sync.WaitGroup
	for _, gather := range []func(context.Context, *sources){t.history, t.itself, t.money, t.kept, t.effects} {
		all.Go(func() { gather(ctx, s) })
	}
	all.Wait()
	t.limit(ctx, s)
	if err := ctx.Err(); err != nil {
		return Head{}, fmt.Errorf("read the head of %s: %w", workflowID, err)
	}
	return t.compose(s), nil
}

func (t *Teller) history(ctx context.Context, s *sources) {
	a, err := t.account(ctx, s.r)
	if err != nil {
		t.lack(ctx, s.r, "the history", err)
		s.note.add("the run's history cannot be read")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.about, s.told = a.about, true
	s.about.steps = 0
	for i := range a.rows {
		e := &a.rows[i]
		if e.Kind == KindStep && e.within == 0 {
			s.about.steps++
		}
		if e.Kind == KindSandbox && e.Error != "" {
			row := e.Row
			s.program = &row
		}
		if e.gate != nil && e.End.IsZero() {
			s.gates = append(s.gates, *e.gate)
		}
	}
	if s.about.unknown > 0 {
		s.note.add("the history has %d events that this program does not know", s.about.unknown)
	}
}

// itself asks the run, and whether anybody could answer for it.
func (t *Teller) itself(ctx context.Context, s *sources) {
	status, note := t.status(ctx, s.r)
	if s.status = status; note != "" {
		s.note.add("%s", note)
	}
	s.idle = !t.polled(ctx, s.r)
	if s.r.first == s.r.runID {
		return
	}
	if _, err := t.before(ctx, s.r.workflowID, s.r.first); err != nil {
		s.note.add("the history of the chain's first run is gone")
	}
}

func (t *Teller) money(ctx context.Context, s *sources) {
	if t.cfg.Ledger == nil {
		s.note.add("there is no ledger, so that costs are those that the history has")
		return
	}
	if err := t.spent(ctx, s, wflo.RunBudgetID(s.r.id())); err != nil {
		t.lack(ctx, s.r, "the ledger", err)
		s.note.add("the ledger does not answer, so that costs are those that the history has")
	}
}

func (t *Teller) spent(ctx context.Context, s *sources, budget string) error {
	spend, err := t.cfg.Ledger.Spend(ctx, budget)
	if err == nil {
		s.spend = spend
	}
	return err
}

// limit looks at the budget that limits a run which was reopened: it knows that itself. A
// closed run is not asked, and shows its own part.
func (t *Teller) limit(ctx context.Context, s *sources) {
	if s.status == nil || t.cfg.Ledger == nil {
		return
	}
	budget := s.status.Run.BudgetID()
	if budget == wflo.RunBudgetID(s.status.Run.ID()) {
		return
	}
	if err := t.spent(ctx, s, budget); err != nil {
		t.lack(ctx, s.r, "the ledger", err)
		s.note.add("the ledger does not answer for the budget %s", budget)
	}
}

// kept reads snapshots and restores.
func (t *Teller) kept(ctx context.Context, s *sources) {
	if t.cfg.Recovery == nil {
		return
	}
	all, err := t.cfg.Recovery.ListSnapshots(ctx, activities.SnapshotQuery{WorkflowID: s.r.workflowID, FirstRunID: s.r.first, Limit: mostSnapshots})
	if err == nil {
		s.restores, err = t.cfg.Recovery.ListRestores(ctx, s.r.id())
	}
	if err != nil {
		t.lack(ctx, s.r, "snapshots and restores", err)
		s.note.add("the store of snapshots and restores does not answer")
		return
	}
	for _, snap := range slices.Backward(all) {
		s.snapshots = append(s.snapshots, wflo.SnapshotRef{ID: snap.ID, Name: snap.Name, At: snap.At, Kind: snap.Kind})
	}
}

func (t *Teller) effects(ctx context.Context, s *sources) { s.undo = t.compensations(ctx, s.r) }

// id names the chain as ledger and stores do.
func (r run) id() string { return wflo.Run{WorkflowID: r.workflowID, FirstRunID: r.first}.ID() }

// compose makes the head of what was gathered.
func (t *Teller) compose(s *sources) Head {
	info, a := s.r.GetWorkflowExecutionInfo(), &s.about
	h := Head{
		WorkflowID: s.r.workflowID, RunID: s.r.runID, FirstRunID: s.r.first, Workflow: info.GetType().GetName(), TaskQueue: queueOf(s.r),
		Namespace: t.cfg.Namespace, Status: info.GetStatus().String(), Run: a.run, Started: info.GetStartTime().AsTime(),
		Spend: s.spend, Calls: a.calls, Steps: a.steps, Snapshots: s.snapshots, Halted: a.halted, Events: s.r.events,
		Bundle: a.bundle, TraceID: a.trace, Error: a.ending.message, Hint: a.ending.hint, Code: a.ending.code,
	}
	if at := info.GetCloseTime(); at != nil {
		h.Closed = at.AsTime()
	}
	h.Run.Namespace, h.Run.WorkflowID, h.Run.FirstRunID, h.Run.Workflow = t.cfg.Namespace, h.WorkflowID, h.FirstRunID, h.Workflow
	if s.r.open {
		h.Gates = s.gates
	}
	if s.status != nil {
		h.fromStatus(s.status)
	}
	h.Risk = highest(h.Gates)
	h.State = stateOf(s, &h, attribute(t.read, info))
	for _, c := range s.undo {
		if h.Undo == nil {
			h.Undo = map[wflo.CompensationState]int{}
		}
		h.Undo[c.State]++
	}
	if !s.told {
		h.Steps, h.Calls = 0, 0
	}
	h.Note = strings.Join(s.note.all, "; ")
	h.Why, h.Next = explain(s, &h, t.cfg.Now())
	return h
}

// fromStatus takes over what only the run knows.
func (h *Head) fromStatus(s *wflo.Status) {
	if s.Run.WorkflowID != "" {
		h.Run = s.Run
		h.Run.Step, h.Run.Lines = "", nil
		h.Bundle = cmp.Or(s.Run.Bundle, h.Bundle)
	}
	h.Gates = nil
	for _, g := range s.Gates {
		if g.Status == wflo.GateOpen {
			h.Gates = append(h.Gates, g)
		}
	}
	h.Calls, h.Steps = s.Calls, len(s.Steps)
	if h.Spend.Budget == "" && h.Spend.Spent == 0 {
		h.Spend.Spent = s.Spent
	}
	if len(h.Snapshots) == 0 {
		h.Snapshots = s.Snapshots
	}
	if s.Halted != nil {
		h.Halted = s.Halted
	}
}

// attribute is the run's state as Temporal's index has it.
func attribute(read reader, info *workflowpb.WorkflowExecutionInfo) wflo.RunState {
	var s string
	if p := info.GetSearchAttributes().GetIndexedFields()[wflo.AttrState]; p != nil {
		read.near(p, &s)
	}
	return wflo.RunState(s)
}

// stateOf is the run's state: by its own word, else by what else is known.
func stateOf(s *sources, h *Head, indexed wflo.RunState) wflo.RunState {
	if s.r.open {
		switch {
		case s.status != nil && s.status.State != "":
			return s.status.State
		case len(h.Gates) > 0:
			return wflo.StateWaiting
		}
		return cmp.Or(indexed, wflo.StateRunning)
	}
	switch {
	case h.Code == wflo.CodeHalted, h.Code == wflo.CodePolicyDenied && h.Halted != nil:
		return wflo.StateHalted
	case s.r.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return wflo.StateCompleted
	}
	return wflo.StateFailed
}
