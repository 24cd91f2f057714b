package storetest

import (
	"fmt"
	"math"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"pgregory.net/rapid"
)

// model is the ledger's contract in plain maps, for one caller at a time.
type model struct {
	spends  map[string]wflo.Spend
	holds   map[string][]*modelHold // by key, in the order of attempts
	entries []wflo.Entry
}

type modelHold struct {
	wflo.Hold
	actual wflo.Money
}

func (m *model) find(key string, attempt int) *modelHold {
	for _, h := range m.holds[key] {
		if h.Attempt == attempt {
			return h
		}
	}
	return nil
}

func (m *model) change(h *modelHold, spent, reserved, unknown wflo.Money) {
	for _, l := range h.Budgets {
		s := m.spends[l.ID]
		s.Spent, s.Reserved, s.Unknown = s.Spent+spent, s.Reserved+reserved, s.Unknown+unknown
		m.spends[l.ID] = s
	}
}

func (m *model) charge(h *modelHold) {
	h.State = wflo.HoldUnknown
	m.change(h, h.Amount, -h.Amount, h.Amount)
	m.entries = append(m.entries, wflo.Entry{Key: h.Key, Attempt: h.Attempt, State: h.State, Run: h.Run, Provider: h.Provider, Model: h.Model,
		Reserved: h.Amount, Amount: h.Amount})
}

func (m *model) answer(h *modelHold) (wflo.Hold, wflo.Code) {
	got := h.Hold
	got.Room = math.MaxInt64
	for _, l := range h.Budgets {
		if s := m.spends[l.ID]; s.Limit > 0 {
			got.Room = min(got.Room, s.Limit-s.Spent-s.Reserved)
		}
	}
	return got, ""
}

func (m *model) reserve(r wflo.Reservation) (wflo.Hold, wflo.Code) {
	if h := m.find(string(r.Key), r.Attempt); h != nil {
		if h.Amount != r.Amount {
			return wflo.Hold{}, wflo.CodeConflict
		}
		return m.answer(h)
	}
	var settled *modelHold
	for _, h := range m.holds[string(r.Key)] {
		if h.Attempt > r.Attempt {
			continue
		}
		switch h.State {
		case wflo.HoldOpen:
			m.charge(h)
		case wflo.HoldSettled:
			settled = h
		}
	}
	if settled != nil {
		return m.answer(settled)
	}
	full := false
	for _, l := range r.Budgets {
		if _, ok := m.spends[l.ID]; !ok {
			m.spends[l.ID] = wflo.Spend{Budget: l.ID, Limit: l.Limit}
		}
		s := m.spends[l.ID]
		full = full || s.Limit > 0 && s.Spent+s.Reserved+r.Amount > s.Limit
	}
	if full {
		return wflo.Hold{}, wflo.CodeBudgetExceeded
	}
	h := &modelHold{Hold: wflo.Hold{Reservation: r, State: wflo.HoldOpen}}
	m.holds[string(r.Key)] = append(m.holds[string(r.Key)], h)
	slices.SortFunc(m.holds[string(r.Key)], func(a, b *modelHold) int { return a.Attempt - b.Attempt })
	m.change(h, 0, r.Amount, 0)
	return m.answer(h)
}

func (m *model) settle(s wflo.Settlement) wflo.Code {
	h := m.find(string(s.Key), s.Attempt)
	switch {
	case h == nil:
		return wflo.CodeInvalid
	case h.State == wflo.HoldReleased, h.State == wflo.HoldSettled && h.actual != s.Amount:
		return wflo.CodeConflict
	case h.State == wflo.HoldSettled:
		return ""
	}
	charged := s.Amount
	if h.State == wflo.HoldUnknown {
		charged = s.Amount - h.Amount
		m.change(h, charged, 0, -h.Amount)
	} else {
		m.change(h, charged, -h.Amount, 0)
	}
	h.State, h.actual, h.Outcome = wflo.HoldSettled, s.Amount, s.Outcome
	m.entries = append(m.entries, wflo.Entry{Key: s.Key, Attempt: s.Attempt, State: h.State, Run: h.Run, Provider: s.Provider, Model: s.Model,
		ResponseID: s.ResponseID, Usage: s.Usage, Price: s.Price, Reserved: h.Amount, Amount: charged, Overdraft: max(0, s.Amount-h.Amount)})
	return ""
}

