package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

const model = "gpt-5.4-mini"

func task(tools ...string) wflo.Task {
	return wflo.Task{Name: "tester", Model: model, Prompt: "count to three", Tools: tools}
}

// wantCode fails unless err is an application error of the code.
func wantCode(t *testing.T, err error, code wflo.Code) *temporal.ApplicationError {
	t.Helper()
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || app.Type() != string(code) {
		t.Fatalf("error = %v; want type %s", err, code)
	}
	return app
}

func TestAgentAnswers(t *testing.T) {
	for _, m := range []string{model, "claude-haiku-4-5", "gemini-2.5-flash", "command-r-08-2024"} {
		t.Run(m, func(t *testing.T) {
			env := wflotest.New(t, wflotest.Config{
				Script: func(turn scripted.Turn) scripted.Answer {
					if out, failed, ok := scripted.LastToolResult(turn, wflo.ToolPython); ok {
						return scripted.Answer{Text: fmt.Sprintf("failed=%v saw %s", failed, strings.TrimSpace(out))}
					}
					return scripted.CallTool("c1", wflo.ToolPython, map[string]string{"code": "print(1+2)"})
				},
				Sandbox: func(s sandbox.Spec) sandbox.Result {
					return sandbox.Result{Outcome: sandbox.Succeeded, Stdout: "3\n"}
				},
				User: "ann",
			})
			in := task(wflo.ToolPython)
			in.Model = m
			if err := env.Run(wflo.WorkflowAgent, in); err != nil {
				t.Fatal(err)
			}
			var a wflo.Answer
			env.Result(&a)
			if !strings.Contains(a.Text, "failed=false") || !strings.Contains(a.Text, "3") || a.Turns != 2 || a.Tools != 1 {
				t.Errorf("answer = %+v", a)
			}
			if a.Cost <= 0 || a.Cost != env.Spent() {
				t.Errorf("answer says %s, the ledger %s", a.Cost, env.Spent())
			}
			if ran := env.Ran(); len(ran) != 1 || ran[0].Source != "print(1+2)" || ran[0].Language != sandbox.Python || ran[0].Key == "" {
				t.Errorf("ran %+v", ran)
			}
			checkInvoices(t, env)
			for _, e := range env.Entries() {
				if e.Run.User != "ann" || e.Run.Agent != "tester" {
					t.Errorf("entry is attributed to %+v", e.Run)
				}
			}
		})
	}
}

// checkInvoices compares the ledger with what the model server billed.
func checkInvoices(t *testing.T, env *wflotest.Env) {
	t.Helper()
	var billed, booked int64
	for _, c := range env.Calls() {
		billed += c.Usage.Total()
	}
	for _, e := range env.Entries() {
		booked += e.Usage.Total()
	}
	if billed == 0 || billed != booked {
		t.Errorf("the server billed %d tokens, the ledger has %d", billed, booked)
	}
}

func TestAgentStopsAtItsBudget(t *testing.T) {
	const limit = 2 * wflo.Cent
	env := wflotest.New(t, wflotest.Config{
		Script: scripted.Loop(wflo.ToolPython, map[string]string{"code": "print('again')"}),
		Budget: limit,
	})
	in := task(wflo.ToolPython)
	in.MaxTurns, in.MaxRepeats = wflo.MaxTurnsLimit, wflo.MaxTurnsLimit
	app := wantCode(t, env.Run(wflo.WorkflowAgent, in), wflo.CodeBudgetExceeded)
	var hint string
	if err := app.Details(&hint); err != nil || hint == "" {
		t.Errorf("no hint: %v", err)
	}
	if spent := env.Spent(); spent > limit || spent == 0 {
		t.Errorf("spent %s of %s", spent, limit)
	}
	checkInvoices(t, env)
}

func TestAgentTurnLimit(t *testing.T) {
	env := wflotest.New(t, wflotest.Config{Script: scripted.Loop(wflo.ToolPython, map[string]string{"code": "1"})})
	in := task(wflo.ToolPython)
	in.MaxTurns = 3
	wantCode(t, env.Run(wflo.WorkflowAgent, in), wflo.CodeTurnLimit)
	if n := len(env.Calls()); n != 3 {
		t.Errorf("%d model calls, want 3", n)
	}
}

