// Code generated from docs/openapi.json by tools/apiclient. DO NOT EDIT.

package client

import (
	"encoding/json"
	"time"

	wflo "github.com/wflo-ai/wflo-go"
)

// StoryContent Content is the head of something that may be large.
type StoryContent struct {
	Cut  bool   `json:"cut,omitempty,omitzero"`
	Size int64  `json:"size"`
	Text string `json:"text"`
}

// StoryDetail Detail is a row with what it was about.
type StoryDetail struct {
	// Attempts counts the tries; zero where that has no meaning.
	Attempts int64            `json:"attempts,omitempty,omitzero"`
	Began    time.Time        `json:"began,omitempty,omitzero"`
	Code     wflo.Code        `json:"code,omitempty,omitzero"`
	Effect   wflo.EffectClass `json:"effect,omitempty,omitzero"`
	End      time.Time        `json:"end,omitempty,omitzero"`

	// Error is the first line of what went wrong; the latest one while it is tried again.
	Error   string     `json:"error,omitempty,omitzero"`
	EventID int64      `json:"event_id"`
	Files   []string   `json:"files,omitzero"`
	Gate    *StoryGate `json:"gate,omitempty"`
	Hint    string     `json:"hint,omitempty,omitzero"`

	// ID names the row within the run, and stays the same as the run goes on. Parent is the row that it happened within; empty for the run itself.
	ID string `json:"id"`

	// Input, Output are JSON where they are, cut to MostDetail; Cut says so, and Size how many bytes there are in all.
	Input *StoryContent `json:"input,omitempty"`
	Kind  string        `json:"kind"`

	// Model One of these is set, by Kind, where it is known.
	Model  *StoryModel   `json:"model,omitempty"`
	Name   string        `json:"name"`
	Output *StoryContent `json:"output,omitempty"`
	Parent string        `json:"parent,omitempty,omitzero"`
	Policy *StoryPolicy  `json:"policy,omitempty"`

	// RunID and EventID are where Temporal's history has it.
	RunID    string         `json:"run_id"`
	Sandbox  *StorySandbox  `json:"sandbox,omitempty"`
	Snapshot *StorySnapshot `json:"snapshot,omitempty"`

	// Start is when it was asked for, Began when somebody took it up, End when it was over; zero where that is not yet.
	Start  time.Time     `json:"start"`
	State  string        `json:"state"`
	Stderr *StoryContent `json:"stderr,omitempty"`

	// Stdout and Stderr of a sandbox, its changed files and artifacts.
	Stdout *StoryContent `json:"stdout,omitempty"`

	// Step is the key of the step; Effect its class.
	Step string `json:"step,omitempty,omitzero"`

	// Summary is one line about it, such as what a gate asks.
	Summary string `json:"summary,omitempty,omitzero"`

	// Trace is the whole error, with its stack.
	Trace string `json:"trace,omitempty,omitzero"`

	// Worker is who did it, as Temporal has it.
	Worker string `json:"worker,omitempty,omitzero"`
}

// StoryGate Gate is how a gate ended.
type StoryGate struct {
	By     []string        `json:"by,omitzero"`
	Nonce  string          `json:"nonce"`
	Risk   string          `json:"risk,omitempty,omitzero"`
	Status wflo.GateStatus `json:"status"`
}

// StoryHead Head is what the top of a run's page says.
type StoryHead struct {
	// Bundle is the hash of the policies that the run is pinned to.
	Bundle string    `json:"bundle,omitempty,omitzero"`
	Calls  int64     `json:"calls"`
	Closed time.Time `json:"closed,omitempty,omitzero"`
	Code   wflo.Code `json:"code,omitempty,omitzero"`

	// Error and Hint say why it failed, Code how.
	Error  string `json:"error,omitempty,omitzero"`
	Events int64  `json:"events"`

	// FirstRunID by which ledger and trail know the chain
	FirstRunID string `json:"first_run_id"`

	// Gates are the open ones, in full; Snapshots are the latest.
	Gates []Gate `json:"gates,omitzero"`

	// Halted says who stopped the run, and why.
	Halted    *Halt  `json:"halted,omitempty"`
	Hint      string `json:"hint,omitempty,omitzero"`
	Namespace string `json:"namespace"`
	Next      string `json:"next,omitempty,omitzero"`

	// Note says why part of the account is missing, such as a worker that does not answer.
	Note string `json:"note,omitempty,omitzero"`

	// Risk is the highest of the open gates; empty for none.
	Risk string `json:"risk,omitempty,omitzero"`

	// Run is who and what it is for: user, team, org, agent, tags, correlation.
	Run RunOrigin `json:"run"`

	// RunID the latest of the chain
	RunID     string        `json:"run_id"`
	Snapshots []SnapshotRef `json:"snapshots,omitzero"`

	// Spend is the run's budget: spent, reserved, limit. Calls counts model calls; of a closed run those of its own history, without those of runs that it started.
	Spend   Spend     `json:"spend"`
	Started time.Time `json:"started"`

	// State is the run's own word where a worker answers, else what Temporal's status says; Status is Temporal's.
	State  wflo.RunState `json:"state"`
	Status string        `json:"status"`

	// Steps and Events count finished steps, and events of history in the latest run.
	Steps     int64  `json:"steps"`
	TaskQueue string `json:"task_queue"`

	// TraceID is the run's trace; empty where none was made.
	TraceID string `json:"trace_id,omitempty,omitzero"`

	// Undo counts compensations by state.
	Undo map[string]int64 `json:"undo,omitempty,omitzero"`

	// Why says in one sentence why the run stopped or waits, and Next what somebody can do about it, as a command; empty where there is nothing to say.
	Why        string `json:"why,omitempty,omitzero"`
	Workflow   string `json:"workflow"`
	WorkflowID string `json:"workflow_id"`
}

