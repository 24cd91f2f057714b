package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

func TestRefuse(t *testing.T) {
	want := wflo.Refusal{Budget: "user:ann", Limit: 5 * wflo.USD, Spent: 3 * wflo.USD, Reserved: wflo.USD, Asked: 2 * wflo.USD,
		WindowEnd: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), OnExceeded: wflo.ExceedAsk}
	err := fmt.Errorf("call: %w", Refuse(want))
	var got *wflo.Refusal
	if !errors.As(err, &got) || !errors.Is(err, wflo.ErrBudgetExceeded) || wflo.HintOf(err) == "" {
		t.Fatalf("refusal is %v", err)
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("refusal (-want +got):\n%s", diff)
	}
	if !strings.Contains(err.Error(), want.Error()) {
		t.Errorf("error %q does not say %q", err, want.Error())
	}
}

func TestChecks(t *testing.T) {
	fine := func() wflo.Reservation {
		return wflo.Reservation{Key: "k", Attempt: 1, Amount: 10, Least: 5, Scopes: []string{"user:ann", "tag:env=prod"},
			Budgets: []wflo.BudgetLine{{ID: "run:a/b", Limit: 5, Thresholds: []int{10}, OnExceeded: wflo.ExceedAlert}}}
	}
	if err := CheckReservation(fine()); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*wflo.Reservation){
		"reservation.least":      func(r *wflo.Reservation) { r.Least = 11 },
		"reservation.within":     func(r *wflo.Reservation) { r.Within = -1 },
		"reservation.scopes[0]":  func(r *wflo.Reservation) { r.Scopes[0] = "ann" },
		"reservation.scopes[1]":  func(r *wflo.Reservation) { r.Scopes[1] = r.Scopes[0] },
		`is "user:*"`:            func(r *wflo.Reservation) { r.Scopes[0] = "user:*" },
		"reservation.budgets[0]": func(r *wflo.Reservation) { r.Budgets[0].Thresholds = []int{50, 50} },
		"budget.on_exceeded":     func(r *wflo.Reservation) { r.Budgets[0].OnExceeded = "shrug" },
	} {
		r := fine()
		spoil(&r)
		if err := CheckReservation(r); !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"topup.key":    CheckTopUp(wflo.TopUp{Budget: "user:ann", Amount: 1}),
		"topup.budget": CheckTopUp(wflo.TopUp{Key: "k", Amount: 1}),
		"topup.amount": CheckTopUp(wflo.TopUp{Key: "k", Budget: "user:ann"}),
		"saving.saved": CheckSaving(wflo.Saving{Key: "k", Attempt: 1, Saved: -1}),
		"attempt":      CheckSaving(wflo.Saving{Key: "k"}),
		"by":           CheckCostQuery(wflo.CostQuery{By: "colour"}),
		"to":           CheckCostQuery(wflo.CostQuery{From: time.Unix(2, 0), To: time.Unix(1, 0)}),
		"limit":        CheckCostQuery(wflo.CostQuery{Limit: -1}),
		"zone":         CheckCostQuery(wflo.CostQuery{TimeZone: "Mars/Base"}),
		"query.scopes": CheckCostQuery(wflo.CostQuery{Scopes: []string{"ann"}}),
	} {
		if !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := CheckBudget(wflo.Budget{Limit: 5}); err != nil || b.Scope != wflo.ScopeRun || b.Name != wflo.Each {
		t.Errorf("budget is %+v, %v", b, err)
	}
	if _, err := CheckBudget(wflo.Budget{Scope: "galaxy"}); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("an unknown scope gave %v", err)
	}
}