// TestAgentSurvivesItsModel feeds the agent what models get wrong; it must tell
// the model and go on.
func TestAgentSurvivesItsModel(t *testing.T) {
	tests := []struct {
		name  string
		first scripted.Answer
		want  string // in the tool message that the model reads next
	}{
		{"malformed arguments", scripted.Answer{ToolCalls: []wflo.ToolCall{{ID: "c1", Name: wflo.ToolPython, Arguments: `{"code": `}}}, "not a JSON object"},
		{"wrong type", scripted.Answer{ToolCalls: []wflo.ToolCall{{ID: "c1", Name: wflo.ToolPython, Arguments: `{"code": 5}`}}}, `lack the string "code"`},
		{"list", scripted.Answer{ToolCalls: []wflo.ToolCall{{ID: "c1", Name: wflo.ToolPython, Arguments: `[1]`}}}, "not a JSON object"},
		{"unknown tool", scripted.Answer{ToolCalls: []wflo.ToolCall{{ID: "c1", Name: "rm_rf", Arguments: `{}`}}}, "does not exist"},
		{"escaping path", scripted.CallTool("c1", wflo.ToolWrite, map[string]string{"path": "../etc/passwd", "content": "x"}), "not relative and clean"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var told string
			env := wflotest.New(t, wflotest.Config{Script: func(turn scripted.Turn) scripted.Answer {
				last := turn.Messages[len(turn.Messages)-1]
				if last.Role == wflo.RoleTool {
					told = last.Text
					return scripted.Answer{Text: "understood"}
				}
				return tt.first
			}})
			if err := env.Run(wflo.WorkflowAgent, task(wflo.ToolPython, wflo.ToolWrite)); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(told, tt.want) {
				t.Errorf("the model was told %q; want %q", told, tt.want)
			}
			if len(env.Ran()) != 0 {
				t.Errorf("something ran: %+v", env.Ran())
			}
		})
	}
}

func TestAgentBoundsToolOutput(t *testing.T) {
	huge := strings.Repeat("x", 5<<20)
	env := wflotest.New(t, wflotest.Config{
		Script: func(turn scripted.Turn) scripted.Answer {
			if out, _, ok := scripted.LastToolResult(turn, wflo.ToolShell); ok {
				return scripted.Answer{Text: fmt.Sprint(len(out))}
			}
			return scripted.CallTool("c1", wflo.ToolShell, map[string]string{"command": "yes | head -c 5M"})
		},
		Sandbox: func(sandbox.Spec) sandbox.Result {
			return sandbox.Result{Outcome: sandbox.Succeeded, Stdout: huge[:64<<10], StdoutTruncated: 5<<20 - 64<<10}
		},
	})
	if err := env.Run(wflo.WorkflowAgent, task(wflo.ToolShell)); err != nil {
		t.Fatal(err)
	}
	for _, c := range env.Calls() {
		for _, m := range c.Turn.Messages {
			if len(m.Text) > 20<<10 {
				t.Errorf("the model was sent %d bytes", len(m.Text))
			}
			if m.Role == wflo.RoleTool && !strings.Contains(m.Text, "were dropped") {
				t.Error("the model was not told that output was dropped")
			}
		}
	}
}

