// Code generated from docs/openapi.json by tools/apiclient. DO NOT EDIT.

package client

import (
	"encoding/json"
	"time"

	wflo "github.com/wflo-ai/wflo-go"
)

// APIKey is a key of the API as it is kept.
type APIKey struct {
	Expires time.Time `json:"expires,omitempty,omitzero"`
	Groups  []string  `json:"groups,omitzero"`
	ID      string    `json:"id"`
	MadeAt  time.Time `json:"made_at"`

	// MadeBy and the times say where it comes from. Expires is zero for never.
	MadeBy string `json:"made_by"`

	// Name says what it is for.
	Name    string            `json:"name"`
	Org     string            `json:"org,omitempty,omitzero"`
	Revoked time.Time         `json:"revoked,omitempty,omitzero"`
	Roles   []wflo.AccessRole `json:"roles"`
	Subject string            `json:"subject"`
	UsedAt  time.Time         `json:"used_at,omitempty,omitzero"`
}

// ApprovalItem Item is a gate with what it means to one person.
type ApprovalItem struct {
	AckedBy string `json:"acked_by,omitempty,omitzero"`

	// Approval asks people to decide on one action before it happens. The zero value of every field but Gate and Action means the safe and simple thing: one approval by anybody whom the worker admits, within an hour, or else no.
	Approval Approval `json:"approval"`

	// Changes counts what happened to the gate, so that an index of gates never takes an older state for a newer one.
	Changes  int64     `json:"changes,omitempty,omitzero"`
	ClosedAt time.Time `json:"closed_at,omitempty,omitzero"`

	// Counted is how many decisions have counted, which is bounded.
	Counted int64 `json:"counted,omitempty,omitzero"`

	// Decision is the one that counted; nil while the gate is open or when it timed out.
	Decision   *Decision `json:"decision,omitempty"`
	Digest     string    `json:"digest"`
	Epoch      int64     `json:"epoch"`
	ExpiresAt  time.Time `json:"expires_at"`
	FirstRunID string    `json:"first_run_id"`

	// Have and Need count approvals over all sets of approvers.
	Have        int64  `json:"have"`
	ID          string `json:"id"`
	LastRefusal string `json:"last_refusal,omitempty,omitzero"`

	// Level is how many levels of the escalation have been asked, and LevelAt when the latest was.
	Level     int64     `json:"level,omitempty,omitzero"`
	LevelAt   time.Time `json:"level_at,omitempty,omitzero"`
	Namespace string    `json:"namespace,omitempty,omitzero"`
	Need      int64     `json:"need"`
	Nonce     string    `json:"nonce"`
	OpenedAt  time.Time `json:"opened_at"`
	Org       string    `json:"org,omitempty,omitzero"`

	// Original Any JSON.
	Original json.RawMessage `json:"original,omitempty,omitzero"`

	// Raised are the decisions that escalated the gate, by [Decision.RecordID], so that one that is sent again does not do it again.
	Raised []string `json:"raised,omitzero"`

	// Refused counts decisions that did not count, with the last one's reason.
	Refused int64 `json:"refused,omitempty,omitzero"`

	// Reminded is how many reminders the present level got.
	Reminded int64 `json:"reminded,omitempty,omitzero"`

	// Requesters are those who cannot approve where the gate asks for four eyes: the people behind the run, and who edited the payload.
	Requesters []string `json:"requesters,omitzero"`

	// Revision counts edits; Original is the payload before the first.
	Revision int64           `json:"revision,omitempty,omitzero"`
	Status   wflo.GateStatus `json:"status"`
	Step     string          `json:"step,omitempty,omitzero"`

	// UseBy is until when the action may begin; zero unless approved.
	UseBy time.Time `json:"use_by,omitempty,omitzero"`

	// Used says that the action has begun, so that nothing can stop it here.
	Used bool `json:"used,omitempty,omitzero"`

	// User for whom the run acts
	User    string `json:"user,omitempty,omitzero"`
	Version int64  `json:"version,omitempty,omitzero"`

	// Votes are the latest decision of each person, on the present revision.
	Votes []Decision `json:"votes,omitzero"`

	// Workflow the workflow type
	Workflow   string `json:"workflow,omitempty,omitzero"`
	WorkflowID string `json:"workflow_id"`

	// You Standing is what one person may do at a gate.
	You Standing `json:"you"`
}

