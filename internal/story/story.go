// Package story tells what happened to a run: one account, for the run's page, the
// command line, the API and exported traces, so that nothing is computed twice.
//
// A [Teller] joins what Temporal's history, the ledger, the gates, the trail and the
// snapshots say. A story has a [Head], which is cheap however long the run is, and
// [Row]s in pages: what was begun, in the order in which it began, each within the row
// that it belongs to. A run is told along its chain: what continued as new is one run.
//
// Content that models, people or programs wrote is in no row: rows have names, numbers,
// hashes and errors. [Teller.Detail] reads one row in full, bounded, for who may see it.
package story

import (
	"encoding/json"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Kind says what a row is about.
type Kind string

// The kinds of rows.
const (
	KindStep         Kind = "step"
	KindModel        Kind = "model"    // a call of a language model
	KindTool         Kind = "tool"     // a tool of an agent
	KindSandbox      Kind = "sandbox"  // a program in a sandbox
	KindApproval     Kind = "approval" // a gate
	KindPolicy       Kind = "policy"   // a ruling that did not just allow
	KindSnapshot     Kind = "snapshot"
	KindRestore      Kind = "restore"
	KindCompensation Kind = "compensation" // undoing an effect
	KindActivity     Kind = "activity"     // any other activity
	KindTimer        Kind = "timer"
	KindSignal       Kind = "signal"
	KindChild        Kind = "child" // a child workflow
	KindRun          Kind = "run"   // a run of the chain began, ended or was reset
)

// State says how far a row is.
type State string

// The states of rows.
const (
	StateRunning   State = "running"
	StateWaiting   State = "waiting" // for a person, or for its next attempt
	StateDone      State = "done"
	StateFailed    State = "failed"
	StateCancelled State = "cancelled"
	StateTimedOut  State = "timed_out"
	StateRejected  State = "rejected" // by a person or a policy
	StateUndone    State = "undone"   // it was done, and undone since
)

// Head is what the top of a run's page says.
type Head struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`       // the latest of the chain
	FirstRunID string `json:"first_run_id"` // by which ledger and trail know the chain
	Workflow   string `json:"workflow"`
	TaskQueue  string `json:"task_queue"`
	Namespace  string `json:"namespace"`
	// State is the run's own word where a worker answers, else what Temporal's status
	// says; Status is Temporal's.
	State  wflo.RunState `json:"state"`
	Status string        `json:"status"`
	// Why says in one sentence why the run stopped or waits, and Next what somebody can
	// do about it, as a command; empty where there is nothing to say.
	Why  string `json:"why,omitempty"`
	Next string `json:"next,omitempty"`
	// Note says why part of the account is missing, such as a worker that does not answer.
	Note string `json:"note,omitempty"`
	// Run is who and what it is for: user, team, org, agent, tags, correlation.
	Run     wflo.Run  `json:"run"`
	Started time.Time `json:"started"`
	Closed  time.Time `json:"closed,omitzero"`
	// Risk is the highest of the open gates; empty for none.
	Risk string `json:"risk,omitempty"`
	// Spend is the run's budget: spent, reserved, limit. Calls counts model calls; of a
	// closed run those of its own history, without those of runs that it started.
	Spend wflo.Spend `json:"spend"`
	Calls int        `json:"calls"`
	// Gates are the open ones, in full; Snapshots are the latest.
	Gates     []wflo.Gate        `json:"gates,omitempty"`
	Snapshots []wflo.SnapshotRef `json:"snapshots,omitempty"`
	// Undo counts compensations by state.
	Undo map[wflo.CompensationState]int `json:"undo,omitempty"`
	// Halted says who stopped the run, and why.
	Halted *wflo.Halt `json:"halted,omitempty"`
	// Error and Hint say why it failed, Code how.
	Error string    `json:"error,omitempty"`
	Hint  string    `json:"hint,omitempty"`
	Code  wflo.Code `json:"code,omitempty"`
	// Bundle is the hash of the policies that the run is pinned to.
	Bundle string `json:"bundle,omitempty"`
	// Steps and Events count finished steps, and events of history in the latest run.
	Steps  int   `json:"steps"`
	Events int64 `json:"events"`
	// TraceID is the run's trace; empty where none was made.
	TraceID string `json:"trace_id,omitempty"`
}

// Row is one line of the waterfall.
type Row struct {
	// ID names the row within the run, and stays the same as the run goes on. Parent is
	// the row that it happened within; empty for the run itself.
	ID     string `json:"id"`
	Parent string `json:"parent,omitempty"`
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
	State  State  `json:"state"`
	// Start is when it was asked for, Began when somebody took it up, End when it was
	// over; zero where that is not yet.
	Start time.Time `json:"start"`
	Began time.Time `json:"began,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Attempts counts the tries; zero where that has no meaning.
	Attempts int `json:"attempts,omitempty"`
	// Worker is who did it, as Temporal has it.
	Worker string `json:"worker,omitempty"`
	// Step is the key of the step; Effect its class.
	Step   string           `json:"step,omitempty"`
	Effect wflo.EffectClass `json:"effect,omitempty"`
	// Error is the first line of what went wrong; the latest one while it is tried again.
	Error string    `json:"error,omitempty"`
	Hint  string    `json:"hint,omitempty"`
	Code  wflo.Code `json:"code,omitempty"`
	// Summary is one line about it, such as what a gate asks.
	Summary string `json:"summary,omitempty"`
	// One of these is set, by Kind, where it is known.
	Model    *Model    `json:"model,omitempty"`
	Sandbox  *Sandbox  `json:"sandbox,omitempty"`
	Gate     *Gate     `json:"gate,omitempty"`
	Policy   *Policy   `json:"policy,omitempty"`
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// RunID and EventID are where Temporal's history has it.
	RunID   string `json:"run_id"`
	EventID int64  `json:"event_id"`
}

