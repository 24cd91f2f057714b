package telemetry

import (
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func TestMetricsOfNotices(t *testing.T) {
	m := NewMetrics(Config{MaxNames: 2})
	m.NoticeDelivered("slack://ops", wflo.NoticeAsked, 2*time.Second)
	m.NoticeFailed("slack://ops", wflo.NoticeAsked)
	m.NoticeDead("email://ops", wflo.NoticeClosed)
	m.NoticeDead("a third", wflo.NoticeClosed)
	m.RefusalsRecorded(3)
	m.RefusalsLost(2)
	m.Checkpointed(4, true)
	wantLines(t, scrape(t, m, "text/plain"),
		`wflo_notices_total{channel="slack://ops",outcome="delivered"} 1`,
		`wflo_notices_total{channel="slack://ops",outcome="failed"} 1`,
		`wflo_notices_total{channel="email://ops",outcome="dead_letter"} 1`,
		`wflo_notices_total{channel="other",outcome="dead_letter"} 1`,
		`wflo_notice_delivery_seconds_sum{channel="slack://ops"} 2`,
		`wflo_decisions_refused_total{outcome="recorded"} 3`,
		`wflo_decisions_refused_total{outcome="lost"} 2`,
		`wflo_audit_checkpoints_total 4`,
		`wflo_audit_checkpoint_failed 1`,
	)
	m.Checkpointed(0, false)
	wantLines(t, scrape(t, m, "text/plain"), `wflo_audit_checkpoint_failed 0`)
}