// ApprovalView View is a gate as it is now.
type ApprovalView struct {
	AckedBy string `json:"acked_by,omitempty,omitzero"`

	// Approval asks people to decide on one action before it happens. The zero value of every field but Gate and Action means the safe and simple thing: one approval by anybody whom the worker admits, within an hour, or else no.
	Approval Approval `json:"approval"`

	// Changes counts what happened to the gate, so that an index of gates never takes an older state for a newer one.
	Changes  int64     `json:"changes,omitempty,omitzero"`
	ClosedAt time.Time `json:"closed_at,omitempty,omitzero"`

	// Counted is how many decisions have counted, which is bounded.
	Counted int64 `json:"counted,omitempty,omitzero"`

	// Decision is the one that counted; nil while the gate is open or when it timed out.
	Decision   *Decision `json:"decision,omitempty"`
	Digest     string    `json:"digest"`
	Epoch      int64     `json:"epoch"`
	ExpiresAt  time.Time `json:"expires_at"`
	FirstRunID string    `json:"first_run_id"`

	// Have and Need count approvals over all sets of approvers.
	Have        int64  `json:"have"`
	ID          string `json:"id"`
	LastRefusal string `json:"last_refusal,omitempty,omitzero"`

	// Level is how many levels of the escalation have been asked, and LevelAt when the latest was.
	Level   int64     `json:"level,omitempty,omitzero"`
	LevelAt time.Time `json:"level_at,omitempty,omitzero"`

	// Live says that the run itself answered. Else the view is the index's, which may be behind, and Note says why.
	Live      bool      `json:"live"`
	Namespace string    `json:"namespace,omitempty,omitzero"`
	Need      int64     `json:"need"`
	Nonce     string    `json:"nonce"`
	Note      string    `json:"note,omitempty,omitzero"`
	OpenedAt  time.Time `json:"opened_at"`
	Org       string    `json:"org,omitempty,omitzero"`

	// Original Any JSON.
	Original json.RawMessage `json:"original,omitempty,omitzero"`

	// Raised are the decisions that escalated the gate, by [Decision.RecordID], so that one that is sent again does not do it again.
	Raised []string `json:"raised,omitzero"`

	// Refused counts decisions that did not count, with the last one's reason.
	Refused int64 `json:"refused,omitempty,omitzero"`

	// Reminded is how many reminders the present level got.
	Reminded int64 `json:"reminded,omitempty,omitzero"`

	// Requesters are those who cannot approve where the gate asks for four eyes: the people behind the run, and who edited the payload.
	Requesters []string `json:"requesters,omitzero"`

	// Revision counts edits; Original is the payload before the first.
	Revision int64 `json:"revision,omitempty,omitzero"`

	// Sets are the sets of approvers that each must approve.
	Sets   []ApproverSet   `json:"sets"`
	Status wflo.GateStatus `json:"status"`
	Step   string          `json:"step,omitempty,omitzero"`

	// UseBy is until when the action may begin; zero unless approved.
	UseBy time.Time `json:"use_by,omitempty,omitzero"`

	// Used says that the action has begun, so that nothing can stop it here.
	Used bool `json:"used,omitempty,omitzero"`

	// User for whom the run acts
	User    string `json:"user,omitempty,omitzero"`
	Version int64  `json:"version,omitempty,omitzero"`

	// Votes are the latest decision of each person, on the present revision.
	Votes []Decision `json:"votes,omitzero"`

	// Workflow the workflow type
	Workflow   string `json:"workflow,omitempty,omitzero"`
	WorkflowID string `json:"workflow_id"`

	// You Standing is what one person may do at a gate.
	You Standing `json:"you"`
}

// ApproverSet Set is a set of approvers with the approvals that it has.
type ApproverSet struct {
	// Approvers none means anybody
	Approvers []string `json:"approvers"`
	Have      int64    `json:"have"`
	Need      int64    `json:"need"`
	Rule      string   `json:"rule,omitempty,omitzero"`
}

