// Package step holds one typed name per activity of wflo. It is where the two
// halves meet: workflow code calls a step by name with [Of.Do], and package
// plugin proves with [Of.Check] that what it registers under that name takes
// and returns the same types. Neither half imports the other, so Docker and
// database drivers cannot reach workflow code.
package step

import (
	"context"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Of is the registered name of an activity that takes In and returns Out.
// Names are dispatched as strings only: a method reference would be resolved by
// its short name, which a user's own activity may have too.
type Of[In, Out any] string

// Do runs the activity and waits for it.
func (n Of[In, Out]) Do(ctx workflow.Context, in In) (Out, error) {
	var out Out
	err := workflow.ExecuteActivity(ctx, string(n), in).Get(ctx, &out)
	return out, err
}

// Check is a compile-time proof that fn can be registered as n.
func (Of[In, Out]) Check(func(context.Context, In) (Out, error)) {}

// None is the output of activities that return nothing.
type None struct{}

// Read asks for one file of the run's workspace.
type Read struct {
	Name  string `json:"name"`
	Limit int64  `json:"limit"` // bytes
}

// Progress is what the heartbeats of SandboxRun carry: what an operator sees of
// an execution that is still going, for instance in `temporal workflow describe`.
type Progress struct {
	// Output counts the bytes that the program wrote so far.
	Output int64 `json:"output"`
	// Tail is the end of that output, both streams as they arrived: at most
	// TailBytes of valid UTF-8 without control characters other than tabs and
	// line ends.
	Tail string `json:"tail,omitempty"`
	// Queue is there while the execution waits for room.
	Queue *sandbox.QueueState `json:"queue,omitempty"`
}

// TailBytes is how much output a heartbeat carries at most.
const TailBytes = 2 << 10

// Opening is a gate as it was opened, and the terms that decisions must meet.
type Opening struct {
	Gate  wflo.Gate  `json:"gate"`
	Terms wflo.Terms `json:"terms"`
}

// Telling is what happened to a gate, for its channels and the trail.
type Telling struct {
	Gate wflo.Gate `json:"gate"`
	// Kind is asked (anew, after an edit), reminder, escalated or decided.
	Kind wflo.NoticeKind `json:"kind"`
	// Decision is the one that caused it; nil where time did.
	Decision *wflo.Decision `json:"decision,omitempty"`
}

// Revocation takes back the approval of a gate. The answer is false when an
// activity has begun to act on it.
type Revocation struct {
	Gate     wflo.Gate     `json:"gate"`
	Decision wflo.Decision `json:"decision"`
}

// PinRequest asks which policies govern a run that begins. Bundle is that of the
// run's parent; empty for the worker's present one.
type PinRequest struct {
	Bundle string `json:"bundle,omitempty"`
}

// Question asks what the policies of a run say.
type Question struct {
	Bundle string     `json:"bundle"`
	Facts  wflo.Facts `json:"facts"`
	// Input is that of a model call, whose cost is estimated; nil for others.
	Prompt *wflo.Prompt `json:"prompt,omitempty"`
}

// DoLocal runs the activity within the workflow task: for answers that take
// microseconds and must be recorded.
func (n Of[In, Out]) DoLocal(ctx workflow.Context, in In) (Out, error) {
	var out Out
	err := workflow.ExecuteLocalActivity(ctx, string(n), in).Get(ctx, &out)
	return out, err
}

// Prefixes under which the activity structs are registered.
const (
	PrefixLLM      = "wflo.llm."
	PrefixSandbox  = "wflo.sandbox."
	PrefixApproval = "wflo.approval."
	PrefixBudget   = "wflo.budget."
	PrefixPolicy   = "wflo.policy."
)

// The activities.
const (
	LLMChat        Of[wflo.Prompt, wflo.Reply]      = PrefixLLM + "Chat"
	SandboxRun     Of[sandbox.Spec, sandbox.Result] = PrefixSandbox + "Run"
	SandboxRead    Of[Read, []byte]                 = PrefixSandbox + "Read"
	SandboxWrite   Of[[]wflo.File, None]            = PrefixSandbox + "Write"
	SandboxClose   Of[None, None]                   = PrefixSandbox + "Close"
	ApprovalOpen   Of[wflo.Gate, Opening]           = PrefixApproval + "Open"
	ApprovalClose  Of[wflo.Gate, None]              = PrefixApproval + "Close"
	ApprovalTell   Of[Telling, None]                = PrefixApproval + "Tell"
	ApprovalRevoke Of[Revocation, bool]             = PrefixApproval + "Revoke"
	PolicyPin      Of[PinRequest, wflo.Pin]         = PrefixPolicy + "Pin"
	PolicyJudge    Of[Question, wflo.Ruling]        = PrefixPolicy + "Judge"
	BudgetTopUp    Of[wflo.TopUp, wflo.Spend]       = PrefixBudget + "TopUp"
	BudgetAlert    Of[wflo.BudgetAlert, None]       = PrefixBudget + "Alert"
)
