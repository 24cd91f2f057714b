package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// shop is a real ledger behind the real API, with calls that somebody made.
type shop struct {
	ledger activities.Ledger
	f      *fakeTemporal
	calls  int
}

func newShop(t *testing.T) *shop {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	s := &shop{ledger: ledger, f: withRun()}
	server := httptest.NewServer(console.NewHandler(console.Config{Client: s.f, Ledger: ledger, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: http.NotFoundHandler()}))
	t.Cleanup(server.Close)
	s.f.api = server.URL
	return s
}

// reserve holds money for a call of a user of team payments.
func (s *shop) reserve(t *testing.T, user, model string, most wflo.Money) (wflo.Reservation, error) {
	t.Helper()
	s.calls++
	run := wflo.Run{Namespace: "default", WorkflowID: "r1", FirstRunID: "run-r1", Workflow: "billing.Invoice", Step: fmt.Sprintf("classify#%d", s.calls), User: user, Team: "payments", Tags: map[string]string{"env": "prod"}}
	r := wflo.Reservation{Key: run.EffectKey(), Attempt: 1, Amount: most, Run: run, Provider: "openai", Model: model, Scopes: run.Scopes("openai", model), Within: time.Minute}
	r.Budgets = []wflo.BudgetLine{{ID: wflo.RunBudgetID(run.RootID()), Limit: 5 * wflo.USD}}
	_, err := s.ledger.Reserve(t.Context(), r)
	return r, err
}

func (s *shop) pay(t *testing.T, user, model string, amount wflo.Money) {
	t.Helper()
	r, err := s.reserve(t, user, model, amount+wflo.Cent)
	if err == nil {
		err = s.ledger.Settle(t.Context(), wflo.Settlement{Key: r.Key, Attempt: 1, Amount: amount, Provider: "openai", Model: model, Usage: wflo.Usage{Input: 100, Output: 20}, Price: wflo.Price{ID: "openai/" + model}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The commands do to a real ledger what they say: a budget that they set refuses,
// one that they raise lets pass, and a call that they settle costs that much.
func TestCommandsAgainstALedger(t *testing.T) {
	s := newShop(t)
	ask := func(line ...string) result { t.Helper(); return invoke(t, s.f, line...) }

	ask("budget", "set", "team:payments", "--limit", "1.00", "--period", "monthly", "--zone", "Europe/Berlin", "--yes").want(t, 0, []string{"set team:payments"}, []string{"now  team:payments: $1.00, period monthly in Europe/Berlin"})
	ask("budget", "set", "user:*", "--limit", "10", "--period", "rolling:7d", "--yes").want(t, 0, []string{"set user:*: $0.00 of $10.00 used"}, []string{"period last 7d"})
	s.pay(t, "ann", "gpt-5.4", 60*wflo.Cent)
	s.pay(t, "bob", "gpt-5.4-mini", 20*wflo.Cent)
	held, err := s.reserve(t, "ann", "gpt-5.4", 15*wflo.Cent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.reserve(t, "bob", "gpt-5.4", 25*wflo.Cent)
	var refusal *wflo.Refusal
	if !errors.As(err, &refusal) || refusal.Budget != "team:payments" {
		t.Fatalf("the budget that was set refuses nothing: %v", err)
	}
	ask("budget", "list").want(t, 0, []string{"team:payments  $1.00", "$0.80  $0.15     [########+.] 95%  monthly  in "}, nil)
	ask("budget", "show", "team:payments").want(t, 0, []string{"starts again   in ", "Europe/Berlin"}, nil)
	ask("budget", "show", "user:*").want(t, 0, []string{"budget         user:*", "limit          $10.00", "last 7d"}, nil)
	ask("budget", "show", "user:ann").want(t, 0, []string{"declared as    user:*", "spent          $0.60"}, nil)
	ask("budget", "set", "user:*", "--period", "rolling:8d", "--yes").want(t, 0, []string{"set user:*"}, []string{"now  user:*: $10.00, period last 8d"})
	ask("budget", "show", "team:payments").want(t, 0, []string{"50% reached", "75% reached", "a call did not fit", "by run r1"}, nil)
	ask("alerts", "--budget", "team:payments").want(t, 0, []string{"50%  ", "did not fit: halt"}, nil)
	ask("budget", "topup", "team:payments", "0.50", "--key", "k", "--reason", "month end", "--yes").want(t, 0, []string{"$0.95 of $1.50 used"}, []string{"becomes $1.50"})
	if r := ask("budget", "topup", "team:payments", "0.50", "--key", "k", "--reason", "month end", "--yes"); !strings.Contains(r.out, "$0.95 of $1.50 used") {
		t.Errorf("the same key raised twice: %s", r.out)
	}
	if _, err := s.reserve(t, "bob", "gpt-5.4", 20*wflo.Cent); err != nil {
		t.Errorf("the budget that was raised refuses: %v", err)
	}

	ask("cost", "--by", "user").want(t, 0, []string{"ann    1      0       $0.60", "bob    1      0       $0.20", "total  2      0       $0.80"}, nil)
	ask("cost", "--by", "model", "--scope", "user:ann", "-o", "csv").want(t, 0, []string{"openai/gpt-5.4,1,0,0.60,"}, nil)
	ask("cost", "r1").want(t, 0, []string{"classify", "$0.60", "$0.20"}, []string{"total $0.80 in 2 lines"})
	ask("cost", "estimate", "--workflow", "billing.Invoice").want(t, 0, []string{"runs      1\n", "p50       $0.80"}, []string{"few runs"})
	ask("list").want(t, 0, []string{"$0.80  $0.35     $5.00"}, nil)

	if err := s.ledger.MarkUnknown(t.Context(), held.Key, 1); err != nil {
		t.Fatal(err)
	}
	ask("cost", "reconcile").want(t, 0, []string{string(held.Key[:12]), "$0.15"}, []string{"$0.15 charged for 1 call"})
	ask("cost", "reconcile", string(held.Key[:12]), "--amount", "0.05", "--reason", "invoice", "--yes").want(t, 0, []string{"$0.05 instead of $0.15"}, []string{"becomes $0.05"})
	ask("cost", "reconcile").want(t, 0, nil, []string{"every call's cost is known"})
	ask("cost", "--by", "team").want(t, 0, []string{"payments  3      0       $0.85  $0.00"}, nil)
	file := invoiceFile(t, "model,amount\ngpt-5.4,0.65\ngpt-5.4-mini,0.21\n")
	ask("cost", "reconcile", "--invoice", file, "--since", "1d").want(t, 0, []string{"openai/gpt-5.4-mini  $0.20   $0.00    $0.21    $0.01", "total                $0.85"}, []string{"the ledger from"})

	ask("budget", "rm", "team:payments", "--yes").want(t, 0, []string{"removed"}, nil)
	if r := ask("budget", "list"); strings.Contains(r.out, "team:payments") {
		t.Errorf("it is still there:\n%s", r.out)
	}
}
