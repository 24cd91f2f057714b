package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of an agent's run. History beyond historyBytes makes every replay
// slow; toolText bounds what one tool result adds to each later prompt.
const (
	historyBytes  = 2 << 20
	historyEvents = 2000
	toolText      = 16 << 10
)

const (
	nudgeEmpty = "Your answer was empty. Either call a tool or give the final answer."
	nudgeCut   = "Your answer was cut at the token limit. Continue exactly where it stopped."
)

// Agent runs a tool-calling agent as a child workflow and returns its answer:
// prompt, tool calls, results, until the model answers without calling a tool.
// The child has a sandbox of its own, draws on the budgets of the caller, and
// continues as new before its history grows large. Its failure is the caller's
// error, matching wflo's sentinels.
func Agent(ctx workflow.Context, task wflo.Task) (wflo.Answer, error) {
	if _, err := stateOf(ctx); err != nil {
		return wflo.Answer{}, err
	}
	if err := validateTask(task); err != nil {
		return wflo.Answer{}, err
	}
	opts := workflow.GetChildWorkflowOptions(ctx)
	if opts.StaticSummary == "" {
		opts.StaticSummary = "agent " + task.Name + ": " + oneLine(task.Prompt, 80)
	}
	var answer wflo.Answer
	err := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, opts), wflo.WorkflowAgent, task).Get(ctx, &answer)
	if err != nil {
		return answer, fmt.Errorf("agent %s: %w", task.Name, fromWire(err))
	}
	if st, _ := stateOf(ctx); st != nil {
		st.calls += answer.Turns
		st.spent += answer.Cost
	}
	return answer, nil
}

// RunAgent is the workflow that is registered as wflo.WorkflowAgent. Start it
// by that name, or call [Agent] from another workflow.
func RunAgent(ctx workflow.Context, task wflo.Task) (wflo.Answer, error) {
	st, err := stateOf(ctx)
	if err != nil {
		return wflo.Answer{}, err
	}
	if err := validateTask(task); err != nil {
		return wflo.Answer{}, err
	}
	a := &agent{st: st, task: task, tools: toolsOf(task)}
	return a.run(ctx)
}

// validateTask also holds the sandbox to the rules that package wflo cannot see,
// before anything is paid.
func validateTask(task wflo.Task) error {
	if err := task.Validate(); err != nil {
		return err
	}
	spec := specOf(task.Sandbox)
	spec.Argv = []string{"true"}
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("task.sandbox: %w", err)
	}
	return nil
}

// agent is one run of a task.
type agent struct {
	st       *state
	task     wflo.Task
	tools    map[string]tool
	messages []wflo.Message
	answer   wflo.Answer
	actions  []action // the latest, for the detection of loops
}

func (a *agent) run(ctx workflow.Context) (wflo.Answer, error) {
	if err := a.begin(ctx); err != nil {
		return a.answer, err
	}
	limit := a.task.MaxTurns
	if limit == 0 {
		limit = wflo.DefaultMaxTurns
	}
	for a.answer.Turns < limit {
		if a.full(ctx) {
			return a.answer, a.continueAsNew(ctx)
		}
		done, err := a.turn(ctx)
		if err != nil || done {
			return a.answer, err
		}
	}
	return a.answer, wflo.Errorf(wflo.CodeTurnLimit, "raise max_turns, or give the agent a smaller task",
		"agent %s: no answer within %d turns", a.task.Name, limit)
}

// begin sets the stage: limits, files and the first message, or what an
// earlier run left.
func (a *agent) begin(ctx workflow.Context) error {
	if a.task.Name != "" {
		a.st.run.Agent = a.task.Name
	}
	if err := a.st.run.Validate(); err != nil {
		return err
	}
	if err := a.st.limit(a.task.Budget); err != nil {
		return err
	}
	if r := a.task.Resume; r != nil {
		a.messages, a.answer, a.actions = r.Messages, r.Answer, history(r.Messages)
		return nil
	}
	a.messages = []wflo.Message{{Role: wflo.RoleUser, Text: a.task.Prompt}}
	if len(a.task.Files) == 0 {
		return nil
	}
	return WriteFiles(ctx, a.task.Files...)
}

