package scripted

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/wflo-ai/wflo-go"
)

// Echo answers "echo: " and the last user text.
func Echo(t Turn) Answer { return Answer{Text: "echo: " + UserText(t)} }

// Loop is the agent that never finishes: it asks for the same tool with the
// same arguments for ever, each time under a new id. args is as in CallTool.
func Loop(toolName string, args any) Script {
	return func(t Turn) Answer { return CallTool(fmt.Sprintf("loop_%d", t.Call), toolName, args) }
}

// CallTool is the answer that asks for one tool. args is the raw text of the
// arguments when it is a string or a json.RawMessage (which may be malformed on
// purpose), and is marshalled otherwise; what cannot be marshalled makes the
// answer a 500 that says so. An empty id is filled in by the server.
func CallTool(id, name string, args any) Answer {
	var text string
	switch a := args.(type) {
	case string:
		text = a
	case json.RawMessage:
		text = string(a)
	default:
		b, err := json.Marshal(args)
		if err != nil {
			return Answer{Fault: Fault{Status: http.StatusInternalServerError, Body: "script: arguments of " + name + ": " + err.Error()}}
		}
		text = string(b)
	}
	return Answer{ToolCalls: []wflo.ToolCall{{ID: id, Name: name, Arguments: text}}}
}

// UserText is the last text that the user wrote, or "".
func UserText(t Turn) string {
	for i := len(t.Messages) - 1; i >= 0; i-- {
		if t.Messages[i].Role == wflo.RoleUser {
			return t.Messages[i].Text
		}
	}
	return ""
}

// LastToolResult is the newest result of the named tool, or of any tool when
// name is empty; ok says that there is one. failed says that the client marked
// it as failed: by is_error (Anthropic), by a response with the field "error"
// (Gemini), and, as OpenAI and Cohere have no mark, there by a text that begins
// with "error:" or "the tool failed:" in any case, or is a JSON object whose
// only field is "error".
func LastToolResult(t Turn, name string) (text string, failed, ok bool) {
	for i := len(t.Messages) - 1; i >= 0; i-- {
		m := t.Messages[i]
		if m.Role == wflo.RoleTool && (name == "" || m.ToolName == name) {
			return m.Text, m.ToolFailed, true
		}
	}
	return "", false, false
}

// ToolCallsMade counts the tool calls in the conversation so far.
func ToolCallsMade(t Turn) int {
	n := 0
	for _, m := range t.Messages {
		n += len(m.ToolCalls)
	}
	return n
}
