package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// mustShare opens a file several times, as several processes do.
func mustShare(t testing.TB, path string, n int) []activities.Ledger {
	t.Helper()
	ledgers := make([]activities.Ledger, n)
	for i := range ledgers {
		ledgers[i] = mustOpen(t, Config{Path: path})
	}
	return ledgers
}

func TestOverspendOverWorkers(t *testing.T) {
	t.Parallel()
	storetest.TestOverspend(t, mustShare(t, filepath.Join(t.TempDir(), "ledger.db"), 3)...)
}

func BenchmarkReserveSettle(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint("goroutines=", callers), func(b *testing.B) {
			l := mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")})
			storetest.BenchmarkReserveSettle(b, l, callers)
		})
	}
}

func BenchmarkReserveSettleCold(b *testing.B) {
	for _, callers := range []int{64, 256} {
		b.Run(fmt.Sprint("goroutines=", callers), func(b *testing.B) {
			l := mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")})
			storetest.BenchmarkReserveSettleCold(b, l, callers)
		})
	}
}

// BenchmarkOverspend has 256 agents at one file, through one ledger and through
// four, as four processes have.
func BenchmarkOverspend(b *testing.B) {
	for _, workers := range []int{1, 4} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			storetest.BenchmarkOverspend(b, func(b *testing.B) (activities.Ledger, storetest.CheckThenSpend) {
				path := filepath.Join(b.TempDir(), "ledger.db")
				return storetest.Workers(mustShare(b, path, workers)...), openUnreserved(b, path)
			}, 256)
		})
	}
}

// unreserved is a budget in a row of the same file.
type unreserved struct{ db *sql.DB }

func openUnreserved(b *testing.B, path string) unreserved {
	b.Helper()
	db, err := sql.Open("sqlite", dsn(path, ours+"&_txlock=immediate"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(readers)
	for _, statement := range []string{"CREATE TABLE unreserved (spent INTEGER NOT NULL)", "INSERT INTO unreserved VALUES (0)"} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	return unreserved{db}
}

func (u unreserved) Spent(ctx context.Context) (spent wflo.Money, err error) {
	err = u.db.QueryRowContext(ctx, "SELECT spent FROM unreserved").Scan(&spent)
	return spent, err
}

func (u unreserved) Add(ctx context.Context, amount wflo.Money) error {
	_, err := u.db.ExecContext(ctx, "UPDATE unreserved SET spent = spent + ?", amount)
	return err
}

// BenchmarkInsert is what to compare with: one row and one commit, alone.
func BenchmarkInsert(b *testing.B) {
	l := mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")})
	if _, err := l.write.ExecContext(b.Context(), "CREATE TABLE plain (body TEXT)"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.write.ExecContext(b.Context(), "INSERT INTO plain VALUES (hex(zeroblob(150)))"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkSpend reads a budget with a rule.
func BenchmarkSpend(b *testing.B) {
	l := mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")})
	if err := l.SetBudget(b.Context(), wflo.Budget{Scope: wflo.ScopeUser, Limit: wflo.USD, Period: wflo.PeriodDaily}, "bench"); err != nil {
		b.Fatal(err)
	}
	if _, err := l.Reserve(b.Context(), wflo.Reservation{Key: "k", Attempt: 1, Amount: 1, Scopes: []string{"user:ann"}}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Spend(b.Context(), "user:ann"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory is a lifecycle without a disk.
func BenchmarkMemory(b *testing.B) { storetest.BenchmarkReserveSettle(b, mustOpen(b, Config{}), 16) }