// turn is one model call and the tool calls that it asks for.
func (a *agent) turn(ctx workflow.Context) (done bool, err error) {
	a.st.doing = fmt.Sprintf("turn %d: model", a.answer.Turns+1)
	reply, err := Ask(ctx, wflo.Prompt{
		Model: a.task.Model, System: a.task.System, Messages: a.messages,
		Tools: a.describeTools(), MaxTokens: a.task.MaxTokens,
		Fallback: a.task.Fallback, NoCache: a.task.NoCache,
	})
	if err != nil {
		return false, err
	}
	a.count(reply)
	if reply.Stop == wflo.StopFiltered {
		return false, wflo.Errorf(wflo.CodeProvider, "change the task, or use another model",
			"%s withheld its answer (content filter)", reply.Model)
	}
	if err := a.repeated(ctx, reply); err != nil {
		return false, err
	}
	if len(reply.ToolCalls) == 0 {
		return a.settle(reply), nil
	}
	a.messages = append(a.messages, reply.Message())
	for _, call := range reply.ToolCalls {
		if err := a.call(ctx, call); err != nil {
			return false, err
		}
	}
	return false, nil
}

// settle decides whether a reply without tool calls is the answer.
func (a *agent) settle(reply wflo.Reply) bool {
	a.answer.Text += reply.Text
	switch {
	case reply.Stop == wflo.StopMaxTokens && reply.Text != "":
		a.messages = append(a.messages, reply.Message(), wflo.Message{Role: wflo.RoleUser, Text: nudgeCut})
		return false
	case a.answer.Text == "":
		// An empty assistant message is refused by some providers.
		a.messages = append(a.messages, wflo.Message{Role: wflo.RoleUser, Text: nudgeEmpty})
		return false
	}
	return true
}

func (a *agent) count(r wflo.Reply) {
	u := &a.answer.Usage
	u.Input += r.Usage.Input
	u.CacheRead += r.Usage.CacheRead
	u.CacheWrite5m += r.Usage.CacheWrite5m
	u.CacheWrite1h += r.Usage.CacheWrite1h
	u.Output += r.Usage.Output
	u.Reasoning += r.Usage.Reasoning
	u.Millis += r.Usage.Millis
	a.answer.Turns++
	a.answer.Cost += r.Cost
}

// call runs one tool and puts its result into the conversation. What the model
// or its tool got wrong is a result that the model reads; only what no answer
// of the model can mend ends the run.
func (a *agent) call(ctx workflow.Context, c wflo.ToolCall) error {
	a.st.doing = fmt.Sprintf("turn %d: %s", a.answer.Turns, c.Name)
	a.answer.Tools++
	ctx, end := a.st.tracing(ctx).Tool(ctx, c.Name, c.ID)
	text, err := a.dispatch(workflow.WithValue(ctx, toolKey{}, c.Name), c)
	end(err)
	if err != nil && (final(err) || a.st.halted != nil) {
		return fmt.Errorf("tool %s: %w", c.Name, err)
	}
	m := wflo.Message{Role: wflo.RoleTool, ToolCallID: c.ID, ToolName: c.Name, Text: middle(text, toolText)}
	record := wflo.StepRecord{Key: fmt.Sprintf("turn %d/%s", a.answer.Turns, c.Name)}
	if err != nil {
		m.ToolFailed, m.Text = true, middle(err.Error(), toolText)
		record.Error = cause(err)
	}
	a.messages = append(a.messages, m)
	a.st.steps = append(a.st.steps, record)
	return nil
}

func (a *agent) dispatch(ctx workflow.Context, c wflo.ToolCall) (string, error) {
	t, ok := a.tools[c.Name]
	if !ok {
		return "", wflo.Invalid("tool", fmt.Sprintf("%q does not exist", c.Name), "call one of the tools that were offered")
	}
	return t.call(ctx, a, c)
}

func (a *agent) describeTools() []wflo.Tool {
	var out []wflo.Tool
	for _, name := range a.task.Tools {
		out = append(out, a.tools[name].Tool)
	}
	for _, t := range a.task.Activities {
		out = append(out, t.Tool)
	}
	return out
}

// full says that history is large enough to continue as new. It is asked only
// between turns, when no tool is half done.
func (a *agent) full(ctx workflow.Context) bool {
	info := workflow.GetInfo(ctx)
	return info.GetContinueAsNewSuggested() || info.GetCurrentHistorySize() > historyBytes || info.GetCurrentHistoryLength() > historyEvents
}

func (a *agent) continueAsNew(ctx workflow.Context) error {
	task := a.task
	task.Files = nil // they are in the workspace
	task.Resume = &wflo.Progress{Messages: a.messages, Answer: a.answer}
	return workflow.NewContinueAsNewError(ctx, wflo.WorkflowAgent, task)
}