// CompensationDecision is the body that decides about a dead letter.
type CompensationDecision struct {
	// Reason is required to resolve and to skip; it is recorded.
	Reason string `json:"reason,omitempty,omitzero"`
}

// ControlRequest is the body that halts or cancels a run.
type ControlRequest struct {
	// Reason is required to halt; it is recorded.
	Reason string `json:"reason,omitempty,omitzero"`
}

// Costs is a report of what was spent.
type Costs struct {
	// Query CostQuery asks what was spent.
	Query CostQuery `json:"query"`
	Rows  []CostRow `json:"rows"`

	// Total is for all entries that the query fits. It is not always the sum of the rows: an entry with two tags is in two of them.
	Total CostRow `json:"total"`
}

// DecideBody Request is what a person decides about a gate that they were shown.
type DecideBody struct {
	Digest string `json:"digest"`

	// Edit Any JSON.
	Edit json.RawMessage `json:"edit,omitempty,omitzero"`

	// Form Any JSON.
	Form json.RawMessage `json:"form,omitempty,omitzero"`

	// ID tells two decisions of the same kind apart: a form has its own each time it is shown, so that a double click is one decision. It may be empty.
	ID string `json:"id,omitempty,omitzero"`

	// Nonce and Digest are those of the gate as it was shown.
	Nonce  string `json:"nonce,omitempty,omitzero"`
	Reason string `json:"reason,omitempty,omitzero"`

	// Text or Form answer with wflo.VerdictRespond; Edit is the whole payload that wflo.VerdictEdit wants instead.
	Text    string       `json:"text,omitempty,omitzero"`
	Verdict wflo.Verdict `json:"verdict"`
}

// DecisionRequest Request is what a person decides about a gate that they were shown.
type DecisionRequest struct {
	Digest string `json:"digest"`

	// Edit Any JSON.
	Edit json.RawMessage `json:"edit,omitempty,omitzero"`

	// Form Any JSON.
	Form json.RawMessage `json:"form,omitempty,omitzero"`

	// ID tells two decisions of the same kind apart: a form has its own each time it is shown, so that a double click is one decision. It may be empty.
	ID string `json:"id,omitempty,omitzero"`

	// Nonce and Digest are those of the gate as it was shown.
	Nonce  string `json:"nonce"`
	Reason string `json:"reason,omitempty,omitzero"`

	// Text or Form answer with wflo.VerdictRespond; Edit is the whole payload that wflo.VerdictEdit wants instead.
	Text    string       `json:"text,omitempty,omitzero"`
	Verdict wflo.Verdict `json:"verdict"`
}

// KeyRequest is the body that makes an API key.
type KeyRequest struct {
	// Expires is when the key ends; without it, never.
	Expires time.Time `json:"expires,omitempty,omitzero"`
	Groups  []string  `json:"groups,omitzero"`

	// Name says what the key is for, Subject whom it stands for. Required, with at least one role.
	Name    string            `json:"name"`
	Org     string            `json:"org,omitempty,omitzero"`
	Roles   []wflo.AccessRole `json:"roles"`
	Subject string            `json:"subject"`
}

// LevelChange is the body of a change of the log level.
type LevelChange struct {
	// For is how long, such as 10m; empty means for good.
	For string `json:"for,omitempty,omitzero"`

	// Level is debug, info, warn or error.
	Level string `json:"level"`
}

// Lineage is how a run and others come from each other.
type Lineage struct {
	// Run is the one that was asked about, as "workflow id/first run id".
	Run string `json:"run"`

	// Steps are the restores that made them, the oldest first.
	Steps []LineageStep `json:"steps"`
}

