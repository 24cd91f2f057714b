package wflo

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Effect is what a policy does to a step.
type Effect string

// The effects, from the weakest to the strongest. Of all policies that match, the
// strongest effect counts and the others' obligations are met besides.
const (
	EffectAllow    Effect = "allow"
	EffectAudit    Effect = "audit"
	EffectNotify   Effect = "notify"
	EffectApproval Effect = "require_approval"
	EffectHalt     Effect = "halt"
)

// Effects lists them from the weakest to the strongest.
func Effects() []Effect {
	return []Effect{EffectAllow, EffectAudit, EffectNotify, EffectApproval, EffectHalt}
}

// Above says that e is stronger than other.
func (e Effect) Above(other Effect) bool {
	return slices.Index(Effects(), e) > slices.Index(Effects(), other)
}

// FactsKind says what is judged.
type FactsKind string

// What policies judge.
const (
	FactsStep     FactsKind = "step"     // a workflows.Step, before it runs
	FactsModel    FactsKind = "model"    // a call of a language model
	FactsSandbox  FactsKind = "sandbox"  // a program in a sandbox
	FactsActivity FactsKind = "activity" // any other activity
	FactsGate     FactsKind = "gate"     // an approval that a workflow asks for
	FactsTime     FactsKind = "time"     // the run has gone on for so long
)

// Facts is all that policies may look at. The names in conditions are those of the
// JSON form. Amounts are dollars in conditions. What is not known about the thing
// that is judged is the zero value, and a condition that needs an argument which
// Args does not have is an error, which counts as a match.
type Facts struct {
	Kind FactsKind `json:"kind"`
	// Operation is what the step declares to do, such as "delete"; without a
	// declaration the name of step or activity.
	Operation string `json:"operation"`
	// Step is the step's name; Tool the tool that an agent calls; Activity the
	// activity's name.
	Step     string `json:"step"`
	Tool     string `json:"tool"`
	Activity string `json:"activity"`
	// Effect is the declared EffectClass, Risk that of a gate.
	Effect EffectClass `json:"effect"`
	Risk   Risk        `json:"risk"`
	User   string      `json:"user"`
	Team   string      `json:"team"`
	Org    string      `json:"org"`
	Agent  string      `json:"agent"`
	// Tags are the run's.
	Tags map[string]string `json:"tags"`
	// Provider and Model are those that a model call asks for.
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Cost is what the run has spent; EstimatedCost the worst case of this call.
	Cost          Money `json:"cost"`
	EstimatedCost Money `json:"estimated_cost"`
	// ExecutionTime is how long the run has gone on, in seconds.
	ExecutionTime float64 `json:"execution_time"`
	// Calls counts the run's model calls, Attempt how often the same step ran.
	Calls    int           `json:"calls"`
	Workflow WorkflowFacts `json:"workflow"`
	Budget   BudgetFacts   `json:"budget"`
	Sandbox  SandboxFacts  `json:"sandbox"`
	Time     TimeFacts     `json:"time"`
	// Args are the arguments: of a step those it declares, of an activity its
	// input (the members of its one object, or "0", "1", ...), of a tool those that
	// the model gave, of a gate its payload. A JSON object.
	Args json.RawMessage `json:"args"`
}

// WorkflowFacts say which run it is.
type WorkflowFacts struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Namespace string `json:"namespace"`
	// Generation counts continue-as-new, Epoch restores.
	Generation int `json:"generation"`
	Epoch      int `json:"epoch"`
}

// BudgetFacts are of the run's own budget; zero without one.
type BudgetFacts struct {
	Limit Money `json:"limit"`
	Spent Money `json:"spent"`
	Left  Money `json:"left"`
	// Used is what is spent, in percent of the limit; zero without one.
	Used float64 `json:"used"`
}

