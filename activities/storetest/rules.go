package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

// rule declares a budget without a period.
func rule(id string, limit wflo.Money) wflo.Budget {
	scope, name, err := wflo.SplitBudgetID(id)
	if err != nil {
		panic(err) // a mistake in this package
	}
	return wflo.Budget{Scope: scope, Name: name, Limit: limit}
}

// allScopes is one of each scope.
var allScopes = []string{"run:wf/first", "step:chat", "agent:coder", "workflow:Agent", "user:ann", "team:search", "org:acme", "model:openai/gpt", "tag:env=prod"}

// rulesOfEveryScope: each refuses alone.
func rulesOfEveryScope(b *books) {
	for i, id := range allScopes {
		b.set(rule(id, 10))
		if got := b.denied(in(ask(id, 1, 11), allScopes...)); got.Budget != id {
			b.Errorf("%s refused, want %s", got.Budget, id)
		}
		for _, other := range allScopes[:i] {
			b.sums(other, 1000, 0, 0)
		}
		b.set(rule(id, 1000))
	}
}

// rulesOfEveryPeriod are all in one call, each with its own window.
func rulesOfEveryPeriod(b *books) {
	zone := noonZone()
	periods := map[string]wflo.Period{"run:wf/first": wflo.PeriodNone, "agent:coder": wflo.Rolling(time.Hour), "workflow:Agent": wflo.Rolling(30 * 24 * time.Hour),
		"user:ann": wflo.PeriodDaily, "team:search": wflo.PeriodWeekly, "org:acme": wflo.PeriodMonthly, "model:openai/gpt": wflo.PeriodDaily, "tag:env=prod": wflo.PeriodNone}
	for id, period := range periods {
		r := rule(id, 100)
		r.Period = period
		if _, rolls := period.Rolling(); period != wflo.PeriodNone && !rolls {
			r.TimeZone = zone
		}
		b.set(r)
	}
	if h := b.reserve(in(ask("k", 1, 60), allScopes...)); h.Room != 40 {
		b.Errorf("room is %d, want 40", h.Room)
	}
	for id := range periods {
		b.sums(id, 100, 0, 60)
	}
	b.settle(bill("k", 1, 50))
	for id, period := range periods {
		b.sums(id, 100, 50, 0)
		b.windowIs(b.read(id), period, zone)
	}
	b.denied(in(ask("next", 1, 51), allScopes...))
	b.sums("step:chat", 0, 0, 0)
}

// windowIs wants the current window of a period.
func (b *books) windowIs(s wflo.Spend, period wflo.Period, zone string) {
	b.Helper()
	now := time.Now()
	length, rolls := period.Rolling()
	switch {
	case period == wflo.PeriodNone:
		if !s.WindowStart.IsZero() || !s.WindowEnd.IsZero() {
			b.Errorf("%s has a window: %+v", s.Budget, s)
		}
		return
	case rolls:
		if got := s.WindowEnd.Sub(s.WindowStart); got != length {
			b.Errorf("%s has a window of %s, want %s", s.Budget, got, length)
		}
		return
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		b.Fatal(err)
	}
	start, end := window(period, now.In(loc))
	if !s.WindowStart.Equal(start) || !s.WindowEnd.Equal(end) {
		b.Errorf("%s has the window %s to %s, want %s to %s", s.Budget, s.WindowStart, s.WindowEnd, start, end)
	}
}

// window is the calendar window of a moment, in the moment's own zone.
func window(period wflo.Period, now time.Time) (start, end time.Time) {
	y, m, d := now.Date()
	at := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, now.Location()) }
	switch period {
	case wflo.PeriodDaily:
		return at(y, m, d), at(y, m, d+1)
	case wflo.PeriodWeekly:
		d -= (int(now.Weekday()) + 6) % 7
		return at(y, m, d), at(y, m, d+7)
	case wflo.PeriodMonthly:
		return at(y, m, 1), at(y, m+1, 1)
	}
	return time.Time{}, time.Time{}
}

