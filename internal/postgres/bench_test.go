package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func BenchmarkReserveSettle(b *testing.B) {
	for _, callers := range []int{1, 32, 64, 256} {
		b.Run(fmt.Sprint("goroutines=", callers), func(b *testing.B) {
			storetest.BenchmarkReserveSettle(b, mustOpen(b, Config{MaxConns: 4}), callers)
		})
	}
}

func BenchmarkReserveSettleCold(b *testing.B) {
	for _, callers := range []int{64, 256} {
		b.Run(fmt.Sprint("goroutines=", callers), func(b *testing.B) {
			storetest.BenchmarkReserveSettleCold(b, mustOpen(b, Config{MaxConns: 4}), callers)
		})
	}
}

// BenchmarkInsert is what to compare with: one row and one commit, alone or by
// many connections at once, which share the flushes of the log; and after a pause,
// when processes and the disk have gone to sleep, as between model calls.
func BenchmarkInsert(b *testing.B) {
	for _, c := range []struct {
		conns int
		pause time.Duration
	}{{1, 0}, {64, 0}, {1, 100 * time.Millisecond}} {
		b.Run(fmt.Sprintf("connections=%d/pause=%s", c.conns, c.pause), func(b *testing.B) {
			l := mustOpen(b, Config{MaxConns: int32(c.conns)})
			if _, err := l.pool.Exec(b.Context(), "CREATE TABLE plain (id bigint PRIMARY KEY, body text)"); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			took := make([]time.Duration, b.N)
			b.ResetTimer()
			for range c.conns {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						<-time.After(c.pause)
						start := time.Now()
						if _, err := l.pool.Exec(b.Context(), "INSERT INTO plain VALUES ($1, repeat('x', 300))", n); err != nil {
							b.Error(err)
							return
						}
						took[n-1] = time.Since(start)
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// BenchmarkOverspend has 256 agents at one database, through one ledger and
// through four, as four workers have.
func BenchmarkOverspend(b *testing.B) {
	for _, workers := range []int{1, 4} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			storetest.BenchmarkOverspend(b, func(b *testing.B) (activities.Ledger, storetest.CheckThenSpend) {
				url := server.Database(b)
				return storetest.Workers(mustShare(b, url, workers)...), openUnreserved(b, url)
			}, 256)
		})
	}
}

// unreserved is a budget in a row of the same database.
type unreserved struct{ pool *pgxpool.Pool }

func openUnreserved(b *testing.B, url string) unreserved {
	b.Helper()
	pool, err := pgxpool.New(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if _, err := pool.Exec(b.Context(), "CREATE TABLE unreserved AS SELECT 0::bigint AS spent"); err != nil {
		b.Fatal(err)
	}
	return unreserved{pool}
}

func (u unreserved) Spent(ctx context.Context) (wflo.Money, error) {
	var spent int64
	err := u.pool.QueryRow(ctx, "SELECT spent FROM unreserved").Scan(&spent)
	return wflo.Money(spent), err
}

func (u unreserved) Add(ctx context.Context, amount wflo.Money) error {
	_, err := u.pool.Exec(ctx, "UPDATE unreserved SET spent = spent + $1", int64(amount))
	return err
}
