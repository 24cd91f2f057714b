package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"pgregory.net/rapid"
)

// walkWithModel takes random steps in the ledger and in the model. It wants the
// same answers, the same sums of the budgets that a step is about after each,
// and the same books now and then and at the end.
func walkWithModel(b *books) { walkAll(b, nil, time.Now()) }

// walkThroughTime is walkWithModel with a clock that goes on in between.
func walkThroughTime(b *books, at func(time.Time)) {
	// Near the night in which Berlin's clocks go back.
	walkAll(b, at, b.clock("2026-10-24 21:00:00 UTC"))
}

func walkAll(b *books, at func(time.Time), start time.Time) {
	walk := 0
	rapid.Check(b.T, func(t *rapid.T) {
		walk++
		w := &walker{b: b, prefix: fmt.Sprint("walk", walk), m: newModel(start), at: at, zone: "Europe/Berlin"}
		if at == nil {
			w.zone = noonZone()
		} else {
			at(start)
		}
		// The rule for each is everybody's: an earlier walk may have left it.
		if err := b.RemoveBudget(b.Context(), w.budget("user:*")); err != nil && !errors.Is(err, wflo.ErrInvalid) {
			t.Fatal(err)
		}
		t.Repeat(map[string]func(*rapid.T){"reserve": w.reserve, "settle": w.settle, "giveUp": w.giveUp, "save": w.save,
			"set": w.set, "remove": w.remove, "topUp": w.topUp, "wait": w.wait, "": w.check})
		w.compare(t)
		start = w.m.now.Add(time.Second) // clocks do not go back
	})
}

type walker struct {
	b      *books
	m      *model
	prefix string          // keeps the walks apart in one ledger
	at     func(time.Time) // sets the clock, if that can be done
	zone   string
	tops   int
	steps  int
}

// The budgets of a walk: lines that only runs have, members of the rule for
// each, and rules with a name, of every kind of period.
var (
	walkLines   = []string{"b0", "b1", "b2"}
	walkMembers = []string{"user:a", "user:b"}
	walkNamed   = []string{"team:t", "org:o"}
	walkRules   = []string{"user:*", "team:t", "org:o"}
)

func (w *walker) budget(name string) string {
	if name == "user:*" {
		return name
	}
	if scope, rest, err := wflo.SplitBudgetID(name); err == nil {
		return string(scope) + ":" + w.prefix + rest
	}
	return w.prefix + ":" + name
}

func (w *walker) period(name string) (wflo.Period, string) {
	switch name {
	case "team:t":
		return wflo.PeriodDaily, w.zone
	case "org:o":
		return wflo.Rolling(time.Hour), ""
	}
	return wflo.PeriodNone, ""
}

// tag attributes everything of the walk.
func (w *walker) tag() string { return "tag:walk=" + w.prefix }

// hold draws a name; few keys and attempts, so that they meet.
func (w *walker) hold(t *rapid.T) (key string, attempt int) {
	return fmt.Sprint(w.prefix, "k", rapid.IntRange(0, 3).Draw(t, "key")), rapid.IntRange(1, 4).Draw(t, "attempt")
}

func amount(t *rapid.T, name string) wflo.Money {
	return wflo.Money(rapid.SampledFrom([]int{0, 1, 5, 10, 40}).Draw(t, name))
}

func (w *walker) run() wflo.Run { return wflo.Run{WorkflowID: w.prefix, FirstRunID: "r"} }

// some draws a few names, in any order.
func some(t *rapid.T, what string, from []string) []string {
	return rapid.Permutation(slices.Clone(from)).Draw(t, what+" in order")[:rapid.IntRange(0, len(from)).Draw(t, what)]
}

func (w *walker) reserve(t *rapid.T) {
	key, attempt := w.hold(t)
	if h := w.m.find(key, attempt); h != nil && h.saved {
		return // what such a hold was asked for is nobody's business
	}
	r := ask(key, attempt, amount(t, "amount"))
	for _, name := range some(t, "lines", walkLines) {
		l := line(w.budget(name), map[string]wflo.Money{"b1": 60, "b2": 100}[name])
		if name == "b2" {
			l.Thresholds = []int{10, 100}
		}
		r.Budgets = append(r.Budgets, l)
	}
	r.Scopes = []string{w.tag()}
	for _, name := range some(t, "scopes", append(slices.Clone(walkMembers), walkNamed...)) {
		r.Scopes = append(r.Scopes, w.budget(name))
	}
	r.Least = min(r.Amount, amount(t, "least"))
	r.Run = w.run()
	want, code := w.m.reserve(r)
	got, err := w.b.Reserve(w.b.Context(), r)
	if wflo.CodeOf(err) != code || code == "" && err != nil {
		t.Fatalf("reserve gave %v, want code %q", err, code)
	}
	if h := w.m.find(string(want.Key), want.Attempt); h != nil {
		if h.saved {
			want.Reservation = got.Reservation
		}
	}
	if want.Repeated {
		want.Room = got.Room // windows may have ended and rules gone
	}
	if diff := cmp.Diff(want, got, sameHold); diff != "" {
		t.Fatalf("hold (-want +got):\n%s", diff)
	}
	var refusal *wflo.Refusal
	if code == wflo.CodeBudgetExceeded && !errors.As(err, &refusal) {
		t.Fatalf("the refusal %v has no numbers", err)
	}
}

