//go:build integration

package e2e

import (
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund/script"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// cast plays every model of the shared vendor: the first word of the task chooses
// the part, and the accountant of the refund example has all the others.
func cast(t scripted.Turn) scripted.Answer {
	word, _, _ := strings.Cut(t.Messages[0].Text, " ")
	switch word {
	case "echo":
		return scripted.Answer{Text: t.Messages[0].Text}
	case "ask":
		return once(t, wflo.ToolAskHuman, map[string]string{"question": "May I?"})
	case "malformed":
		return once(t, wflo.ToolPython, `{"code": print(1)`)
	case "endless":
		return scripted.CallTool("", "no_such_tool", "{}")
	case "flood":
		return once(t, wflo.ToolPython, code(`print("begin"); print("x" * 5_000_000); print("end")`))
	case "bytes":
		return once(t, wflo.ToolPython, code(`import sys; sys.stdout.buffer.write(b"a\xff\xfe\x00b\n")`))
	case "host":
		_, path, _ := strings.Cut(t.Messages[0].Text, " ")
		return once(t, wflo.ToolShell, map[string]string{"command": "touch '" + path + "'"})
	case "pause":
		return paused(t)
	}
	return script.Accountant(t)
}

func code(text string) map[string]string { return map[string]string{"code": text} }

// once calls a tool and then answers that it is done.
func once(t scripted.Turn, tool string, args any) scripted.Answer {
	if _, _, ok := scripted.LastToolResult(t, ""); ok {
		return scripted.Answer{Text: "done"}
	}
	return scripted.CallTool("", tool, args)
}

// turns are the calls of the vendor that belong to a task.
func turns(s *scripted.Server, prompt string) []scripted.Call {
	var found []scripted.Call
	for _, c := range s.Calls() {
		if c.Turn.Messages[0].Text == prompt {
			found = append(found, c)
		}
	}
	return found
}

// lastResult is the tool result that the model saw last.
func lastResult(t *testing.T, s *scripted.Server, prompt string) (text string, failed bool) {
	t.Helper()
	calls := turns(s, prompt)
	if len(calls) == 0 {
		t.Fatalf("no call for %q", prompt)
	}
	text, failed, ok := scripted.LastToolResult(calls[len(calls)-1].Turn, "")
	if !ok {
		t.Fatalf("the model saw no result of a tool for %q", prompt)
	}
	return text, failed
}
