// Code generated from docs/openapi.json by tools/apiclient. DO NOT EDIT.

package client

import (
	"context"
	"net/http"
	"net/url"
)

// ListAlerts: List thresholds that were passed, the latest first.
//
// Needs the role viewer, and is not for callers who are bound to an org.
func (c *Client) ListAlerts(ctx context.Context, params ListAlertsParams) (out []BudgetAlert, err error) {
	q := url.Values{}
	addQuery(q, "budget", params.Budget)
	addQuery(q, "n", params.N)
	err = c.call(ctx, http.MethodGet, path("/api/v1/alerts"), q, nil, &out)
	return out, err
}

// ListApprovals: List gates that wait for a decision, the most urgent first. A worker without a desk gives the gates alone, and takes no parameters.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) ListApprovals(ctx context.Context, params ListApprovalsParams) (out []ApprovalItem, err error) {
	q := url.Values{}
	addQuery(q, "mine", params.Mine)
	addQuery(q, "closed", params.Closed)
	addQuery(q, "workflow", params.Workflow)
	addQuery(q, "approver", params.Approver)
	addQuery(q, "after", params.After)
	addQuery(q, "limit", params.Limit)
	err = c.call(ctx, http.MethodGet, path("/api/v1/approvals"), q, nil, &out)
	return out, err
}

// GetApproval: Read a gate as its run has it: what would be done, who may decide, and until when.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetApproval(ctx context.Context, nonce string) (out ApprovalView, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/approvals/{nonce}", nonce), nil, nil, &out)
	return out, err
}

// Decide: Decide about a gate, as the caller; the console signs it.
//
// Needs the role approver. Callers who are bound to an org see what is the org's.
func (c *Client) Decide(ctx context.Context, nonce string, body DecideBody) (out Gate, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/approvals/{nonce}/decisions", nonce), nil, body, &out)
	return out, err
}

// ListAudit: Read the trail.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) ListAudit(ctx context.Context, params ListAuditParams) (out []AuditRecord, err error) {
	q := url.Values{}
	addQuery(q, "chain", params.Chain)
	addQuery(q, "workflow", params.Workflow)
	addQuery(q, "type", params.Type)
	addQuery(q, "from", params.From)
	addQuery(q, "to", params.To)
	addQuery(q, "after", params.After)
	addQuery(q, "limit", params.Limit)
	addQuery(q, "latest", params.Latest)
	err = c.call(ctx, http.MethodGet, path("/api/v1/audit"), q, nil, &out)
	return out, err
}

// ListBudgets: List budgets in their current windows.
//
// Needs the role viewer, and is not for callers who are bound to an org.
func (c *Client) ListBudgets(ctx context.Context) (out []Spend, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/budgets"), nil, nil, &out)
	return out, err
}

// RemoveBudget: Remove a budget's rule.
//
// Needs the role operator, and is not for callers who are bound to an org.
func (c *Client) RemoveBudget(ctx context.Context, id string) (out Removed, err error) {
	err = c.call(ctx, http.MethodDelete, path("/api/v1/budgets/{id}", id), nil, nil, &out)
	return out, err
}

// GetBudget: Read a budget in its current window.
//
// Needs the role viewer, and is not for callers who are bound to an org.
func (c *Client) GetBudget(ctx context.Context, id string) (out Spend, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/budgets/{id}", id), nil, nil, &out)
	return out, err
}

// SetBudget: Set a budget's rule.
//
// Needs the role operator, and is not for callers who are bound to an org.
func (c *Client) SetBudget(ctx context.Context, id string, body SetBudgetBody) (out Spend, err error) {
	err = c.call(ctx, http.MethodPut, path("/api/v1/budgets/{id}", id), nil, body, &out)
	return out, err
}

// TopUpBudget: Raise a budget's limit in its current window, once per key.
//
// Needs the role operator, and is not for callers who are bound to an org.
func (c *Client) TopUpBudget(ctx context.Context, id string, body TopUp) (out Spend, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/budgets/{id}/topups", id), nil, body, &out)
	return out, err
}

// ListCompensations: List what undoes the effects of runs, the latest changed first.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) ListCompensations(ctx context.Context, params ListCompensationsParams) (out []CompensationRecord, err error) {
	q := url.Values{}
	addQuery(q, "state", params.State)
	addQuery(q, "run", params.Run)
	addQuery(q, "after", params.After)
	addQuery(q, "limit", params.Limit)
	err = c.call(ctx, http.MethodGet, path("/api/v1/compensations"), q, nil, &out)
	return out, err
}

