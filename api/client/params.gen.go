// Code generated from docs/openapi.json by tools/apiclient. DO NOT EDIT.

package client

import (
	"time"

	wflo "github.com/wflo-ai/wflo-go"
)

// ListAlertsParams defines parameters for ListAlerts.
type ListAlertsParams struct {
	// Budget The id of a budget, as SCOPE:NAME.
	Budget string `form:"budget,omitempty" json:"budget,omitempty,omitzero"`

	// N The most to give.
	N int32 `form:"n,omitempty" json:"n,omitempty,omitzero"`
}

// ListApprovalsParams defines parameters for ListApprovals.
type ListApprovalsParams struct {
	// Mine Only gates that the caller may decide.
	Mine bool `form:"mine,omitempty" json:"mine,omitempty,omitzero"`

	// Closed Also gates that are closed.
	Closed bool `form:"closed,omitempty" json:"closed,omitempty,omitzero"`

	// Workflow Only those of this workflow.
	Workflow string `form:"workflow,omitempty" json:"workflow,omitempty,omitzero"`

	// Approver Only gates that this person or group may decide.
	Approver string `form:"approver,omitempty" json:"approver,omitempty,omitzero"`

	// After Where the page before ended.
	After string `form:"after,omitempty" json:"after,omitempty,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`
}

// ListAuditParams defines parameters for ListAudit.
type ListAuditParams struct {
	// Chain Only the trail of this org.
	Chain string `form:"chain,omitempty" json:"chain,omitempty,omitzero"`

	// Workflow Only events of the run with this workflow id.
	Workflow string `form:"workflow,omitempty" json:"workflow,omitempty,omitzero"`

	// Type Only events of this type.
	Type string `form:"type,omitempty" json:"type,omitempty,omitzero"`

	// From this time on.
	From time.Time `form:"from,omitempty" json:"from,omitempty,omitzero"`

	// To Before this time.
	To time.Time `form:"to,omitempty" json:"to,omitempty,omitzero"`

	// After The last seq that was seen; needs chain.
	After int64 `form:"after,omitempty" json:"after,omitempty,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`

	// Latest The end instead of the start, still in order.
	Latest bool `form:"latest,omitempty" json:"latest,omitempty,omitzero"`
}

// ListCompensationsParams defines parameters for ListCompensations.
type ListCompensationsParams struct {
	// State Only those in these states, separated by commas.
	State string `form:"state,omitempty" json:"state,omitempty,omitzero"`

	// Run Only those of the run with this workflow id.
	Run string `form:"run,omitempty" json:"run,omitempty,omitzero"`

	// After Where the page before ended.
	After string `form:"after,omitempty" json:"after,omitempty,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`
}

// GetCostsParams defines parameters for GetCosts.
type GetCostsParams struct {
	// By What there is a row for; without it, one row for all.
	By string `form:"by,omitempty" json:"by,omitempty,omitzero"`

	// From this time on: RFC 3339, or a day.
	From string `form:"from,omitempty" json:"from,omitempty,omitzero"`

	// To Before this time: RFC 3339, or a day.
	To string `form:"to,omitempty" json:"to,omitempty,omitzero"`

	// Zone The time zone of days and months; UTC without it.
	Zone string `form:"zone,omitempty" json:"zone,omitempty,omitzero"`

	// Scope Only what is attributed to this SCOPE:NAME; all of them, where there are several.
	Scope []string `form:"scope" json:"scope,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`
}

// ListHoldsParams defines parameters for ListHolds.
type ListHoldsParams struct {
	// State Which holds; open without it.
	State string `form:"state,omitempty" json:"state,omitempty,omitzero"`

	// N The most to give.
	N int32 `form:"n,omitempty" json:"n,omitempty,omitzero"`
}

// ListNoticesParams defines parameters for ListNotices.
type ListNoticesParams struct {
	// State Only notices in this state.
	State string `form:"state,omitempty" json:"state,omitempty,omitzero"`

	// N The most to give.
	N int32 `form:"n,omitempty" json:"n,omitempty,omitzero"`
}

