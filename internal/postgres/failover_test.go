package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
)

// cluster is a server with a database "books", and one that follows it.
func cluster(t *testing.T) (primary, standby *pgtest.Server) {
	t.Helper()
	primary, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	stop := func(s *pgtest.Server) {
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	stop(primary)
	if err := primary.Exec(t.Context(), "CREATE DATABASE books"); err != nil {
		t.Fatal(err)
	}
	if standby, err = primary.Standby(); err != nil {
		t.Fatal(err)
	}
	stop(standby)
	return primary, standby
}

func spent(t *testing.T, l *Ledger, want, reserved wflo.Money) {
	t.Helper()
	got, err := l.Spend(t.Context(), "x")
	if err != nil || got.Spent != want || got.Reserved != reserved {
		t.Errorf("the budget is %+v, %v; want %d spent and %d reserved", got, err, want, reserved)
	}
}

// TestFailover loses the primary while money is held on it, and makes the standby the
// primary: the ledger finds it by itself, with everything that was committed. Before
// that, no ledger opens on a standby alone.
func TestFailover(t *testing.T) {
	primary, standby := cluster(t)
	alone, err := standby.Either("postgres:///books?user=postgres", standby)
	if err != nil {
		t.Fatal(err)
	}
	var refused *pgconn.PgError
	if _, err := Open(t.Context(), Config{URL: alone}); !errors.As(err, &refused) || refused.Code != "25006" {
		t.Fatalf("error is %v, want one of a server that cannot be written to", err)
	}
	// A commit is answered when the standby has it too.
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := primary.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	either, err := standby.Either("postgres:///books?user=postgres", primary) // the standby comes first
	if err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, Config{URL: either + "&target_session_attrs=read-write", MaxConns: 2})
	r := wflo.Reservation{Key: "a", Attempt: 1, Amount: 5, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 100}}}
	if _, err := l.Reserve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l.Records(), login("x", "before"))
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	settle := func(ctx context.Context) error {
		return l.Settle(ctx, wflo.Settlement{Key: "a", Attempt: 1, Amount: 3})
	}
	if err := settle(t.Context()); err == nil || wflo.CodeOf(err) != "" {
		t.Errorf("without a primary a settlement gave %v, want an error that is worth another try", err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := insists(t.Context(), settle); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l.Records(), login("x", "after"))
	unbroken(t, l.Records(), "x", 2)
	spent(t, l, 3, 0)
}

// TestReadOnlyServer meets a server that takes no writes, as a standby does and a
// primary whose operator has stopped writing: nothing is held, the caller may try
// again, and a connection that was opened then is not kept for later.
func TestReadOnlyServer(t *testing.T) {
	address := server.Database(t)
	l := mustOpen(t, Config{URL: address, MaxConns: 2})
	name := l.pool.Config().ConnConfig.Database
	readOnly := func(on string) {
		t.Helper()
		if err := server.Exec(t.Context(), "ALTER DATABASE "+name+" SET default_transaction_read_only = "+on); err != nil {
			t.Fatal(err)
		}
	}
	readOnly("on")
	stuck, codes := traced(t, address, 2)
	r := wflo.Reservation{Key: "a", Attempt: 1, Amount: 5, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 100}}}
	_, err := stuck.Reserve(t.Context(), r)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "25006" || wflo.CodeOf(err) != "" || !strings.Contains(err.Error(), "target_session_attrs") {
		t.Errorf("error is %v, want one that says what to do and is worth another try", err)
	}
	if codes.codes["25006"] != tries {
		t.Errorf("the server was asked %v, want %d times", codes.codes, tries)
	}
	if err := stuck.Records().Append(t.Context(), login("x", "a")); !errors.As(err, &refused) {
		t.Errorf("append gave %v", err)
	}
	spent(t, stuck, 0, 0)
	readOnly("off")
	// Sessions that began before go on as they were.
	if _, err := stuck.Reserve(t.Context(), r); err != nil {
		t.Errorf("after the failover: %v", err)
	}
	mustAppend(t, stuck.Records(), login("x", "a"))
	unbroken(t, stuck.Records(), "x", 1)
	spent(t, l, 0, 5)
}
