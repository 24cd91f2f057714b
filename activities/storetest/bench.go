package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// BenchmarkReserveSettle measures whole lifecycles, a reservation and its
// settlement, by so many callers at the same time. Each call is charged to five
// budgets, of which team and org are the same for all callers: the worst case,
// and the usual one.
func BenchmarkReserveSettle(b *testing.B, l activities.Ledger, callers int) {
	ctx := b.Context()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for caller := range callers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				key := fmt.Sprint("bench", n)
				r := ask(key, 1, wflo.Cent, line(fmt.Sprint("run:", caller), 0), line(fmt.Sprint("step:", caller), 0),
					line(fmt.Sprint("user:", caller), 0), line("team", 0), line("org", wflo.Money(1<<62)))
				if _, err := l.Reserve(ctx, r); err != nil {
					b.Error(err)
					return
				}
				if err := l.Settle(ctx, sampleBill(key, 1, wflo.Cent/2)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lifecycles/s")
}
