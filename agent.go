package wflo

import (
	"fmt"
	"strings"
	"time"
)

// Defaults of a Task.
const (
	DefaultMaxTurns   = 30
	MaxTurnsLimit     = 1000
	DefaultMaxRepeats = 5
)

// Names of the tools that the agent brings along.
const (
	ToolPython   = "run_python"
	ToolShell    = "run_shell"
	ToolNode     = "run_node"
	ToolRead     = "read_file"
	ToolWrite    = "write_file"
	ToolAskHuman = "ask_human"
)

// Task is what an agent shall do: the argument of the workflow WorkflowAgent.
type Task struct {
	// Name names the agent in logs, the ledger and the console.
	Name string `json:"name,omitempty"`
	// Model is the language model. Required.
	Model string `json:"model"`
	// System instructs the agent; Prompt is the task itself. Prompt is required.
	System string `json:"system,omitempty"`
	Prompt string `json:"prompt"`
	// Tools names the tools that the agent may call; see the Tool constants.
	// None means that it can only answer.
	Tools []string `json:"tools,omitempty"`
	// Activities are further tools: activities of the worker that the agent
	// may call, each governed like any other.
	Activities []ActivityTool `json:"activities,omitempty"`
	// Files are put into the sandbox's workspace before the first turn.
	Files []File `json:"files,omitempty"`
	// MaxTurns bounds the model calls; zero means DefaultMaxTurns.
	MaxTurns int `json:"max_turns,omitempty"`
	// MaxTokens bounds each answer, in tokens; zero means the worker's default.
	MaxTokens int64 `json:"max_tokens,omitempty"`
	// Sandbox sets image, limits, network and defences of the tools that run
	// code.
	Sandbox Box `json:"sandbox,omitzero"`
	// Budget limits the whole run; a zero limit means the caller's budget.
	Budget Budget `json:"budget,omitzero"`
	// Fallback are models to ask, in this order, when the provider of Model
	// fails. Each is budgeted for itself.
	Fallback []string `json:"fallback,omitempty"`
	// NoCache keeps the answers out of the worker's response cache.
	NoCache bool `json:"no_cache,omitempty"`
	// MaxRepeats is how often the agent may call the same tool with the same
	// arguments, or give the same text, one after the other; zero means
	// DefaultMaxRepeats. The next time ends it with CodeLoop.
	MaxRepeats int `json:"max_repeats,omitempty"`
	// AskTimeout is how long ask_human waits; zero means DefaultApprovalTimeout.
	AskTimeout time.Duration `json:"ask_timeout,omitempty"`
	// Resume continues from where an earlier run of the agent stopped. The
	// agent sets it when it continues as new; callers leave it nil.
	Resume *Progress `json:"resume,omitempty"`
}

// Progress is how far an agent has come.
type Progress struct {
	Messages []Message `json:"messages"`
	Answer   Answer    `json:"answer"` // the counts so far
}

// File is a file for the sandbox's workspace.
type File struct {
	// Name is relative to the workspace, with slashes, without "..".
	Name string `json:"name"`
	// Data is the content; in JSON it is base64.
	Data []byte `json:"data"`
}

// ActivityTool offers an activity to the model under a name of its own. The
// model's arguments, a JSON object, are the activity's single input.
type ActivityTool struct {
	Tool
	// Activity is the registered name.
	Activity string `json:"activity"`
	// Approval, when set, must be granted before each call; its Payload is
	// filled with the arguments.
	Approval *Approval `json:"approval,omitempty"`
}

// ownPrefix is that of the activities of wflo itself.
const ownPrefix = "wflo."

// Validate says what is wrong with the task, if anything.
func (t Task) Validate() error {
	switch {
	case t.Model == "":
		return Invalid("task.model", "is empty", "name a model, such as gpt-5.4-mini")
	case t.Prompt == "":
		return Invalid("task.prompt", "is empty", "say what the agent shall do")
	case t.MaxTurns < 0 || t.MaxTurns > MaxTurnsLimit:
		return Invalid("task.max_turns", fmt.Sprintf("is %d", t.MaxTurns), fmt.Sprintf("use 1 to %d, or 0 for %d", MaxTurnsLimit, DefaultMaxTurns))
	}
	for i, name := range t.Tools {
		switch name {
		case ToolPython, ToolShell, ToolNode, ToolRead, ToolWrite, ToolAskHuman:
		default:
			return Invalid(fmt.Sprintf("task.tools[%d]", i), fmt.Sprintf("is %q", name),
				fmt.Sprintf("use %s, %s, %s, %s, %s, %s, or list it under activities", ToolPython, ToolShell, ToolNode, ToolRead, ToolWrite, ToolAskHuman))
		}
	}
	for i, a := range t.Activities {
		if a.Name == "" || a.Activity == "" {
			return Invalid(fmt.Sprintf("task.activities[%d]", i), "lacks a name or an activity", "set both")
		}
		if strings.HasPrefix(a.Activity, ownPrefix) {
			return Invalid(fmt.Sprintf("task.activities[%d].activity", i), fmt.Sprintf("is %q, which is wflo's own", a.Activity),
				"offer activities of your worker; the runtime's would act without being judged")
		}
	}
	if err := t.Sandbox.Validate(); err != nil {
		return err
	}
	if t.MaxRepeats < 0 {
		return Invalid("task.max_repeats", fmt.Sprintf("is %d", t.MaxRepeats), fmt.Sprintf("use a positive number, or 0 for %d", DefaultMaxRepeats))
	}
	return t.Budget.ValidateOwn()
}

// Answer is what an agent came to.
type Answer struct {
	Text  string `json:"text"`
	Turns int    `json:"turns"` // model calls
	Tools int    `json:"tools"` // tool calls
	Usage Usage  `json:"usage"`
	Cost  Money  `json:"cost"`
}
