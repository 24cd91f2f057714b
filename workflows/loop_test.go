package workflows_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// runs is an agent that runs the programs in turn, again and again.
func runs(programs ...string) scripted.Script {
	return func(turn scripted.Turn) scripted.Answer {
		return scripted.CallTool("", wflo.ToolPython, map[string]string{"code": programs[scripted.ToolCallsMade(turn)%len(programs)]})
	}
}

func TestAgentThatRepeatsItselfEnds(t *testing.T) {
	tests := []struct {
		name   string
		script scripted.Script
		most   int
		calls  int // of the model, the last of which repeats
		ran    int
		text   string
	}{
		{"same call", runs("1"), 0, 6, 5, "called run_python with the same arguments 5 times in a row"},
		{"same call, twice allowed", runs("1"), 2, 3, 2, "2 times in a row"},
		{"back and forth", runs("1", "2"), 3, 7, 6, "the same 2 actions 3 times"},
		{"three in turn", runs("1", "2", "3"), 2, 7, 6, "the same 3 actions 2 times"},
		{"arguments in another order", func(turn scripted.Turn) scripted.Answer {
			args := `{"code":"1","why":"a"}`
			if turn.Call%2 == 0 {
				args = ` { "why": "a", "code": "1" }`
			}
			return scripted.Answer{ToolCalls: []wflo.ToolCall{{Name: wflo.ToolPython, Arguments: args}}}
		}, 3, 4, 3, "3 times in a row"},
		{"all in one turn", func(scripted.Turn) scripted.Answer {
			a := scripted.Answer{}
			for i := range 4 {
				a.ToolCalls = append(a.ToolCalls, wflo.ToolCall{ID: fmt.Sprint("c", i), Name: wflo.ToolPython, Arguments: `{"code":"1"}`})
			}
			return a
		}, 3, 1, 0, "3 times in a row"},
		{"nothing to say", func(scripted.Turn) scripted.Answer { return scripted.Answer{} }, 4, 5, 0, "gave the same answer 4 times in a row"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := wflotest.New(t, wflotest.Config{Script: tt.script})
			in := task(wflo.ToolPython)
			in.MaxRepeats = tt.most
			app := wantCode(t, env.Run(wflo.WorkflowAgent, in), wflo.CodeLoop)
			if !strings.Contains(app.Message(), tt.text) || len(env.Calls()) != tt.calls || len(env.Ran()) != tt.ran {
				t.Errorf("%q after %d calls and %d programs; want %q after %d and %d", app.Message(), len(env.Calls()), len(env.Ran()), tt.text, tt.calls, tt.ran)
			}
			steps := env.Status().Steps
			if last := steps[len(steps)-1]; !strings.Contains(last.Error, tt.text) {
				t.Errorf("steps %+v", steps)
			}
		})
	}
}

// TestAgentThatOnlySeemsToRepeatGoesOn has as many actions as are allowed, and
// then another one.
func TestAgentThatOnlySeemsToRepeatGoesOn(t *testing.T) {
	for name, script := range map[string]scripted.Script{
		"another call": runs("1", "1", "1", "1", "1", "2"),
		"other arguments": func(turn scripted.Turn) scripted.Answer {
			return scripted.CallTool("", wflo.ToolPython, map[string]int{"code": scripted.ToolCallsMade(turn)})
		},
		"a longer pattern": runs("1", "2", "3", "4"),
	} {
		t.Run(name, func(t *testing.T) {
			env := wflotest.New(t, wflotest.Config{Script: script})
			in := task(wflo.ToolPython)
			in.MaxTurns = 30
			wantCode(t, env.Run(wflo.WorkflowAgent, in), wflo.CodeTurnLimit)
			if n := len(env.Calls()); n != 30 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// TestLoopIsFoundAcrossRuns: an agent that continues as new has its conversation.
func TestLoopIsFoundAcrossRuns(t *testing.T) {
	env := wflotest.New(t, wflotest.Config{Script: runs("1")})
	in := task(wflo.ToolPython)
	in.Resume = &wflo.Progress{Messages: []wflo.Message{{Role: wflo.RoleUser, Text: in.Prompt}}, Answer: wflo.Answer{Turns: 4}}
	for i := range 4 {
		c := wflo.ToolCall{ID: fmt.Sprint("c", i), Name: wflo.ToolPython, Arguments: `{"code": "1"}`}
		in.Resume.Messages = append(in.Resume.Messages, wflo.Message{Role: wflo.RoleAssistant, ToolCalls: []wflo.ToolCall{c}},
			wflo.Message{Role: wflo.RoleTool, ToolCallID: c.ID, ToolName: c.Name, Text: "1"})
	}
	wantCode(t, env.Run(wflo.WorkflowAgent, in), wflo.CodeLoop)
	if n := len(env.Calls()); n != 2 {
		t.Errorf("%d calls after the 4 of the run before, want 2", n)
	}
}
