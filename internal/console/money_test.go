package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// books stands for a ledger: it answers with what it is given and keeps what it
// is asked. What it does not implement panics.
type books struct {
	activities.Ledger
	broken  bool
	rules   map[string]wflo.Spend
	unknown []wflo.Hold
	rows    []wflo.CostRow

	by      string
	query   []wflo.CostQuery
	topUps  []wflo.TopUp
	settled []wflo.Settlement
	asked   []any
}

func (b *books) fail() error {
	if b.broken {
		return errors.New("dial tcp 10.1.2.3:5432: password authentication failed")
	}
	return nil
}

func (b *books) ListBudgets(context.Context) ([]wflo.Spend, error) {
	var all []wflo.Spend
	for _, s := range b.rules {
		all = append(all, s)
	}
	return all, b.fail()
}

func (b *books) Spend(_ context.Context, id string) (wflo.Spend, error) {
	if id == "user:*" {
		return wflo.Spend{Budget: id}, b.fail() // a rule that nobody used has no window
	}
	s := b.rules[id]
	s.Budget = id
	return s, b.fail()
}

func (b *books) SetBudget(_ context.Context, r wflo.Budget, by string) error {
	b.rules[r.ID()] = wflo.Spend{Budget: r.ID(), Limit: r.Limit, Rule: &r}
	b.by = by
	return b.fail()
}

func (b *books) RemoveBudget(_ context.Context, id string) error {
	if _, ok := b.rules[id]; !ok {
		return wflo.Invalid("budget", "is not there: "+id, "list them")
	}
	delete(b.rules, id)
	return nil
}

func (b *books) TopUp(_ context.Context, t wflo.TopUp) (wflo.Spend, error) {
	b.topUps = append(b.topUps, t)
	return wflo.Spend{Budget: t.Budget, Limit: 6 * wflo.USD, ToppedUp: t.Amount}, b.fail()
}

func (b *books) Costs(_ context.Context, q wflo.CostQuery) ([]wflo.CostRow, error) {
	b.query = append(b.query, q)
	if q.By == "" {
		return []wflo.CostRow{{Calls: 3, Spent: 7}}, b.fail()
	}
	return b.rows, b.fail()
}

func (b *books) OpenHolds(_ context.Context, age time.Duration, n int) ([]wflo.Hold, error) {
	b.asked = append(b.asked, age, n)
	return nil, b.fail()
}

func (b *books) UnknownHolds(_ context.Context, n int) ([]wflo.Hold, error) {
	b.asked = append(b.asked, n)
	return append([]wflo.Hold{}, b.unknown...), b.fail()
}

func (b *books) Settle(_ context.Context, s wflo.Settlement) error {
	b.settled = append(b.settled, s)
	return b.fail()
}

func (b *books) ListAlerts(_ context.Context, id string, n int) ([]wflo.BudgetAlert, error) {
	b.asked = append(b.asked, id, n)
	return []wflo.BudgetAlert{{ID: "a1", Budget: "team:payments", Percent: 50}}, b.fail()
}

func newBooks() *books {
	return &books{
		rules: map[string]wflo.Spend{
			"team:payments":        {Budget: "team:payments", Limit: 5 * wflo.USD, Spent: wflo.USD, Rule: &wflo.Budget{Scope: wflo.ScopeTeam, Name: "payments"}},
			"user:*":               {Budget: "user:*", Limit: wflo.USD, Rule: &wflo.Budget{Scope: wflo.ScopeUser}},
			"org:acme":             {Budget: "org:acme", Limit: 3 * wflo.USD, Spent: wflo.USD, Rule: &wflo.Budget{Scope: wflo.ScopeOrg, Limit: 2 * wflo.USD}},
			"model:openai/gpt-5.4": {Budget: "model:openai/gpt-5.4", Limit: 9 * wflo.USD},
		},
		unknown: []wflo.Hold{{
			Reservation: wflo.Reservation{Key: "k1", Attempt: 2, Provider: "openai", Model: "gpt-5.4"},
			State:       wflo.HoldUnknown, Granted: 3 * wflo.Cent, Outcome: []byte("what the model said"),
		}},
		rows: []wflo.CostRow{{Key: "ann", Spent: 7}},
	}
}

