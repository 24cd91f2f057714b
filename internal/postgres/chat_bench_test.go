package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/pricing"
)

// vendor is a provider that takes so long, and notes how long that really was,
// because timers fire late. One caller uses it at a time.
type vendor struct {
	takes time.Duration
	took  time.Duration
}

func (*vendor) Name() string { return "openai" }

func (v *vendor) Chat(_ context.Context, p wflo.Prompt, _ func(string)) (wflo.Reply, error) {
	start := time.Now()
	pause(v.takes)
	v.took = time.Since(start)
	return wflo.Reply{Text: "ok", Stop: wflo.StopEnd, Provider: "openai", Model: p.Model, ResponseID: "r", Usage: wflo.Usage{Input: 1000, Output: 100}}, nil
}

func pause(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// BenchmarkChat measures what governing adds to a model call, with so many calls
// in flight: estimate, price, reserve, settle and a span, on five budgets of which
// three are everybody's. What the provider really took does not count. With one
// that takes 100 ms, which is fast, each caller begins after a random part of
// that, as agents do; with one that takes no time it is how many calls there can
// be.
func BenchmarkChat(b *testing.B) {
	for _, provider := range []time.Duration{100 * time.Millisecond, 0} {
		for _, callers := range []int{1, 32} {
			b.Run(fmt.Sprintf("provider=%s/callers=%d", provider, callers), func(b *testing.B) { benchmarkChat(b, callers, provider) })
		}
	}
}

func benchmarkChat(b *testing.B, callers int, provider time.Duration) {
	l := mustOpen(b, Config{MaxConns: 16})
	for _, budget := range []wflo.Budget{
		{Scope: wflo.ScopeUser, Limit: 1 << 50, Period: wflo.PeriodDaily}, {Scope: wflo.ScopeTeam, Limit: 1 << 50, Period: wflo.PeriodMonthly},
		{Scope: wflo.ScopeOrg, Limit: 1 << 50, Period: wflo.PeriodMonthly, TimeZone: "Europe/Berlin"}, {Scope: wflo.ScopeModel, Limit: 1 << 50},
	} {
		if err := l.SetBudget(b.Context(), budget, "bench"); err != nil {
			b.Fatal(err)
		}
	}
	observer := telemetry.NewMetrics(telemetry.Config{Registry: prometheus.NewRegistry(), RunFromContext: wflo.RunFrom})
	spans := trace.NewTracerProvider(trace.WithBatcher(tracetest.NewNoopExporter()))
	defer func() { _ = spans.Shutdown(context.Background()) }()
	tracer := spans.Tracer("bench")
	work, took := make(chan int), make([]time.Duration, b.N)
	call := func(ctx context.Context, n int) error {
		v := &vendor{takes: provider}
		llm := &activities.LLM{Providers: map[string]activities.Provider{"openai": v}, Prices: pricing.Default(), Ledger: l, Observer: observer}
		start := time.Now()
		ctx, span := tracer.Start(ctx, "chat")
		run := wflo.Run{WorkflowID: fmt.Sprint("w", n%callers), FirstRunID: "1", Step: fmt.Sprint(n), User: fmt.Sprint("u", n%callers), Team: "t", Org: "o"}
		run.Lines = []wflo.BudgetLine{{ID: wflo.RunBudgetID(run.ID()), Limit: 1 << 50}}
		_, err := llm.Chat(wflo.WithRun(ctx, run), wflo.Prompt{
			Model: "gpt-5.4-mini", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "how much is six times seven?"}},
		})
		span.End()
		took[n] = time.Since(start) - v.took
		return err
	}
	var suite testsuite.WorkflowTestSuite
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			env := suite.NewTestActivityEnvironment()
			env.RegisterActivityWithOptions(call, activity.RegisterOptions{Name: "call"})
			pause(time.Duration(rand.Int64N(int64(provider) + 1)))
			for n := range work {
				if _, err := env.ExecuteActivity("call", n); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ResetTimer()
	for n := range b.N {
		work <- n
	}
	close(work)
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "added-p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "added-p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