// LineageStep is one restore: from one run into the same, or into another one.
type LineageStep struct {
	Asked time.Time        `json:"asked,omitempty,omitzero"`
	By    string           `json:"by"`
	Dead  int64            `json:"dead,omitempty,omitzero"`
	Ended time.Time        `json:"ended,omitempty,omitzero"`
	Epoch int64            `json:"epoch,omitempty,omitzero"`
	Error string           `json:"error,omitempty,omitzero"`
	From  string           `json:"from"`
	ID    string           `json:"id"`
	Into  string           `json:"into,omitempty,omitzero"`
	Mode  wflo.RestoreMode `json:"mode"`

	// Moment is what was gone back to, Snapshot the snapshot of it, with its name.
	Moment time.Time `json:"moment,omitempty,omitzero"`
	Name   string    `json:"name,omitempty,omitzero"`

	// PreRestore is the snapshot of what was given up.
	PreRestore string            `json:"pre_restore,omitempty,omitzero"`
	Reason     string            `json:"reason"`
	Snapshot   string            `json:"snapshot,omitempty,omitzero"`
	State      wflo.RestoreState `json:"state"`

	// Undone and Dead count the compensations that it meant, and those that failed.
	Undone int64 `json:"undone,omitempty,omitzero"`
}

// LiveOutput is what is known of a program that runs in a sandbox, by its last heartbeat.
type LiveOutput struct {
	Activity   string `json:"activity"`
	ActivityID string `json:"activity_id"`
	Attempt    int32  `json:"attempt"`

	// Output counts the bytes that the program wrote so far.
	Output int64 `json:"output"`

	// Queue is there while the execution waits for room.
	Queue *SandboxQueueState `json:"queue,omitempty"`

	// Tail is the end of that output, both streams as they arrived: at most TailBytes of valid UTF-8 without control characters other than tabs and line ends.
	Tail string `json:"tail,omitempty,omitzero"`
}

// LogLevel LevelState is a level and what becomes of it: the JSON of the API.
type LogLevel struct {
	// Level DEBUG, INFO, WARN or ERROR.
	Level string `json:"level"`

	// Then DEBUG, INFO, WARN or ERROR.
	Then string `json:"then"`

	// Until is when the level goes back to Then; zero where it stays.
	Until time.Time `json:"until,omitempty,omitzero"`
}

// NewKey is a key that was made. Key is shown this once.
type NewKey struct {
	Expires time.Time `json:"expires,omitempty,omitzero"`
	Groups  []string  `json:"groups,omitzero"`
	ID      string    `json:"id"`
	Key     string    `json:"key"`
	MadeAt  time.Time `json:"made_at"`

	// MadeBy and the times say where it comes from. Expires is zero for never.
	MadeBy string `json:"made_by"`

	// Name says what it is for.
	Name    string            `json:"name"`
	Org     string            `json:"org,omitempty,omitzero"`
	Revoked time.Time         `json:"revoked,omitempty,omitzero"`
	Roles   []wflo.AccessRole `json:"roles"`
	Subject string            `json:"subject"`
	UsedAt  time.Time         `json:"used_at,omitempty,omitzero"`
}

// Problem is the body of every failure.
type Problem struct {
	Code    string `json:"code"`
	Hint    string `json:"hint,omitempty,omitzero"`
	Message string `json:"message"`
}

// Reconciled is a hold that was settled by hand.
type Reconciled struct {
	// Amount US dollars, exact to a billionth.
	Amount  wflo.Money `json:"amount"`
	Attempt int64      `json:"attempt"`

	// Charged is what the budgets were charged before, Amount what it is now.
	Charged wflo.Money     `json:"charged"`
	Key     wflo.EffectKey `json:"key"`
}

// Reconciliation is the body of a settlement by hand: what the provider billed for a call whose outcome is unknown.
type Reconciliation struct {
	// Amount required; zero when nothing was billed
	Amount wflo.Money `json:"amount"`

	// Reason required
	Reason string `json:"reason"`
}

// Removed says which budget is no more.
type Removed struct {
	Budget string `json:"budget"`
}