// Model is what a model call used and cost, as the ledger has it.
type Model struct {
	Provider string         `json:"provider"`
	Model    string         `json:"model"`
	State    wflo.HoldState `json:"state,omitempty"`
	Usage    wflo.Usage     `json:"usage"`
	Amount   wflo.Money     `json:"amount"`
	Reserved wflo.Money     `json:"reserved"`
	Saved    wflo.Money     `json:"saved,omitempty"`
}

// Sandbox is what became of a program.
type Sandbox struct {
	Outcome  string        `json:"outcome"`
	ExitCode int           `json:"exit_code"`
	Image    string        `json:"image,omitempty"` // with its digest
	Runtime  string        `json:"runtime,omitempty"`
	Network  string        `json:"network,omitempty"`
	Took     time.Duration `json:"took"`
	CPU      time.Duration `json:"cpu"`
	Memory   int64         `json:"memory"` // the most, in bytes
	// Profiles says for seccomp, apparmor and so on what was in force.
	Profiles map[string]string `json:"profiles,omitempty"`
	// Limits are those in force, by name, in words.
	Limits map[string]string `json:"limits,omitempty"`
	// Changed counts files that the program changed in the workspace.
	Changed int `json:"changed,omitempty"`
	// Stdout and Stderr are how many bytes came; the text is a detail.
	Stdout int64 `json:"stdout"`
	Stderr int64 `json:"stderr"`
}

// Gate is how a gate ended.
type Gate struct {
	Nonce  string          `json:"nonce"`
	Status wflo.GateStatus `json:"status"`
	By     []string        `json:"by,omitempty"`
	Risk   string          `json:"risk,omitempty"`
}

// Policy is a ruling that was recorded.
type Policy struct {
	Verdict string   `json:"verdict"`
	Rules   []string `json:"rules,omitempty"`
	Bundle  string   `json:"bundle,omitempty"`
	// Inputs are the facts that the rules read.
	Inputs json.RawMessage `json:"inputs,omitempty"`
}

// Snapshot names what was saved.
type Snapshot struct {
	ID    string            `json:"id"`
	Name  string            `json:"name,omitempty"`
	Kind  wflo.SnapshotKind `json:"kind"`
	Bytes int64             `json:"bytes,omitempty"`
}

// Query asks for rows.
type Query struct {
	WorkflowID string
	// RunID is one of the chain, or its first; empty means the latest chain.
	RunID string
	// After is Page.Next of the page before; empty means from the start.
	After string
	// Latest gives the end of the story instead of its start, still in order.
	Latest bool
	// Kinds leaves out all others; empty means all.
	Kinds []Kind
	// Limit is at most 1000; zero means 200.
	Limit int
}

// Page is a part of a story.
type Page struct {
	Rows []Row `json:"rows"`
	// Parents are the rows that Rows are within and that an earlier page has.
	Parents []Row `json:"parents,omitempty"`
	// Next goes on behind the last row; empty where there is no more now. For a run that
	// is open, Next of its last page goes on with what happens since.
	Next string `json:"next,omitempty"`
	// Open says that the run goes on.
	Open bool `json:"open"`
}

// Detail is a row with what it was about.
type Detail struct {
	Row
	// Input, Output are JSON where they are, cut to MostDetail; Cut says so, and Size
	// how many bytes there are in all.
	Input  *Content `json:"input,omitempty"`
	Output *Content `json:"output,omitempty"`
	// Stdout and Stderr of a sandbox, its changed files and artifacts.
	Stdout *Content `json:"stdout,omitempty"`
	Stderr *Content `json:"stderr,omitempty"`
	Files  []string `json:"files,omitempty"`
	// Trace is the whole error, with its stack.
	Trace string `json:"trace,omitempty"`
}

// MostDetail bounds each Content, in bytes: the rest is a download.
const MostDetail = 64 << 10

// Content is the head of something that may be large.
type Content struct {
	Text string `json:"text"`
	Size int64  `json:"size"`
	Cut  bool   `json:"cut,omitempty"`
}