// GetCompensation: Read one compensation.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetCompensation(ctx context.Context, id string) (out CompensationRecord, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/compensations/{id}", id), nil, nil, &out)
	return out, err
}

// ResolveCompensation: Say that a dead letter was undone by hand, with the reason.
//
// Needs the role admin. Callers who are bound to an org see what is the org's.
func (c *Client) ResolveCompensation(ctx context.Context, id string, body CompensationDecision) (out CompensationRecord, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/compensations/{id}/resolve", id), nil, body, &out)
	return out, err
}

// RetryCompensation: Try a dead letter again; the record says how it went.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) RetryCompensation(ctx context.Context, id string, body CompensationDecision) (out CompensationRecord, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/compensations/{id}/retry", id), nil, body, &out)
	return out, err
}

// SkipCompensation: Leave an effect as it is, with the reason.
//
// Needs the role admin. Callers who are bound to an org see what is the org's.
func (c *Client) SkipCompensation(ctx context.Context, id string, body CompensationDecision) (out CompensationRecord, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/compensations/{id}/skip", id), nil, body, &out)
	return out, err
}

// GetCosts: Add up what was spent.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetCosts(ctx context.Context, params GetCostsParams) (out Costs, err error) {
	q := url.Values{}
	addQuery(q, "by", params.By)
	addQuery(q, "from", params.From)
	addQuery(q, "to", params.To)
	addQuery(q, "zone", params.Zone)
	addQuery(q, "scope", params.Scope)
	addQuery(q, "limit", params.Limit)
	err = c.call(ctx, http.MethodGet, path("/api/v1/costs"), q, nil, &out)
	return out, err
}

// ListHolds: List money that is held for calls under way, or for calls whose outcome is unknown.
//
// Needs the role viewer, and is not for callers who are bound to an org.
func (c *Client) ListHolds(ctx context.Context, params ListHoldsParams) (out []Hold, err error) {
	q := url.Values{}
	addQuery(q, "state", params.State)
	addQuery(q, "n", params.N)
	err = c.call(ctx, http.MethodGet, path("/api/v1/holds"), q, nil, &out)
	return out, err
}

// SettleHold: Say what the provider billed for a call whose outcome is unknown.
//
// Needs the role operator, and is not for callers who are bound to an org.
func (c *Client) SettleHold(ctx context.Context, key string, attempt string, body Reconciliation) (out Reconciled, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/holds/{key}/{attempt}/settlement", key, attempt), nil, body, &out)
	return out, err
}

// ListKeys: List API keys; the keys themselves are not kept.
//
// Needs the role admin. Callers who are bound to an org see what is the org's.
func (c *Client) ListKeys(ctx context.Context) (out []APIKey, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/keys"), nil, nil, &out)
	return out, err
}

// MakeKey: Make an API key, which is shown this once.
//
// Needs the role admin. Callers who are bound to an org see what is the org's.
func (c *Client) MakeKey(ctx context.Context, body KeyRequest) (out NewKey, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/keys"), nil, body, &out)
	return out, err
}

// RevokeKey: Revoke an API key.
//
// Needs the role admin. Callers who are bound to an org see what is the org's.
func (c *Client) RevokeKey(ctx context.Context, id string) (out APIKey, err error) {
	err = c.call(ctx, http.MethodDelete, path("/api/v1/keys/{id}", id), nil, nil, &out)
	return out, err
}

// GetLogLevel: Read the log level of this worker.
//
// Needs the role viewer, and is not for callers who are bound to an org.
func (c *Client) GetLogLevel(ctx context.Context) (out LogLevel, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/log-level"), nil, nil, &out)
	return out, err
}

// SetLogLevel: Change the log level of this worker, for a while or for good.
//
// Needs the role operator, and is not for callers who are bound to an org.
func (c *Client) SetLogLevel(ctx context.Context, body LevelChange) (out LogLevel, err error) {
	err = c.call(ctx, http.MethodPut, path("/api/v1/log-level"), nil, body, &out)
	return out, err
}

