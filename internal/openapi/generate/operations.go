package main

import (
	"reflect"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/story"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// operation is what the table of routes does not say about one of them.
type operation struct {
	id, summary string
	// query are the parameters, by the names in params or as NAME=other meaning.
	query []string
	// in and out are what the bodies have; nil means none. Something that is not JSON has
	// media instead of out.
	in, out reflect.Type
	// media is the content type of an answer that is not JSON.
	media string
	// later says that the answer may be 202: it goes on, ask again.
	later bool
	// optional says that the body may be left out.
	optional bool
	// clashes says that the answer may be 409: it is too late.
	clashes bool
}

func of[T any]() reflect.Type { return reflect.TypeFor[T]() }

// operations are all paths of the API, by the pattern of their route.
var operations = join(aboutRuns, aboutStories, aboutDecisions, aboutMoney, aboutRecovery, aboutOperation)

var aboutRuns = map[string]operation{
	"GET /api/v1/runs": {
		id: "listRuns", summary: "List runs, the newest first. The header Link leads to the next page.", out: of[[]console.Run](),
		query: []string{"state", "workflow", "user", "team", "id", "from", "to", "internal", "after", "limit"},
	},
	"GET /api/v1/runs/{id}":        {id: "getRun", summary: "Read one run, with its own account and its budget.", out: of[console.RunDetail]()},
	"GET /api/v1/runs/{id}/ledger": {id: "listEntries", summary: "List what a run was charged, call by call.", out: of[[]wflo.Entry]()},
	"GET /api/v1/runs/{id}/logs": {
		id: "getLogs", summary: "Read a page of the log lines that workers kept of a run.", out: of[console.RunLogs](),
		query: []string{"after", "level", "step", "since", "limit", "latest", "live", "first_run"},
	},
	"POST /api/v1/runs/{id}/cancel": {
		id: "cancelRun", summary: "Ask a run to end; its own code decides how. A run that was cancelled is as good as asked.",
		in: of[console.ControlRequest](), out: of[console.RunControl](), optional: true, clashes: true,
	},
	"POST /api/v1/runs/{id}/halt": {
		id: "haltRun", summary: "Stop a run now and undo what it did, with the reason. A run that was halted is as good as told.",
		in: of[console.ControlRequest](), out: of[console.RunControl](), clashes: true,
	},
	"GET /api/v1/runs/{id}/lineage": {id: "getLineage", summary: "List the restores that a run comes from and went into.", out: of[console.Lineage](), query: []string{"first_run"}},
}

var aboutStories = map[string]operation{
	"GET /api/v1/runs/{id}/head": {id: "getHead", summary: "Read what happened to a run in short: its state, why it stopped, and what to do next.", out: of[story.Head](), query: []string{"run"}},
	"GET /api/v1/runs/{id}/rows": {
		id: "listRows", summary: "Read a page of what happened to a run, in the order in which it began.", out: of[story.Page](),
		query: []string{"run", "after", "latest", "kind", "limit"},
	},
	"GET /api/v1/runs/{id}/rows/{row}":        {id: "getRow", summary: "Read one row of a run's story, with the content that it was about, bounded.", out: of[story.Detail](), query: []string{"run"}},
	"GET /api/v1/runs/{id}/rows/{row}/output": {id: "downloadOutput", summary: "Download the whole of what came out of a row.", media: "application/octet-stream", query: []string{"run"}},
	"GET /api/v1/runs/{id}/events": {
		id: "followRun", summary: "Follow a run: server-sent events of the kinds rows and head, until it has ended.", media: "text/event-stream", query: []string{"run"},
	},
}

var aboutDecisions = map[string]operation{
	"GET /api/v1/approvals": {
		id: "listApprovals", summary: "List gates that wait for a decision, the most urgent first. A worker without a desk gives the gates alone, and takes no parameters.",
		out: of[[]desk.Item](), query: []string{"mine", "closed", "workflow", "approver", "after", "limit"},
	},
	"GET /api/v1/approvals/{nonce}":            {id: "getApproval", summary: "Read a gate as its run has it: what would be done, who may decide, and until when.", out: of[desk.View]()},
	"POST /api/v1/approvals/{nonce}/decisions": {id: "decide", summary: "Decide about a gate, as the caller; the console signs it.", in: of[desk.Request](), out: of[wflo.Gate]()},
	"POST /api/v1/runs/{id}/decisions":         {id: "forwardDecision", summary: "Pass a decision on that is signed already, or that needs no signature.", in: of[wflo.Decision](), out: of[wflo.Gate]()},
}

var aboutMoney = map[string]operation{
	"GET /api/v1/budgets":                           {id: "listBudgets", summary: "List budgets in their current windows.", out: of[[]wflo.Spend]()},
	"GET /api/v1/budgets/{id}":                      {id: "getBudget", summary: "Read a budget in its current window.", out: of[wflo.Spend]()},
	"PUT /api/v1/budgets/{id}":                      {id: "setBudget", summary: "Set a budget's rule.", in: of[wflo.Budget](), out: of[wflo.Spend]()},
	"DELETE /api/v1/budgets/{id}":                   {id: "removeBudget", summary: "Remove a budget's rule.", out: of[console.Removed]()},
	"POST /api/v1/budgets/{id}/topups":              {id: "topUpBudget", summary: "Raise a budget's limit in its current window, once per key.", in: of[console.TopUp](), out: of[wflo.Spend]()},
	"GET /api/v1/spends":                            {id: "listSpends", summary: "Read several budgets by their ids, those of runs too.", out: of[[]wflo.Spend](), query: []string{"budget*"}},
	"GET /api/v1/alerts":                            {id: "listAlerts", summary: "List thresholds that were passed, the latest first.", out: of[[]wflo.BudgetAlert](), query: []string{"budget", "n"}},
	"GET /api/v1/costs":                             {id: "getCosts", summary: "Add up what was spent.", out: of[console.Costs](), query: []string{"by", "from", "to", "zone", "scope", "limit"}},
	"GET /api/v1/holds":                             {id: "listHolds", summary: "List money that is held for calls under way, or for calls whose outcome is unknown.", out: of[[]wflo.Hold](), query: []string{"state=hold", "n"}},
	"POST /api/v1/holds/{key}/{attempt}/settlement": {id: "settleHold", summary: "Say what the provider billed for a call whose outcome is unknown.", in: of[console.Reconciliation](), out: of[console.Reconciled]()},
}

var aboutRecovery = map[string]operation{
	"GET /api/v1/snapshots": {
		id: "listSnapshots", summary: "List snapshots, the latest first.", out: of[[]wflo.Snapshot](),
		query: []string{"run=workflow id", "first_run", "name", "kind=snapshot", "before", "after", "limit"},
	},
	"GET /api/v1/snapshots/{id}":        {id: "getSnapshot", summary: "Read the manifest of a snapshot.", out: of[wflo.Snapshot]()},
	"GET /api/v1/snapshots/{id}/diff":   {id: "diffSnapshots", summary: "Compare two snapshots of one run.", out: of[console.SnapshotDiff](), query: []string{"to=snapshot"}},
	"POST /api/v1/runs/{id}/snapshots":  {id: "takeSnapshot", summary: "Have an open run take a snapshot of itself, once per id.", in: of[console.SnapshotRequest](), out: of[wflo.Snapshot]()},
	"POST /api/v1/snapshots/{id}/pin":   {id: "pinSnapshot", summary: "Keep a snapshot from retention.", out: of[wflo.Snapshot]()},
	"DELETE /api/v1/snapshots/{id}/pin": {id: "unpinSnapshot", summary: "Give a snapshot back to retention.", out: of[wflo.Snapshot]()},
	"DELETE /api/v1/snapshots/{id}":     {id: "dropSnapshot", summary: "Remove a snapshot.", out: of[wflo.Snapshot]()},
	"POST /api/v1/runs/{id}/restores": {
		id: "restoreRun", summary: "Take a run back, or say with dry_run what that would do. 202 means that it goes on: ask for the restore by its id.",
		in: of[wflo.Restore](), out: of[console.RestoreStatus](), later: true,
	},
	"GET /api/v1/restores/{id}": {id: "getRestore", summary: "Read how far a restore is.", out: of[console.RestoreStatus]()},

	"GET /api/v1/compensations": {
		id: "listCompensations", summary: "List what undoes the effects of runs, the latest changed first.", out: of[[]wflo.CompensationRecord](),
		query: []string{"state=compensation", "run=workflow id", "after", "limit"},
	},
	"GET /api/v1/compensations/{id}":          {id: "getCompensation", summary: "Read one compensation.", out: of[wflo.CompensationRecord]()},
	"POST /api/v1/compensations/{id}/retry":   {id: "retryCompensation", summary: "Try a dead letter again; the record says how it went.", in: of[console.CompensationDecision](), out: of[wflo.CompensationRecord](), optional: true},
	"POST /api/v1/compensations/{id}/resolve": {id: "resolveCompensation", summary: "Say that a dead letter was undone by hand, with the reason.", in: of[console.CompensationDecision](), out: of[wflo.CompensationRecord]()},
	"POST /api/v1/compensations/{id}/skip":    {id: "skipCompensation", summary: "Leave an effect as it is, with the reason.", in: of[console.CompensationDecision](), out: of[wflo.CompensationRecord]()},
}

var aboutOperation = map[string]operation{
	"GET /api/v1/openapi.json":        {id: "getDocument", summary: "This document.", out: of[map[string]any]()},
	"GET /api/v1/version":             {id: "getVersion", summary: "Say which program answers, and which schema and Temporal server it works with.", out: of[console.Version]()},
	"GET /api/v1/whoami":              {id: "whoami", summary: "Say who the caller is, and what they may do.", out: of[console.Whoami]()},
	"GET /api/v1/keys":                {id: "listKeys", summary: "List API keys; the keys themselves are not kept.", out: of[[]activities.APIKey]()},
	"POST /api/v1/keys":               {id: "makeKey", summary: "Make an API key, which is shown this once.", in: of[console.KeyRequest](), out: of[console.NewKey]()},
	"DELETE /api/v1/keys/{id}":        {id: "revokeKey", summary: "Revoke an API key.", out: of[activities.APIKey]()},
	"GET /api/v1/notices":             {id: "listNotices", summary: "List notices to people, the latest first.", out: of[[]wflo.NoticeRecord](), query: []string{"state=notice", "n"}},
	"POST /api/v1/notices/{id}/retry": {id: "retryNotice", summary: "Send a dead notice again.", out: of[console.Retried]()},
	"GET /api/v1/audit": {
		id: "listAudit", summary: "Read the trail.", out: of[[]wflo.AuditRecord](),
		query: []string{"chain", "workflow=workflow id", "type", "from=instant", "to=instant", "after=seq", "limit", "latest"},
	},
	"GET /api/v1/log-level": {id: "getLogLevel", summary: "Read the log level of this worker.", out: of[telemetry.LevelState]()},
	"PUT /api/v1/log-level": {id: "setLogLevel", summary: "Change the log level of this worker, for a while or for good.", in: of[console.LevelChange](), out: of[telemetry.LevelState]()},
}

func join(all ...map[string]operation) map[string]operation {
	out := map[string]operation{}
	for _, some := range all {
		for pattern, o := range some {
			out[pattern] = o
		}
	}
	return out
}