// SandboxFacts are what a sandboxed execution asks for.
type SandboxFacts struct {
	Image    string `json:"image"`
	Language string `json:"language"`
	// Network is none, allow-list or open.
	Network string `json:"network"`
	Runtime string `json:"runtime"`
	// Memory is in bytes, Timeout in seconds.
	Memory  int64   `json:"memory"`
	CPUs    float64 `json:"cpus"`
	Timeout float64 `json:"timeout"`
	// Secrets are the names of those it gets.
	Secrets []string `json:"secrets"`
}

// TimeFacts are the workflow's clock, in UTC.
type TimeFacts struct {
	Unix    int64 `json:"unix"` // seconds
	Hour    int   `json:"hour"`
	Minute  int   `json:"minute"`
	Weekday int   `json:"weekday"` // 0 is Sunday
}

// TimeFactsAt are those of a moment.
func TimeFactsAt(t time.Time) TimeFacts {
	t = t.UTC()
	return TimeFacts{Unix: t.Unix(), Hour: t.Hour(), Minute: t.Minute(), Weekday: int(t.Weekday())}
}

// Severity grades what is written down and told.
type Severity string

// The severities.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityError    Severity = "error"
	SeverityCritical Severity = "critical"
)

// Validate refuses an unknown severity.
func (s Severity) Validate() error {
	switch s {
	case SeverityInfo, SeverityWarning, SeverityError, SeverityCritical:
		return nil
	}
	return Invalid("severity", fmt.Sprintf("is %q", string(s)), "use info, warning, error or critical")
}

// Ruling is what the policies say about some Facts. It is recorded in history, and
// never worked out again.
type Ruling struct {
	// Bundle is the SHA-256, in hex, of the policies, and Facts that of the
	// canonical form of the facts.
	Bundle string `json:"bundle"`
	Facts  string `json:"facts"`
	Effect Effect `json:"effect"`
	// Matches are the policies that matched, in the order of the bundle.
	Matches []Match `json:"matches,omitempty"`
	// Approvals are what the matching policies ask for, one by one; there is at
	// least one where Effect is EffectApproval. Each is a template: Gate, Action
	// and Payload are the step's.
	Approvals []Approval `json:"approvals,omitempty"`
	// Risk is the risk rule that came first, and AutoApprove says that it needs
	// nobody. It counts for gates that are routed.
	Risk        string `json:"risk,omitempty"`
	AutoApprove bool   `json:"auto_approve,omitempty"`
	// Notify are channels that are told, Severity the highest that was asked for.
	Notify   []string `json:"notify,omitempty"`
	Severity Severity `json:"severity,omitempty"`
	// Halt is set where Effect is EffectHalt.
	Halt *Halt `json:"halt,omitempty"`
	// Model replaces the one that a model call asks for.
	Model string `json:"model,omitempty"`
	// Limit lowers the run's budget; zero leaves it.
	Limit Money `json:"limit,omitempty"`
}

// Match is one policy that matched.
type Match struct {
	Rule   string `json:"rule"`
	Effect Effect `json:"effect"`
	// Inputs are the values of the facts that the condition looked at, by name, as
	// text.
	Inputs map[string]string `json:"inputs,omitempty"`
	// Error says why the condition could not be judged, which counts as a match.
	Error string `json:"error,omitempty"`
	// Per is how far an approval reaches.
	Per Reach `json:"per,omitempty"`
	// Observed says that the policy is in audit mode: it is recorded, and nothing
	// that it asks for is done.
	Observed bool `json:"observed,omitempty"`
}

// Reach says how far an approval of a policy reaches.
type Reach string

// How far approvals reach: the one call, all calls of the step that it is within
// (and the call, outside of steps), or the rest of the run.
const (
	ReachCall Reach = "call"
	ReachStep Reach = "step"
	ReachRun  Reach = "run"
)

// Pin says which policies govern a run, decided when it begins.
type Pin struct {
	// Bundle is the hash; empty means that there are no policies.
	Bundle string `json:"bundle,omitempty"`
	// Quiet says that no policy can match anything but time, so that steps need
	// not be judged.
	Quiet bool `json:"quiet,omitempty"`
	// Timers are when conditions on execution_time may come true, ascending.
	Timers []time.Duration `json:"timers,omitempty"`
}
