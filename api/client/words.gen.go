// Code generated from docs/openapi.json by tools/apiclient. DO NOT EDIT.

package client

import (
	wflo "github.com/wflo-ai/wflo-go"
)

// Approval asks people to decide on one action before it happens. The zero value of every field but Gate and Action means the safe and simple thing: one approval by anybody whom the worker admits, within an hour, or else no.
type Approval = wflo.Approval

// AuditRecord is an event in its chain.
type AuditRecord = wflo.AuditRecord

// Budget limits spending. As a run's own (Run.Budget, Task.Budget) it has neither name nor period, and counts everything that the run and its child workflows pay for; the others are declared with the worker, or set by operators.
type Budget = wflo.Budget

// BudgetAlert is given in the transaction of the spending that caused it, once per window of the budget and threshold, and once per window for AlertExceeded. Raising the limit re-arms the thresholds above what is spent then.
type BudgetAlert = wflo.BudgetAlert

// BudgetLine is one budget that a reservation must fit.
type BudgetLine = wflo.BudgetLine

// CompensationRecord is one registered undo action.
type CompensationRecord = wflo.CompensationRecord

// CostQuery asks what was spent.
type CostQuery = wflo.CostQuery

// CostRow is what was spent for one key. An entry with several tags counts for each of them when By is ScopeTag.
type CostRow = wflo.CostRow

// Decision is a person's answer to one gate. Approval tools send it as the argument of the signal or update [SignalDecide]; Gate, Epoch and Digest are copied from the gate that was shown.
type Decision = wflo.Decision

// Entry is one line of the ledger. Entries are only ever added.
type Entry = wflo.Entry

// Factor is a set of approvers of whom some must approve.
type Factor = wflo.Factor

// Gate is an approval as it was shown to people: the question, what a decision must name to count, and the votes so far. The nonce is drawn when the gate opens, so a decision for an earlier opening of the same gate with the same payload (after a reset, say) has another digest and is refused. A gate changes by [Gate.Decide]d decisions through [Gate.Apply] and by time through [Gate.Pass]. Both are pure: workflow code, the activity that acts on an approval and whoever verifies the records come to the same result.
type Gate = wflo.Gate

// Halt stops a run.
type Halt = wflo.Halt

// Hold is a reservation as the ledger has it.
type Hold = wflo.Hold

// Inheritance is what a run that goes on from a snapshot has from the run before it, and could not claim in a header. A reopened run is the same run for money: it goes on under the same budgets and from what was spent. A fork has a budget of its own under those of the first run's parents, and has spent nothing.
type Inheritance = wflo.Inheritance

// Level is a step of an escalation.
type Level = wflo.Level

// LogLine is a structured line that a worker wrote while it worked on a run: wflo's own, or one of the user's code. Its JSON has the names that the worker's log has.
type LogLine = wflo.LogLine

// NoticeRecord is a notice with what became of it.
type NoticeRecord = wflo.NoticeRecord

// PartChange is one of them. Op is added, removed or changed; Before and After are sizes in bytes, or rows.
type PartChange = wflo.PartChange

// PartDiff is what differs in one part between two moments, the older one first.
type PartDiff = wflo.PartDiff

// Parts says what a snapshot takes, or a restore brings back, besides the state.
type Parts = wflo.Parts

// PlanItem names a step, a call, a gate or a child of a run.
type PlanItem = wflo.PlanItem

// PlanMore counts the items that the lists of a plan leave out.
type PlanMore = wflo.PlanMore

// Price is a rate table for one model at one moment, in pico-USD (1e-12 USD) per token. It is frozen into every ledger entry, so that history does not change when prices do.
type Price = wflo.Price

// Restore takes a run back to an earlier moment of it. It is the argument of the workflow WorkflowRestore, whose id is RestoreWorkflowID of the restore's ID: one restore takes effect once.
type Restore = wflo.Restore

// RestorePlan says what a restore would do, or did.
type RestorePlan = wflo.RestorePlan

// RestorePoint is a moment of a run: exactly one of the fields.
type RestorePoint = wflo.RestorePoint

// RunOrigin Run says which run an effect belongs to and for whom it acts. It travels in Temporal headers from the client through workflows, child workflows and continue-as-new into every activity, log line, ledger entry and trace.
type RunOrigin = wflo.Run

// Snapshot is one manifest over the parts of a run at a moment. It never changes once it is saved, its pin apart.
type Snapshot = wflo.Snapshot

// SnapshotPart is one part as it is stored.
type SnapshotPart = wflo.SnapshotPart

// SnapshotRef names a snapshot of a run.
type SnapshotRef = wflo.SnapshotRef

// Spend is the state of one budget in its current window. Spent + Reserved never exceeds Limit by our own doing, except where OnExceeded lets calls pass; Spent includes Unknown.
type Spend = wflo.Spend

// Status answers QueryStatus: what a run is doing, in words.
type Status = wflo.Status

// StepRecord is one finished step.
type StepRecord = wflo.StepRecord

// Usage counts tokens in disjoint buckets: their sum is everything that was billed by the token, and no token is in two of them. Providers count differently (OpenAI's prompt tokens include cached ones, Anthropic's do not; Gemini's candidates exclude thoughts); the drivers normalise.
type Usage = wflo.Usage