// ListNotices: List notices to people, the latest first.
//
// Needs the role operator, and is not for callers who are bound to an org.
func (c *Client) ListNotices(ctx context.Context, params ListNoticesParams) (out []NoticeRecord, err error) {
	q := url.Values{}
	addQuery(q, "state", params.State)
	addQuery(q, "n", params.N)
	err = c.call(ctx, http.MethodGet, path("/api/v1/notices"), q, nil, &out)
	return out, err
}

// RetryNotice: Send a dead notice again.
//
// Needs the role admin, and is not for callers who are bound to an org.
func (c *Client) RetryNotice(ctx context.Context, id string) (out Retried, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/notices/{id}/retry", id), nil, nil, &out)
	return out, err
}

// GetRestore: Read how far a restore is.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetRestore(ctx context.Context, id string) (out RestoreStatus, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/restores/{id}", id), nil, nil, &out)
	return out, err
}

// ListRuns: List runs, the newest first. The header Link leads to the next page.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) ListRuns(ctx context.Context, params ListRunsParams) (out []Run, err error) {
	q := url.Values{}
	addQuery(q, "state", params.State)
	addQuery(q, "workflow", params.Workflow)
	addQuery(q, "user", params.User)
	addQuery(q, "team", params.Team)
	addQuery(q, "id", params.ID)
	addQuery(q, "from", params.From)
	addQuery(q, "to", params.To)
	addQuery(q, "internal", params.Internal)
	addQuery(q, "after", params.After)
	addQuery(q, "limit", params.Limit)
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs"), q, nil, &out)
	return out, err
}

// GetRun: Read one run, with its own account and its budget.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetRun(ctx context.Context, id string) (out RunDetail, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs/{id}", id), nil, nil, &out)
	return out, err
}

// CancelRun: Ask a run to end; its own code decides how. A run that was cancelled is as good as asked.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) CancelRun(ctx context.Context, id string, body ControlRequest) (out RunControl, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/runs/{id}/cancel", id), nil, body, &out)
	return out, err
}

// ForwardDecision: Pass a decision on that is signed already, or that needs no signature.
//
// Needs the role approver. Callers who are bound to an org see what is the org's.
func (c *Client) ForwardDecision(ctx context.Context, id string, body Decision) (out Gate, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/runs/{id}/decisions", id), nil, body, &out)
	return out, err
}

// HaltRun: Stop a run now and undo what it did, with the reason. A run that was halted is as good as told.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) HaltRun(ctx context.Context, id string, body ControlRequest) (out RunControl, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/runs/{id}/halt", id), nil, body, &out)
	return out, err
}

// GetHead: Read what happened to a run in short: its state, why it stopped, and what to do next.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetHead(ctx context.Context, id string, params GetHeadParams) (out StoryHead, err error) {
	q := url.Values{}
	addQuery(q, "run", params.Run)
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs/{id}/head", id), q, nil, &out)
	return out, err
}

// ListEntries: List what a run was charged, call by call.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) ListEntries(ctx context.Context, id string) (out []Entry, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs/{id}/ledger", id), nil, nil, &out)
	return out, err
}

// GetLineage: List the restores that a run comes from and went into.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetLineage(ctx context.Context, id string, params GetLineageParams) (out Lineage, err error) {
	q := url.Values{}
	addQuery(q, "first_run", params.FirstRun)
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs/{id}/lineage", id), q, nil, &out)
	return out, err
}

// GetLogs: Read a page of the log lines that workers kept of a run.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetLogs(ctx context.Context, id string, params GetLogsParams) (out RunLogs, err error) {
	q := url.Values{}
	addQuery(q, "after", params.After)
	addQuery(q, "level", params.Level)
	addQuery(q, "step", params.Step)
	addQuery(q, "since", params.Since)
	addQuery(q, "limit", params.Limit)
	addQuery(q, "latest", params.Latest)
	addQuery(q, "live", params.Live)
	addQuery(q, "first_run", params.FirstRun)
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs/{id}/logs", id), q, nil, &out)
	return out, err
}

// RestoreRun: Take a run back, or say with dry_run what that would do. 202 means that it goes on: ask for the restore by its id.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) RestoreRun(ctx context.Context, id string, body RestoreRunBody) (out RestoreStatus, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/runs/{id}/restores", id), nil, body, &out)
	return out, err
}

