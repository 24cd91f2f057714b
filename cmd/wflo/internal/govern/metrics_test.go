package govern

import (
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// TestMetricsOfRecovery takes a run back and looks whether its worker counted that once.
func TestMetricsOfRecovery(t *testing.T) {
	p := newPaying(t)
	if out := p.restore(""); out.State != wflo.RestoreDone {
		t.Fatalf("restored %+v", out)
	}
	p.waits(p.run)
	if err := p.end(p.run, "well"); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`wflo_snapshots_total{kind="manual"} 2`,
		`wflo_snapshots_total{kind="pre_restore"} 1`,
		`wflo_restores_total{mode="in-place",outcome="done"} 1`,
		`wflo_restores_total{mode="in-place",outcome="failed"} 0`,
		`wflo_restore_duration_seconds_count{mode="in-place"} 1`,
		`wflo_compensations_total{state="compensated"} 1`,
		`wflo_compensations_total{state="dead_letter"} 0`,
		`wflo_snapshot_bytes_total{part="state"} `,
		`wflo_task_queue_backlog{task_queue="TestMetricsOfRecovery",type="workflow"} `,
		`wflo_approvals_waiting{risk="high"} 0`,
		`wflo_rounds_total{outcome="ok",round="count what waits"} 1`,
	} {
		if !metric(t, p.guard, line) {
			t.Errorf("the worker does not show %s", line)
		}
	}
}
