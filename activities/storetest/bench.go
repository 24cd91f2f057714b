package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// BenchmarkReserveSettle measures whole lifecycles, a reservation and its
// settlement, by so many callers at the same time. Each call is charged to five
// budgets, the run's own and four that rules made; the organisation's is the
// same for all callers: the worst case, and the usual one. It reports lifecycles
// per second, and the 50th and 99th percentile of the time of one.
func BenchmarkReserveSettle(b *testing.B, l activities.Ledger, callers int) {
	lifecycles(b, l, callers, func(int) string { return "org:acme" })
}

// BenchmarkReserveSettleCold is BenchmarkReserveSettle with callers that share
// no budget.
func BenchmarkReserveSettleCold(b *testing.B, l activities.Ledger, callers int) {
	lifecycles(b, l, callers, func(caller int) string { return fmt.Sprint("org:o", caller) })
}

func lifecycles(b *testing.B, l activities.Ledger, callers int, org func(caller int) string) {
	const plenty = wflo.Money(1 << 62)
	ctx := b.Context()
	for _, id := range []string{"agent:*", "user:*", "team:*", "org:*"} {
		if err := l.SetBudget(ctx, rule(id, plenty), "bench"); err != nil {
			b.Fatal(err)
		}
	}
	prefix := rand.Text() // a ledger may be measured again
	one := func(caller int, n int64) error {
		key := fmt.Sprint(prefix, n)
		r := in(ask(key, 1, wflo.Cent, line(fmt.Sprint("run:", caller), plenty)),
			fmt.Sprint("agent:a", caller), fmt.Sprint("user:u", caller), fmt.Sprint("team:t", caller), org(caller))
		r.Run.WorkflowID = fmt.Sprint("w", caller)
		if _, err := l.Reserve(ctx, r); err != nil {
			return err
		}
		return l.Settle(ctx, sampleBill(key, 1, wflo.Cent/2))
	}
	took := make([][]time.Duration, callers)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for caller := range callers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				start := time.Now()
				if err := one(caller, n); err != nil {
					b.Error(err)
					return
				}
				took[caller] = append(took[caller], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "lifecycles/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// CheckThenSpend is a budget as it is kept where nothing is reserved: read
// before a call, and added to after it. The drivers' tests make one of a row in
// the same database, so that both ways are measured in the same run.
type CheckThenSpend interface {
	// Spent reads what was spent.
	Spent(ctx context.Context) (wflo.Money, error)
	// Add adds to it, without a limit.
	Add(ctx context.Context, amount wflo.Money) error
}

const (
	overspendLimit = 5 * wflo.USD
	overspendWorst = 10 * wflo.Cent
	// A call takes a moment, in which others check.
	overspendCall = 5 * time.Millisecond
)

// BenchmarkOverspend lets so many agents spend one limit of $5 in calls of at
// most $0.10, each until it is refused: through the ledger, and by checking
// first and spending then. open gives an empty ledger and an empty budget of the
// other kind, for every round. It reports what was spent as a factor of the
// limit, for the worst round of each; the ledger's must not be above 1.
func BenchmarkOverspend(b *testing.B, open func(b *testing.B) (activities.Ledger, CheckThenSpend), callers int) {
	var worst, naive wflo.Money
	for range b.N {
		b.StopTimer()
		l, other := open(b)
		b.StartTimer()
		if err := agents(b.Context(), callers, throughLedger(l)); err != nil {
			b.Fatal(err)
		}
		if err := agents(b.Context(), callers, checkingFirst(other)); err != nil {
			b.Fatal(err)
		}
		s, err := l.Spend(b.Context(), "org")
		if err != nil {
			b.Fatal(err)
		}
		spent, err := other.Spent(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if s.Spent > overspendLimit || s.Reserved != 0 || s.Spent == 0 || spent == 0 {
			b.Fatalf("the ledger spent %s of %s and reserves %s; checking first spent %s", s.Spent, overspendLimit, s.Reserved, spent)
		}
		worst, naive = max(worst, s.Spent), max(naive, spent)
	}
	b.ReportMetric(float64(worst)/float64(overspendLimit), "factor")
	b.ReportMetric(float64(naive)/float64(overspendLimit), "factor-check-then-spend")
}

// agents makes calls by so many agents at the same time, each until call says
// that there is no room.
func agents(ctx context.Context, n int, call func(ctx context.Context, agent, n int) (more bool, err error)) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)
	start := make(chan struct{})
	for agent := range n {
		wg.Go(func() {
			<-start
			for n := 0; ; n++ {
				more, err := call(ctx, agent, n)
				if err != nil {
					errs <- fmt.Errorf("agent %d: %w", agent, err)
				}
				if err != nil || !more {
					return
				}
			}
		})
	}
	close(start)
	wg.Wait()
	close(errs)
	return <-errs
}

// cost is what a call turns out to cost, between $0.03 and the worst case.
func cost(agent, n int) wflo.Money {
	return 3*wflo.Cent + wflo.Money((agent*7+n*3)%8)*wflo.Cent
}

// provider answers after a moment.
func provider(ctx context.Context) error {
	timer := time.NewTimer(overspendCall)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func throughLedger(l activities.Ledger) func(context.Context, int, int) (bool, error) {
	return func(ctx context.Context, agent, n int) (bool, error) {
		key := fmt.Sprintf("%d.%d", agent, n)
		_, err := l.Reserve(ctx, ask(key, 1, overspendWorst, line("org", overspendLimit)))
		if wflo.CodeOf(err) == wflo.CodeBudgetExceeded {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := provider(ctx); err != nil {
			return false, err
		}
		return true, l.Settle(ctx, bill(key, 1, cost(agent, n)))
	}
}

func checkingFirst(c CheckThenSpend) func(context.Context, int, int) (bool, error) {
	return func(ctx context.Context, agent, n int) (bool, error) {
		spent, err := c.Spent(ctx)
		if err != nil || spent+overspendWorst > overspendLimit {
			return false, err
		}
		if err := provider(ctx); err != nil {
			return false, err
		}
		return true, c.Add(ctx, cost(agent, n))
	}
}