func namedRuleBeatsEach(b *books) {
	b.set(rule("user:*", 10), rule("user:ann", 100))
	b.reserve(in(ask("ann", 1, 50), "user:ann"))
	b.reserve(in(ask("bob", 1, 10), "user:bob"))
	b.reserve(in(ask("eve", 1, 10), "user:eve")) // each has its own
	if got := b.denied(in(ask("bob2", 1, 1), "user:bob")); got.Budget != "user:bob" || got.Limit != 10 || got.Reserved != 10 {
		b.Errorf("refusal is %+v", got)
	}
	b.denied(in(ask("ann2", 1, 51), "user:ann"))
	b.sums("user:ann", 100, 0, 50)
	b.sums("user:eve", 10, 0, 10)
	b.ruleIs("user:ann", rule("user:ann", 100))
	b.ruleIs("user:bob", rule("user:*", 10))
	// A rule for one scope is nothing to another.
	b.reserve(in(ask("team", 1, 500), "team:ann", "agent:bob"))
}

// ruleIs wants the rule that made a budget.
func (b *books) ruleIs(budget string, want wflo.Budget) {
	b.Helper()
	got := b.read(budget).Rule
	if got == nil {
		b.Errorf("budget %s has no rule", budget)
		return
	}
	plain := func(r wflo.Budget) wflo.Budget {
		r.Scope, r.Name, _ = wflo.SplitBudgetID(r.ID()) // spells out what is empty
		r.OnExceeded = exceeded(r.OnExceeded)
		return r
	}
	if diff := cmp.Diff(plain(want), plain(*got)); diff != "" {
		b.Errorf("rule of %s (-want +got):\n%s", budget, diff)
	}
}

func rulesComeBackAsTheyWere(b *books) {
	for i, r := range []wflo.Budget{
		{Scope: wflo.ScopeUser, Name: "ann", Limit: 5, Period: wflo.PeriodWeekly, TimeZone: "Europe/Berlin", Thresholds: []int{1, 33, 100}, OnExceeded: wflo.ExceedAsk},
		{Scope: wflo.ScopeUser, Name: "bob", Limit: 5, Thresholds: []int{}, OnExceeded: wflo.ExceedIgnore},
		{Scope: wflo.ScopeTag, Name: `odd=:;'"☃ \%s`, Limit: 5, Period: wflo.Rolling(90 * time.Minute), OnExceeded: wflo.ExceedAlert},
		{Scope: wflo.ScopeModel, Name: "openai/gpt", Limit: 0, Period: wflo.PeriodMonthly, TimeZone: "Asia/Kathmandu"},
	} {
		b.set(r)
		b.ruleIs(r.ID(), r)
		b.pay(fmt.Sprint(i), 3, r.ID())
		b.ruleIs(r.ID(), r)
		b.sums(r.ID(), r.Limit, 3, 0)
	}
}

// lineAndRule: the lower limit counts, whichever has it, and zero is none.
func lineAndRule(b *books) {
	for i, c := range []struct{ line, rule, want wflo.Money }{{100, 60, 60}, {60, 100, 60}, {0, 60, 60}, {60, 0, 60}, {0, 0, 0}} {
		id := fmt.Sprintf("run:w%d/f", i)
		b.set(rule(id, c.rule))
		each := fmt.Sprintf("step:s%d", i)
		b.set(rule("step:*", c.rule))
		b.reserve(in(ask(id, 1, 10, line(id, c.line), line(each, c.line)), id, each))
		b.sums(id, c.want, 0, 10) // charged once
		b.sums(each, c.want, 0, 10)
	}
}

