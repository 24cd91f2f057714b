package telemetry

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

const openMetrics = "application/openmetrics-text; version=1.0.0"

// scrape reads the metrics as a server that accepts the format would.
func scrape(t *testing.T, m *Metrics, accept string) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("scrape: status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	lines := strings.Split(got, "\n")
	for _, w := range want {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, w) }) {
			t.Errorf("no line begins with %q in:\n%s", w, got)
		}
	}
}

func exercise(m *Metrics, ctx context.Context) {
	m.WorkflowClosed(wflo.Run{Workflow: "Refund"}, "completed", 90*time.Second)
	m.LLMCall(ctx, "openai", "gpt-5.4-mini", wflo.Usage{Input: 100, CacheRead: 20, Output: 30, Reasoning: 5}, 2_300_000)
	m.LLMEstimate(ctx, "openai", "gpt-5.4-mini", 200, 100)
	m.LLMOverdraft(ctx, "openai", "gpt-5.4-mini", 5)
	m.LLMFailover(ctx, "openai", "gpt-5.4-mini")
	m.LLMCache(ctx, "hit")
	m.BudgetExceeded("Refund")
	m.Sandboxes().Created("cold", 800*time.Millisecond)
	m.Sandboxes().Usage("c0ffee", 42.5, 64<<20)
	m.SandboxRun(ctx, "succeeded", 2*time.Second)
	m.SandboxQueued(ctx, 3*time.Second)
	m.ApprovalOpened()
	m.ApprovalClosed(ctx, wflo.GateApproved, 20*time.Minute)
	m.Activity(ctx, "wflo.llm.Chat", "completed", 3*time.Second)
}

// Dashboards and alert rules depend on these names, in both formats.
func TestMetricsNames(t *testing.T) {
	m := NewMetrics(Config{RunFromContext: runFromContext})
	exercise(m, withRun(t.Context(), wflo.Run{Workflow: "Refund"}))
	for _, accept := range []string{"text/plain", openMetrics} {
		t.Run(accept, func(t *testing.T) {
			wantLines(t, scrape(t, m, accept),
				`wflo_workflow_executions_total{status="completed"} 1`,
				`wflo_workflow_duration_seconds_sum{workflow_name="Refund"} 90`,
				`wflo_workflow_cost_usd{workflow_name="Refund"} 0.0023`,
				`wflo_approvals_opened_total 1`,
				`wflo_approval_requests_total{status="approved"} 1`,
				`wflo_approval_requests_total{status="rejected"} 0`,
				`wflo_approval_requests_total{status="timeout"} 0`,
				`wflo_approval_latency_seconds_sum 1200`,
				`wflo_approval_latency_seconds_bucket{le="1200`,
				`wflo_sandbox_creation_duration_seconds_sum 0.8`,
				`wflo_sandbox_creations_total{how="cold"} 1`,
				`wflo_sandbox_cpu_usage_percent{sandbox_id="c0ffee"} 42.5`,
				`wflo_sandbox_memory_usage_bytes{sandbox_id="c0ffee"} 6.7108864e+07`,
				`wflo_llm_input_estimate_ratio_sum{model="gpt-5.4-mini",provider="openai"} 0.5`,
				`wflo_llm_overdrafts_total{model="gpt-5.4-mini",provider="openai"} 1`,
				`wflo_llm_failovers_total{model="gpt-5.4-mini",provider="openai"} 1`,
				`wflo_llm_cache_total{outcome="hit"} 1`,
				`wflo_sandbox_queue_seconds_sum 3`,
				`wflo_sandbox_executions_total{outcome="succeeded"} 1`,
				`wflo_sandbox_execution_duration_seconds_sum{outcome="succeeded"} 2`,
				`wflo_llm_api_calls_total{model="gpt-5.4-mini",provider="openai"} 1`,
				`wflo_llm_tokens_total{model="gpt-5.4-mini",provider="openai",type="input"} 100`,
				`wflo_llm_tokens_total{model="gpt-5.4-mini",provider="openai",type="cache_read"} 20`,
				`wflo_llm_tokens_total{model="gpt-5.4-mini",provider="openai",type="output"} 30`,
				`wflo_llm_tokens_total{model="gpt-5.4-mini",provider="openai",type="reasoning"} 5`,
				`wflo_budget_exceeded_total{workflow_name="Refund"} 1`,
				`wflo_activity_duration_seconds_sum{activity="wflo.llm.Chat",status="completed"} 3`,
				`go_goroutines `,
			)
		})
	}
}