// ask sends one request as ann and gives the status and the body.
func ask(t *testing.T, b *books, method, path, text string, header ...string) (int, string) {
	t.Helper()
	s := httptest.NewServer(NewHandler(Config{Client: &server{}, Ledger: b, Logger: slog.New(slog.DiscardHandler), Metrics: http.NotFoundHandler()}))
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(HeaderUser, "ann")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// moneyRequests are requests of ann, and of people who are not.
var moneyRequests = []struct {
	name, method, path, body string
	header                   []string
	broken                   bool
	status                   int
	want, never              string
}{
	{name: "list", method: "GET", path: "/api/v1/budgets", status: 200, want: `"budget":"team:payments"`},
	{name: "one", method: "GET", path: "/api/v1/budgets/team:payments", status: 200, want: `"limit":"5.00"`},
	{name: "one with a slash", method: "GET", path: "/api/v1/budgets/model:openai%2Fgpt-5.4", status: 200, want: `"limit":"9.00"`},
	{name: "a rule that nobody used", method: "GET", path: "/api/v1/budgets/user:*", status: 200, want: `"limit":"1.00"`},
	{name: "a rule for each that somebody used", method: "GET", path: "/api/v1/budgets/org:*", status: 200, want: `{"budget":"org:*","limit":"2.00","spent":"0.00"`},
	{name: "none", method: "GET", path: "/api/v1/budgets/team:nobody", status: 404, want: "no budget team:nobody"},
	{name: "no scope", method: "GET", path: "/api/v1/budgets/payments", status: 422, want: "SCOPE:NAME"},
	{name: "odd scope", method: "GET", path: "/api/v1/budgets/planet:earth", status: 422, want: "planet:earth"},
	{name: "control characters", method: "GET", path: "/api/v1/budgets/team:a%1b%5b2J", status: 422, want: "not valid text", never: "\x1b"},
	{name: "name not UTF-8", method: "GET", path: "/api/v1/budgets/team:%ff", status: 422, want: "not valid text"},
	{name: "endless name", method: "GET", path: "/api/v1/budgets/team:" + strings.Repeat("x", 2000), status: 422, want: "bytes long"},
	{name: "database down", method: "GET", path: "/api/v1/budgets", broken: true, status: 500, want: "log says why", never: "10.1.2.3"},
	{name: "query that is none", method: "GET", path: "/api/v1/budgets?limt=1", status: 422, want: "limt"},

	{name: "set", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"limit":"10.00","period":"monthly","thresholds":[]}`, status: 200, want: `"period":"monthly"`},
	{name: "set in dollars as a number", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"limit":10.5}`, status: 422, want: "read budget"},
	{name: "set with a typo", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"limt":"10.00"}`, status: 422, want: "limt"},
	{name: "set to zero", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"limit":"0"}`, status: 422, want: "leave it out for no limit"},
	{name: "set below zero", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"limit":"-1"}`, status: 422, want: "budget.limit"},
	{name: "set another", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"scope":"user","name":"acme"}`, status: 422, want: "user:acme, not org:acme"},
	{name: "set by nobody", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{}`, header: []string{HeaderUser, " "}, status: 422, want: "X-Wflo-User is missing"},
	{name: "set by a flood", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{}`, header: []string{HeaderUser, strings.Repeat("x", maxText+1)}, status: 422, want: "use at most 500"},
	{name: "set twice in one body", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"limit":"1"}{"limit":"2"}`, status: 422, want: "there is more after it"},
	{name: "set to an odd period", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"period":"yearly"}`, status: 422, want: "budget.period"},
	{name: "set to an odd zone", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{"time_zone":"../../etc/passwd"}`, status: 422, want: "budget.time_zone"},
	{name: "set from another site", method: "PUT", path: "/api/v1/budgets/org:acme", body: `{}`, header: []string{"Origin", "https://evil.example"}, status: 403},
	{name: "remove", method: "DELETE", path: "/api/v1/budgets/team:payments", status: 200, want: `"budget":"team:payments"`},
	{name: "remove none", method: "DELETE", path: "/api/v1/budgets/team:nobody", status: 422, want: "is not there"},
	{name: "remove by nobody", method: "DELETE", path: "/api/v1/budgets/team:payments", header: []string{HeaderUser, ""}, status: 422, want: "say who"},
	{name: "remove from another site", method: "DELETE", path: "/api/v1/budgets/team:payments", header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403},

	{name: "top up", method: "POST", path: "/api/v1/budgets/team:payments/topups", body: `{"key":"k","amount":"1.00","reason":"month end"}`, status: 200, want: `"topped_up":"1.00"`},
	{name: "top up without a key", method: "POST", path: "/api/v1/budgets/team:payments/topups", body: `{"amount":"1.00"}`, status: 422, want: "topup.key"},
	{name: "top up by less than nothing", method: "POST", path: "/api/v1/budgets/team:payments/topups", body: `{"key":"k","amount":"-1.00"}`, status: 422, want: "topup.amount"},
	{name: "top up with an exponent", method: "POST", path: "/api/v1/budgets/team:payments/topups", body: `{"key":"k","amount":"1e9"}`, status: 422, want: "1e9"},
	{name: "top up for a garbled reason", method: "POST", path: "/api/v1/budgets/team:payments/topups", body: `{"key":"k","amount":"1","reason":"\u001b[2J"}`, status: 422, want: "topup.reason"},
	{name: "top up by a link", method: "GET", path: "/api/v1/budgets/team:payments/topups", status: 405},

	{name: "spends", method: "GET", path: "/api/v1/spends?budget=team:payments&budget=run:r1/first", status: 200, want: `"budget":"run:r1/first"`},
	{name: "spends of what is none", method: "GET", path: "/api/v1/spends?budget=x", status: 422, want: "SCOPE:NAME"},
	{name: "too many spends", method: "GET", path: "/api/v1/spends?" + strings.Repeat("budget=team:a&", mostSpends+1), status: 422, want: "at most 100"},
	{name: "alerts", method: "GET", path: "/api/v1/alerts?budget=team:payments&n=5", status: 200, want: `"id":"a1"`},
	{name: "too many alerts", method: "GET", path: "/api/v1/alerts?n=1000000", status: 422, want: "from 1 to 1000"},
	{name: "alerts of what is none", method: "GET", path: "/api/v1/alerts?budget=x", status: 422, want: "SCOPE:NAME"},

	{name: "open holds", method: "GET", path: "/api/v1/holds?state=open", status: 200, want: "[]"},
	{name: "unknown holds", method: "GET", path: "/api/v1/holds?state=unknown", status: 200, want: `"key":"k1"`, never: "outcome"},
	{name: "holds of no state", method: "GET", path: "/api/v1/holds", status: 422, want: "use open or unknown"},
	{name: "reconcile", method: "POST", path: "/api/v1/holds/k1/2/settlement", body: `{"amount":"0.02","reason":"invoice"}`, status: 200, want: `"charged":"0.03","amount":"0.02"`},
	{name: "reconcile to nothing", method: "POST", path: "/api/v1/holds/k1/2/settlement", body: `{"amount":"0","reason":"never billed"}`, status: 200, want: `"amount":"0.00"`},
	{name: "reconcile without an amount", method: "POST", path: "/api/v1/holds/k1/2/settlement", body: `{"reason":"invoice"}`, status: 422, want: "settlement.amount"},
	{name: "reconcile for no reason", method: "POST", path: "/api/v1/holds/k1/2/settlement", body: `{"amount":"1"}`, status: 422, want: "settlement.reason"},
	{name: "reconcile another attempt", method: "POST", path: "/api/v1/holds/k1/1/settlement", body: `{"amount":"1","reason":"x"}`, status: 404, want: "attempt 1"},
	{name: "reconcile an odd attempt", method: "POST", path: "/api/v1/holds/k1/-1/settlement", body: `{"amount":"1","reason":"x"}`, status: 422, want: "attempt is"},
	{name: "reconcile from another site", method: "POST", path: "/api/v1/holds/k1/2/settlement", body: `{}`, header: []string{"Origin", "https://evil.example"}, status: 403},

	{name: "costs", method: "GET", path: "/api/v1/costs?by=user&from=2026-11-01T00:00:00Z&scope=team:payments", status: 200, want: `"total":{"key":"total","calls":3,"spent":"0.000000007"`},
	{name: "costs by what is none", method: "GET", path: "/api/v1/costs?by=planet", status: 422, want: `by is \"planet\"`},
	{name: "costs from a day", method: "GET", path: "/api/v1/costs?from=2026-11-01", status: 422, want: "write a time as in"},
	{name: "costs backwards", method: "GET", path: "/api/v1/costs?from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", status: 422, want: "from is not before to"},
	{name: "costs in no zone", method: "GET", path: "/api/v1/costs?zone=Local", status: 422, want: "zone is"},
	{name: "costs of no scope", method: "GET", path: "/api/v1/costs?scope=ann", status: 422, want: "scope is"},
	{name: "costs of each", method: "GET", path: "/api/v1/costs?scope=user:*", status: 422, want: "by=user"},
	{name: "costs of many scopes", method: "GET", path: "/api/v1/costs?" + strings.Repeat("scope=user:a&", mostScopes+1), status: 422, want: "at most 20"},
	{name: "endless costs", method: "GET", path: "/api/v1/costs?limit=99999999", status: 422, want: "from 1 to 10000"},
	{name: "costs with a typo", method: "GET", path: "/api/v1/costs?scop=user:ann", status: 422, want: "scop"},
	{name: "broken query", method: "GET", path: "/api/v1/costs?by=%zz", status: 422, want: "read the query"},
}

func TestMoney(t *testing.T) {
	for _, tt := range moneyRequests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			b.broken = tt.broken
			status, got := ask(t, b, tt.method, tt.path, tt.body, tt.header...)
			if status != tt.status || !strings.Contains(got, tt.want) {
				t.Errorf("%d %s; want %d with %s", status, got, tt.status, tt.want)
			}
			if tt.never != "" && strings.Contains(got, tt.never) {
				t.Errorf("%s shows %q", got, tt.never)
			}
			if status != 200 && (b.by != "" || len(b.topUps)+len(b.settled) > 0 || len(b.rules) != 4) {
				t.Errorf("refused, and changed all the same: by %q, %v, %v", b.by, b.topUps, b.settled)
			}
		})
	}
}