func TestAgentAsksAHuman(t *testing.T) {
	script := func(turn scripted.Turn) scripted.Answer {
		if out, failed, ok := scripted.LastToolResult(turn, wflo.ToolAskHuman); ok {
			return scripted.Answer{Text: fmt.Sprintf("%v: %s", failed, out)}
		}
		return scripted.CallTool("c1", wflo.ToolAskHuman, map[string]string{"question": "Which colour?"})
	}
	t.Run("answered", func(t *testing.T) {
		env := wflotest.New(t, wflotest.Config{Script: script, Decide: func(g wflo.Gate) wflo.Decision {
			return wflotest.Respond(g, "ann", "green")
		}})
		if err := env.Run(wflo.WorkflowAgent, task(wflo.ToolAskHuman)); err != nil {
			t.Fatal(err)
		}
		var a wflo.Answer
		env.Result(&a)
		if a.Text != "false: green" {
			t.Errorf("answer = %q", a.Text)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		env := wflotest.New(t, wflotest.Config{Script: script, Decide: func(wflo.Gate) wflo.Decision { return wflo.Decision{} }})
		in := task(wflo.ToolAskHuman)
		in.AskTimeout = 24 * time.Hour
		if err := env.Run(wflo.WorkflowAgent, in); err != nil {
			t.Fatal(err)
		}
		var a wflo.Answer
		env.Result(&a)
		if !strings.HasPrefix(a.Text, "true: ") || !strings.Contains(a.Text, "nobody decided") {
			t.Errorf("answer = %q", a.Text)
		}
	})
}

// TestAgentNudges covers answers that are none.
func TestAgentNudges(t *testing.T) {
	env := wflotest.New(t, wflotest.Config{Script: func(turn scripted.Turn) scripted.Answer {
		if turn.Call == 1 {
			return scripted.Answer{}
		}
		return scripted.Answer{Text: "here"}
	}})
	if err := env.Run(wflo.WorkflowAgent, task()); err != nil {
		t.Fatal(err)
	}
	var a wflo.Answer
	env.Result(&a)
	if a.Text != "here" || a.Turns != 2 {
		t.Errorf("answer = %+v", a)
	}
}

func TestAgentJoinsACutAnswer(t *testing.T) {
	env := wflotest.New(t, wflotest.Config{Script: func(turn scripted.Turn) scripted.Answer {
		if turn.Call == 1 {
			return scripted.Answer{Text: strings.Repeat("word ", 400)}
		}
		return scripted.Answer{Text: "end"}
	}})
	in := task()
	in.MaxTokens = 100
	if err := env.Run(wflo.WorkflowAgent, in); err != nil {
		t.Fatal(err)
	}
	var a wflo.Answer
	env.Result(&a)
	if !strings.HasPrefix(a.Text, "word word") || !strings.HasSuffix(a.Text, "end") || a.Turns != 2 {
		t.Errorf("answer = %d bytes, ends %q, %d turns", len(a.Text), a.Text[max(0, len(a.Text)-10):], a.Turns)
	}
}

type lookup struct{ Key string }

// TestAgentActivityTool offers an activity of the worker to the model.
func TestAgentActivityTool(t *testing.T) {
	build := func(decide func(wflo.Gate) wflo.Decision) (*wflotest.Env, *[]string) {
		env := wflotest.New(t, wflotest.Config{
			Script: func(turn scripted.Turn) scripted.Answer {
				if out, failed, ok := scripted.LastToolResult(turn, "lookup"); ok {
					return scripted.Answer{Text: fmt.Sprintf("%v %s", failed, out)}
				}
				return scripted.CallTool("c1", "lookup", lookup{Key: "a"})
			},
			Decide: decide,
		})
		var calls []string
		env.RegisterActivityWithOptions(func(_ context.Context, in lookup) (map[string]string, error) {
			calls = append(calls, in.Key)
			return map[string]string{"value": "42"}, nil
		}, activity.RegisterOptions{Name: "test.Lookup"})
		return env, &calls
	}
	in := task()
	in.Activities = []wflo.ActivityTool{{
		Tool:     wflo.Tool{Name: "lookup", Description: "look a key up", Parameters: json.RawMessage(`{"type":"object","properties":{"Key":{"type":"string"}},"required":["Key"]}`)},
		Activity: "test.Lookup",
		Approval: &wflo.Approval{Gate: "lookup", Action: "look a key up"},
	}}
	t.Run("approved", func(t *testing.T) {
		env, calls := build(nil)
		if err := env.Run(wflo.WorkflowAgent, in); err != nil {
			t.Fatal(err)
		}
		var a wflo.Answer
		env.Result(&a)
		if len(*calls) != 1 || !strings.Contains(a.Text, "42") {
			t.Errorf("calls %v, answer %q", *calls, a.Text)
		}
		if g := env.Gates(); len(g) != 1 || !strings.Contains(string(g[0].Approval.Payload), `"a"`) {
			t.Errorf("gates %+v", g)
		}
	})
	t.Run("rejected", func(t *testing.T) {
		env, calls := build(func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "ann", "not that key") })
		if err := env.Run(wflo.WorkflowAgent, in); err != nil {
			t.Fatal(err)
		}
		var a wflo.Answer
		env.Result(&a)
		if len(*calls) != 0 || !strings.Contains(a.Text, "not that key") {
			t.Errorf("calls %v, answer %q", *calls, a.Text)
		}
	})
}

// TestAgentRefusesBadInput lists what must fail clearly and spend nothing.
func TestAgentRefusesBadInput(t *testing.T) {
	tests := []struct {
		name string
		task wflo.Task
		code wflo.Code
		want string
	}{
		{"unknown model", wflo.Task{Model: "gpt-99-ultra", Prompt: "hi"}, wflo.CodeUnknownModel, "gpt-99-ultra"},
		{"no model", wflo.Task{Prompt: "hi"}, wflo.CodeInvalid, "task.model"},
		{"negative budget", wflo.Task{Model: model, Prompt: "hi", Budget: wflo.Budget{Limit: -1}}, wflo.CodeInvalid, "budget.limit"},
		{"provider without key", wflo.Task{Model: "mistral-large-latest", Prompt: "hi"}, "", "mistral"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := wflotest.New(t, wflotest.Config{})
			err := env.Run(wflo.WorkflowAgent, tt.task)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v; want %q", err, tt.want)
			}
			if tt.code != "" {
				wantCode(t, err, tt.code)
			}
			if len(env.Calls()) != 0 {
				t.Error("a model was called")
			}
		})
	}
}