// lineIsOneBudget: a scope without a rule is no second budget.
func lineIsOneBudget(b *books) {
	r := in(ask("k", 1, 10, line("run:wf/first", 100)), allScopes...)
	if h := b.reserve(r); h.Room != 90 {
		b.Errorf("room is %d", h.Room)
	}
	b.sums("run:wf/first", 100, 0, 10)
	for _, id := range allScopes[1:] {
		b.spend(wflo.Spend{Budget: id})
	}
	if b.read("run:wf/first").Rule != nil {
		b.Error("a run's own budget has a rule")
	}
	// An operator raises it.
	b.set(rule("run:wf/first", 500))
	b.sums("run:wf/first", 500, 0, 10)
	b.reserve(in(ask("k2", 1, 400, line("run:wf/first", 100)), allScopes...))
}

// eightBudgets is all or nothing over lines and rules.
func eightBudgets(b *books) {
	for _, id := range allScopes[1:6] {
		b.set(rule(id, 100))
	}
	b.set(rule("org:*", 40))
	lines := []wflo.BudgetLine{line("parent", 90), line("run:wf/first", 80)}
	if h := b.reserve(in(ask("a", 1, 30, lines...), allScopes...)); h.Room != 10 {
		b.Errorf("room is %d, want that of the organisation", h.Room)
	}
	if got := b.denied(in(ask("b", 1, 20, lines...), allScopes...)); got.Budget != "org:acme" {
		b.Errorf("%s refused", got.Budget)
	}
	limits := map[string]wflo.Money{"parent": 90, "run:wf/first": 80, "org:acme": 40}
	for _, id := range allScopes[1:6] {
		limits[id] = 100
	}
	for id, limit := range limits {
		b.sums(id, limit, 0, 30)
	}
	b.settle(bill("a", 1, 7))
	for id, limit := range limits {
		b.sums(id, limit, 7, 0)
	}
}

// setCountsTheWindow: a rule that comes late knows what was spent.
func setCountsWhatIsUnderWay(b *books) {
	b.reserve(in(ask("running", 1, 30), "user:ann"))
	b.reserve(in(ask("given up", 1, 5), "user:ann"))
	b.reserve(in(ask("lost", 1, 20), "user:ann"))
	b.unknown("lost", 1)
	b.set(rule("user:*", 60))
	b.denied(in(ask("more", 1, 6), "user:ann")) // 5 are left
	b.sums("user:ann", 60, 20, 35)
	b.release("given up", 1)
	b.reserve(in(ask("fits", 1, 10), "user:ann"))
	b.settle(bill("running", 1, 7))
	b.settle(bill("lost", 1, 1))
	b.sums("user:ann", 60, 8, 10)
	// So do rules of one name, and sliding ones.
	b.set(rule("user:ann", 60))
	sliding := rule("user:ann", 60)
	sliding.Period = wflo.Rolling(time.Hour)
	b.set(sliding)
	b.denied(in(ask("over", 1, 43), "user:ann"))
	b.settle(bill("fits", 1, 4))
	b.sums("user:ann", 60, 12, 0)
}

func setCountsTheWindow(b *books) {
	b.pay("a", 30, "user:ann", "team:search")
	b.pay("b", 20, "user:bob", "team:search")
	r := in(ask("c", 1, 10), "user:ann")
	b.reserve(r)
	b.unknown("c", 1)
	day := rule("team:search", 100)
	day.Period, day.TimeZone = wflo.PeriodDaily, noonZone()
	b.set(rule("user:ann", 100), day)
	got := b.read("user:ann")
	if got.Spent != 40 || got.Unknown != 10 || got.Limit != 100 {
		b.Errorf("budget is %+v, want 40 spent, 10 of it unknown", got)
	}
	b.sums("team:search", 100, 50, 0)
	b.denied(in(ask("d", 1, 61), "user:ann"))
	b.denied(in(ask("d", 1, 51), "team:search"))
	// The rule for each counts at the first use.
	b.set(rule("user:*", 25))
	if got := b.denied(in(ask("e", 1, 6), "user:bob")); got.Spent != 20 || got.Limit != 25 {
		b.Errorf("refusal is %+v, want 20 spent", got)
	}
	b.pay("f", 5, "user:bob")
	b.sums("user:bob", 25, 25, 0)
	// Another period counts what its window has.
	day = rule("user:ann", 100)
	day.Period, day.TimeZone = wflo.Rolling(time.Hour), ""
	b.set(day)
	b.sums("user:ann", 100, 40, 0)
	// So does a rule that was away.
	b.remove("user:ann")
	b.set(rule("user:*", 0)) // bob's would have no room
	b.pay("g", 7, "user:ann", "user:bob")
	b.set(rule("user:ann", 100))
	b.sums("user:ann", 100, 47, 0)
}

