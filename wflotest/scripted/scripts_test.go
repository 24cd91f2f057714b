package scripted_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

func TestHelpersOfScripts(t *testing.T) {
	turn := scripted.Turn{Call: 7, Messages: []wflo.Message{
		{Role: wflo.RoleUser, Text: "first"},
		{Role: wflo.RoleAssistant, ToolCalls: []wflo.ToolCall{{ID: "1", Name: "a"}, {ID: "2", Name: "b"}}},
		{Role: wflo.RoleTool, ToolCallID: "1", ToolName: "a", Text: "from a"},
		{Role: wflo.RoleTool, ToolCallID: "2", ToolName: "b", Text: "from b", ToolFailed: true},
		{Role: wflo.RoleUser, Text: "last"},
	}}
	for _, tt := range []struct {
		name, text string
		failed, ok bool
	}{{"a", "from a", false, true}, {"b", "from b", true, true}, {"", "from b", true, true}, {"c", "", false, false}} {
		if text, failed, ok := scripted.LastToolResult(turn, tt.name); text != tt.text || failed != tt.failed || ok != tt.ok {
			t.Errorf("LastToolResult(%q) = %q, %t, %t", tt.name, text, failed, ok)
		}
	}
	if got := scripted.UserText(turn); got != "last" {
		t.Errorf("UserText = %q", got)
	}
	if got := scripted.UserText(scripted.Turn{}); got != "" {
		t.Errorf("UserText of nothing = %q", got)
	}
	if got := scripted.ToolCallsMade(turn); got != 2 {
		t.Errorf("ToolCallsMade = %d", got)
	}
	want := scripted.Answer{ToolCalls: []wflo.ToolCall{{ID: "loop_7", Name: "a", Arguments: `{"n":1}`}}}
	if diff := cmp.Diff(want, scripted.Loop("a", map[string]int{"n": 1})(turn)); diff != "" {
		t.Errorf("Loop (-want +got):\n%s", diff)
	}
}

func TestCallToolArguments(t *testing.T) {
	for _, tt := range []struct {
		args any
		want string
	}{
		{"{broken", "{broken"},
		{json.RawMessage(`{"a":1}`), `{"a":1}`},
		{struct{ A int }{1}, `{"A":1}`},
		{nil, "null"},
	} {
		if got := scripted.CallTool("x", "f", tt.args).ToolCalls[0].Arguments; got != tt.want {
			t.Errorf("CallTool(%v) has arguments %q, want %q", tt.args, got, tt.want)
		}
	}
	if got := scripted.CallTool("x", "f", make(chan int)); got.Fault.Status != 500 || got.Fault.Body == "" || len(got.ToolCalls) != 0 {
		t.Errorf("CallTool with a channel = %+v, want a 500", got)
	}
}
