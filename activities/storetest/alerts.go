package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

func alertOncePerThreshold(b *books) {
	b.set(rule("user:ann", 100))
	for i, c := range []struct {
		cost wflo.Money
		want []int
	}{{49, nil}, {1, []int{50}}, {10, []int{50}}, {15, []int{50, 75}}, {14, []int{50, 75}}, {1, []int{50, 75, 90}}, {10, []int{50, 75, 90}}} {
		b.pay(fmt.Sprint(i), c.cost, "user:ann")
		b.alerted("user:ann", c.want...)
	}
}

// alertSaysWhatHappened wants every field, of several thresholds at once.
func alertSaysWhatHappened(b *books) {
	ann := wflo.Budget{Scope: wflo.ScopeUser, Name: "ann", Limit: 100, Period: wflo.PeriodDaily, TimeZone: noonZone(),
		Thresholds: []int{10, 60, 61}, OnExceeded: wflo.ExceedAsk}
	b.set(ann)
	b.reserve(in(ask("open", 1, 20), ann.ID()))
	b.reserve(in(ask("k", 1, 80), ann.ID()))
	b.settle(bill("k", 1, 60))
	s := b.read(ann.ID())
	got := b.alerts(ann.ID())
	if len(got) != 2 || got[0].ID == got[1].ID {
		b.Fatalf("alerts: %+v", got)
	}
	for i, percent := range []int{10, 60} {
		want := wflo.BudgetAlert{ID: got[i].ID, Kind: wflo.AlertThreshold, Budget: ann.ID(), Percent: percent, Limit: 100, Spent: 60, Reserved: 20,
			OnExceeded: wflo.ExceedAsk, WindowStart: s.WindowStart, WindowEnd: s.WindowEnd, At: got[i].At, Run: run}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			b.Errorf("alert (-want +got):\n%s", diff)
		}
		if got[i].ID == "" || got[i].At.IsZero() || got[i].At.Location() != time.UTC {
			b.Errorf("alert %q is of %s", got[i].ID, got[i].At)
		}
	}
}

func alertsOfLines(b *books) {
	own, none, nolimit := line("own", 100), line("none", 100), line("nolimit", 0)
	own.Thresholds, none.Thresholds = []int{1, 100}, []int{}
	b.reserve(ask("a", 1, 100, own, none, nolimit, line("default", 100)))
	b.settle(bill("a", 1, 99))
	b.reserve(ask("b", 1, 1, own, none, nolimit))
	b.settle(bill("b", 1, 1))
	b.alerted("own", 1, 100)
	b.alerted("none")
	b.alerted("nolimit")
	b.alerted("default", wflo.DefaultThresholds...)
}

// alertsOfEverySpending: money that is spent in another way alerts as well.
func alertsOfEverySpending(b *books) {
	r := ask("unknown", 1, 60, line("u", 100))
	b.reserve(r)
	b.alerted("u") // reserved is not spent
	b.unknown("unknown", 1)
	b.alerted("u", 50)
	b.settle(bill("unknown", 1, 80)) // corrected upwards
	b.alerted("u", 50, 75)
	b.reserve(ask("down", 1, 10, line("u", 100)))
	b.unknown("down", 1)
	b.alerted("u", 50, 75, 90)
	b.settle(bill("down", 1, 0)) // corrected downwards, and up again
	b.reserve(ask("up", 1, 15, line("u", 100)))
	b.settle(bill("up", 1, 15))
	b.alerted("u", 50, 75, 90)
	// The next attempt finds the first one lost.
	b.reserve(ask("lost", 1, 60, line("l", 100)))
	b.denied(ask("lost", 2, 60, line("l", 100)))
	if got := b.alerts("l"); len(got) != 2 {
		b.Errorf("alerts: %+v, want one of the threshold and one of the refusal", got)
	}
	// An overdraft crosses them all.
	b.reserve(ask("over", 1, 10, line("o", 100)))
	b.settle(bill("over", 1, 1000))
	b.alerted("o", wflo.DefaultThresholds...)
	// Giving back is no spending.
	b.reserve(ask("back", 1, 100, line("r", 100)))
	b.release("back", 1)
	b.alerted("r")
}

