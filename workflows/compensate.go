package workflows

import (
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// Compensation undoes one effect by calling an activity.
type Compensation struct {
	// Name says what is undone, such as "refund of order 17". Required.
	Name string
	// Activity is the registered name of the activity that undoes it. It must
	// be idempotent and must cope with an effect that never happened: it is
	// registered before the effect, and called at least once. wflo.UndoFrom tells it
	// what is known of the effect. What it returns is dropped. Required.
	Activity string
	// Input is the activity's argument.
	Input any
	// Timeout bounds one attempt; zero means one minute.
	Timeout time.Duration
	// Attempts bounds the tries before the compensation is a dead letter; zero
	// means 10.
	Attempts int
	// Group names compensations that may be undone at the same time: neighbours in the
	// order of undoing that have the same one. Empty means that it is undone alone.
	Group string
	// Undoes is the activity whose effect this undoes: its next call in this step, or in
	// the run outside of steps, does not begin once the effect was undone. Empty means
	// every call within the step; outside of steps it means that nobody can tell which
	// call it is, so that the effect counts as begun from the start.
	Undoes string
	// Probe is the registered name of an activity that answers wflo.Probed: whether the
	// effect happened. It is asked before an effect of unknown outcome is undone.
	// ProbeInput is its argument.
	Probe      string
	ProbeInput any
}

// compensation is a Compensation as it stands in the undo stack and in the
// header of a run that continues as new.
type compensation struct {
	Name     string                 `json:"name"`
	Activity string                 `json:"activity"`
	Input    *commonpb.Payload      `json:"input,omitempty"`
	Timeout  time.Duration          `json:"timeout"`
	Attempts int                    `json:"attempts"`
	State    wflo.CompensationState `json:"state"`
	Error    string                 `json:"error,omitempty"`

	// The rest is empty in runs that began before compensations were kept outside of
	// them. Key is the step key of the registration, and Epoch when it was; both make
	// the ID.
	ID         string            `json:"id,omitempty"`
	Key        string            `json:"key,omitempty"`
	Epoch      int               `json:"epoch,omitempty"`
	Group      string            `json:"group,omitempty"`
	Step       string            `json:"step,omitempty"`
	Undoes     string            `json:"undoes,omitempty"`
	Probe      string            `json:"probe,omitempty"`
	ProbeInput *commonpb.Payload `json:"probe_input,omitempty"`
	// Noted says that the store has it, and Told is the state that the store has.
	Noted bool                   `json:"noted,omitempty"`
	Told  wflo.CompensationState `json:"told,omitempty"`
	// Called says that the call came which Undoes names.
	Called bool `json:"called,omitempty"`

	// seen says that this execution of the code has registered it, in the step within, if
	// any. call is the one that Undoes names. of is the row that it was made from where it is another run's.
	seen   bool
	within *scope
	call   workflow.Future
	of     *wflo.CompensationRecord
}

// Compensate registers how to undo an effect. Call it before the effect: an
// effect whose outcome is unknown is undone as well. It is written down outside of the
// run before Compensate returns, so that it is also undone when the run is terminated
// or times out.
//
// When the workflow fails, is cancelled or is halted, the registered compensations run
// last-in first-out on a context that cancellation does not reach; one that keeps
// failing becomes a dead letter, is reported in the workflow's error, and the rest
// still run.
func Compensate(ctx workflow.Context, c Compensation) error {
	st, err := stateOf(ctx)
	if err != nil {
		return err
	}
	_, err = st.register(ctx, c)
	return err
}

// compensation checks what the author wrote and encodes it.
func (st *state) compensation(c Compensation) (*compensation, error) {
	switch {
	case c.Name == "" || c.Activity == "":
		return nil, wflo.Invalid("compensation", "lacks a name or an activity", "set both")
	case c.Timeout < 0 || c.Attempts < 0:
		return nil, wflo.Invalid("compensation "+c.Name, "has a negative timeout or number of attempts", "use 0 for the default")
	case c.Probe == "" && c.ProbeInput != nil:
		return nil, wflo.Invalid("compensation "+c.Name, "has an input for a probe, and no probe", "name the activity that asks")
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.Attempts == 0 {
		c.Attempts = 10
	}
	out := &compensation{
		Name: c.Name, Activity: c.Activity, Timeout: c.Timeout, Attempts: c.Attempts, State: wflo.CompensationRegistered,
		Group: c.Group, Undoes: c.Undoes, Probe: c.Probe,
	}
	var err error
	if out.Input, err = st.encode(c.Input); err == nil && c.Probe != "" {
		out.ProbeInput, err = st.encode(c.ProbeInput)
	}
	if err != nil {
		return nil, fmt.Errorf("compensation %s: %w", c.Name, err)
	}
	return out, nil
}

// open says that the effect may be there and nobody has given up on it.
func (c *compensation) open() bool {
	return !c.State.Ended() && c.State != wflo.CompensationDead
}

// record is what status queries show; the input is left out, for it may be anything.
func (c *compensation) record(height int) wflo.CompensationRecord {
	return wflo.CompensationRecord{
		ID: c.ID, Name: c.Name, Activity: c.Activity, Height: height, Group: c.Group, Step: c.Step, Undoes: c.Undoes,
		State: c.State, Error: c.Error,
	}
}

// run is the run for which the effect is undone: the same, with the same effect key,
// whoever undoes it.
func (c *compensation) run(st *state) wflo.Run {
	if c.of != nil {
		return c.of.Run
	}
	run := st.run
	run.Step, run.Epoch = c.Key, c.Epoch
	return run
}
