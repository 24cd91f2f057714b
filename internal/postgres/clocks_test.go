package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

// TestClocksApart has the database's clock an hour ahead of the worker's, and an hour
// behind: ages, leases and windows are those of the database alone.
func TestClocksApart(t *testing.T) {
	url := server.Database(t)
	for schema, apart := range map[string]string{"ahead": "1 hour", "behind": "-1 hour"} {
		t.Run(schema, func(t *testing.T) {
			l := mustOpen(t, Config{URL: url, Schema: schema})
			r, ctx := l.Records(), t.Context()
			if _, err := l.pool.Exec(ctx, "CREATE OR REPLACE FUNCTION "+schema+`.clock() RETURNS timestamptz
				LANGUAGE sql VOLATILE AS $$SELECT clock_timestamp() + interval '`+apart+`'$$`); err != nil {
				t.Fatal(err)
			}
			if err := l.SetBudget(ctx, wflo.Budget{Scope: wflo.ScopeUser, Name: "ann", Limit: 10, Period: wflo.Rolling(30 * time.Minute), Thresholds: []int{50}}, "ops"); err != nil {
				t.Fatal(err)
			}
			for _, key := range []wflo.EffectKey{"paid", "open"} {
				if _, err := l.Reserve(ctx, wflo.Reservation{Key: key, Attempt: 1, Amount: 5, Scopes: []string{"user:ann"}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Settle(ctx, wflo.Settlement{Key: "paid", Attempt: 1, Amount: 5}); err != nil {
				t.Fatal(err)
			}
			if s, err := l.Spend(ctx, "user:ann"); err != nil || s.Spent != 5 || s.Reserved != 5 {
				t.Errorf("the rolling budget is %+v, %v", s, err)
			}
			if err := r.Enqueue(ctx, wflo.Notice{ID: "n", Channel: "c", Thread: "t"}); err != nil {
				t.Fatal(err)
			}
			var got []int
			count := func(n int, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, n)
			}
			for _, age := range []time.Duration{0, 30 * time.Minute} {
				holds, err := l.OpenHolds(ctx, age, 10)
				count(len(holds), err)
			}
			// An attempt that failed is repeated when the worker said, by whichever clock.
			if err := r.Enqueue(ctx, wflo.Notice{ID: "again", Channel: "c", Thread: "u"}, wflo.Notice{ID: "later", Channel: "c", Thread: "v"}); err != nil {
				t.Fatal(err)
			}
			again, err := r.ClaimNotices(ctx, 10, time.Minute)
			count(len(again), err)
			count(0, r.NoticeFailed(ctx, "again", "no", time.Now().Add(-time.Second)))
			count(0, r.NoticeFailed(ctx, "later", "no", time.Now().Add(30*time.Minute)))
			for range 2 {
				alerts, err := l.ClaimAlerts(ctx, 10, time.Minute)
				count(len(alerts), err)
				notices, err := r.ClaimNotices(ctx, 10, time.Minute)
				count(len(notices), err)
			}
			if diff := cmp.Diff([]int{1, 0, 3, 0, 0, 1, 1, 0, 0}, got); diff != "" {
				t.Errorf("holds by age, notices, those that fail, then alerts and notices within one lease (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOneClock: no function of the schema asks the server for the time but the one that
// tests can set, so that moving it moves everything.
func TestOneClock(t *testing.T) {
	l := mustOpen(t, Config{})
	rows, err := l.pool.Query(t.Context(), `SELECT proname::text, prosrc FROM pg_proc
		WHERE pronamespace = 'wflo'::regnamespace AND proname <> 'clock'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	looked := 0
	for rows.Next() {
		var name, source string
		if err := rows.Scan(&name, &source); err != nil {
			t.Fatal(err)
		}
		looked++
		for _, clock := range []string{"now()", "clock_timestamp", "current_timestamp", "localtimestamp", "statement_timestamp", "transaction_timestamp", "current_date"} {
			if strings.Contains(strings.ToLower(source), clock) {
				t.Errorf("%s asks for the time with %s", name, clock)
			}
		}
	}
	if rows.Err() != nil || looked < 20 {
		t.Errorf("%d functions were looked at, %v", looked, rows.Err())
	}
}