func (b *books) remove(id string) {
	b.Helper()
	if err := b.RemoveBudget(b.Context(), id); err != nil {
		b.Fatalf("remove %s: %v", id, err)
	}
}

func setChangesTheLimitAtOnce(b *books) {
	b.set(rule("user:ann", 100), rule("team:*", 100))
	b.reserve(in(ask("a", 1, 80), "user:ann", "team:x"))
	b.reserve(in(ask("a2", 1, 10), "team:y"))
	b.topUp("t", "user:ann", 50)
	b.set(rule("user:ann", 200), rule("team:*", 90))
	got := b.read("user:ann")
	if got.Limit != 250 || got.ToppedUp != 50 || got.Reserved != 80 {
		b.Errorf("budget is %+v, want the top-up on the new limit", got)
	}
	b.sums("team:x", 90, 0, 80)
	b.sums("team:y", 90, 0, 10)
	b.denied(in(ask("b", 1, 11), "team:x"))
	b.set(rule("team:*", 50)) // below what is reserved
	b.denied(in(ask("b", 1, 0), "team:x"))
	b.settle(bill("a", 1, 45))
	b.reserve(in(ask("b", 1, 5), "team:x"))
	b.sums("team:x", 50, 45, 5)
	ask2 := rule("team:*", 50)
	ask2.OnExceeded = wflo.ExceedAsk
	b.set(ask2)
	if got := b.denied(in(ask("c", 1, 1), "team:x")); got.OnExceeded != wflo.ExceedAsk {
		b.Errorf("refusal is %+v", got)
	}
	// A rule with a name takes over from the one for each.
	b.set(rule("team:x", 70))
	b.sums("team:x", 70, 45, 5)
	b.set(rule("team:*", 10))
	b.sums("team:x", 70, 45, 5)
}

func declareDoesNotUndoOperators(b *books) {
	declare := func(rules ...wflo.Budget) {
		b.Helper()
		if err := b.DeclareBudgets(b.Context(), rules); err != nil {
			b.Fatalf("declare: %v", err)
		}
	}
	limit := func(id string, want wflo.Money) {
		b.Helper()
		if got := b.read(id); got.Limit != want || (got.Rule == nil) != (want == 0) {
			b.Errorf("%s is %+v, want the limit %s", id, got, want)
		}
	}
	one, two := rule("user:ann", 10), rule("team:search", 20)
	two.Period, two.Thresholds = wflo.PeriodDaily, []int{80}
	declare(one, two)
	limit("user:ann", 10)
	b.ruleIs("team:search", two)
	b.set(rule("user:ann", 50))
	declare(one, two)
	limit("user:ann", 50)
	declare(two) // not declared any more
	limit("user:ann", 50)
	one.Limit = 30
	declare(one)
	limit("user:ann", 30)
	limit("team:search", 20)
	b.remove("user:ann")
	declare(one, two)
	limit("user:ann", 0)
	one.Limit = 31
	declare(one, two)
	limit("user:ann", 31)
	declare()
	limit("user:ann", 31)
	// Wrong in one is wrong in all.
	bad := rule("user:eve", 5)
	bad.Limit = -5
	b.invalid("DeclareBudgets", b.DeclareBudgets(b.Context(), []wflo.Budget{rule("user:bob", 5), bad}))
	limit("user:bob", 0)
	// Workers that start together declare the same.
	b.race(16, func(ctx context.Context, _ int, _ *rand.Rand) error {
		return b.DeclareBudgets(ctx, []wflo.Budget{rule("org:acme", 7), rule("agent:*", 8), one})
	})
	limit("org:acme", 7)
}

