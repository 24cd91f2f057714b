package storetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// BenchmarkAuditAppend measures appends of one event each by so many callers at the
// same time, to so many chains, and then as many plain inserts of one row with one
// commit by as many callers: plain makes one, of the same data. It reports both per
// second, their ratio, and the 50th and 99th percentile of the time of one append.
func BenchmarkAuditAppend(b *testing.B, r activities.Records, plain func(ctx context.Context, id string, data []byte) error, chains, callers int) {
	ctx, prefix := b.Context(), rand.Text()
	g := gate("bench", 60)
	data, err := json.Marshal(wflo.AuditDecision{Gate: g.Nonce, Digest: g.Digest, Decision: g.Decide(wflo.VerdictApprove, "ann")})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	took := together(b, callers, func(n int64) error {
		e := event(fmt.Sprint(prefix, n%int64(chains)), fmt.Sprint(prefix, n))
		e.Type, e.WorkflowID, e.Data = wflo.AuditGateDecided, fmt.Sprint("wf", n%100), data
		return r.Append(ctx, e)
	})
	b.StopTimer()
	appends := float64(b.N) / b.Elapsed().Seconds()
	start := time.Now()
	together(b, callers, func(n int64) error { return plain(ctx, fmt.Sprint(prefix, n), data) })
	inserts := float64(b.N) / time.Since(start).Seconds()
	b.ReportMetric(appends, "appends/s")
	b.ReportMetric(inserts, "inserts/s")
	b.ReportMetric(appends/inserts, "ratio")
	percentiles(b, took, 99)
}

// together runs fn b.N times, by so many callers, and gives the time of each.
func together(b *testing.B, callers int, fn func(n int64) error) []time.Duration {
	took := make([][]time.Duration, callers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				start := time.Now()
				if err := fn(n); err != nil {
					b.Error(err)
					return
				}
				took[caller] = append(took[caller], time.Since(start))
			}
		})
	}
	wg.Wait()
	return slices.Concat(took...)
}

func percentiles(b *testing.B, took []time.Duration, high int) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*high/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", high))
}

// BenchmarkInbox measures the listing of gates with 10,000 of them open: the first
// hundred, the first hundred that ask one person, and all of them page by page.
// open gives records with nothing in them.
func BenchmarkInbox(b *testing.B, open func(b *testing.B) activities.Records) {
	const gates = 10_000
	r := open(b)
	for i := range gates {
		g := asked(gate(numbered("g", i), 1+i%1440), fmt.Sprint("u", i%100), fmt.Sprint("group:g", i%7))
		if err := r.SaveGate(b.Context(), g); err != nil {
			b.Fatal(err)
		}
	}
	page := func(b *testing.B, q activities.GateQuery, want int) []wflo.Gate {
		got, err := r.ListGates(b.Context(), q)
		if err != nil || len(got) != want {
			b.Fatalf("listed %d gates, %v; want %d", len(got), err, want)
		}
		return got
	}
	for name, list := range map[string]func(b *testing.B){
		"first": func(b *testing.B) { page(b, activities.GateQuery{}, 100) },
		"mine":  func(b *testing.B) { page(b, activities.GateQuery{Approvers: []string{"u7"}}, 100) },
		"group": func(b *testing.B) { page(b, activities.GateQuery{Approvers: []string{"u7", "group:g3"}}, 100) },
		"all": func(b *testing.B) {
			for after, n := "", 0; n < gates; n += 100 {
				got := page(b, activities.GateQuery{After: after}, 100)
				after = got[99].Nonce
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				list(b)
				took = append(took, time.Since(start))
			}
			percentiles(b, took, 95)
		})
	}
}
