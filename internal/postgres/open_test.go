package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
)

const password = "s3cr3t%2Fhunter"

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no URL":            {},
		"bad URL":           {URL: "postgres://user:" + password + "@host:port:port/db"},
		"bad escape":        {URL: "postgres://user:" + password + "%zz@host/db"},
		"bad option":        {URL: "postgres://user:" + password + "@host/db?pool_max_conns=many"},
		"bad mode":          {URL: "postgres://user:" + password + "@host/db?sslmode=perhaps"},
		"bad keyword":       {URL: "host=localhost password=" + password + " port=x"},
		"schema with quote": {URL: "postgres:///db", Schema: `w"x`},
		"long schema":       {URL: "postgres:///db", Schema: strings.Repeat("x", 64)},
		"negative conns":    {URL: "postgres:///db", MaxConns: -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), c)
			if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
				t.Errorf("error is %v, want an invalid configuration with a hint", err)
			}
			noSecret(t, err)
		})
	}
}

func noSecret(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, form := range []string{fmt.Sprint(e), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			if strings.Contains(form, "s3cr3t") || strings.Contains(form, "hunter") {
				t.Errorf("the error tells the password: %s", form)
			}
		}
	}
}

func TestPasswordIsNotInConnectErrors(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	own, err := url.Parse(server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	own.Path = "/there_is_no_such_database"
	unknown := own.String() + "&password=" + password
	for _, address := range []string{"postgres://user:" + password + "@" + closed + "/db?sslmode=disable", unknown} {
		_, err := Open(t.Context(), Config{URL: address})
		if err == nil {
			t.Fatalf("opened a database that is not there")
		}
		t.Log(err)
		noSecret(t, err)
	}
}

func TestWorkersMigrateAtOnce(t *testing.T) {
	u := server.Database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			l, err := Open(t.Context(), Config{URL: u, MaxConns: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			if _, err := l.Spend(t.Context(), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSchemasAreApart(t *testing.T) {
	u := server.Database(t)
	ctx := t.Context()
	one, two := mustOpen(t, Config{URL: u}), mustOpen(t, Config{URL: u, Schema: "user"}) // a word of SQL
	r := wflo.Reservation{Key: "k", Attempt: 1, Amount: 5, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 10}}}
	for _, l := range []*Ledger{one, two} {
		if _, err := l.Reserve(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.Release(ctx, "k", 1); err != nil {
		t.Fatal(err)
	}
	for l, want := range map[*Ledger]wflo.Money{one: 5, two: 0} {
		if got, err := l.Spend(ctx, "x"); err != nil || got.Reserved != want {
			t.Errorf("reserved is %v, %v; want %v", got.Reserved, err, want)
		}
	}
}

func TestSchemaOfTheUsersSessionDoesNotMatter(t *testing.T) {
	u := server.Database(t)
	mustOpen(t, Config{URL: u})
	l := mustOpen(t, Config{URL: u + "&search_path=nowhere&default_transaction_isolation=serializable"})
	r := wflo.Reservation{Key: "k", Attempt: 1, Amount: 5, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 10}}}
	if _, err := l.Reserve(t.Context(), r); err != nil {
		t.Error(err)
	}
	if err := l.Settle(t.Context(), wflo.Settlement{Key: "k", Attempt: 1, Amount: 2}); err != nil {
		t.Error(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	u := server.Database(t)
	l := mustOpen(t, Config{URL: u})
	if _, err := l.pool.Exec(t.Context(), "INSERT INTO wflo.migrations (version_id, is_applied) VALUES (999, true); UPDATE wflo.schema_terms SET oldest = 999", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{URL: u})
	if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "999") || wflo.HintOf(err) == "" {
		t.Errorf("error is %v", err)
	}
}

func TestEntriesAreAppendOnly(t *testing.T) {
	l := mustOpen(t, Config{})
	ctx := t.Context()
	if _, err := l.Reserve(ctx, wflo.Reservation{Key: "k", Attempt: 1, Amount: 5}); err != nil {
		t.Fatal(err)
	}
	if err := l.MarkUnknown(ctx, "k", 1); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"UPDATE wflo.entries SET amount_nano = 0", "DELETE FROM wflo.entries", "TRUNCATE wflo.entries"} {
		if _, err := l.pool.Exec(ctx, change); err == nil || !strings.Contains(err.Error(), "only ever added") {
			t.Errorf("%s gave %v", change, err)
		}
	}
	if _, err := l.pool.Exec(ctx, "UPDATE wflo.accounts SET reserved_nano = -1"); err != nil {
		t.Fatal(err) // there is no budget, so nothing to refuse
	}
}

// TestBrokenConnectionsAreReplaced ends every session of the pool, as a restart
// of the server does: no caller notices.
func TestBrokenConnectionsAreReplaced(t *testing.T) {
	l := mustOpen(t, Config{MaxConns: 4})
	ctx := t.Context()
	r := wflo.Reservation{Key: "k", Attempt: 1, Amount: 5, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 10}}}
	for attempt := 1; attempt <= 3; attempt++ {
		r.Attempt = attempt
		err := server.Exec(context.Background(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE datname = $1 AND application_name = 'wflo'`, l.pool.Config().ConnConfig.Database)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Reserve(ctx, r); err != nil {
			t.Fatal(err)
		}
		if err := l.Release(ctx, "k", attempt); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOneRoundTrip counts statements: a second one would double the time that a
// hot budget is locked.
func TestOneRoundTrip(t *testing.T) {
	u := server.Database(t)
	mustOpen(t, Config{URL: u})
	conf, err := Config{URL: u}.parse()
	if err != nil {
		t.Fatal(err)
	}
	var sent counter
	conf.ConnConfig.Tracer = &sent
	l, err := connect(t.Context(), conf, DefaultSchema)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx := t.Context()
	r := wflo.Reservation{Key: "k", Attempt: 1, Amount: 5, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 10}, {ID: "y"}, {ID: "z"}}}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"reserve", func() error { _, err := l.Reserve(ctx, r); return err }},
		{"settle", func() error { return l.Settle(ctx, wflo.Settlement{Key: "k", Attempt: 1, Amount: 1}) }},
		{"reserve the next", func() error { r.Key = "n"; _, err := l.Reserve(ctx, r); return err }},
		{"mark unknown", func() error { return l.MarkUnknown(ctx, "n", 1) }},
		{"release", func() error { return l.Release(ctx, "n", 1) }},
	} {
		sent.statements = 0
		if err := c.call(); err != nil {
			t.Fatal(err)
		}
		if sent.statements != 1 {
			t.Errorf("%s sent %d statements", c.name, sent.statements)
		}
	}
}

type counter struct{ statements int }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements++
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