func removeBudget(b *books) {
	b.set(rule("user:ann", 10), rule("team:*", 10))
	b.pay("a", 10, "user:ann", "team:x")
	b.denied(in(ask("b", 1, 1), "user:ann", "team:x"))
	b.remove("user:ann")
	b.remove("team:*")
	b.reserve(in(ask("b", 1, 1000), "user:ann", "team:x"))
	b.settle(bill("b", 1, 900))
	for _, id := range []string{"user:ann", "team:x", "team:*"} {
		if got := b.read(id); got.Limit != 0 || got.Rule != nil {
			b.Errorf("%s is still limited: %+v", id, got)
		}
	}
	if got := b.entries(run.RootID()); len(got) != 2 {
		b.Errorf("entries: %+v", got)
	}
	for _, id := range []string{"user:ann", "user:never", "team:*"} {
		b.invalid("RemoveBudget "+id, b.RemoveBudget(b.Context(), id))
	}
	// Holds of the removed budget close as ever.
	b.set(rule("org:acme", 10))
	b.reserve(in(ask("c", 1, 10), "org:acme"))
	b.remove("org:acme")
	b.settle(bill("c", 1, 4))
	// The one for each stays in force for who has lost a rule of their own.
	b.set(rule("agent:*", 10), rule("agent:coder", 100))
	b.pay("d", 50, "agent:coder")
	b.remove("agent:coder")
	if got := b.denied(in(ask("e", 1, 1), "agent:coder")); got.Limit != 10 || got.Spent != 50 {
		b.Errorf("refusal is %+v", got)
	}
}

func topUpRaisesOnce(b *books) {
	b.set(rule("user:ann", 100))
	b.pay("a", 100, "user:ann")
	b.denied(in(ask("b", 1, 1), "user:ann"))
	got := b.topUp("t1", "user:ann", 40)
	if got.Budget != "user:ann" || got.Limit != 140 || got.ToppedUp != 40 || got.Spent != 100 {
		b.Errorf("topped up to %+v", got)
	}
	for range 3 {
		if again := b.topUp("t1", "user:ann", 40); again.Limit != 140 {
			b.Errorf("the same key raised again: %+v", again)
		}
	}
	b.pay("b", 40, "user:ann")
	b.topUp("t2", "user:ann", 1)
	b.sums("user:ann", 141, 140, 0)
	// A run's own budget, and one that the rule for each made.
	b.reserve(ask("own", 1, 5, line("run:wf/first", 5)))
	b.topUp("t3", "run:wf/first", 10)
	b.spend(wflo.Spend{Budget: "run:wf/first", Limit: 15, Reserved: 5, ToppedUp: 10})
	b.set(rule("team:*", 5))
	b.reserve(in(ask("team", 1, 5), "team:x"))
	b.topUp("t4", "team:x", 10)
	b.sums("team:x", 15, 0, 5)
	b.reserve(in(ask("other", 1, 5), "team:y"))
	b.sums("team:y", 5, 0, 5)
}

// topUpOfAMember of a rule for each, before its first call.
func topUpOfAMember(b *books) {
	b.set(rule("user:*", 10), rule("team:*", 0))
	if got := b.topUp("t", "user:ann", 5); got.Limit != 15 || got.ToppedUp != 5 {
		b.Errorf("topped up to %+v", got)
	}
	b.reserve(in(ask("a", 1, 15), "user:ann"))
	b.denied(in(ask("b", 1, 11), "user:bob"))
	for _, id := range []string{"user:*", "team:search", "org:acme"} {
		_, err := b.TopUp(b.Context(), wflo.TopUp{Key: id, Budget: id, Amount: 5, By: "ops"})
		b.invalid("TopUp of "+id, err)
	}
	if s, ok := b.list()["team:search"]; ok {
		b.Errorf("a top-up that was refused made %+v", s)
	}
}

