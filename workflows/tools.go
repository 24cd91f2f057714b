package workflows

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// maxRead bounds a file that the agent reads, in bytes. More would not fit into
// a tool result anyway.
const maxRead = 1 << 20

// tool is something that the model may call.
type tool struct {
	wflo.Tool
	call func(ctx workflow.Context, a *agent, c wflo.ToolCall) (string, error)
}

func toolsOf(task wflo.Task) map[string]tool {
	tools := map[string]tool{}
	for _, name := range task.Tools {
		tools[name] = builtin[name]
		if c, ok := interpreters[name]; ok {
			tools[name] = c.tool(name, task.Sandbox)
		}
	}
	for _, at := range task.Activities {
		tools[at.Name] = activityTool(at)
	}
	return tools
}

// builtin are the tools that every agent can be given, besides those that run
// code.
var builtin = map[string]tool{
	wflo.ToolRead: {
		Tool: describeTool(wflo.ToolRead, "Read a text file of /workspace.", "path", "the file, relative to /workspace"),
		call: withArg("path", readTool),
	},
	wflo.ToolWrite: {
		Tool: describeTool(wflo.ToolWrite, "Write a text file in /workspace, replacing what is there.", "path", "the file, relative to /workspace", "content", "the text"),
		call: writeTool,
	},
	wflo.ToolAskHuman: {
		Tool: describeTool(wflo.ToolAskHuman, "Ask a person a question and wait for the answer. Use it when only a person can know.", "question", "the question"),
		call: withArg("question", askTool),
	},
}

// describeTool builds the schema of a tool whose parameters are required
// strings, given as name and description in turn.
func describeTool(name, description string, params ...string) wflo.Tool {
	var props, required []string
	for i := 0; i+1 < len(params); i += 2 {
		props = append(props, fmt.Sprintf("%q:{\"type\":\"string\",\"description\":%q}", params[i], params[i+1]))
		required = append(required, fmt.Sprintf("%q", params[i]))
	}
	schema := fmt.Sprintf(`{"type":"object","properties":{%s},"required":[%s],"additionalProperties":false}`,
		strings.Join(props, ","), strings.Join(required, ","))
	return wflo.Tool{Name: name, Description: description, Parameters: json.RawMessage(schema)}
}

// withArg adapts a tool of one required string argument.
func withArg(name string, fn func(workflow.Context, *agent, string) (string, error)) func(workflow.Context, *agent, wflo.ToolCall) (string, error) {
	return func(ctx workflow.Context, a *agent, c wflo.ToolCall) (string, error) {
		args, err := parseArgs(c, name)
		if err != nil {
			return "", err
		}
		return fn(ctx, a, args[name])
	}
}

// parseArgs reads the model's arguments. They are the model's text: anything.
func parseArgs(c wflo.ToolCall, names ...string) (map[string]string, error) {
	if !utf8.ValidString(c.Arguments) {
		return nil, wflo.Invalid("arguments of "+c.Name, "are not valid UTF-8", "send text")
	}
	var raw map[string]any
	if err := json.Unmarshal([]byte(c.Arguments), &raw); err != nil {
		return nil, wflo.Invalid("arguments of "+c.Name, "are not a JSON object: "+err.Error(), "send an object that matches the tool's schema")
	}
	args := make(map[string]string, len(names))
	for _, n := range names {
		s, ok := raw[n].(string)
		if !ok {
			return nil, wflo.Invalid("arguments of "+c.Name, fmt.Sprintf("lack the string %q", n), "send an object that matches the tool's schema")
		}
		args[n] = s
	}
	return args, nil
}

func readTool(ctx workflow.Context, _ *agent, path string) (string, error) {
	data, err := ReadFile(ctx, path, maxRead)
	if err != nil {
		return "", err
	}
	return strings.ToValidUTF8(string(data), "\uFFFD"), nil
}

func writeTool(ctx workflow.Context, _ *agent, c wflo.ToolCall) (string, error) {
	args, err := parseArgs(c, "path", "content")
	if err != nil {
		return "", err
	}
	if err := WriteFiles(ctx, wflo.File{Name: args["path"], Data: []byte(args["content"])}); err != nil {
		return "", err
	}
	return fmt.Sprintf("wrote %d bytes to %s", len(args["content"]), args["path"]), nil
}

func askTool(ctx workflow.Context, a *agent, question string) (string, error) {
	d, err := RequireApproval(ctx, wflo.Approval{
		Gate: "question", Action: oneLine(question, 200), Details: question,
		Timeout: a.task.AskTimeout, Answers: []wflo.Verdict{wflo.VerdictRespond, wflo.VerdictReject},
	})
	if err != nil {
		return "", err
	}
	return d.Text, nil
}

// activityTool lets the model call an activity of the worker.
func activityTool(at wflo.ActivityTool) tool {
	return tool{Tool: at.Tool, call: func(ctx workflow.Context, _ *agent, c wflo.ToolCall) (string, error) {
		if !json.Valid([]byte(c.Arguments)) {
			return "", wflo.Invalid("arguments of "+c.Name, "are not JSON", "send an object that matches the tool's schema")
		}
		args := json.RawMessage(c.Arguments)
		ctx, args, said, err := approveTool(ctx, at, args)
		if err != nil || said != "" {
			return said, err
		}
		var out json.RawMessage
		// No heartbeat timeout: a user's activity need not know of heartbeats.
		ctx = withDefaults(ctx, workflow.ActivityOptions{StartToCloseTimeout: toolTimeout, Summary: "tool: " + c.Name})
		if err := workflow.ExecuteActivity(ctx, at.Activity, args).Get(ctx, &out); err != nil {
			return "", fromWire(err)
		}
		return string(out), nil
	}}
}

// approveTool asks about one call of the model, where the tool needs it. It returns the
// arguments, which a reviewer may have edited, and the context in which the activity
// acts on the approval; or what the reviewer said instead of letting it happen.
func approveTool(ctx workflow.Context, at wflo.ActivityTool, args json.RawMessage) (granted workflow.Context, edited json.RawMessage, said string, err error) {
	if at.Approval == nil {
		return ctx, args, "", nil
	}
	st, err := stateOf(ctx)
	if err != nil {
		return ctx, nil, "", err
	}
	a := *at.Approval
	a.Payload, a.Activity = args, at.Activity
	g, err := st.ask(ctx, stepOf(ctx), a, nil)
	if err != nil {
		return ctx, nil, "", err
	}
	if g.Status == wflo.GateAnswered {
		return ctx, nil, "A person answered instead of approving the call: " + g.Gate.Decision.Text, nil
	}
	return st.withGrant(ctx, g), g.Approval.Payload, "", nil
}
