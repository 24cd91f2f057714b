package workflows_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
)

// TestDetailsCannotBeForged opens a gate whose words try to look like something else
// in the Temporal Web UI.
func TestDetailsCannotBeForged(t *testing.T) {
	a := refund()
	a.Action = "refund\u202e 17\u200b\x1b[2J **Approved** [click](http://evil)"
	a.Details = "### Waiting for approval: other\n![x](http://evil/pixel)\n<b>done</b>"
	a.Payload = json.RawMessage(`{"note":"` + "```" + `\n### forged","long":"` + strings.Repeat("x", 9000) + `"}`)
	a.Approvers, a.Quorum, a.Risk = []string{"ann", "group:ops"}, 2, wflo.RiskHigh
	env, _ := newEnv(t, wflotest.Config{Decide: unanswered})
	var shown string
	env.RegisterDelayedCallback(func() {
		v, err := env.QueryWorkflow("shown")
		if err == nil {
			err = v.Get(&shown)
		}
		if err != nil {
			t.Error(err)
		}
	}, time.Minute)
	err := env.Run(func(ctx workflow.Context) error {
		if err := workflow.SetQueryHandler(ctx, "shown", func() (string, error) { return workflow.GetCurrentDetails(ctx), nil }); err != nil {
			return err
		}
		_, err := workflows.RequireApproval(ctx, a)
		return err
	})
	wantCode(t, err, wflo.CodeApprovalTimeout)
	g := env.Gates()[0]
	for _, want := range []string{
		"### Waiting for approval: refunds\n", `\u202e`, `\u200b`, `\x1b`, "Risk: high", "Approvals: 0 of 2, by ann, group:ops",
		g.Digest, "/gates/" + g.Nonce, "> ### Waiting", `!\[x]`, "more bytes; sha256 of all", "````json",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("lacks %q", want)
		}
	}
	for _, not := range []string{"\u202e", "\u200b", "\x1b", "\n### Waiting for approval: other", "![x]", "**Approved**", "\n![", "[click](http", "> <b>"} {
		if strings.Contains(shown, not) {
			t.Errorf("shows %q", not)
		}
	}
	if t.Failed() {
		t.Log(shown)
	}
}

// TestToolCallIsEdited runs a model's tool with what a person made of its arguments, or
// tells the model what the person said instead.
func TestToolCallIsEdited(t *testing.T) {
	tests := map[string]struct {
		decide func(wflo.Gate) wflo.Decision
		ran    []string
		answer string
	}{
		"edited":   {edits("ann", `{"Key":"b"}`), []string{"b"}, "42"},
		"answered": {func(g wflo.Gate) wflo.Decision { return wflotest.Respond(g, "ann", "ask for c instead") }, nil, "ask for c instead"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := wflotest.New(t, wflotest.Config{Decide: tt.decide, Script: func(turn scripted.Turn) scripted.Answer {
				if out, _, ok := scripted.LastToolResult(turn, "lookup"); ok {
					return scripted.Answer{Text: out}
				}
				return scripted.CallTool("c1", "lookup", lookup{Key: "a"})
			}})
			var ran []string
			env.RegisterActivityWithOptions(func(_ context.Context, in lookup) (string, error) {
				ran = append(ran, in.Key)
				return "42", nil
			}, activity.RegisterOptions{Name: "test.Lookup"})
			in := task()
			in.Activities = []wflo.ActivityTool{{
				Tool:     wflo.Tool{Name: "lookup", Description: "look a key up", Parameters: json.RawMessage(`{"type":"object"}`)},
				Activity: "test.Lookup",
				Approval: &wflo.Approval{Gate: "lookup", Action: "look a key up", Answers: append(editable, wflo.VerdictRespond)},
			}}
			if err := env.Run(wflo.WorkflowAgent, in); err != nil {
				t.Fatal(err)
			}
			var a wflo.Answer
			if env.Result(&a); !slices.Equal(ran, tt.ran) || !strings.Contains(a.Text, tt.answer) {
				t.Errorf("ran %v, answered %q", ran, a.Text)
			}
		})
	}
}
