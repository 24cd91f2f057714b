package workflows

import (
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// inheritFrom makes what the store says of the run before this run's. The budget of the
// run's own ID goes on counting; where another one stands for it, that limits.
func (st *state) inheritFrom(i *wflo.Inheritance) {
	if i == nil {
		return
	}
	own := wflo.RunBudgetID(st.run.ID())
	line := lineOf(own, st.run.Budget)
	if i.Account != "" {
		line = lineOf(own, wflo.Budget{})
	}
	lines := slices.DeleteFunc(slices.Clone(i.Lines), func(l wflo.BudgetLine) bool { return l.ID == own })
	st.run.Root, st.run.Lines, st.account = i.Root, append(lines, line), i.Account
	st.spent, st.calls = max(st.spent, i.Spent), max(st.calls, i.Calls)
	st.bundle = i.Bundle
}

// pinAgain puts the run under the policies of the run that it goes on for, in place of the
// worker's. Policies that cannot be had are waited for: without them nothing may run.
func (st *state) pinAgain(ctx workflow.Context) error {
	if st.bundle == "" || st.bundle == st.run.Bundle || workflow.GetVersion(ctx, changePolicy, workflow.DefaultVersion, 1) < 1 {
		return nil
	}
	var pin wflo.Pin
	err := st.insist(silent(ctx), "have the policies that the run had", func(ctx workflow.Context) (err error) {
		pin, err = step.PolicyPin.DoLocal(recording(ctx, "policy/pin", "pin policies again"), step.PinRequest{Bundle: st.bundle})
		return fromWire(err)
	})
	if err != nil {
		return err
	}
	st.regime.end()
	g := newRegime(ctx)
	g.pin = pin
	st.run.Bundle, st.regime = pin.Bundle, g
	st.watchTime(ctx)
	return nil
}
