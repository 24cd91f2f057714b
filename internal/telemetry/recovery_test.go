package telemetry

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

func TestMetricsOfRecovery(t *testing.T) {
	m := NewMetrics(Config{})
	ctx := withSpan(t, t.Context(), trace.FlagsSampled)
	wantLines(t, scrape(t, m, openMetrics),
		`wflo_restores_total{mode="fork",outcome="failed"} 0`, `wflo_compensations_total{state="dead_letter"} 0`,
		`wflo_snapshots_total{kind="auto"} 0`, `wflo_compensation_dead_letters 0`)
	m.SnapshotTaken(ctx, wflo.Snapshot{Kind: wflo.SnapshotManual, Parts: []wflo.SnapshotPart{
		{Kind: wflo.PartState, Bytes: 100, Stored: 40}, {Kind: wflo.PartWorkspace, Bytes: 7000, Stored: -1},
	}}, 300*time.Millisecond)
	m.Restored(ctx, wflo.RestoreFork, wflo.RestoreDone)
	m.RestoreTook(ctx, wflo.RestoreFork, 4*time.Second)
	m.Compensation(ctx, wflo.CompensationDead)
	m.SnapshotsCollected(3, 12, 4096)
	m.DeadLetters(2)
	text := scrape(t, m, openMetrics)
	wantLines(t, text,
		`wflo_snapshots_total{kind="manual"} 1`, `wflo_snapshot_duration_seconds_sum 0.3`,
		`wflo_snapshot_bytes_total{part="workspace"} 7000`, `wflo_snapshot_stored_bytes_total{part="state"} 40`,
		`wflo_snapshot_stored_bytes_total{part="workspace"} 0`, `wflo_restores_total{mode="fork",outcome="done"} 1`,
		`wflo_restore_duration_seconds_sum{mode="fork"} 4`, `wflo_compensations_total{state="dead_letter"} 1`,
		`wflo_snapshots_dropped_total 3`, `wflo_snapshot_blobs_deleted_total 12`, `wflo_snapshot_bytes_freed_total 4096`,
		`wflo_compensation_dead_letters 2`)
	if n := strings.Count(text, `# {trace_id="`+testTraceID); n < 4 {
		t.Errorf("%d exemplars, want one per snapshot, restore and compensation:\n%s", n, text)
	}
}

func TestMetricsOfWhatWaits(t *testing.T) {
	m := NewMetrics(Config{})
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	gate := func(risk wflo.Risk, age time.Duration) wflo.Gate {
		return wflo.Gate{Approval: wflo.Approval{Risk: risk}, OpenedAt: now.Add(-age)}
	}
	m.GatesWaiting([]wflo.Gate{gate(wflo.RiskHigh, time.Minute), gate(wflo.RiskHigh, time.Hour), gate("made up", time.Second), gate("", -time.Hour)}, now)
	m.Backlog("agents", "activity", 7, 90*time.Second)
	m.Round("sweep holds", nil, time.Second)
	m.Round("sweep holds", errors.New("no database"), time.Second)
	wantLines(t, scrape(t, m, "text/plain"),
		`wflo_approvals_waiting{risk="high"} 2`, `wflo_approvals_oldest_seconds{risk="high"} 3600`,
		`wflo_approvals_waiting{risk="unknown"} 2`, `wflo_approvals_oldest_seconds{risk="unknown"} 1`,
		`wflo_approvals_waiting{risk="low"} 0`,
		`wflo_task_queue_backlog{task_queue="agents",type="activity"} 7`, `wflo_task_queue_backlog_age_seconds{task_queue="agents",type="activity"} 90`,
		`wflo_rounds_total{outcome="ok",round="sweep holds"} 1`, `wflo_rounds_total{outcome="error",round="sweep holds"} 1`,
		`wflo_round_duration_seconds_sum{round="sweep holds"} 2`, `wflo_build_info{`)
	m.GatesWaiting(nil, now)
	wantLines(t, scrape(t, m, "text/plain"), `wflo_approvals_waiting{risk="high"} 0`, `wflo_approvals_oldest_seconds{risk="high"} 0`)
}
