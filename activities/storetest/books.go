package storetest

import (
	order "cmp"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// books is a ledger with a test's complaints.
type books struct {
	*testing.T
	activities.Ledger
}

// run is the run that reservations of these tests belong to.
var run = wflo.Run{Namespace: "default", WorkflowID: "wf", FirstRunID: "first", Workflow: "Agent", Step: "chat", User: "ann", Team: "search"}

func line(id string, limit wflo.Money) wflo.BudgetLine { return wflo.BudgetLine{ID: id, Limit: limit} }

func ask(key string, attempt int, amount wflo.Money, lines ...wflo.BudgetLine) wflo.Reservation {
	return wflo.Reservation{Key: wflo.EffectKey(key), Attempt: attempt, Amount: amount, Budgets: lines, Run: run, Provider: "openai", Model: "gpt"}
}

func bill(key string, attempt int, amount wflo.Money) wflo.Settlement {
	return wflo.Settlement{Key: wflo.EffectKey(key), Attempt: attempt, Amount: amount, Provider: "openai", Model: "gpt-1"}
}

func (b *books) reserve(r wflo.Reservation) wflo.Hold {
	b.Helper()
	h, err := b.Reserve(b.Context(), r)
	if err != nil {
		b.Fatalf("reserve %s/%d: %v", r.Key, r.Attempt, err)
	}
	if h.At.IsZero() || h.At.Location() != time.UTC {
		b.Errorf("hold %s/%d is of %s", h.Key, h.Attempt, h.At)
	}
	return h
}

func (b *books) settle(s wflo.Settlement) {
	b.Helper()
	if err := b.Settle(b.Context(), s); err != nil {
		b.Fatalf("settle %s/%d: %v", s.Key, s.Attempt, err)
	}
}

func (b *books) unknown(key string, attempt int) {
	b.Helper()
	if err := b.MarkUnknown(b.Context(), wflo.EffectKey(key), attempt); err != nil {
		b.Fatalf("mark %s/%d unknown: %v", key, attempt, err)
	}
}

func (b *books) release(key string, attempt int) {
	b.Helper()
	if err := b.Release(b.Context(), wflo.EffectKey(key), attempt); err != nil {
		b.Fatalf("release %s/%d: %v", key, attempt, err)
	}
}

// denied wants a budget to have no room for the reservation, and returns what
// the refusal says.
func (b *books) denied(r wflo.Reservation) wflo.Refusal {
	b.Helper()
	err := b.refused(r, wflo.CodeBudgetExceeded)
	var refusal *wflo.Refusal
	if !errors.As(err, &refusal) {
		b.Fatalf("error %v of %s/%d has no refusal", err, r.Key, r.Attempt)
	}
	got := *refusal
	got.OnExceeded = exceeded(got.OnExceeded)
	return got
}

// exceeded spells out the zero value.
func exceeded(o wflo.OnExceeded) wflo.OnExceeded {
	if o == "" {
		return wflo.ExceedHalt
	}
	return o
}

// refused wants the reservation to fail with the code, and returns the error.
func (b *books) refused(r wflo.Reservation, code wflo.Code) error {
	b.Helper()
	h, err := b.Reserve(b.Context(), r)
	if wflo.CodeOf(err) != code {
		b.Fatalf("reserve %s/%d gave %+v, error %v; want code %s", r.Key, r.Attempt, h, err, code)
	}
	if !errors.Is(err, code.Sentinel()) || wflo.HintOf(err) == "" {
		b.Errorf("error %v matches no sentinel or has no hint", err)
	}
	return err
}

// invalid wants the error of bad input, for the call of that name.
func (b *books) invalid(call string, err error) {
	b.Helper()
	if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
		b.Errorf("%s gave %v, want code %s with a hint", call, err, wflo.CodeInvalid)
	}
}