// RestoreRunBody Restore takes a run back to an earlier moment of it. It is the argument of the workflow WorkflowRestore, whose id is RestoreWorkflowID of the restore's ID: one restore takes effect once.
type RestoreRunBody struct {
	// AcceptIrreversible goes back behind effects that cannot be undone. Without it the restore is refused and names them.
	AcceptIrreversible bool `json:"accept_irreversible,omitempty,omitzero"`

	// By and Reason say who and why. Reason is required unless DryRun is set.
	By string `json:"by,omitempty,omitzero"`

	// DryRun only plans.
	DryRun     bool   `json:"dry_run,omitempty,omitzero"`
	FirstRunID string `json:"first_run_id,omitempty,omitzero"`

	// ID names the restore; whoever asks chooses it, at random. Required.
	ID string `json:"id,omitempty,omitzero"`

	// Mode is how; empty means in place for a run that is open, and reopen for one that is closed.
	Mode wflo.RestoreMode `json:"mode,omitempty,omitzero"`

	// NewID is the workflow id of a fork; empty means the run's own with the restore's ID.
	NewID string `json:"new_id,omitempty,omitzero"`

	// Parts are those that are brought back besides the state; nil means all that the snapshot has, and for a fork no tables, which the first run goes on using.
	Parts *Parts `json:"parts,omitempty"`

	// Plan is the Digest of the plan that somebody has looked at: where the plan is another one by now, the restore is refused with CodeConflict. Empty means any.
	Plan   string `json:"plan,omitempty,omitzero"`
	Reason string `json:"reason,omitempty,omitzero"`

	// To is where to. Required.
	To RestorePoint `json:"to"`

	// WorkflowID is the run's; FirstRunID may name one of several with that id, else it is the latest.
	WorkflowID string `json:"workflow_id,omitempty,omitzero"`
}

// RestoreStatus is a restore as far as it is.
type RestoreStatus struct {
	// Asked and Ended are by the clock of the database.
	Asked time.Time `json:"asked,omitempty,omitzero"`

	// Dead are compensations that failed for good.
	Dead  []CompensationRecord `json:"dead,omitzero"`
	Ended time.Time            `json:"ended,omitempty,omitzero"`
	Epoch int64                `json:"epoch,omitempty,omitzero"`
	Error string               `json:"error,omitempty,omitzero"`

	// From is the run that was taken back, as "workflow id/first run id"; Into is the run that goes on: the same, or the new one. Epoch is its epoch.
	From string `json:"from"`

	// Inherits is what the run that a fork or a reopening starts has from the run before.
	Inherits *Inheritance `json:"inherits,omitempty"`
	Into     string       `json:"into,omitempty,omitzero"`

	// Plan RestorePlan says what a restore would do, or did.
	Plan RestorePlan `json:"plan"`

	// Planning says that nothing is on record yet: the plan is being made.
	Planning bool `json:"planning,omitempty,omitzero"`

	// PreRestore is the snapshot of what was given up; empty where there was nothing.
	PreRestore string `json:"pre_restore,omitempty,omitzero"`

	// Problem says why it was refused or failed, where it was.
	Problem *Problem `json:"problem,omitempty"`

	// Restore takes a run back to an earlier moment of it. It is the argument of the workflow WorkflowRestore, whose id is RestoreWorkflowID of the restore's ID: one restore takes effect once.
	Restore Restore           `json:"restore"`
	State   wflo.RestoreState `json:"state"`
}

// Retried says which notice is due again.
type Retried struct {
	Notice string `json:"notice"`
}

// Run is one run in a list.
type Run struct {
	Closed   time.Time `json:"closed,omitempty,omitzero"`
	Deadline time.Time `json:"deadline,omitempty,omitzero"`

	// FirstRunID is that of the first in a chain of runs; empty when Temporal does not say.
	FirstRunID string `json:"first_run_id,omitempty,omitzero"`

	// Gates are the open ones, Risk the highest of them, Deadline when the first of them times out.
	Gates []string  `json:"gates,omitzero"`
	ID    string    `json:"id"`
	Org   string    `json:"org,omitempty,omitzero"`
	Risk  wflo.Risk `json:"risk,omitempty,omitzero"`
	RunID string    `json:"run_id"`

	// Spent is rounded to a hundredth of a cent; nil means unknown. The ledger has the exact figure.
	Spent   *wflo.Money `json:"spent,omitempty"`
	Started time.Time   `json:"started"`

	// State is the run's own word, as the visibility store has it.
	State wflo.RunState `json:"state"`

	// Status Temporal's: Running, Completed, ...
	Status   string `json:"status"`
	Team     string `json:"team,omitempty,omitzero"`
	User     string `json:"user,omitempty,omitzero"`
	Workflow string `json:"workflow"`
}

