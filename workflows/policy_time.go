package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// changeWatch is the version since which what watches the run's time is no part of its
// journal: code that runs again after a restore would be given its timers.
const changeWatch = "wflo-time-is-not-in-the-journal"

// watchTime judges the run at every moment at which a condition on its execution
// time may come true, whatever the run is doing then. Nothing waits for it: it ends
// with the run, or with what halts it. A request to cancel the run does not end it,
// because workflow code may go on after one.
func (st *state) watchTime(ctx workflow.Context) {
	g := st.regime
	if g.fired >= len(g.pin.Timers) {
		return
	}
	// What was due before the run continued comes before anything that it does.
	due := g.dueAt(g.fired).Before(workflow.Now(ctx))
	if due {
		g.held++
	}
	// The journal is of what the code asked for.
	if workflow.GetVersion(ctx, changeWatch, workflow.DefaultVersion, 1) >= 1 {
		ctx = silent(ctx)
	}
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	g.unwatch = cancel
	stop := st.stop
	st.stop = func() { stop(); cancel() }
	if st.halted != nil {
		cancel()
	}
	workflow.GoNamed(ctx, "policies about time", func(ctx workflow.Context) {
		for i := g.fired; i < len(g.pin.Timers); i++ {
			if due && g.dueAt(i).After(workflow.Now(ctx)) {
				due = false
				g.held--
			}
			if !st.sleepUntil(ctx, g.dueAt(i), g.pin.Timers[i]) {
				return
			}
			if err := st.judgeTime(ctx, i); err != nil {
				workflow.GetLogger(ctx).Warn("execution time", "error", err.Error())
			}
			g.fired = i + 1
		}
		if due {
			g.held--
		}
	})
}

func (g *regime) dueAt(i int) time.Time { return g.started.Add(g.pin.Timers[i]) }

// sleepUntil says false where the run is over before.
func (st *state) sleepUntil(ctx workflow.Context, at time.Time, after time.Duration) bool {
	if d := at.Sub(workflow.Now(ctx)); d > 0 {
		timer := workflow.NewTimerWithOptions(ctx, d, workflow.TimerOptions{
			Summary: fmt.Sprintf("policy: execution_time %gs", after.Truncate(time.Millisecond).Seconds()),
		})
		if err := timer.Get(ctx, nil); err != nil {
			return false
		}
	}
	return !st.ended && st.halted == nil
}

// judgeTime asks the policies at the ith moment. Where no answer can be had the run
// is halted, because it may be one that had to be. The error says why it is.
func (st *state) judgeTime(ctx workflow.Context, i int) error {
	g := st.regime
	f := st.facts(ctx, wflo.FactsTime)
	f.Operation = "execution_time"
	// Clocks of servers differ by more than the smallest step.
	f.ExecutionTime = max(f.ExecutionTime, g.pin.Timers[i].Seconds())
	r, err := st.judge(ctx, fmt.Sprintf("policy/time/%s", g.pin.Timers[i]), f, nil)
	if err != nil {
		if st.ended || temporal.IsCanceledError(err) {
			return nil
		}
		st.halt(wflo.Halt{By: "policies", Policy: "execution_time", Reason: "they cannot be asked: " + cause(err)})
		return err
	}
	if st.ended {
		return nil
	}
	if byDefault(r) {
		return nil // the default is about what runs do, and time is not
	}
	if err := st.obey(ctx, r); err != nil {
		return err
	}
	asks := st.asks(ctx, r, nil)
	if len(asks) == 0 {
		return nil
	}
	g.held++
	g.asking = append(g.asking, i)
	// Later moments come while people think.
	workflow.GoNamed(ctx, "policies about time ask", func(ctx workflow.Context) {
		defer func() {
			g.held--
			g.asking = without(g.asking, i)
		}()
		st.askForTime(ctx, union(nil, asks), f)
	})
	return nil
}

// byDefault says that no policy gave the ruling its effect.
func byDefault(r wflo.Ruling) bool {
	return !slices.ContainsFunc(rulesOf(r), func(rule string) bool { return rule != "default" })
}

// askForTime opens the gate that holds the run, and halts the run where it does not
// end with an approval.
func (st *state) askForTime(ctx workflow.Context, a wflo.Approval, f wflo.Facts) {
	elapsed := time.Duration(f.ExecutionTime * float64(time.Second)).Round(time.Second)
	a.Gate, a.Action = gateName(a.Rules), fmt.Sprintf("Go on with run %s, which has taken %s", st.run.WorkflowID, elapsed)
	// There is nothing that could be edited or answered.
	a.Answers, a.Form = yesOrNo, nil
	_, err := st.askPolicies(ctx, "policy/time", a)
	if err == nil {
		for _, rule := range a.Rules {
			st.regime.approved[rule], st.regime.passed[rule] = true, true
		}
		return
	}
	if st.ended || st.halted != nil {
		return
	}
	name := strings.Join(a.Rules, ", ")
	st.halt(wflo.Halt{By: "policy " + name, Policy: name, Reason: cause(err)})
}

func without(all []int, i int) []int {
	var out []int
	for _, v := range all {
		if v != i {
			out = append(out, v)
		}
	}
	return out
}