// What is sent arrives in the ledger as it was meant, with who sent it.
func TestChangesArrive(t *testing.T) {
	b := newBooks()
	ask(t, b, "PUT", "/api/v1/budgets/tag:env=prod", `{"limit":"10.5","period":"weekly","time_zone":"Europe/Berlin","thresholds":[80],"on_exceeded":"ask"}`)
	want := wflo.Budget{Scope: wflo.ScopeTag, Name: "env=prod", Limit: 10*wflo.USD + 50*wflo.Cent, Period: wflo.PeriodWeekly, TimeZone: "Europe/Berlin", Thresholds: []int{80}, OnExceeded: wflo.ExceedAsk}
	if s := b.rules["tag:env=prod"]; s.Rule == nil || b.by != "ann" {
		t.Errorf("rule %+v by %q", s, b.by)
	} else if diff := cmp.Diff(want, *s.Rule); diff != "" {
		t.Errorf("rule (-want +got):\n%s", diff)
	}
	ask(t, b, "POST", "/api/v1/budgets/model:openai%2Fgpt-5.4/topups", `{"key":"k","amount":"1.25","reason":"month end"}`)
	if diff := cmp.Diff([]wflo.TopUp{{Key: "k", Budget: "model:openai/gpt-5.4", Amount: 125 * wflo.Cent, By: "ann", Reason: "month end"}}, b.topUps); diff != "" {
		t.Errorf("top-ups (-want +got):\n%s", diff)
	}
	ask(t, b, "POST", "/api/v1/holds/k1/2/settlement", `{"amount":"0.02","reason":"invoice of May"}`)
	if diff := cmp.Diff([]wflo.Settlement{{
		Key: "k1", Attempt: 2, Amount: 2 * wflo.Cent, Provider: "openai", Model: "gpt-5.4", By: "ann", Reason: "invoice of May",
	}}, b.settled); diff != "" {
		t.Errorf("settlements (-want +got):\n%s", diff)
	}
	_, got := ask(t, b, "GET", "/api/v1/costs?by=day&zone=Europe/Berlin&from=2026-11-01T00:00:00%2B01:00&limit=7&scope=user:ann&scope=model:openai/gpt-5.4", "")
	if len(b.query) != 2 || b.query[0].By != "day" || b.query[0].Limit != 7 || b.query[1].By != "" || b.query[1].Limit != 0 ||
		!b.query[0].From.Equal(time.Date(2026, 10, 31, 23, 0, 0, 0, time.UTC)) || !cmp.Equal(b.query[1].Scopes, []string{"user:ann", "model:openai/gpt-5.4"}) {
		t.Errorf("queries %+v", b.query)
	}
	var report Costs
	if err := json.Unmarshal([]byte(got), &report); err != nil || len(report.Rows) != 1 || report.Rows[0].Key != "ann" || report.Query.TimeZone != "Europe/Berlin" {
		t.Errorf("report %+v, %v", report, err)
	}
}

// FuzzCostQuery: whatever the query is, it is refused with a reason, or it is
// within its bounds.
func FuzzCostQuery(f *testing.F) {
	for _, q := range []string{"", "by=day", "from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z", "scope=user:ann&scope=tag:a=b", "limit=0", "limit=-1", "zone=Europe/Berlin", "by=%00", "scope=:&;", "from=9999-99-99"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/costs", nil)
		r.URL.RawQuery = raw
		q, err := costQuery(r)
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if q.Limit < 0 || q.Limit > mostRows || len(q.Scopes) > mostScopes || !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
			t.Errorf("%q: %+v", raw, q)
		}
		for _, s := range q.Scopes {
			if _, name, err := wflo.SplitBudgetID(s); err != nil || name == wflo.Each {
				t.Errorf("%q: scope %q, %v", raw, s, err)
			}
		}
	})
}
