package workflows

import (
	"fmt"
	"slices"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// changeUndo is the version since which compensations are kept outside of runs.
const changeUndo = "wflo-compensations-are-kept"

// keeps says that this run's compensations are kept outside of it.
func (st *state) keeps(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, changeUndo, workflow.DefaultVersion, 1) >= 1
}

// register adds a compensation to the stack and writes it down. One that the run has
// from an earlier try of the step, or from before it was restored, is that one.
func (st *state) register(ctx workflow.Context, in Compensation) (*compensation, error) {
	c, err := st.compensation(in)
	if err != nil {
		return nil, err
	}
	s, _ := ctx.Value(stepKey{}).(*scope)
	if !st.keeps(ctx) {
		c.within = s
		st.stack = append(st.stack, c)
		return c, nil
	}
	if err := st.refusal(ctx); err != nil {
		return nil, err
	}
	if have := st.place(c, s); have != nil {
		c = have
	} else {
		c.Epoch = st.run.Epoch
		c.ID = "undo-" + string(c.run(st).EffectKey())[:20]
		st.stack = append(st.stack, c)
	}
	c.seen, c.within = true, s
	if s != nil {
		s.undo = append(s.undo, c)
	}
	if c.Noted {
		return c, nil
	}
	noting := workflow.WithValue(ctx, undoCallKey{}, &undoCall{run: c.run(st)})
	if err := st.note(noting, c.Key, "register: "+c.Name, c, nil); err != nil {
		// The effect must not happen, and then there is nothing to undo.
		c.State, c.Error = wflo.CompensationSkipped, "it was not written down"
		return nil, fmt.Errorf("register compensation %s: %w", c.Name, err)
	}
	return c, nil
}

// place gives c its key: by its name and what tells its occurrences apart. It returns
// the entry of the stack that is c already.
func (st *state) place(c *compensation, s *scope) *compensation {
	name := "undo:" + c.Name
	if s == nil {
		c.Key = st.next(name)
	} else {
		c.Step, c.Key = s.key, fmt.Sprintf("%s/%s#%d", s.key, name, s.count(name))
	}
	if st.salt != "" {
		c.Key = "r" + st.salt + "/" + c.Key
	}
	for base, again := c.Key, 2; ; again++ {
		i := slices.IndexFunc(st.stack, func(have *compensation) bool { return have.Key == c.Key })
		if i < 0 {
			return nil
		}
		have := st.stack[i]
		same := have.Activity == c.Activity && have.Undoes == c.Undoes && samePayload(have.Input, c.Input)
		// A dead letter is for people: what this run does again is another effect.
		if same && (have.open() || !have.seen && have.State != wflo.CompensationDead) {
			return have
		}
		// What was undone or is known not to have happened is over; this is another one.
		c.Key = fmt.Sprintf("%s.%d", base, again)
	}
}

// redone counts how often the effects of a step were undone in this run: what is done
// after that is another effect, which providers must not take for the one before.
func (st *state) redone(key string) int {
	n := 0
	for _, c := range st.stack {
		if c.ID == "" || c.State != wflo.CompensationDone && c.State != wflo.CompensationDead {
			continue
		}
		if c.seen && baseOf(c.Step) == key {
			n++
		}
	}
	return n
}

