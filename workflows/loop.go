package workflows

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// loopVersion is the change id of loop detection: runs that were recorded
// without it went on where it stops.
const loopVersion = "wflo-agent-loop"

// longestCycle is how many actions a repeated pattern may have: agents that are
// stuck do one thing again and again, or go back and forth between a few.
const longestCycle = 3

// action is one thing that an agent did: a call of a tool, or an answer without
// one.
type action struct {
	tool string // "" for an answer
	text string // the arguments in canonical form, or the answer
}

func (a action) String() string {
	if a.tool == "" {
		return "gave the same answer"
	}
	return "called " + a.tool + " with the same arguments"
}

// actionsOf are the actions of a reply, in order.
func actionsOf(m wflo.Message) []action {
	if len(m.ToolCalls) == 0 {
		return []action{{text: strings.TrimSpace(m.Text)}}
	}
	all := make([]action, len(m.ToolCalls))
	for i, c := range m.ToolCalls {
		all[i] = action{tool: c.Name, text: canonical(c.Arguments)}
	}
	return all
}

// history are the actions of a conversation, of which a run that continues as
// new has nothing but the messages.
func history(messages []wflo.Message) []action {
	var all []action
	for _, m := range messages {
		switch {
		case m.Role == wflo.RoleAssistant:
			all = append(all, actionsOf(m)...)
		case m.Role == wflo.RoleUser && m.Text == nudgeEmpty:
			all = append(all, action{}) // an empty answer is not kept
		}
	}
	return all
}

// canonical writes JSON in one way: without spaces, and with sorted keys. What is
// not JSON stays as it is.
func canonical(arguments string) string {
	dec := json.NewDecoder(strings.NewReader(arguments))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return strings.TrimSpace(arguments)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return strings.TrimSpace(arguments)
	}
	return string(text)
}

// cycleOf is the length of the pattern that the last actions repeat more than
// most times, or 0.
func cycleOf(all []action, most int) int {
	for period := 1; period <= longestCycle; period++ {
		if repeats(all, period, period*most+1) {
			return period
		}
	}
	return 0
}

// repeats says that each of the last n actions is that of a period before.
func repeats(all []action, period, n int) bool {
	if len(all) < n {
		return false
	}
	last := all[len(all)-n:]
	for i := period; i < n; i++ {
		if last[i] != last[i-period] {
			return false
		}
	}
	return true
}

// repeated ends an agent whose reply does once more what it did MaxRepeats times
// already. Nothing of the reply is done then.
func (a *agent) repeated(ctx workflow.Context, reply wflo.Reply) error {
	most := a.task.MaxRepeats
	if most == 0 {
		most = wflo.DefaultMaxRepeats
	}
	for _, next := range actionsOf(reply.Message()) {
		a.actions = append(a.actions, next)
		period := cycleOf(a.actions, most)
		if period == 0 {
			continue
		}
		if workflow.GetVersion(ctx, loopVersion, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
			return nil
		}
		return a.stopLoop(ctx, next, period, most)
	}
	if keep := longestCycle*most + 1; len(a.actions) > keep {
		a.actions = append([]action(nil), a.actions[len(a.actions)-keep:]...)
	}
	return nil
}

func (a *agent) stopLoop(ctx workflow.Context, last action, period, most int) error {
	what := fmt.Sprintf("%s %d times in a row", last, most)
	if period > 1 {
		what = fmt.Sprintf("repeated the same %d actions %d times, the last one of which %s", period, most, last)
	}
	err := wflo.Errorf(wflo.CodeLoop, "change the task or its tools, or raise max_repeats", "agent %s: %s", a.task.Name, what)
	name := last.tool
	if name == "" {
		name = "answer"
	}
	a.st.steps = append(a.st.steps, wflo.StepRecord{Key: fmt.Sprintf("turn %d/%s", a.answer.Turns, name), Error: err.Message})
	if o := a.st.observer; o != nil && !workflow.IsReplaying(ctx) {
		o.LoopStopped(a.task.Name)
	}
	return err
}
