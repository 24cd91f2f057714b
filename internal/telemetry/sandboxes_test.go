package telemetry

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// TestSandboxSeriesEnd: a series per sandbox that stayed would be a leak in the
// worker and in Prometheus.
func TestSandboxSeriesEnd(t *testing.T) {
	m := NewMetrics(Config{})
	s := m.Sandboxes()
	s.Usage("a", 100, 1<<20)
	s.Usage("b", 50, 2<<20)
	s.Ended("a")
	s.Usage("a", 70, 1<<20) // a sample that comes too late
	s.Ended("a")
	s.Ended("never seen")
	got := scrape(t, m, "text/plain")
	wantLines(t, got, `wflo_sandbox_cpu_usage_percent{sandbox_id="b"} 50`, `wflo_sandbox_memory_usage_bytes{sandbox_id="b"} 2.097152e+06`)
	if strings.Contains(got, `sandbox_id="a"`) {
		t.Errorf("a sandbox that ended is shown:\n%s", got)
	}
	s.Ended("b")
	if got := scrape(t, m, "text/plain"); strings.Contains(got, "sandbox_id=") {
		t.Errorf("sandboxes that ended are shown:\n%s", got)
	}
}

func TestSandboxSeriesAreBounded(t *testing.T) {
	m := NewMetrics(Config{})
	s := m.Sandboxes()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 600 {
				s.Usage(fmt.Sprintf("%d-%d", w, i), 1, 1)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(scrape(t, m, "text/plain"), "wflo_sandbox_memory_usage_bytes{"); n != maxLive {
		t.Errorf("%d series, want %d", n, maxLive)
	}
	for w := range 4 {
		for i := range 600 {
			s.Ended(fmt.Sprintf("%d-%d", w, i))
		}
	}
	if len(s.live) != 0 || len(s.ended) != maxEnded || len(s.order) != maxEnded {
		t.Errorf("%d live, %d and %d ended are kept", len(s.live), len(s.ended), len(s.order))
	}
	s.Usage("next", 1, 1)
	wantLines(t, scrape(t, m, "text/plain"), `wflo_sandbox_cpu_usage_percent{sandbox_id="next"} 1`)
}

func TestSandboxMetricsTakeAnyValue(t *testing.T) {
	m := NewMetrics(Config{})
	s := m.Sandboxes()
	s.Usage("", 1, 1)
	s.Usage("\xff", math.NaN(), -5)
	s.Created("\xff", -time.Second)
	wantLines(t, scrape(t, m, "text/plain"),
		"wflo_sandbox_cpu_usage_percent{sandbox_id=\"\uFFFD\"} 0", "wflo_sandbox_memory_usage_bytes{sandbox_id=\"\uFFFD\"} 0",
		"wflo_sandbox_creation_duration_seconds_sum 0")
	s.Ended("\xff")
	if got := scrape(t, m, "text/plain"); strings.Contains(got, "sandbox_id=") {
		t.Errorf("a sandbox that ended is shown:\n%s", got)
	}
}

// TestOutcomesKeepTheirNames: all that labels hold by design fits beside each
// other.
func TestOutcomesKeepTheirNames(t *testing.T) {
	m := NewMetrics(Config{})
	outcomes := []string{
		"succeeded", "nonzero", "signalled", "out_of_memory", "timeout", "cpu_timeout", "output_limit", "disk_full", "start_failed",
		"cancelled", "policy_denied", "infra_lost",
	}
	for _, o := range outcomes {
		m.SandboxRun(t.Context(), o, time.Second)
	}
	for _, s := range []string{"completed", "failed", "halted"} {
		m.WorkflowClosed(wflo.Run{Workflow: "w"}, s, time.Second)
	}
	for _, s := range []string{"ok", "error", "cancelled"} {
		m.Activity(t.Context(), "a", s, time.Second)
	}
	for _, s := range []wflo.GateStatus{wflo.GateApproved, wflo.GateRejected, wflo.GateTimedOut} {
		m.ApprovalClosed(t.Context(), s, time.Second)
	}
	for _, how := range []string{"warm", "kept", "cold"} {
		m.Sandboxes().Created(how, time.Second)
	}
	got := scrape(t, m, "text/plain")
	if strings.Contains(got, `"`+nameOther+`"`) {
		t.Errorf("names were lost:\n%s", got)
	}
	for _, o := range outcomes {
		wantLines(t, got, `wflo_sandbox_executions_total{outcome="`+o+`"} 1`)
	}
}

func TestMovesAreCounted(t *testing.T) {
	m := NewMetrics(Config{})
	m.Sandboxes().Moved()
	m.Sandboxes().Moved()
	wantLines(t, scrape(t, m, "text/plain"), "wflo_sandbox_moves_total 2")
}