func alertOfEveryBudget(b *books) {
	b.set(rule("user:*", 100), rule("org:acme", 1000))
	b.pay("a", 95, "user:ann", "org:acme")
	b.pay("b", 95, "user:bob", "org:acme")
	b.alerted("user:ann", 50, 75, 90)
	b.alerted("user:bob", 50, 75, 90)
	b.alerted("org:acme")
	b.pay("c", 100, "org:acme")
	b.pay("d", 210, "org:acme")
	b.alerted("org:acme", 50)
	all, err := b.ListAlerts(b.Context(), "", 1000)
	if err != nil || len(all) != 7 || all[0].Budget != "org:acme" {
		b.Errorf("alerts of all budgets: %+v, %v; want 7, the latest first", all, err)
	}
	if some, err := b.ListAlerts(b.Context(), "", 2); err != nil || !slices.EqualFunc(some, all[:2], func(x, y wflo.BudgetAlert) bool { return x.ID == y.ID }) {
		b.Errorf("the latest 2 alerts: %+v, %v", some, err)
	}
	// A call that fits neither alerts for both.
	b.denied(in(ask("e", 1, 5000), "user:ann", "org:acme"))
	for _, id := range []string{"user:ann", "org:acme"} {
		if got := b.alerts(id); got[len(got)-1].Kind != wflo.AlertExceeded {
			b.Errorf("%s alerted %+v, want an exceeded budget last", id, got)
		}
	}
}

// alertsAreRearmedByTopUp: only those above what is spent then.
func alertsAreRearmedByTopUp(b *books) {
	b.set(rule("user:ann", 100))
	b.pay("a", 92, "user:ann")
	b.denied(in(ask("b", 1, 9), "user:ann"))
	before := []int{50, 75, 90, 0}
	b.alerted("user:ann", before...)
	b.topUp("t", "user:ann", 60) // 92 of 160 is 57 %
	b.pay("c", 27, "user:ann")   // 119: 74 %
	b.alerted("user:ann", before...)
	b.pay("d", 1, "user:ann") // 120: 75 %
	b.alerted("user:ann", append(before, 75)...)
	b.topUp("t", "user:ann", 60) // the same again re-arms nothing
	b.pay("e", 1, "user:ann")
	b.alerted("user:ann", append(before, 75)...)
	b.set(rule("user:ann", 200)) // with the top-up 260, of which 121 are 46 %
	b.pay("f", 9, "user:ann")
	b.alerted("user:ann", append(before, 75, 50)...)
	b.set(rule("user:ann", 100)) // lowering it re-arms nothing
	b.pay("g", 1, "user:ann")    // 131 of 160 is 81 %
	b.alerted("user:ann", append(before, 75, 50, 75)...)
}

// alertsWithTheNextCharge of thresholds that were passed without spending.
func alertsWithTheNextCharge(b *books) {
	b.pay("before", 80, "team:search")
	b.set(rule("user:ann", 1000), rule("team:search", 100))
	b.pay("a", 60, "user:ann")
	b.set(rule("user:ann", 100))
	b.reserve(in(ask("b", 1, 1), "user:ann", "team:search"))
	b.release("b", 1)
	b.alerted("user:ann")
	b.alerted("team:search")
	b.reserve(in(ask("free", 1, 1), "user:ann", "team:search"))
	b.settle(bill("free", 1, 0))
	b.alerted("user:ann", 50)
	b.alerted("team:search", 50, 75)
}

func claimOldestFirst(b *books) {
	for _, id := range []string{"a", "b", "c"} {
		r := ask(id, 1, 10, line(id, 10))
		r.Budgets[0].Thresholds = []int{100}
		b.reserve(r)
		b.settle(bill(id, 1, 10))
	}
	first := b.claim(2, time.Hour)
	second := b.claim(2, time.Hour)
	got := make([]string, 0, 3)
	for _, a := range append(first, second...) {
		got = append(got, a.Budget)
		if listed := b.alerts(a.Budget); len(listed) != 1 || cmp.Diff(listed[0], a) != "" {
			b.Errorf("claimed %+v, listed %+v", a, listed)
		}
	}
	if len(first) != 2 || !slices.Equal(got, []string{"a", "b", "c"}) {
		b.Errorf("claimed %v, %d at first", got, len(first))
	}
	if again := b.claim(10, time.Hour); len(again) != 0 {
		b.Errorf("claimed twice: %+v", again)
	}
}