func topUpOutlivesItsRule(b *books) {
	b.set(rule("user:ann", 10))
	b.topUp("t", "user:ann", 5)
	b.remove("user:ann")
	b.reserve(in(ask("a", 1, 12), "user:ann"))
	b.settle(bill("a", 1, 12))
	b.set(rule("user:ann", 10))
	b.sums("user:ann", 15, 12, 0)
	b.topUp("t", "user:ann", 5) // the same key
	b.denied(in(ask("b", 1, 4), "user:ann"))
}

func topUpConcurrently(b *books) {
	b.set(rule("user:ann", 100))
	var raised atomic.Int64
	b.race(racers, func(ctx context.Context, racer int, dice *rand.Rand) error {
		for _, n := range dice.Perm(rounds) {
			_, err := b.TopUp(ctx, wflo.TopUp{Key: fmt.Sprint("t", n), Budget: "user:ann", Amount: wflo.Money(1 + n), By: "ops"})
			if err != nil {
				return err
			}
			raised.Add(1)
		}
		return nil
	})
	want := wflo.Money(rounds * (rounds + 1) / 2)
	if got := b.read("user:ann"); got.ToppedUp != want || got.Limit != 100+want {
		b.Errorf("%d calls topped up by %s to %s, want %s", raised.Load(), got.ToppedUp, got.Limit, want)
	}
}

func listBudgets(b *books) {
	if got := b.list(); len(got) != 0 {
		b.Errorf("an empty ledger lists %+v", got)
	}
	b.set(rule("user:*", 10), rule("user:bob", 20), rule("team:*", 30), rule("org:acme", 40))
	b.reserve(in(ask("a", 1, 7, line("run:wf/first", 50)), "run:wf/first", "user:ann", "org:acme"))
	got := b.list()
	for id, want := range map[string]wflo.Spend{
		"user:ann": {Limit: 10, Reserved: 7}, "user:bob": {Limit: 20}, "team:*": {Limit: 30}, "org:acme": {Limit: 40, Reserved: 7},
		"user:*": {Limit: 10}, // also after somebody used it
	} {
		s, ok := got[id]
		if !ok || s.Limit != want.Limit || s.Reserved != want.Reserved || s.Spent != 0 || s.Rule == nil {
			b.Errorf("%s is listed as %+v, want %+v with its rule", id, s, want)
		}
	}
	if s, ok := got["run:wf/first"]; ok {
		b.Errorf("the budget of a run is listed: %+v", s)
	}
	if s := got["user:*"]; s.Rule == nil || s.Rule.Name != wflo.Each {
		b.Errorf("the rule for each user is listed with %+v", s.Rule)
	}
	b.remove("org:acme")
	got = b.list()
	if s, ok := got["org:acme"]; ok {
		b.Errorf("a removed budget is listed: %+v", s)
	}
	if len(got) < 3 {
		b.Errorf("the others are not listed any more: %+v", got)
	}
}

// list is what ListBudgets gives, which must be in order.
func (b *books) list() map[string]wflo.Spend {
	b.Helper()
	all, err := b.ListBudgets(b.Context())
	if err != nil {
		b.Fatalf("list budgets: %v", err)
	}
	byID := map[string]wflo.Spend{}
	var ids []string
	for _, s := range all {
		byID[s.Budget] = s
		ids = append(ids, s.Budget)
	}
	if !slices.IsSorted(ids) || len(byID) != len(ids) {
		b.Errorf("budgets are listed as %v", ids)
	}
	return byID
}