// RunControl says what became of a halt or a cancellation.
type RunControl struct {
	By     string `json:"by"`
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty,omitzero"`

	// Recorded says that the trail has it. An emergency stop does not wait for a database that is down; a cancellation does.
	Recorded bool `json:"recorded"`

	// RunID is that of the run that was told.
	RunID string `json:"run_id"`

	// State is halting or cancelling, as long as the run has not ended by it; then it is halted or cancelled.
	State string `json:"state"`
}

// RunDetail is one run in full.
type RunDetail struct {
	Closed   time.Time `json:"closed,omitempty,omitzero"`
	Deadline time.Time `json:"deadline,omitempty,omitzero"`

	// Detail is the run's own account; absent when no worker answers for it.
	Detail *Status `json:"detail,omitempty"`

	// FirstRunID is that of the first in a chain of runs; empty when Temporal does not say.
	FirstRunID string `json:"first_run_id,omitempty,omitzero"`

	// Gates are the open ones, Risk the highest of them, Deadline when the first of them times out.
	Gates []string  `json:"gates,omitzero"`
	ID    string    `json:"id"`
	Org   string    `json:"org,omitempty,omitzero"`
	Risk  wflo.Risk `json:"risk,omitempty,omitzero"`
	RunID string    `json:"run_id"`

	// Spend is the run's budget in the ledger.
	Spend Spend `json:"spend"`

	// Spent is rounded to a hundredth of a cent; nil means unknown. The ledger has the exact figure.
	Spent   *wflo.Money `json:"spent,omitempty"`
	Started time.Time   `json:"started"`

	// State is the run's own word, as the visibility store has it.
	State wflo.RunState `json:"state"`

	// Status Temporal's: Running, Completed, ...
	Status   string `json:"status"`
	Team     string `json:"team,omitempty,omitzero"`
	User     string `json:"user,omitempty,omitzero"`
	Workflow string `json:"workflow"`
}

// RunLogs is a page of a run's log lines.
type RunLogs struct {
	// Ended says that the run has closed. Workers hand the last lines over a moment later.
	Ended      bool   `json:"ended"`
	FirstRunID string `json:"first_run_id"`

	// Lines are in the order in which they were kept.
	Lines []LogLine `json:"lines"`

	// Live is what programs write at this moment, where that was asked for.
	Live []LiveOutput `json:"live,omitzero"`

	// Next is what to give as after to read on.
	Next int64 `json:"next"`
}

// SandboxQueueState QueueState is what an execution waits for before it starts.
type SandboxQueueState struct {
	// Position is its place among those that wait like it, from 1; zero if the runner does not know.
	Position int64 `json:"position,omitempty,omitzero"`

	// Reason says what there is no room of, such as "memory of the host".
	Reason string `json:"reason,omitempty,omitzero"`

	// Waiting is true while there is no room, and false once, when there is.
	Waiting bool `json:"waiting"`
}

// SchemaVersion compares the schema of a database with that of a program.
type SchemaVersion struct {
	// Have is the version that the database has, Known the newest that the program knows.
	Have  int64 `json:"have"`
	Known int64 `json:"known"`
}