func (b *books) claim(n int, lease time.Duration) []wflo.BudgetAlert {
	b.Helper()
	got, err := b.ClaimAlerts(b.Context(), n, lease)
	if err != nil {
		b.Fatalf("claim alerts: %v", err)
	}
	if len(got) > n {
		b.Errorf("claimed %d alerts, want at most %d", len(got), n)
	}
	return got
}

func (b *books) done(id string) {
	b.Helper()
	if err := b.AlertDone(b.Context(), id); err != nil {
		b.Fatalf("alert %s is done: %v", id, err)
	}
}

// claimAgainAfterTheLease: what a dead worker took comes back; what was handed
// over does not.
func claimAgainAfterTheLease(b *books) {
	b.reserve(ask("k", 1, 95, line("x", 100)))
	b.settle(bill("k", 1, 95))
	const lease = time.Millisecond
	first := b.claim(10, lease)
	if len(first) != 3 {
		b.Fatalf("claimed %+v, want 3", first)
	}
	b.done(first[0].ID)
	b.done(first[0].ID)
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	back := map[string]bool{}
	for len(back) < 2 { // until the lease has ended
		got, err := b.ClaimAlerts(ctx, 10, time.Hour)
		if err != nil {
			b.Fatalf("the alerts did not come back: %v", err)
		}
		for _, a := range got {
			if a.ID == first[0].ID || back[a.ID] {
				b.Errorf("alert %s was given out again", a.ID)
			}
			back[a.ID] = true
		}
	}
	for id := range back {
		b.done(id)
	}
	if got := b.claim(10, lease); len(got) != 0 {
		b.Errorf("claimed what was handed over: %+v", got)
	}
	b.alerted("x", 50, 75, 90) // they stay listed
}

// raceOfAlerts lets all callers cross the thresholds of one budget together, and
// claimers take the alerts meanwhile.
func raceOfAlerts(b *books) {
	b.set(rule("org:acme", racers*rounds))
	var mu sync.Mutex
	claimed := map[string]int{}
	b.race(racers, func(ctx context.Context, racer int, _ *rand.Rand) error {
		for round := range rounds {
			key := fmt.Sprintf("%d.%d", racer, round)
			if _, err := b.Reserve(ctx, in(ask(key, 1, 1), "org:acme")); err != nil {
				return err
			}
			if err := b.Settle(ctx, bill(key, 1, 1)); err != nil {
				return err
			}
			// One more than there is does not fit, for everybody.
			if _, err := b.Reserve(ctx, in(ask("big"+key, 1, racers*rounds), "org:acme")); wflo.CodeOf(err) != wflo.CodeBudgetExceeded {
				return fmt.Errorf("a call that does not fit gave %w", err)
			}
			got, err := b.ClaimAlerts(ctx, 2, time.Hour)
			if err != nil {
				return err
			}
			mu.Lock()
			for _, a := range got {
				claimed[a.ID]++
			}
			mu.Unlock()
		}
		return nil
	})
	got := b.alerts("org:acme")
	slices.SortFunc(got, func(x, y wflo.BudgetAlert) int { return x.Percent - y.Percent })
	for i, percent := range []int{50, 75, 90, 100} {
		if i >= len(got) || got[i].Percent != percent || (got[i].Kind == wflo.AlertExceeded) != (percent == 100) {
			b.Fatalf("alerts: %+v, want each threshold and the refusal once", got)
		}
	}
	for _, a := range b.claim(10, time.Hour) {
		claimed[a.ID]++
	}
	if len(got) != 4 || len(claimed) != 4 {
		b.Errorf("%d alerts, %d claimed", len(got), len(claimed))
	}
	for id, n := range claimed {
		if n != 1 {
			b.Errorf("alert %s was claimed %d times", id, n)
		}
	}
}