// note tells the store what it does not know yet: fresh, if not nil, is new. The run
// of the note is that of the registration.
func (st *state) note(ctx workflow.Context, key, summary string, fresh *compensation, closing *closing) error {
	var n step.CompensationNotes
	if fresh != nil {
		row, err := st.row(ctx, fresh)
		if err != nil {
			return err
		}
		n.New = append(n.New, row)
	}
	told := map[*compensation]wflo.CompensationState{}
	for _, c := range st.known(ctx) {
		switch {
		case !c.Noted:
		case closing != nil && closing.keep && c.open():
			told[c] = wflo.CompensationKept
			n.Kept = append(n.Kept, c.ID)
			n.Marks = append(n.Marks, step.CompensationMark{ID: c.ID, State: wflo.CompensationKept})
		case c.State != c.Told && c.State != wflo.CompensationRegistered && c.State != wflo.CompensationRunning:
			told[c] = c.State
			n.Marks = append(n.Marks, step.CompensationMark{ID: c.ID, State: c.State, Error: c.Error})
		}
	}
	n.Closed = closing != nil
	if _, err := step.UndoNote.DoLocal(recording(ctx, key, clip(summary, 200)), n); err != nil {
		return fromWire(err)
	}
	for _, c := range st.stack {
		if state, ok := told[c]; ok {
			c.Told = state
			if n.Closed {
				c.State = state
			}
		}
	}
	if fresh != nil {
		fresh.Noted = true
	}
	return nil
}

// closing is how a run's list of compensations ends: keep leaves what stands.
type closing struct{ keep bool }

// row is the compensation as it is kept outside of the run.
func (st *state) row(ctx workflow.Context, c *compensation) (wflo.CompensationRecord, error) {
	r := c.record(1 + slices.Index(st.stack, c))
	r.Run, r.TaskQueue, r.Timeout, r.Attempts = c.run(st), workflow.GetInfo(ctx).TaskQueueName, c.Timeout, c.Attempts
	r.State, r.Error, r.Probe = wflo.CompensationRegistered, "", c.Probe
	if j := st.journal; j != nil && len(j.all) > 0 {
		r.Seq = j.all[len(j.all)-1].Seq
	}
	// Where no call can be told to be the effect, none says that it begins.
	r.Begun = c.Step == "" && c.Undoes == ""
	var err error
	if r.Input, err = c.Input.Marshal(); err == nil && c.ProbeInput != nil {
		r.ProbeInput, err = c.ProbeInput.Marshal()
	}
	if err != nil {
		return r, fmt.Errorf("compensation %s: %w", c.Name, err)
	}
	return r, nil
}

// closeUndo ends the run's list of compensations: where kept, what stands stays.
func (st *state) closeUndo(ctx workflow.Context, keep bool) {
	if !slices.ContainsFunc(st.stack, func(c *compensation) bool { return c.ID != "" }) || !st.keeps(ctx) {
		return
	}
	if err := st.note(ctx, "undo/end", "compensations: the run ends", nil, &closing{keep}); err != nil {
		// The worker's sweep finds them, and asks what became of the run.
		workflow.GetLogger(ctx).Error("what becomes of the run's compensations is not written down", "error", err.Error())
	}
}

// takeOver looks at what the run before handed on. A run that a retry or a schedule
// began has the first run's ID, and so would name its compensations as that did.
// What a restored run has is registered again by its code, and is the same then.
func (st *state) takeOver(ctx workflow.Context, c carry) {
	for _, have := range st.stack {
		have.seen = c.Back == nil
	}
	info := workflow.GetInfo(ctx)
	if info.ContinuedExecutionRunID != "" && c.RunID == "" && c.Stack == nil {
		st.salt = info.OriginalRunID[:min(8, len(info.OriginalRunID))]
	}
}

// known is the stack with all that the run knows of it.
func (st *state) known(ctx workflow.Context) []*compensation {
	for _, c := range st.stack {
		c.learn(ctx)
	}
	return st.stack
}

// undoneFor is the run that a call is made for: where it undoes, that of the effect.
func undoneFor(ctx workflow.Context, run wflo.Run) wflo.Run {
	if u, ok := ctx.Value(undoCallKey{}).(*undoCall); ok && u.run.WorkflowID != "" {
		return u.run
	}
	return run
}

func samePayload(a, b *commonpb.Payload) bool {
	kept, given := a.GetMetadata(), b.GetMetadata()
	return slices.Equal(a.GetData(), b.GetData()) && len(kept) == len(given) &&
		!slices.ContainsFunc(workflow.DeterministicKeys(kept), func(key string) bool { return !slices.Equal(kept[key], given[key]) })
}
