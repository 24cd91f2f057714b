package postgres

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// BenchmarkBatch measures what the database does for batches of so many calls,
// without anybody waiting for company: a batch of reservations, then one of their
// settlements, on the five budgets of storetest.BenchmarkReserveSettle.
func BenchmarkBatch(b *testing.B) {
	for _, items := range []int{1, 8, 32} {
		b.Run(fmt.Sprint("items=", items), func(b *testing.B) { benchmarkBatch(b, items) })
	}
}

func benchmarkBatch(b *testing.B, items int) {
	l := mustOpen(b, Config{MaxConns: 1})
	for _, scope := range []wflo.Scope{wflo.ScopeAgent, wflo.ScopeUser, wflo.ScopeTeam, wflo.ScopeOrg} {
		if err := l.SetBudget(b.Context(), wflo.Budget{Scope: scope, Limit: 1 << 60}, "bench"); err != nil {
			b.Fatal(err)
		}
	}
	prefix := rand.Text()
	var reserving, settling time.Duration
	for n := range b.N {
		reserves, settles := make([]*call, items), make([]*call, items)
		for i := range items {
			r := asking(wflo.EffectKey(fmt.Sprint(prefix, n, ".", i)), wflo.Cent, wflo.BudgetLine{ID: fmt.Sprint("run:", i), Limit: 1 << 60})
			r.reserve.Scopes = []string{fmt.Sprint("agent:a", i), fmt.Sprint("user:u", i), fmt.Sprint("team:t", i), "org:acme"}
			r.reserve.run = `{"workflow_id":"w"}`
			reserves[i], settles[i] = r, settlingAt(r.key, wflo.Cent/2)
		}
		start := time.Now()
		wantVerdict(b, together(b, l, reserves...), "held")
		middle := time.Now()
		wantVerdict(b, together(b, l, settles...), "done")
		reserving, settling = reserving+middle.Sub(start), settling+time.Since(middle)
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N*items) }
	b.ReportMetric(per(reserving), "reserve-µs/call")
	b.ReportMetric(per(settling), "settle-µs/call")
}

func settlingAt(key wflo.EffectKey, amount wflo.Money) *call {
	return &call{key: key, settle: &settleCall{usage: "{}", price: "{}", Settlement: wflo.Settlement{Key: key, Attempt: 1, Amount: amount}}}
}

func wantVerdict(b *testing.B, all []result, want string) {
	for _, r := range all {
		if r.err != nil || r.answer.verdict != want {
			b.Fatalf("answer is %q, %v; want %q", r.answer.verdict, r.err, want)
		}
	}
}