func (w *walker) settle(t *rapid.T) {
	key, attempt := w.hold(t)
	s := sampleBill(key, attempt, amount(t, "amount"))
	if rapid.Bool().Draw(t, "by hand") {
		s = byHand(s)
	}
	if h := w.m.find(key, attempt); h != nil && h.State == wflo.HoldUnknown && h.Granted != s.Amount {
		// What a correction does to a window that slides, or to one that has
		// ended, is tested by itself.
		if slices.ContainsFunc(h.accounts, func(a *account) bool { return a.rolling > 0 || a.start.After(time.Time{}) }) {
			return
		}
	}
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

func (w *walker) save(t *rapid.T) {
	key, attempt := w.hold(t)
	s := sampleSaving(key, attempt, amount(t, "saved"))
	s.Run, s.Scopes = w.run(), []string{w.tag(), w.budget("user:a")}
	w.m.save(s)
	if err := w.b.Save(w.b.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// calm closes all holds, so that a rule begins or ends between calls. What it
// makes of those that are under way is tested by itself.
func (w *walker) calm(t *rapid.T) {
	for _, holds := range w.m.holds {
		for _, h := range holds {
			switch h.State {
			case wflo.HoldOpen:
				w.m.giveUp(string(h.Key), h.Attempt, false)
				if err := w.b.Release(w.b.Context(), h.Key, h.Attempt); err != nil {
					t.Fatal(err)
				}
			case wflo.HoldUnknown:
				s := sampleBill(string(h.Key), h.Attempt, h.Granted)
				w.m.settle(s)
				if err := w.b.Settle(w.b.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (w *walker) set(t *rapid.T) {
	name := rapid.SampledFrom(walkRules).Draw(t, "rule")
	b := rule(w.budget(name), wflo.Money(rapid.SampledFrom([]int{0, 50, 100, 200}).Draw(t, "limit")))
	b.Period, b.TimeZone = w.period(name)
	if name == "org:o" {
		b.Thresholds = []int{} // when a window that slides has sunk is tested by itself
	}
	b.OnExceeded = rapid.SampledFrom([]wflo.OnExceeded{"", wflo.ExceedHalt, wflo.ExceedAsk, wflo.ExceedAlert, wflo.ExceedIgnore}).Draw(t, "on exceeded")
	if _, exists := w.m.rules[b.ID()]; !exists {
		w.calm(t)
	}
	w.m.set(b)
	if err := w.b.SetBudget(w.b.Context(), b, "walker"); err != nil {
		t.Fatal(err)
	}
}

func (w *walker) remove(t *rapid.T) {
	id := w.budget(rapid.SampledFrom(walkRules).Draw(t, "rule"))
	w.calm(t)
	want := w.m.remove(id)
	err := w.b.RemoveBudget(w.b.Context(), id)
	if want && err != nil || !want && wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Fatalf("remove %s gave %v", id, err)
	}
}

func (w *walker) topUp(t *rapid.T) {
	id := w.budget(rapid.SampledFrom(slices.Concat(walkLines, walkMembers, walkNamed)).Draw(t, "budget"))
	if rapid.Bool().Draw(t, "new") {
		w.tops++
	}
	top := wflo.TopUp{Key: fmt.Sprint(w.prefix, id, w.tops), Budget: id, Amount: 1 + amount(t, "amount"), By: "walker"}
	known := w.m.toppedUp[top.Key]
	want := w.m.topUp(top)
	if _, err := w.b.TopUp(w.b.Context(), top); !known && (want && err != nil || !want && wflo.CodeOf(err) != wflo.CodeInvalid) {
		t.Fatalf("top up %s gave %v", id, err)
	}
}

// wait lets time pass, and windows end. No sum of the steps is an hour, so that
// nothing depends on the very end of the window that slides.
func (w *walker) wait(t *rapid.T) {
	step := rapid.SampledFrom([]time.Duration{7 * time.Second, 17 * time.Minute, 11*time.Hour + 13*time.Minute}).Draw(t, "step")
	if w.at != nil {
		w.m.now = w.m.now.Add(step)
		w.at(w.m.now)
	}
}

// compareEvery is the number of steps from one comparison of everything to the
// next. It takes far longer than a step.
const compareEvery = 16

// check compares what the last step may have changed.
func (w *walker) check(t *rapid.T) {
	if w.steps++; w.steps%compareEvery == 0 {
		w.compare(t)
		return
	}
	for _, id := range slices.Sorted(maps.Keys(w.m.touched)) {
		w.compareBudget(t, id)
	}
	clear(w.m.touched)
}

func (w *walker) compareBudget(t *rapid.T, id string) {
	a := w.m.accounts[id]
	if strings.HasPrefix(id, w.prefix+":") { // a line's own
		w.compareSpend(t, id, a, a == nil)
		return
	}
	if rule, ok := w.m.ruleOf(id); ok && a != nil {
		w.compareSpend(t, id, w.m.account(id, rule), false)
	} else if got := w.read(t, id); !ok && (got.Limit != 0 || got.Rule != nil) {
		t.Fatalf("a budget without a rule is %+v", got)
	}
}

// compare compares everything.
func (w *walker) compare(t *rapid.T) {
	for _, name := range slices.Concat(walkLines, walkMembers, walkNamed) {
		w.compareBudget(t, w.budget(name))
	}
	clear(w.m.touched)
	got, err := w.b.Entries(w.b.Context(), w.run().RootID())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.m.entries, got, sameEntry); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
	w.compareCosts(t)
	w.compareAlerts(t)
}

func (w *walker) read(t *rapid.T, id string) wflo.Spend {
	got, err := w.b.Spend(w.b.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (w *walker) compareSpend(t *rapid.T, id string, a *account, never bool) {
	want := wflo.Spend{Budget: id}
	if !never {
		want = wflo.Spend{Budget: id, Limit: a.limit, Spent: w.m.spentOf(a), Reserved: a.reserved, Unknown: a.unknown, ToppedUp: a.topped}
	}
	got := w.read(t, id)
	if !never && w.at != nil && a.rolling == 0 && (!got.WindowStart.Equal(a.start) || !got.WindowEnd.Equal(a.end)) {
		t.Fatalf("budget %s has the window %s to %s, want %s to %s", id, got.WindowStart, got.WindowEnd, a.start, a.end)
	}
	if !never && a.rolling > 0 {
		want.Unknown = got.Unknown // charges leave the window, known or not
	}
	if want.Limit == 0 {
		want.ToppedUp = got.ToppedUp // part of no limit
	}
	got.Rule, got.WindowStart, got.WindowEnd = nil, time.Time{}, time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("budget (-want +got):\n%s", diff)
	}
}

// compareCosts wants the report to say what the entries and holds do.
func (w *walker) compareCosts(t *rapid.T) {
	rows, err := w.b.Costs(w.b.Context(), wflo.CostQuery{Scopes: []string{w.tag()}})
	if err != nil || len(rows) != 1 {
		t.Fatalf("costs gave %+v, %v", rows, err)
	}
	var want wflo.CostRow
	for _, holds := range w.m.holds {
		for _, h := range holds {
			switch {
			case h.saved:
				want.Hits++
			case h.State == wflo.HoldOpen:
				want.Reserved += h.Granted
			case h.State == wflo.HoldUnknown:
				want.Calls, want.Unknown = want.Calls+1, want.Unknown+h.Granted
			case h.State == wflo.HoldSettled:
				want.Calls++
			}
		}
	}
	for _, e := range w.m.entries {
		want.Spent, want.Overdraft, want.Saved = want.Spent+e.Amount, want.Overdraft+e.Overdraft, want.Saved+e.Saved
	}
	if diff := cmp.Diff(want, rows[0], sameCost); diff != "" {
		t.Fatalf("costs (-want +got):\n%s", diff)
	}
}

func (w *walker) compareAlerts(t *rapid.T) {
	got := map[alertKey]int{}
	// One look for all budgets; other walks' alerts are older.
	alerts, err := w.b.ListAlerts(w.b.Context(), "", 500)
	if err != nil {
		t.Fatal(err)
	}
	daily := w.budget("team:t")
	for _, a := range alerts {
		if a.Run.RootID() != w.run().RootID() {
			continue
		}
		key := alertKey{a.Budget, a.Percent, time.Time{}}
		if a.Kind == wflo.AlertExceeded {
			key.percent = 0
		}
		if a.Budget == daily {
			key.start = a.WindowStart.UTC()
		}
		got[key]++
	}
	for key, n := range w.m.alerts {
		if w.at == nil && !key.start.IsZero() {
			key.start = w.m.accounts[key.budget].start.UTC()
		}
		if got[key] < n.least || got[key] > n.most {
			t.Fatalf("%d alerts of %+v, want %d to %d; all are %+v", got[key], key, n.least, n.most, got)
		}
		delete(got, key)
	}
	if len(got) != 0 {
		t.Fatalf("alerts without a reason: %+v", got)
	}
}