// ListRows: Read a page of what happened to a run, in the order in which it began.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) ListRows(ctx context.Context, id string, params ListRowsParams) (out StoryPage, err error) {
	q := url.Values{}
	addQuery(q, "run", params.Run)
	addQuery(q, "after", params.After)
	addQuery(q, "latest", params.Latest)
	addQuery(q, "kind", params.Kind)
	addQuery(q, "limit", params.Limit)
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs/{id}/rows", id), q, nil, &out)
	return out, err
}

// GetRow: Read one row of a run's story, with the content that it was about, bounded.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetRow(ctx context.Context, id string, row string, params GetRowParams) (out StoryDetail, err error) {
	q := url.Values{}
	addQuery(q, "run", params.Run)
	err = c.call(ctx, http.MethodGet, path("/api/v1/runs/{id}/rows/{row}", id, row), q, nil, &out)
	return out, err
}

// TakeSnapshot: Have an open run take a snapshot of itself, once per id.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) TakeSnapshot(ctx context.Context, id string, body SnapshotRequest) (out Snapshot, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/runs/{id}/snapshots", id), nil, body, &out)
	return out, err
}

// ListSnapshots: List snapshots, the latest first.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) ListSnapshots(ctx context.Context, params ListSnapshotsParams) (out []Snapshot, err error) {
	q := url.Values{}
	addQuery(q, "run", params.Run)
	addQuery(q, "first_run", params.FirstRun)
	addQuery(q, "name", params.Name)
	addQuery(q, "kind", params.Kind)
	addQuery(q, "before", params.Before)
	addQuery(q, "after", params.After)
	addQuery(q, "limit", params.Limit)
	err = c.call(ctx, http.MethodGet, path("/api/v1/snapshots"), q, nil, &out)
	return out, err
}

// DropSnapshot: Remove a snapshot.
//
// Needs the role admin. Callers who are bound to an org see what is the org's.
func (c *Client) DropSnapshot(ctx context.Context, id string) (out Snapshot, err error) {
	err = c.call(ctx, http.MethodDelete, path("/api/v1/snapshots/{id}", id), nil, nil, &out)
	return out, err
}

// GetSnapshot: Read the manifest of a snapshot.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetSnapshot(ctx context.Context, id string) (out Snapshot, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/snapshots/{id}", id), nil, nil, &out)
	return out, err
}

// DiffSnapshots: Compare two snapshots of one run.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) DiffSnapshots(ctx context.Context, id string, params DiffSnapshotsParams) (out SnapshotDiff, err error) {
	q := url.Values{}
	addQuery(q, "to", params.To)
	err = c.call(ctx, http.MethodGet, path("/api/v1/snapshots/{id}/diff", id), q, nil, &out)
	return out, err
}

// UnpinSnapshot: Give a snapshot back to retention.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) UnpinSnapshot(ctx context.Context, id string) (out Snapshot, err error) {
	err = c.call(ctx, http.MethodDelete, path("/api/v1/snapshots/{id}/pin", id), nil, nil, &out)
	return out, err
}

// PinSnapshot: Keep a snapshot from retention.
//
// Needs the role operator. Callers who are bound to an org see what is the org's.
func (c *Client) PinSnapshot(ctx context.Context, id string) (out Snapshot, err error) {
	err = c.call(ctx, http.MethodPost, path("/api/v1/snapshots/{id}/pin", id), nil, nil, &out)
	return out, err
}

// ListSpends: Read several budgets by their ids, those of runs too.
//
// Needs the role viewer, and is not for callers who are bound to an org.
func (c *Client) ListSpends(ctx context.Context, params ListSpendsParams) (out []Spend, err error) {
	q := url.Values{}
	addQuery(q, "budget", params.Budget)
	err = c.call(ctx, http.MethodGet, path("/api/v1/spends"), q, nil, &out)
	return out, err
}

// GetVersion: Say which program answers, and which schema and Temporal server it works with.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) GetVersion(ctx context.Context) (out Version, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/version"), nil, nil, &out)
	return out, err
}

// Whoami: Say who the caller is, and what they may do.
//
// Needs the role viewer. Callers who are bound to an org see what is the org's.
func (c *Client) Whoami(ctx context.Context) (out Whoami, err error) {
	err = c.call(ctx, http.MethodGet, path("/api/v1/whoami"), nil, nil, &out)
	return out, err
}
