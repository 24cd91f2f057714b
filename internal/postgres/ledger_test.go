package postgres

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"go.uber.org/goleak"
)

var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if err := shortenWalks(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var err error
	if server, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// shortenWalks lets the random walks be fewer where the race detector makes them
// slow, unless the flag of rapid says how many.
func shortenWalks() error {
	const checks = "rapid.checks"
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == checks })
	if given || !raced {
		return nil
	}
	return flag.Set(checks, "25")
}

func mustOpen(t testing.TB, c Config) *Ledger {
	t.Helper()
	if c.URL == "" {
		c.URL = server.Database(t)
	}
	l, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestLedger gives each test a schema of one database, because to drop a
// database is to write all that the server has changed to disk.
func TestLedger(t *testing.T) {
	url := server.Database(t)
	schemas := 0
	storetest.TestLedger(t, func(t *testing.T) activities.Ledger {
		schemas++
		return mustOpen(t, Config{URL: url, MaxConns: 16, Schema: fmt.Sprint("ledger", schemas)})
	})
	noDeadlocks(t, url)
}

func TestWindows(t *testing.T) {
	storetest.TestWindows(t, func(t *testing.T) (activities.Ledger, func(time.Time)) {
		l := mustOpen(t, Config{MaxConns: 4})
		return l, func(at time.Time) { setClock(t, l, at) }
	})
}

// setClock stops the ledger's clock at a moment.
func setClock(t *testing.T, l *Ledger, at time.Time) {
	t.Helper()
	_, err := l.pool.Exec(t.Context(), fmt.Sprintf(`CREATE OR REPLACE FUNCTION wflo.clock() RETURNS timestamptz
		LANGUAGE sql VOLATILE AS $$SELECT timestamptz '%s'$$`, at.UTC().Format(time.RFC3339Nano)))
	if err != nil {
		t.Fatal(err)
	}
}

// noDeadlocks asks the server, because a caller does not see a deadlock: the
// call is repeated.
func noDeadlocks(t *testing.T, url string) {
	ctx := context.Background() // the test's own is done
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	// A session reports its statistics when it ends.
	for others := 1; others > 0; {
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`).Scan(&others)
		if err != nil {
			t.Fatal(err)
		}
	}
	var deadlocks int
	err = conn.QueryRow(ctx, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks)
	if err != nil || deadlocks != 0 {
		t.Errorf("%d deadlocks, %v", deadlocks, err)
	}
}
