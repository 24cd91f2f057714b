package wflo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestErrorMatchesItsSentinel(t *testing.T) {
	cause := errors.New("disk full")
	err := fmt.Errorf("ask: %w", Errorf(CodeBudgetExceeded, "raise it", "call needs %s: %w", 2*USD, cause))
	if !errors.Is(err, ErrBudgetExceeded) || errors.Is(err, ErrHalted) || !errors.Is(err, cause) {
		t.Errorf("%v does not match what it should", err)
	}
	if CodeOf(err) != CodeBudgetExceeded || HintOf(err) != "raise it" {
		t.Errorf("CodeOf, HintOf = %q, %q", CodeOf(err), HintOf(err))
	}
	if got := err.Error(); got != "ask: call needs $2.00: disk full (raise it)" {
		t.Errorf("Error = %q", got)
	}
	if message, hint := Explain(err); message != "ask: call needs $2.00: disk full" || hint != "raise it" {
		t.Errorf("Explain = %q, %q", message, hint)
	}
	if CodeOf(cause) != "" || HintOf(cause) != "" {
		t.Error("a plain error has a code")
	}
	for code, sentinel := range sentinels {
		if !errors.Is(&Error{Code: code}, sentinel) || code.Sentinel() != sentinel {
			t.Errorf("%s does not match its sentinel", code)
		}
		if !strings.HasPrefix(string(code), "wflo.") {
			t.Errorf("%s lacks the prefix that keeps it apart from users' types", code)
		}
	}
	if errors.Is(&Error{Code: "other"}, nil) {
		t.Error("an unknown code matches nil")
	}
}

// TestEffectKey shows what an effect key depends on, and what it must not.
func TestEffectKey(t *testing.T) {
	base := Run{Namespace: "n", WorkflowID: "w", FirstRunID: "r", Step: "s", Epoch: 1}
	same := base
	same.User, same.Correlation, same.Generation, same.Lines = "ann", "c", 7, []BudgetLine{{ID: "x"}}
	if base.EffectKey() != same.EffectKey() {
		t.Error("the key depends on more than namespace, workflow, first run, step and epoch")
	}
	seen := map[EffectKey]string{base.EffectKey(): "base"}
	for name, change := range map[string]func(*Run){
		"namespace": func(r *Run) { r.Namespace = "n2" },
		"workflow":  func(r *Run) { r.WorkflowID = "w2" },
		"first run": func(r *Run) { r.FirstRunID = "r2" },
		"step":      func(r *Run) { r.Step = "s2" },
		"epoch":     func(r *Run) { r.Epoch = 2 },
		"shifted":   func(r *Run) { r.Namespace, r.WorkflowID = "nw", "" },
	} {
		r := base
		change(&r)
		if other, ok := seen[r.EffectKey()]; ok {
			t.Errorf("%s gives the key of %s", name, other)
		}
		seen[r.EffectKey()] = name
	}
	if len(base.EffectKey()) != 64 {
		t.Errorf("key %q is not a SHA-256 in hex", base.EffectKey())
	}
}

func TestRunInContext(t *testing.T) {
	if _, ok := RunFrom(context.Background()); ok {
		t.Error("an empty context has a run")
	}
	r := Run{WorkflowID: "w", FirstRunID: "r", Root: "parent/p"}
	got, ok := RunFrom(WithRun(context.Background(), r))
	if !ok || got.ID() != "w/r" || got.RootID() != "parent/p" {
		t.Errorf("RunFrom = %+v, %v", got, ok)
	}
	r.Root = ""
	if r.RootID() != r.ID() {
		t.Error("a run without a parent is not its own root")
	}
}

func TestValidate(t *testing.T) {
	user := []Message{{Role: RoleUser, Text: "hi"}}
	tests := []struct {
		field string
		err   error
	}{
		{"prompt.model", Prompt{Messages: user}.Validate()},
		{"prompt.messages", Prompt{Model: "m"}.Validate()},
		{"prompt.max_tokens", Prompt{Model: "m", Messages: user, MaxTokens: -1}.Validate()},
		{"prompt.system", Prompt{Model: "m", Messages: user, System: "\xff"}.Validate()},
		{"prompt.messages[0].text", Prompt{Model: "m", Messages: []Message{{Text: "a\xffb"}}}.Validate()},
		{"usage.output", Usage{Output: -1}.Validate()},
		{"budget.limit", Budget{Limit: -1}.Validate()},
		{"effect", EffectClass("odd").Validate()},
		{"verdict", Verdict("").Validate()},
		{"task.model", Task{Prompt: "p"}.Validate()},
		{"task.prompt", Task{Model: "m"}.Validate()},
		{"task.max_turns", Task{Model: "m", Prompt: "p", MaxTurns: MaxTurnsLimit + 1}.Validate()},
		{"task.tools[1]", Task{Model: "m", Prompt: "p", Tools: []string{ToolPython, "rm"}}.Validate()},
		{"task.activities[0]", Task{Model: "m", Prompt: "p", Activities: []ActivityTool{{}}}.Validate()},
		{"budget.limit", Task{Model: "m", Prompt: "p", Budget: Budget{Limit: -5}}.Validate()},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, ErrInvalid) || !strings.HasPrefix(tt.err.Error(), tt.field+" ") || HintOf(tt.err) == "" {
			t.Errorf("want an error about %s with a hint, got %v", tt.field, tt.err)
		}
	}
	ok := Task{Model: "m", Prompt: "p", Tools: []string{ToolPython, ToolShell, ToolRead, ToolWrite, ToolAskHuman}}
	if err := ok.Validate(); err != nil {
		t.Errorf("a good task: %v", err)
	}
}