// StoryModel Model is what a model call used and cost, as the ledger has it.
type StoryModel struct {
	// Amount US dollars, exact to a billionth.
	Amount   wflo.Money `json:"amount"`
	Model    string     `json:"model"`
	Provider string     `json:"provider"`

	// Reserved US dollars, exact to a billionth.
	Reserved wflo.Money `json:"reserved"`

	// Saved US dollars, exact to a billionth.
	Saved wflo.Money     `json:"saved,omitempty,omitzero"`
	State wflo.HoldState `json:"state,omitempty,omitzero"`

	// Usage counts tokens in disjoint buckets: their sum is everything that was billed by the token, and no token is in two of them. Providers count differently (OpenAI's prompt tokens include cached ones, Anthropic's do not; Gemini's candidates exclude thoughts); the drivers normalise.
	Usage Usage `json:"usage"`
}

// StoryPage Page is a part of a story.
type StoryPage struct {
	// Next goes on behind the last row; empty where there is no more now. For a run that is open, Next of its last page goes on with what happens since.
	Next string `json:"next,omitempty,omitzero"`

	// Open says that the run goes on.
	Open bool `json:"open"`

	// Parents are the rows that Rows are within and that an earlier page has.
	Parents []StoryRow `json:"parents,omitzero"`
	Rows    []StoryRow `json:"rows"`
}

// StoryPolicy Policy is a ruling that was recorded.
type StoryPolicy struct {
	Bundle string `json:"bundle,omitempty,omitzero"`

	// Inputs are the facts that the rules read.
	Inputs  json.RawMessage `json:"inputs,omitempty,omitzero"`
	Rules   []string        `json:"rules,omitzero"`
	Verdict string          `json:"verdict"`
}

// StoryRow Row is one line of the waterfall.
type StoryRow struct {
	// Attempts counts the tries; zero where that has no meaning.
	Attempts int64            `json:"attempts,omitempty,omitzero"`
	Began    time.Time        `json:"began,omitempty,omitzero"`
	Code     wflo.Code        `json:"code,omitempty,omitzero"`
	Effect   wflo.EffectClass `json:"effect,omitempty,omitzero"`
	End      time.Time        `json:"end,omitempty,omitzero"`

	// Error is the first line of what went wrong; the latest one while it is tried again.
	Error   string     `json:"error,omitempty,omitzero"`
	EventID int64      `json:"event_id"`
	Gate    *StoryGate `json:"gate,omitempty"`
	Hint    string     `json:"hint,omitempty,omitzero"`

	// ID names the row within the run, and stays the same as the run goes on. Parent is the row that it happened within; empty for the run itself.
	ID   string `json:"id"`
	Kind string `json:"kind"`

	// Model One of these is set, by Kind, where it is known.
	Model  *StoryModel  `json:"model,omitempty"`
	Name   string       `json:"name"`
	Parent string       `json:"parent,omitempty,omitzero"`
	Policy *StoryPolicy `json:"policy,omitempty"`

	// RunID and EventID are where Temporal's history has it.
	RunID    string         `json:"run_id"`
	Sandbox  *StorySandbox  `json:"sandbox,omitempty"`
	Snapshot *StorySnapshot `json:"snapshot,omitempty"`

	// Start is when it was asked for, Began when somebody took it up, End when it was over; zero where that is not yet.
	Start time.Time `json:"start"`
	State string    `json:"state"`

	// Step is the key of the step; Effect its class.
	Step string `json:"step,omitempty,omitzero"`

	// Summary is one line about it, such as what a gate asks.
	Summary string `json:"summary,omitempty,omitzero"`

	// Worker is who did it, as Temporal has it.
	Worker string `json:"worker,omitempty,omitzero"`
}

// StorySandbox Sandbox is what became of a program.
type StorySandbox struct {
	// Changed counts files that the program changed in the workspace.
	Changed int64 `json:"changed,omitempty,omitzero"`

	// CPU Nanoseconds.
	CPU      time.Duration `json:"cpu"`
	ExitCode int64         `json:"exit_code"`

	// Image with its digest
	Image string `json:"image,omitempty,omitzero"`

	// Limits are those in force, by name, in words.
	Limits map[string]string `json:"limits,omitempty,omitzero"`

	// Memory the most, in bytes
	Memory  int64  `json:"memory"`
	Network string `json:"network,omitempty,omitzero"`
	Outcome string `json:"outcome"`

	// Profiles says for seccomp, apparmor and so on what was in force.
	Profiles map[string]string `json:"profiles,omitempty,omitzero"`
	Runtime  string            `json:"runtime,omitempty,omitzero"`
	Stderr   int64             `json:"stderr"`

	// Stdout and Stderr are how many bytes came; the text is a detail.
	Stdout int64 `json:"stdout"`

	// Took Nanoseconds.
	Took time.Duration `json:"took"`
}

// StorySnapshot Snapshot names what was saved.
type StorySnapshot struct {
	Bytes int64             `json:"bytes,omitempty,omitzero"`
	ID    string            `json:"id"`
	Kind  wflo.SnapshotKind `json:"kind"`
	Name  string            `json:"name,omitempty,omitzero"`
}