// spend wants a budget to be exactly so.
func (b *books) spend(want wflo.Spend) {
	b.Helper()
	got, err := b.Spend(b.Context(), want.Budget)
	if err != nil {
		b.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("budget %s (-want +got):\n%s", want.Budget, diff)
	}
}

// read is the state of a budget.
func (b *books) read(budget string) wflo.Spend {
	b.Helper()
	got, err := b.Spend(b.Context(), budget)
	if err != nil {
		b.Fatalf("read %s: %v", budget, err)
	}
	return got
}

// sums wants the amounts of a budget, whatever its rule and its window.
func (b *books) sums(budget string, limit, spent, reserved wflo.Money) {
	b.Helper()
	got := b.read(budget)
	if got.Budget != budget || got.Limit != limit || got.Spent != spent || got.Reserved != reserved {
		b.Errorf("budget %s is %+v, want limit %s, spent %s, reserved %s", budget, got, limit, spent, reserved)
	}
}

// set makes or replaces a rule.
func (b *books) set(rules ...wflo.Budget) {
	b.Helper()
	for _, rule := range rules {
		if err := b.SetBudget(b.Context(), rule, "ops"); err != nil {
			b.Fatalf("set %s: %v", rule.ID(), err)
		}
	}
}

func (b *books) topUp(key, budget string, amount wflo.Money) wflo.Spend {
	b.Helper()
	got, err := b.TopUp(b.Context(), wflo.TopUp{Key: key, Budget: budget, Amount: amount, By: "ops", Reason: "more to do"})
	if err != nil {
		b.Fatalf("top up %s: %v", budget, err)
	}
	return got
}

// alerts lists the alerts of a budget, oldest first; those of one moment by
// percentage.
func (b *books) alerts(budget string) []wflo.BudgetAlert {
	b.Helper()
	got, err := b.ListAlerts(b.Context(), budget, 1000)
	if err != nil {
		b.Fatalf("list alerts of %s: %v", budget, err)
	}
	slices.Reverse(got)
	slices.SortStableFunc(got, func(x, y wflo.BudgetAlert) int {
		return order.Or(x.At.Compare(y.At), order.Compare(x.Percent, y.Percent))
	})
	return got
}

// alerted wants exactly these alerts of a budget: a percentage each, and 0 for
// a call that did not fit.
func (b *books) alerted(budget string, want ...int) {
	b.Helper()
	var got []int
	for _, a := range b.alerts(budget) {
		if a.Kind == wflo.AlertExceeded {
			got = append(got, 0)
		} else {
			got = append(got, a.Percent)
		}
	}
	if !slices.Equal(got, want) {
		b.Errorf("budget %s alerted %v, want %v", budget, got, want)
	}
}

func (b *books) entries(root string) []wflo.Entry {
	b.Helper()
	entries, err := b.Entries(b.Context(), root)
	if err != nil {
		b.Fatal(err)
	}
	return entries
}

// balanced wants the entries of the run to sum up to what the budget spent.
func (b *books) balanced(budget, root string) {
	b.Helper()
	var sum wflo.Money
	for _, e := range b.entries(root) {
		sum += e.Amount
	}
	got, err := b.Spend(b.Context(), budget)
	if err != nil {
		b.Fatal(err)
	}
	if got.Spent != sum {
		b.Errorf("budget %s spent %s, its entries sum up to %s", budget, got.Spent, sum)
	}
}

// sameHold compares holds; At is the clock's.
var sameHold = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(wflo.Hold{}, "At")}

// sameEntry compares entries; At is the clock's.
var sameEntry = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(wflo.Entry{}, "At")}

// in attributes a reservation to scopes.
func in(r wflo.Reservation, scopes ...string) wflo.Reservation {
	r.Scopes = scopes
	return r
}

// pay is a whole call: a reservation of what it costs, and its settlement.
func (b *books) pay(key string, amount wflo.Money, scopes ...string) {
	b.Helper()
	b.reserve(in(ask(key, 1, amount), scopes...))
	b.settle(bill(key, 1, amount))
}