func (m *model) giveUp(key string, attempt int, charge bool) {
	h := m.find(key, attempt)
	switch {
	case h == nil || h.State != wflo.HoldOpen:
	case charge:
		m.charge(h)
	default:
		h.State = wflo.HoldReleased
		m.change(h, 0, -h.Amount, 0)
	}
}

// walkWithModel takes random steps in the ledger and in the model and wants the
// same answers and the same books after each.
func walkWithModel(b *books) {
	walk := 0
	rapid.Check(b.T, func(t *rapid.T) {
		walk++
		w := &walker{b: b, prefix: fmt.Sprint("walk", walk, ":"), m: model{spends: map[string]wflo.Spend{}, holds: map[string][]*modelHold{}}}
		t.Repeat(map[string]func(*rapid.T){"reserve": w.reserve, "settle": w.settle, "giveUp": w.giveUp, "": w.compare})
	})
}

type walker struct {
	b      *books
	m      model
	prefix string // keeps the walks apart in one ledger
}

func (w *walker) budget(n int) string { return fmt.Sprint(w.prefix, "b", n) }

// hold draws a name; few keys and attempts, so that they meet.
func (w *walker) hold(t *rapid.T) (key string, attempt int) {
	return fmt.Sprint(w.prefix, "k", rapid.IntRange(0, 2).Draw(t, "key")), rapid.IntRange(1, 4).Draw(t, "attempt")
}

func amount(t *rapid.T) wflo.Money {
	return wflo.Money(rapid.SampledFrom([]int{0, 1, 5, 10, 40}).Draw(t, "amount"))
}

func (w *walker) reserve(t *rapid.T) {
	key, attempt := w.hold(t)
	var lines []wflo.BudgetLine
	for _, n := range rapid.Permutation([]int{0, 1, 2}).Draw(t, "order")[:rapid.IntRange(0, 3).Draw(t, "lines")] {
		lines = append(lines, line(w.budget(n), []wflo.Money{0, 60, 100}[n]))
	}
	r := ask(key, attempt, amount(t), lines...)
	r.Run = wflo.Run{WorkflowID: w.prefix, FirstRunID: "r"}
	want, code := w.m.reserve(r)
	got, err := w.b.Reserve(w.b.Context(), r)
	if wflo.CodeOf(err) != code || code == "" && err != nil {
		t.Fatalf("reserve gave %v, want code %q", err, code)
	}
	if diff := cmp.Diff(want, got, sameHold); diff != "" {
		t.Fatalf("hold (-want +got):\n%s", diff)
	}
}

func (w *walker) settle(t *rapid.T) {
	key, attempt := w.hold(t)
	s := sampleBill(key, attempt, amount(t))
	code := w.m.settle(s)
	if err := w.b.Settle(w.b.Context(), s); wflo.CodeOf(err) != code || code == "" && err != nil {
		t.Fatalf("settle gave %v, want code %q", err, code)
	}
}

func (w *walker) giveUp(t *rapid.T) {
	key, attempt := w.hold(t)
	charge := rapid.Bool().Draw(t, "charge")
	w.m.giveUp(key, attempt, charge)
	end := w.b.Release
	if charge {
		end = w.b.MarkUnknown
	}
	if err := end(w.b.Context(), wflo.EffectKey(key), attempt); err != nil {
		t.Fatal(err)
	}
}

func (w *walker) compare(t *rapid.T) {
	for n := range 3 {
		want := w.m.spends[w.budget(n)]
		want.Budget = w.budget(n)
		got, err := w.b.Spend(w.b.Context(), want.Budget)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("budget (-want +got):\n%s", diff)
		}
	}
	got, err := w.b.Entries(w.b.Context(), w.prefix+"/r")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.m.entries, got, sameEntry); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
}
