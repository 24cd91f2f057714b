package workflows

import (
	"fmt"
	"slices"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// carry is what a run hands to its successor when it continues as new.
type carry struct {
	// RunID is the run that wrote it, FirstRunID and Generation are those of the
	// successor. Headers are what their sender writes; nobody who starts a run knows
	// the ID that the server will draw for it, so only a run's own code can name it.
	RunID      string `json:"run_id,omitempty"`
	FirstRunID string `json:"first_run_id,omitempty"`
	Generation int    `json:"generation,omitempty"`

	Spent  wflo.Money                   `json:"spent,omitempty"`
	Calls  int                          `json:"calls,omitempty"`
	Boxed  bool                         `json:"boxed,omitempty"`
	Memo   map[string]*commonpb.Payload `json:"memo,omitempty"`
	Stack  []*compensation              `json:"stack,omitempty"`
	Salt   string                       `json:"salt,omitempty"`
	Halted *wflo.Halt                   `json:"halted,omitempty"`
	Regime *carriedRegime               `json:"regime,omitempty"`
	// Lapsed are activities whose approval was not used, with its gate.
	Lapsed map[string]string `json:"lapsed,omitempty"`
	// Signals are those that nobody has read; Rolled counts the tries of steps that were
	// rolled back. Back says that the run is restored.
	Signals []carriedSignal `json:"signals,omitempty"`
	Rolled  map[string]int  `json:"rolled,omitempty"`
	Back    *back           `json:"back,omitempty"`
	// Seq is the number of the last outcome.
	Seq int `json:"seq,omitempty"`
	// Account is the budget that is limited as the run's own, where another run's is.
	Account string `json:"account,omitempty"`
}

// changeCarry is the version since which a carry names the run that wrote it.
const changeCarry = "wflo-carry-names-its-run"

// carried reads what the run before handed over. Temporal gives the header that a run
// was started with to its retries and to the next run of its schedule, too, and names
// the run before there as well: what does not come from just that run is dropped, since
// its undo stack would run without asking anybody, and its regime would be the sender's.
func (st *state) carried(ctx workflow.Context) (carry, error) {
	var c carry
	p := interceptor.WorkflowHeader(ctx)[wflo.HeaderCarry]
	if p == nil {
		return c, nil
	}
	if err := st.decode(p, &c); err != nil {
		return carry{}, fmt.Errorf("read header %s: %w", wflo.HeaderCarry, err)
	}
	info := workflow.GetInfo(ctx)
	before := info.ContinuedExecutionRunID
	switch {
	case before == "":
	case c.RunID == before && c.FirstRunID == info.FirstRunID && c.Generation == st.run.Generation:
		return c, nil
	case c.RunID == "" && workflow.GetVersion(ctx, changeCarry, workflow.DefaultVersion, 1) == workflow.DefaultVersion:
		return c, nil // it was believed when the run was recorded, and has had its effect
	}
	workflow.GetLogger(ctx).Warn("what the run was handed is not from the run before it, and does not count", "header", wflo.HeaderCarry, "run_before", before)
	return carry{}, nil
}

// handOver is what the run's successor gets.
func (st *state) handOver(ctx workflow.Context) carry {
	info := workflow.GetInfo(ctx)
	return carry{
		RunID: info.WorkflowExecution.RunID, FirstRunID: info.FirstRunID, Generation: st.run.Generation + 1,
		Spent: st.spent, Calls: st.calls, Boxed: st.boxed, Memo: st.lasting(), Rolled: st.rolled, Seq: st.lastSeq(), Stack: st.known(ctx), Salt: st.salt, Halted: st.halted, Regime: st.regime.carry(),
		Lapsed: st.lapse(ctx), Account: st.account,
	}
}

// lasting are the results of steps that have a key of their own: no code of the run's
// successor asks for others.
func (st *state) lasting() map[string]*commonpb.Payload {
	out := map[string]*commonpb.Payload{}
	for _, key := range workflow.DeterministicKeys(st.memo) {
		if !numbered(key) {
			out[key] = st.memo[key]
		}
	}
	return out
}

// lastSeq is the number of the last outcome in the journal.
func (st *state) lastSeq() int {
	if st.journal == nil {
		return st.seq
	}
	return st.journal.seq
}

// lapse ends the approvals that no activity has acted on: the run's successor does not
// know their gates, and could neither take them back nor tell which call they were for.
// It gives the activities that the successor might still mean to call on such an
// approval, so that it is refused there until people are asked again.
func (st *state) lapse(ctx workflow.Context) map[string]string {
	for _, g := range st.issued {
		if g.called || g.covered || !g.Granted() {
			continue
		}
		if slices.Contains(st.grants, g) {
			st.lapsed[g.Approval.Activity] = g.ID
		}
		g.Status = wflo.GateExpired
		g.Changes++
		workflow.GetLogger(ctx).Warn("an approval was not used before the run continued as new, and has expired", "gate", g.ID, "activity", g.Approval.Activity)
		if !g.auto {
			st.recordEnd(ctx, g)
		}
	}
	return st.lapsed
}

// handed is what a run hands to its children for policies about time. Only a run with a
// parent believes it.
type handed struct {
	// Started is when the first run of the outermost run's chain began.
	Started time.Time `json:"started"`
	// Passed are the rules about time that people have approved for all of it.
	Passed []string `json:"passed,omitempty"`
}

// inherit counts the run's time from when its parent's began, and takes over what
// people have said about that.
func (st *state) inherit(ctx workflow.Context, g *regime) error {
	p := interceptor.WorkflowHeader(ctx)[wflo.HeaderTime]
	info := workflow.GetInfo(ctx)
	if p == nil || info.ParentWorkflowExecution == nil {
		return nil
	}
	var h handed
	if err := st.decode(p, &h); err != nil {
		return fmt.Errorf("read header %s: %w", wflo.HeaderTime, err)
	}
	if !h.Started.IsZero() && h.Started.Before(g.started) {
		g.started = h.Started
	}
	for _, rule := range h.Passed {
		g.passed[rule], g.approved[rule] = true, true
	}
	return nil
}
