package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// RunCompensate is the workflow that is registered as wflo.WorkflowCompensate. It undoes
// what other runs have left: of each run the highest first, on the task queue where the
// run's worker polls. It asks the store what is left, so that it may be killed and
// started again at any moment. It opens no gates and registers nothing.
func RunCompensate(ctx workflow.Context, o wflo.CompensationOrder) ([]wflo.CompensationRecord, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	ctx = workflow.WithValue(ctx, compensatingKey{}, true)
	why := o.Reason
	if o.By != "" {
		why = fmt.Sprintf("%s: %s", o.By, o.Reason)
	}
	var touched []wflo.CompensationRecord
	for {
		rows, err := step.UndoList.Do(listing(ctx), o)
		if err != nil {
			return touched, fromWire(err)
		}
		rows = slices.DeleteFunc(rows, func(r wflo.CompensationRecord) bool {
			return slices.ContainsFunc(touched, func(t wflo.CompensationRecord) bool { return t.ID == r.ID })
		})
		if len(rows) == 0 {
			return touched, nil
		}
		done, err := st.undoRows(ctx, rows, why)
		touched = append(touched, done...)
		if err != nil || len(o.IDs) > 0 {
			return touched, err
		}
	}
}

func listing(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second, Summary: "what is left to undo",
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	})
}

// undoRows undoes rows of the store, in their order.
func (st *state) undoRows(ctx workflow.Context, rows []wflo.CompensationRecord, why string) ([]wflo.CompensationRecord, error) {
	stack := make([]*compensation, len(rows))
	for i, r := range rows {
		c, err := ofRow(r)
		if err == nil && r.State == wflo.CompensationKept {
			err = st.unkeep(ctx, c)
		}
		if err != nil {
			return nil, err
		}
		stack[len(rows)-1-i] = c // a stack has the newest last
	}
	for _, together := range rounds(stack) {
		st.doing = "undo " + together[0].Name
		st.undoRound(ctx, together, why) // a dead letter is in its record
	}
	st.doing = ""
	out := make([]wflo.CompensationRecord, len(rows))
	for i, r := range rows {
		c := stack[len(rows)-1-i]
		r.Input, r.ProbeInput, r.Run.Lines = nil, nil, nil
		r.State, r.Error, r.Cause = c.State, c.Error, why
		out[i] = r
	}
	return out, nil
}

// ofRow is a row of the store as something to undo, a dead letter too.
func ofRow(r wflo.CompensationRecord) (*compensation, error) {
	c := &compensation{
		Name: r.Name, Activity: r.Activity, Timeout: r.Timeout, Attempts: r.Attempts, State: r.State, ID: r.ID, Key: r.Run.Step,
		Group: r.Group, Probe: r.Probe, Noted: true, of: &r, Input: &commonpb.Payload{},
	}
	if c.Group != "" {
		c.Group = r.Run.ID() + "\x00" + c.Group // two runs may have groups of one name
	}
	if c.State == wflo.CompensationDead || c.State == wflo.CompensationKept {
		c.State = wflo.CompensationUnknown
	}
	err := c.Input.Unmarshal(r.Input)
	if err == nil && r.Probe != "" {
		c.ProbeInput = &commonpb.Payload{}
		err = c.ProbeInput.Unmarshal(r.ProbeInput)
	}
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "undo it by hand, and say so with resolve", "compensation %s: its input cannot be read: %w", r.ID, err)
	}
	return c, nil
}

// unkeep takes back that an effect is to stay.
func (st *state) unkeep(ctx workflow.Context, c *compensation) error {
	ctx = workflow.WithValue(ctx, undoCallKey{}, &undoCall{run: c.of.Run, undo: step.UndoCall{Undo: wflo.Undo{ID: c.ID}}})
	n := step.CompensationNotes{Marks: []step.CompensationMark{{ID: c.ID, State: wflo.CompensationExecuted}}}
	_, err := step.UndoNote.DoLocal(recording(ctx, c.of.Run.Step, clip("no longer kept: "+c.Name, 200)), n)
	c.State = wflo.CompensationExecuted
	return fromWire(err)
}

// adoptRow is a row as an entry of the stack of this run, which goes on in place of the
// one that registered it.
func adoptRow(r wflo.CompensationRecord) (*compensation, error) {
	if r.State.Ended() { // nobody undoes it, so that nobody needs its inputs
		r.Input, r.ProbeInput = nil, nil
	}
	c, err := ofRow(r)
	if err != nil {
		return nil, err
	}
	c.of, c.State, c.Told = nil, r.State, r.State
	c.Group, c.Step, c.Undoes, c.Epoch = r.Group, r.Step, r.Undoes, r.Run.Epoch
	c.Key = unsalted(c.Key)
	return c, nil
}

// unsalted is a key without what told the keys of a retried run apart: the code of the run
// that goes on registers without it.
func unsalted(key string) string {
	salt, rest, ok := strings.Cut(key, "/")
	if !ok || len(salt) < 2 || salt[0] != 'r' || !strings.HasPrefix(rest, "g") {
		return key
	}
	return rest
}