// ListRunsParams defines parameters for ListRuns.
type ListRunsParams struct {
	// State Only runs in this state.
	State wflo.RunState `form:"state,omitempty" json:"state,omitempty,omitzero"`

	// Workflow Only those of this workflow.
	Workflow string `form:"workflow,omitempty" json:"workflow,omitempty,omitzero"`

	// User Only runs of this user.
	User string `form:"user,omitempty" json:"user,omitempty,omitzero"`

	// Team Only runs of this team.
	Team string `form:"team,omitempty" json:"team,omitempty,omitzero"`

	// ID How the workflow id begins.
	ID string `form:"id,omitempty" json:"id,omitempty,omitzero"`

	// From this time on: RFC 3339, or a day.
	From string `form:"from,omitempty" json:"from,omitempty,omitzero"`

	// To Before this time: RFC 3339, or a day.
	To string `form:"to,omitempty" json:"to,omitempty,omitzero"`

	// Internal Also the runs by which wflo itself works.
	Internal bool `form:"internal,omitempty" json:"internal,omitempty,omitzero"`

	// After Where the page before ended.
	After string `form:"after,omitempty" json:"after,omitempty,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`
}

// GetHeadParams defines parameters for GetHead.
type GetHeadParams struct {
	// Run A run id of the chain; without it, the latest.
	Run string `form:"run,omitempty" json:"run,omitempty,omitzero"`
}

// GetLineageParams defines parameters for GetLineage.
type GetLineageParams struct {
	// FirstRun The first run id; without it, the latest run of the workflow id.
	FirstRun string `form:"first_run,omitempty" json:"first_run,omitempty,omitzero"`
}

// GetLogsParams defines parameters for GetLogs.
type GetLogsParams struct {
	// After Where the page before ended.
	After string `form:"after,omitempty" json:"after,omitempty,omitzero"`

	// Level The least level: debug, info, warn or error.
	Level string `form:"level,omitempty" json:"level,omitempty,omitzero"`

	// Step Only lines of this step and of what it calls.
	Step string `form:"step,omitempty" json:"step,omitempty,omitzero"`

	// Since Only lines of this time and after.
	Since time.Time `form:"since,omitempty" json:"since,omitempty,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`

	// Latest The end instead of the start, still in order.
	Latest bool `form:"latest,omitempty" json:"latest,omitempty,omitzero"`

	// Live Anything: also what sandboxed programs write at this moment.
	Live string `form:"live,omitempty" json:"live,omitempty,omitzero"`

	// FirstRun The first run id; without it, the latest run of the workflow id.
	FirstRun string `form:"first_run,omitempty" json:"first_run,omitempty,omitzero"`
}

// ListRowsParams defines parameters for ListRows.
type ListRowsParams struct {
	// Run A run id of the chain; without it, the latest.
	Run string `form:"run,omitempty" json:"run,omitempty,omitzero"`

	// After Where the page before ended.
	After string `form:"after,omitempty" json:"after,omitempty,omitzero"`

	// Latest The end instead of the start, still in order.
	Latest bool `form:"latest,omitempty" json:"latest,omitempty,omitzero"`

	// Kind Only rows of these kinds, separated by commas.
	Kind string `form:"kind,omitempty" json:"kind,omitempty,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`
}

// GetRowParams defines parameters for GetRow.
type GetRowParams struct {
	// Run A run id of the chain; without it, the latest.
	Run string `form:"run,omitempty" json:"run,omitempty,omitzero"`
}

// ListSnapshotsParams defines parameters for ListSnapshots.
type ListSnapshotsParams struct {
	// Run Only those of the run with this workflow id.
	Run string `form:"run,omitempty" json:"run,omitempty,omitzero"`

	// FirstRun The first run id; without it, the latest run of the workflow id.
	FirstRun string `form:"first_run,omitempty" json:"first_run,omitempty,omitzero"`

	// Name Only snapshots of this name.
	Name string `form:"name,omitempty" json:"name,omitempty,omitzero"`

	// Kind Only snapshots of this kind.
	Kind wflo.SnapshotKind `form:"kind,omitempty" json:"kind,omitempty,omitzero"`

	// Before Only what is older than this.
	Before time.Time `form:"before,omitempty" json:"before,omitempty,omitzero"`

	// After Where the page before ended.
	After string `form:"after,omitempty" json:"after,omitempty,omitzero"`

	// Limit The most to give.
	Limit int32 `form:"limit,omitempty" json:"limit,omitempty,omitzero"`
}

// DiffSnapshotsParams defines parameters for DiffSnapshots.
type DiffSnapshotsParams struct {
	// To The id of the other snapshot. Required.
	To string `form:"to" json:"to"`
}

// ListSpendsParams defines parameters for ListSpends.
type ListSpendsParams struct {
	// Budget The id of a budget, as SCOPE:NAME.
	Budget []string `form:"budget" json:"budget,omitzero"`
}
