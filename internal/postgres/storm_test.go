package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
)

// refusals counts what the server refused, by its code.
type refusals struct {
	mu    sync.Mutex
	codes map[string]int
}

func (r *refusals) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (r *refusals) TraceQueryEnd(_ context.Context, _ *pgx.Conn, d pgx.TraceQueryEndData) {
	var refused *pgconn.PgError
	if errors.As(d.Err, &refused) {
		r.mu.Lock()
		r.codes[refused.Code]++
		r.mu.Unlock()
	}
}

// traced opens a ledger whose refusals are counted. The schema is there.
func traced(t *testing.T, address string, conns int32) (*Ledger, *refusals) {
	t.Helper()
	conf, err := Config{URL: address, MaxConns: conns}.parse()
	if err != nil {
		t.Fatal(err)
	}
	r := &refusals{codes: map[string]int{}}
	conf.ConnConfig.Tracer = r
	l, err := connect(t.Context(), conf, DefaultSchema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, r
}

// with adds options to the address of a database.
func with(t *testing.T, address string, options ...string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal("the address of the database is no URL")
	}
	q := u.Query()
	for i := 0; i < len(options); i += 2 {
		q.Set(options[i], options[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// insists makes a write again until it counts, as an activity and Temporal do. What
// the ledger itself says is final.
func insists(ctx context.Context, write func(context.Context) error) error {
	for {
		err := write(ctx)
		if err == nil || wflo.CodeOf(err) != "" || ctx.Err() != nil {
			return err
		}
	}
}

const (
	payLimit = 100 // of the account that all share, for payments of payCost
	payWorst = 3
	payCost  = 2
)

// shared is the account that all callers of a round pay from, and payer the run.
func shared(round int) string  { return fmt.Sprintf("both%02d", round) }
func payer(round int) wflo.Run { return wflo.Run{WorkflowID: fmt.Sprint("w", round), FirstRunID: "f"} }

// pays has callers reserve and settle until the round's budget is used up, and gives
// how many calls they paid for.
func pays(ctx context.Context, t *testing.T, round, callers int, ledgers ...*Ledger) (paid int) {
	t.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			l := ledgers[i%len(ledgers)]
			for k := 0; ; k++ {
				key := wflo.EffectKey(fmt.Sprint(round, "-", i, "-", k))
				r := wflo.Reservation{Key: key, Attempt: 1, Amount: payWorst, Run: payer(round),
					Budgets: []wflo.BudgetLine{{ID: shared(round), Limit: payLimit}, {ID: fmt.Sprint("own", i%4)}}}
				err := insists(ctx, func(ctx context.Context) error { _, err := l.Reserve(ctx, r); return err })
				var refused *wflo.Refusal
				if errors.As(err, &refused) {
					if refused.Reserved > 0 {
						continue // others hold what is left
					}
					return
				}
				if err == nil {
					n.Add(1)
					err = insists(ctx, func(ctx context.Context) error {
						return l.Settle(ctx, wflo.Settlement{Key: key, Attempt: 1, Amount: payCost})
					})
				}
				if err != nil {
					t.Errorf("%s: %v", key, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return int(n.Load())
}

// booked wants every payment of a round in the books once, and nothing else.
func booked(t *testing.T, l *Ledger, round, paid int) {
	t.Helper()
	got, err := l.Spend(t.Context(), shared(round))
	want := wflo.Spend{Budget: shared(round), Limit: payLimit, Spent: wflo.Money(paid) * payCost}
	if err != nil || got != want || got.Spent <= payLimit-payWorst {
		t.Errorf("the budget is %+v, %v; want %+v, used up", got, err, want)
	}
	entries, err := l.Entries(t.Context(), payer(round).ID())
	if err != nil || len(entries) != paid {
		t.Errorf("%d entries, %v; %d calls were paid", len(entries), err, paid)
	}
	seen := map[wflo.EffectKey]bool{}
	for _, e := range entries {
		if seen[e.Key] || e.Amount != payCost || e.State != wflo.HoldSettled {
			t.Errorf("entry %+v", e)
		}
		seen[e.Key] = true
	}
}

// stranger locks two accounts, each for a few milliseconds, in the order that nobody of
// ours has, until the context ends.
func stranger(ctx context.Context, address string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		if _, err := conn.Exec(ctx, "SELECT pg_sleep(0.01)"); err != nil && ctx.Err() == nil {
			return err
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			for _, id := range []string{"own%", "both%"} {
				if _, err := tx.Exec(ctx, "SELECT pg_sleep(0.005) FROM wflo.accounts WHERE id LIKE $1 ORDER BY id DESC LIMIT 1 FOR UPDATE", id); err != nil {
					return err
				}
			}
			return nil
		})
		var refused *pgconn.PgError
		if err != nil && ctx.Err() == nil && !errors.As(err, &refused) {
			return err
		}
	}
	return nil
}

// TestStorms pays while strangers bring the server to refuse what it can refuse about
// transactions: each payment is in the books once.
func TestStorms(t *testing.T) {
	for _, storm := range []struct {
		name, code string
		strangers  int
		options    []string
	}{
		{"deadlocks", "40P01", 2, []string{"deadlock_timeout", "1ms"}},
		{"locks that take too long", "55P03", 2, []string{"lock_timeout", "2ms"}},
		{"transactions that do not fit", "40001", 0, []string{"default_transaction_isolation", "serializable"}},
	} {
		t.Run(storm.name, func(t *testing.T) {
			plain := server.Database(t)
			l := mustOpen(t, Config{URL: plain})
			address := with(t, plain, storm.options...)
			ctx, end := context.WithCancel(t.Context())
			defer end()
			var strangers sync.WaitGroup
			for range storm.strangers {
				strangers.Go(func() {
					if err := stranger(ctx, plain); err != nil {
						t.Error(err)
					}
				})
			}
			a, codes := traced(t, address, 4)
			b, others := traced(t, address, 4)
			// On a busy machine a round can come through between two strangers.
			for round := 0; codes.codes[storm.code]+others.codes[storm.code] == 0; round++ {
				if round == 50 {
					t.Fatalf("the server refused %v and %v in %d rounds, want some %s: this was no storm", codes.codes, others.codes, round, storm.code)
				}
				booked(t, l, round, pays(t.Context(), t, round, 4, a, b))
			}
			end()
			strangers.Wait()
		})
	}
}

// TestServerKilledWhilePaying kills the server again and again, with whatever was on
// its way, and pays on.
func TestServerKilledWhilePaying(t *testing.T) {
	own, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	address := own.Database(t)
	a, b := mustOpen(t, Config{URL: address, MaxConns: 4}), mustOpen(t, Config{URL: address, MaxConns: 4})
	done := make(chan int)
	go func() { done <- pays(t.Context(), t, 0, 8, a, b) }()
	kills := 0
	for kills < 2 {
		if s, err := a.Spend(t.Context(), shared(0)); err != nil || s.Spent < wflo.Money(kills+1)*payLimit/4 {
			continue // some is paid between two kills
		}
		if err := errors.Join(own.Kill(), own.Again()); err != nil {
			t.Fatal(err)
		}
		kills++
	}
	booked(t, a, 0, <-done)
}

// TestNoConnectionIsLeft takes all connections of the ledger's role, which then pays
// nothing, and gives them back.
func TestNoConnectionIsLeft(t *testing.T) {
	role := fmt.Sprintf("crowded_%d", time.Now().UnixNano())
	t.Cleanup(func() { // when the database is gone, in which it has rights
		if err := server.Exec(context.Background(), "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	plain := server.Database(t)
	l := mustOpen(t, Config{URL: plain})
	if _, err := l.pool.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN CONNECTION LIMIT 2; GRANT USAGE ON SCHEMA wflo TO "+role+
		"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA wflo TO "+role+
		"; GRANT USAGE ON ALL SEQUENCES IN SCHEMA wflo TO "+role, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	address := with(t, plain, "user", role)
	crowded, _ := traced(t, address, 1)
	r := wflo.Reservation{Key: "k", Attempt: 1, Amount: payWorst, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 10}}}
	var held []*pgx.Conn
	for range 2 {
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	_, err := crowded.Reserve(t.Context(), r)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "53300" || wflo.CodeOf(err) != "" {
		t.Errorf("error is %v, want one of no connections, which is worth another try", err)
	}
	if err := held[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := insists(t.Context(), func(ctx context.Context) error { _, err := crowded.Reserve(ctx, r); return err }); err != nil {
		t.Error(err)
	}
	// One connection is left, which somebody has for long: whoever cannot wait leaves
	// without a hold, and does not come back later.
	tx, err := crowded.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r.Key = "late"
	if _, err := crowded.Reserve(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want the end of the caller's time", err)
	}
	if err := errors.Join(tx.Rollback(t.Context()), held[1].Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Spend(t.Context(), "x"); err != nil || got.Reserved != payWorst {
		t.Errorf("the budget is %+v, %v; want one hold", got, err)
	}
}