// SetBudgetBody Budget limits spending. As a run's own (Run.Budget, Task.Budget) it has neither name nor period, and counts everything that the run and its child workflows pay for; the others are declared with the worker, or set by operators.
type SetBudgetBody struct {
	// Limit is the most that may be spent per period. Zero means no limit.
	Limit wflo.Money `json:"limit,omitempty,omitzero"`
	Name  string     `json:"name,omitempty,omitzero"`

	// OnExceeded says what happens to a call that does not fit.
	OnExceeded wflo.OnExceeded `json:"on_exceeded,omitempty,omitzero"`

	// Period says when it starts again from zero.
	Period wflo.Period `json:"period,omitempty,omitzero"`

	// Scope and Name say whose spending counts: ScopeUser and "ann". An empty scope is ScopeRun, an empty name is [Each].
	Scope wflo.Scope `json:"scope,omitempty,omitzero"`

	// Thresholds are the percentages of the limit, 1 to 100, that alert once per window each, ascending. Nil means DefaultThresholds, empty means none.
	Thresholds []int64 `json:"thresholds,omitzero"`

	// TimeZone is the IANA name of the zone whose calendar counts, such as Europe/Berlin. Empty means UTC.
	TimeZone string `json:"time_zone,omitempty,omitzero"`
}

// SnapshotDiff is what differs between two snapshots, the older one first.
type SnapshotDiff struct {
	Diffs []PartDiff `json:"diffs"`

	// From Snapshot is one manifest over the parts of a run at a moment. It never changes once it is saved, its pin apart.
	From Snapshot `json:"from"`

	// To Snapshot is one manifest over the parts of a run at a moment. It never changes once it is saved, its pin apart.
	To Snapshot `json:"to"`
}

// SnapshotRequest is the body that asks a run for a snapshot of itself.
type SnapshotRequest struct {
	// ID makes asking again harmless: the same one gives the same snapshot. Required.
	ID    string `json:"id"`
	Name  string `json:"name,omitempty,omitzero"`
	Parts *Parts `json:"parts,omitempty"`
}

// Standing is what one person may do at a gate.
type Standing struct {
	// Can are the verdicts that would be taken.
	Can []wflo.Verdict `json:"can,omitzero"`

	// Eligible says that the person is among those who are asked now.
	Eligible bool `json:"eligible"`

	// Excluded says that four eyes are needed, and that the person is behind the run or changed the action.
	Excluded bool `json:"excluded,omitempty,omitzero"`

	// Voted is the verdict that counts for the person at present.
	Voted wflo.Verdict `json:"voted,omitempty,omitzero"`

	// Why says why the person cannot approve; empty where they can.
	Why string `json:"why,omitempty,omitzero"`
}

// TopUp is the body of a top-up; the path names the budget and HeaderUser says who it is by.
type TopUp struct {
	// Amount US dollars, exact to a billionth.
	Amount wflo.Money `json:"amount"`

	// Key makes it idempotent: the same key raises once.
	Key    string `json:"key"`
	Reason string `json:"reason,omitempty,omitzero"`
}

// Version says what the program that answers is made of, and what it works with.
type Version struct {
	API string `json:"api"`
	Go  string `json:"go"`

	// Program is the version of the program, Revision the commit that it was built from, and Go what built it; "unknown" where the program does not know.
	Program  string `json:"program"`
	Revision string `json:"revision"`

	// Schema is that of the database; absent where it does not say.
	Schema *SchemaVersion `json:"schema,omitempty"`

	// Temporal is the version of the server; empty where it does not answer.
	Temporal string `json:"temporal,omitempty,omitzero"`
}

// Whoami is what the console knows of a caller.
type Whoami struct {
	// At is when it was proved: for a session, the login.
	At time.Time `json:"at,omitempty,omitzero"`

	// Csrf CSRF is what requests of a session repeat in HeaderCSRF to change something.
	Csrf  string `json:"csrf,omitempty,omitzero"`
	Email string `json:"email,omitempty,omitzero"`

	// Groups are those of approver lists, without the prefix "group:".
	Groups []string `json:"groups,omitzero"`

	// Key is the id of the API key.
	Key string `json:"key,omitempty,omitzero"`

	// Method is how it was proved: apikey, oidc, ldap, slack, email, or the name of a custom one.
	Method string `json:"method"`

	// Name is for display; empty means the Subject.
	Name string `json:"name,omitempty,omitzero"`

	// Org bounds what is seen to one tenant; empty means all of them.
	Org   string            `json:"org,omitempty,omitzero"`
	Roles []wflo.AccessRole `json:"roles,omitzero"`

	// Subject names the person: what approver lists and records hold.
	Subject string `json:"subject"`
}
