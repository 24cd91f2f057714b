package workflows

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// carriedSignal is a user's signal that the code had not read when the run continued as
// new.
type carriedSignal struct {
	Name string             `json:"name"`
	Args *commonpb.Payloads `json:"args,omitempty"`
}

// run runs the user's code: in a run that can be taken back in a coroutine of its own,
// since code that waits for a signal does not hear that it is to stop.
func (in *inbound) run(ctx workflow.Context, input *interceptor.ExecuteWorkflowInput) (out any, err error) {
	st := in.state
	version := st.keepsJournal(ctx, in.cfg.Snapshots)
	if version == 0 {
		st.mustKeep(ctx)
		st.coding = true
		in.deliverEarly(ctx)
		return in.Next.ExecuteWorkflow(ctx, input)
	}
	j := newJournal(st, ctx)
	if version >= countsTurns {
		j.turn = 1
	}
	j.in, j.input, j.inherited, st.journal = in, input, st.memo, j
	j.header = otherHeaders(ctx)
	st.memo = maps.Clone(j.inherited)
	if err := st.comeBack(ctx); err != nil {
		return nil, err
	}
	st.coding = true
	in.deliverEarly(ctx)
	workflow.GoNamed(j.root, "journal", j.pump)
	done := false
	workflow.GoNamed(ctx, "code", func(ctx workflow.Context) {
		out, err = in.Next.ExecuteWorkflow(ctx, input)
		done = true
	})
	_ = workflow.Await(j.root, func() bool { return done || st.stopping() })
	if !done {
		return nil, st.stopCode(ctx, func() bool { return done })
	}
	j.quiet(j.root)
	if err == nil || workflow.IsContinueAsNewError(err) {
		if conflict := j.unwanted(); conflict != nil {
			return nil, conflict
		}
	}
	return out, err
}

// mustKeep fails the task of a run that goes on from a snapshot, on a worker that keeps
// none: from its top, without its past, the code would do everything again. Nothing is
// recorded, so a worker that keeps snapshots takes it over.
func (st *state) mustKeep(ctx workflow.Context) {
	restored := st.back != nil || interceptor.WorkflowHeader(ctx)[wflo.HeaderRestore] != nil && workflow.GetInfo(ctx).ContinuedExecutionRunID == ""
	if restored && !workflow.IsReplaying(ctx) && !strings.HasPrefix(st.run.Workflow, "wflo.") {
		panic(wflo.Errorf(wflo.CodeConflict, "let all workers of the task queue keep snapshots", "run %s goes on from a snapshot, and this worker keeps none", st.run.WorkflowID))
	}
}

// deliverEarly hands the code what came before it began.
func (in *inbound) deliverEarly(ctx workflow.Context) {
	early := in.state.arrived
	in.state.arrived = nil
	for _, s := range early {
		if err := in.userSignal(ctx, s); err != nil {
			workflow.GetLogger(ctx).Error("deliver a signal", "signal", s.SignalName, "error", err.Error())
		}
	}
}

func (in *inbound) userSignal(ctx workflow.Context, s *interceptor.HandleSignalInput) error {
	st := in.state
	switch {
	case !st.coding:
		st.arrived = append(st.arrived, s)
		return nil
	case st.journal != nil:
		return st.journal.signal(ctx, in, s)
	}
	return in.Next.HandleSignal(ctx, s)
}

// otherHeaders are those that are not wflo's own.
func otherHeaders(ctx workflow.Context) map[string]*commonpb.Payload {
	var out map[string]*commonpb.Payload
	all := interceptor.WorkflowHeader(ctx)
	for _, name := range workflow.DeterministicKeys(all) {
		switch name {
		case wflo.HeaderRun, wflo.HeaderCarry, wflo.HeaderRestore, wflo.HeaderTime:
			continue
		}
		if out == nil {
			out = map[string]*commonpb.Payload{}
		}
		out[name] = all[name]
	}
	return out
}

// unread takes the user's signals that the code has not read.
func (st *state) unread(ctx workflow.Context) []carriedSignal {
	var all []carriedSignal
	for _, name := range workflow.GetUnhandledSignalNames(ctx) {
		ch := workflow.GetSignalChannel(ctx, name)
		for {
			var raw converter.RawValue
			if !ch.ReceiveAsync(&raw) {
				break
			}
			all = append(all, carriedSignal{name, payloads(raw)})
		}
	}
	if st.journal != nil {
		for _, s := range st.journal.held {
			all = append(all, carriedSignal{s.SignalName, s.Arg})
		}
	}
	return all
}

// handSignals gives the signals that nobody has read to the run's successor.
func (st *state) handSignals(ctx workflow.Context, err error) error {
	all := st.unread(ctx)
	if g := st.restoring; g != nil {
		all = st.journal.signalsAfter(g.keep) // the others are in the journal
	}
	if len(all) == 0 {
		return err
	}
	var next *workflow.ContinueAsNewError
	if !errors.As(err, &next) || next.Header == nil {
		return err
	}
	var c carry
	if decodeErr := st.decode(next.Header.Fields[wflo.HeaderCarry], &c); decodeErr != nil {
		return fmt.Errorf("hand on %d signals: %w", len(all), decodeErr)
	}
	c.Signals = append(c.Signals, all...)
	p, encodeErr := st.encode(c)
	if encodeErr != nil {
		return fmt.Errorf("hand on %d signals: %w", len(all), encodeErr)
	}
	next.Header.Fields[wflo.HeaderCarry] = p
	return err
}