func TestMetricsExemplars(t *testing.T) {
	long := strings.Repeat("x", 200)
	tests := []struct {
		name string
		ctx  func(context.Context) context.Context
		want map[string]string
	}{
		{"nothing", func(ctx context.Context) context.Context { return ctx }, nil},
		{"span", func(ctx context.Context) context.Context { return withSpan(t, ctx, trace.FlagsSampled) },
			map[string]string{"trace_id": testTraceID}},
		{"span that is not exported", func(ctx context.Context) context.Context { return withSpan(t, ctx, 0) }, nil},
		{"correlation", func(ctx context.Context) context.Context {
			return withRun(withSpan(t, ctx, trace.FlagsSampled), wflo.Run{Correlation: "req-7"})
		}, map[string]string{"trace_id": testTraceID, "correlation_id": "req-7"}},
		{"correlation too long", func(ctx context.Context) context.Context {
			return withRun(withSpan(t, ctx, trace.FlagsSampled), wflo.Run{Correlation: long})
		}, map[string]string{"trace_id": testTraceID}},
		{"correlation not UTF-8", func(ctx context.Context) context.Context {
			return withRun(ctx, wflo.Run{Correlation: "\xff"})
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMetrics(Config{RunFromContext: runFromContext})
			ctx := tt.ctx(t.Context())
			if diff := cmp.Diff(tt.want, map[string]string(m.exemplar(ctx))); diff != "" {
				t.Errorf("exemplar (-want +got):\n%s", diff)
			}
			exercise(m, ctx)
			got := scrape(t, m, openMetrics)
			for name, value := range tt.want {
				if !strings.Contains(got, fmt.Sprintf("%s=%q", name, value)) {
					t.Errorf("no exemplar %s=%q in:\n%s", name, value, got)
				}
			}
			if tt.want == nil && strings.Contains(got, " # {") {
				t.Errorf("unexpected exemplar in:\n%s", got)
			}
		})
	}
}

// A caller that invents names costs a bounded number of series.
func TestMetricsNamesAreBounded(t *testing.T) {
	m := NewMetrics(Config{MaxNames: 3})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			m.BudgetExceeded(fmt.Sprintf("wf%d", i))
			m.LLMCall(t.Context(), "p", fmt.Sprintf("model%d", i), wflo.Usage{Input: 1}, 1)
			m.Activity(t.Context(), "a", fmt.Sprintf("status%d", i), -time.Second)
		})
	}
	wg.Wait()
	got := scrape(t, m, "text/plain")
	if n := strings.Count(got, "wflo_budget_exceeded_total{"); n != 4 {
		t.Errorf("%d series of workflows, want 3 and other:\n%s", n, got)
	}
	wantLines(t, got,
		`wflo_budget_exceeded_total{workflow_name="other"} 17`,
		`wflo_llm_api_calls_total{model="other",provider="p"} 17`,
		`wflo_workflow_cost_usd{workflow_name="unknown"} 2`)
}

func TestMetricsTakeAnyValue(t *testing.T) {
	m := NewMetrics(Config{})
	m.WorkflowClosed(wflo.Run{Workflow: "\xff\x00"}, "", -time.Hour)
	m.LLMCall(t.Context(), "", strings.Repeat("é", 100), wflo.Usage{Input: -5}, -7)
	got := scrape(t, m, "text/plain")
	wantLines(t, got,
		`wflo_workflow_executions_total{status="unknown"} 1`,
		"wflo_workflow_duration_seconds_sum{workflow_name=\"\uFFFD\x00\"} 0",
		`wflo_llm_api_calls_total{model="`+strings.Repeat("é", 60)+`",provider="unknown"} 1`)
	if strings.Contains(got, "wflo_llm_tokens_total{") || strings.Contains(got, "wflo_workflow_cost_usd{") {
		t.Errorf("negative counts were counted:\n%s", got)
	}
}

func FuzzLabelValue(f *testing.F) {
	f.Add("Refund")
	f.Add("\xff" + strings.Repeat("é", 100))
	f.Add(strings.Repeat("\x80", 300))
	f.Fuzz(func(t *testing.T, s string) {
		got := labelValue(s)
		if !utf8.ValidString(got) || len(got) > 3*maxValueBytes {
			t.Errorf("labelValue(%q) = %q", s, got)
		}
		if utf8.ValidString(s) && !strings.HasPrefix(s, got) {
			t.Errorf("labelValue(%q) = %q, not a prefix", s, got)
		}
	})
}

// Two registrations on one registry are a mistake that must not pass silently.
func TestNewMetricsTwicePanics(t *testing.T) {
	m := NewMetrics(Config{})
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewMetrics(Config{Registry: m.Registry()})
}

func TestNamesAdmit(t *testing.T) {
	n := newNames(2)
	got := make(map[string]string)
	for _, s := range []string{"a", "", "b", "c", "a"} {
		got[s] = n.admit(s)
	}
	want := map[string]string{"a": "a", "": nameUnknown, "b": "b", "c": nameOther}
	if !maps.Equal(got, want) {
		t.Errorf("admit: got %v, want %v", got, want)
	}
}
