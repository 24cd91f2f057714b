package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/wflo-ai/wflo-go"
)

func sampleSaving(key string, attempt int, saved wflo.Money) wflo.Saving {
	s := sampleBill(key, attempt, 0)
	return wflo.Saving{Key: s.Key, Attempt: attempt, Run: run, Scopes: []string{"user:ann", "tag:env=prod"}, Source: "source", Usage: s.Usage, Price: s.Price,
		Provider: s.Provider, Model: s.Model, Saved: saved, Outcome: []byte("earlier")}
}

func (b *books) save(s wflo.Saving) {
	b.Helper()
	if err := b.Save(b.Context(), s); err != nil {
		b.Fatalf("save %s/%d: %v", s.Key, s.Attempt, err)
	}
}

// saveCostsNothing, and whoever asks again gets the answer.
func saveCostsNothing(b *books) {
	b.set(rule("user:ann", 10))
	s := sampleSaving("k", 1, 700)
	b.save(s)
	b.save(s)
	again := s
	again.Saved, again.Source = 800, "other"
	b.save(again)
	b.sums("user:ann", 10, 0, 0)
	b.alerted("user:ann")
	want := []wflo.Entry{{Key: "k", Attempt: 1, State: wflo.HoldCached, Run: run, Provider: s.Provider, Model: s.Model, Usage: s.Usage, Price: s.Price,
		Saved: 700, Source: "source", Scopes: s.Scopes}}
	if diff := cmp.Diff(want, b.entries(run.RootID()), sameEntry); diff != "" {
		b.Errorf("entries (-want +got):\n%s", diff)
	}
	h := b.reserve(in(ask("k", 2, 5, line("x", 100)), "user:ann"))
	if h.State != wflo.HoldSettled || h.Attempt != 1 || h.Granted != 0 || !h.Repeated || string(h.Outcome) != "earlier" {
		b.Errorf("the next attempt got %+v, want the earlier answer", h)
	}
	b.spend(wflo.Spend{Budget: "x"})
}

// saveOfAHold changes nothing, whatever became of it.
func saveOfAHold(b *books) {
	for state, end := range map[wflo.HoldState]func(key string){
		wflo.HoldOpen:     func(string) {},
		wflo.HoldSettled:  func(key string) { b.settle(bill(key, 1, 5)) },
		wflo.HoldReleased: func(key string) { b.release(key, 1) },
		wflo.HoldUnknown:  func(key string) { b.unknown(key, 1) },
	} {
		r := ask(string(state), 1, 10, line(string(state), 100))
		b.reserve(r)
		end(string(state))
		before := b.read(string(state))
		b.save(sampleSaving(string(state), 1, 700))
		b.spend(before)
		if h := b.reserve(r); h.State != state || h.Amount != 10 {
			b.Errorf("a hold that is %s became %+v", state, h)
		}
	}
	for _, e := range b.entries(run.RootID()) {
		if e.State == wflo.HoldCached {
			b.Errorf("an entry was added: %+v", e)
		}
	}
}

func raceOfSavings(b *books) {
	b.race(racers, func(ctx context.Context, _ int, dice *rand.Rand) error {
		for _, n := range dice.Perm(rounds) {
			if err := b.Save(ctx, sampleSaving(fmt.Sprint("k", n), 1, 7)); err != nil {
				return err
			}
		}
		return nil
	})
	if got := b.entries(run.RootID()); len(got) != rounds {
		b.Errorf("%d entries, want %d", len(got), rounds)
	}
	if got := b.total(wflo.CostQuery{}); got.Hits != rounds || got.Saved != 7*rounds || got.Calls != 0 || got.Spent != 0 {
		b.Errorf("total is %+v", got)
	}
}

func entriesHaveScopesAndPrices(b *books) {
	r := in(ask("k", 1, 30, line("x", 0)), allScopes...)
	b.reserve(r)
	s := sampleBill("k", 1, 10)
	s.Price.PerSecond, s.Usage.Millis = 12_345, 678
	b.settle(s)
	r.Key = "u"
	b.reserve(r)
	b.unknown("u", 1)
	got := b.entries(run.RootID())
	if len(got) != 2 {
		b.Fatalf("entries: %+v", got)
	}
	if diff := cmp.Diff(s.Price, got[0].Price); diff != "" {
		b.Errorf("price (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.Usage, got[0].Usage); diff != "" {
		b.Errorf("usage (-want +got):\n%s", diff)
	}
	for _, e := range got {
		if diff := cmp.Diff(allScopes, e.Scopes); diff != "" {
			b.Errorf("scopes of %s (-want +got):\n%s", e.Key, diff)
		}
	}
}

func (b *books) costs(q wflo.CostQuery) []wflo.CostRow {
	b.Helper()
	rows, err := b.Costs(b.Context(), q)
	if err != nil {
		b.Fatalf("costs %+v: %v", q, err)
	}
	return rows
}

// total is the one row of a query that does not ask for several.
func (b *books) total(q wflo.CostQuery) wflo.CostRow {
	b.Helper()
	rows := b.costs(q)
	if len(rows) != 1 {
		b.Fatalf("costs %+v gave %+v, want one row", q, rows)
	}
	return rows[0]
}

// someCosts fills a ledger with calls of two users: settled, unknown, found out
// late, over their reservation, running, released and answered from the cache.
func (b *books) someCosts() {
	call := func(key string, amount wflo.Money, provider, model, user string, tags ...string) {
		r := ask(key, 1, amount)
		r.Provider, r.Model = provider, model
		r.Run.User, r.Run.Tags = user, map[string]string{}
		r.Scopes = []string{"run:" + run.RootID(), "step:" + key[:1], "user:" + user, "model:" + provider + "/" + model}
		for _, tag := range tags {
			r.Scopes = append(r.Scopes, "tag:"+tag)
		}
		b.reserve(r)
	}
	settle := func(key string, amount wflo.Money, provider, model string) {
		s := bill(key, 1, amount)
		s.Provider, s.Model, s.Usage = provider, model, wflo.Usage{Input: 10, Output: 3, Millis: 5}
		b.settle(s)
	}
	call("a1", 50, "openai", "gpt", "ann", "env=prod", "tier=gold")
	settle("a1", 40, "openai", "gpt")
	call("a2", 50, "openai", "gpt", "bob", "env=prod")
	settle("a2", 60, "openai", "gpt") // an overdraft of 10
	call("b1", 30, "anthropic", "claude", "ann", "env=test")
	b.unknown("b1", 1)
	call("b2", 25, "anthropic", "claude", "bob")
	b.unknown("b2", 1)
	settle("b2", 5, "anthropic", "claude")
	call("c1", 9, "openai", "gpt", "ann", "env=prod")
	b.release("c1", 1)
	call("c2", 7, "openai", "gpt", "ann", "env=prod")
	hit := sampleSaving("d1", 1, 100)
	hit.Scopes = []string{"run:" + run.RootID(), "step:d", "user:ann", "model:openai/gpt", "tag:env=prod"}
	hit.Provider, hit.Model = "openai", "gpt"
	b.save(hit)
}

// sameCost compares rows but for what depends on whether answers from the cache
// count as use.
var sameCost = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(wflo.CostRow{}, "Usage")}

func costsByEveryKey(b *books) {
	b.someCosts()
	ann := wflo.CostRow{Key: "ann", Calls: 2, Hits: 1, Spent: 70, Unknown: 30, Reserved: 7, Saved: 100}
	bob := wflo.CostRow{Key: "bob", Calls: 2, Spent: 65, Overdraft: 10}
	for _, c := range []struct {
		by   string
		want []wflo.CostRow
	}{
		{"", []wflo.CostRow{{Calls: 4, Hits: 1, Spent: 135, Unknown: 30, Overdraft: 10, Reserved: 7, Saved: 100}}},
		{"user", []wflo.CostRow{ann, bob}},
		{"run", []wflo.CostRow{{Key: run.RootID(), Calls: 4, Hits: 1, Spent: 135, Unknown: 30, Overdraft: 10, Reserved: 7, Saved: 100}}},
		{"model", []wflo.CostRow{{Key: "openai/gpt", Calls: 2, Hits: 1, Spent: 100, Overdraft: 10, Reserved: 7, Saved: 100},
			{Key: "anthropic/claude", Calls: 2, Spent: 35, Unknown: 30}}},
		{"provider", []wflo.CostRow{{Key: "openai", Calls: 2, Hits: 1, Spent: 100, Overdraft: 10, Reserved: 7, Saved: 100},
			{Key: "anthropic", Calls: 2, Spent: 35, Unknown: 30}}},
		{"tag", []wflo.CostRow{{Key: "env=prod", Calls: 2, Hits: 1, Spent: 100, Overdraft: 10, Reserved: 7, Saved: 100},
			{Key: "tier=gold", Calls: 1, Spent: 40}, {Key: "env=test", Calls: 1, Spent: 30, Unknown: 30}, {Key: wflo.CostNone, Calls: 1, Spent: 5}}},
		{"team", []wflo.CostRow{{Key: wflo.CostNone, Calls: 4, Hits: 1, Spent: 135, Unknown: 30, Overdraft: 10, Reserved: 7, Saved: 100}}},
	} {
		if diff := cmp.Diff(c.want, b.costs(wflo.CostQuery{By: c.by}), sameCost); diff != "" {
			b.Errorf("by %q (-want +got):\n%s", c.by, diff)
		}
	}
	// What is running and what is free are rows of their own, in any order.
	steps := b.costs(wflo.CostQuery{By: "step"})
	for _, want := range []wflo.CostRow{{Key: "a", Calls: 2, Spent: 100, Overdraft: 10}, {Key: "b", Calls: 2, Spent: 35, Unknown: 30},
		{Key: "c", Reserved: 7}, {Key: "d", Hits: 1, Saved: 100}} {
		if !slices.ContainsFunc(steps, func(got wflo.CostRow) bool { return cmp.Equal(want, got, sameCost) }) {
			b.Errorf("by step there is no %+v in %+v", want, steps)
		}
	}
	if len(steps) != 4 {
		b.Errorf("by step: %+v", steps)
	}
	use := b.total(wflo.CostQuery{Scopes: []string{"user:bob"}}).Usage
	if want := (wflo.Usage{Input: 20, Output: 6, Millis: 10}); use != want {
		b.Errorf("bob's usage is %+v, want %+v", use, want)
	}
}

func costsFilter(b *books) {
	if diff := cmp.Diff(wflo.CostRow{}, b.total(wflo.CostQuery{})); diff != "" {
		b.Errorf("the total of nothing (-want +got):\n%s", diff)
	}
	if got := b.costs(wflo.CostQuery{By: "user"}); len(got) != 0 {
		b.Errorf("nothing by user is %+v", got)
	}
	b.someCosts()
	for _, c := range []struct {
		scopes []string
		spent  wflo.Money
	}{
		{nil, 135}, {[]string{"user:ann"}, 70}, {[]string{"user:ann", "tag:env=prod"}, 40}, {[]string{"tag:env=prod"}, 100},
		{[]string{"user:ann", "user:bob"}, 0}, {[]string{"user:ANN"}, 0}, {[]string{"run:" + run.RootID(), "model:anthropic/claude"}, 35},
	} {
		if got := b.total(wflo.CostQuery{Scopes: c.scopes}); got.Spent != c.spent {
			b.Errorf("%v spent %s, want %s", c.scopes, got.Spent, c.spent)
		}
	}
	entries := b.entries(run.RootID())
	first, last := entries[0].At, entries[len(entries)-1].At
	for name, c := range map[string]struct {
		q     wflo.CostQuery
		calls int64
		hits  int64
	}{
		"all":               {wflo.CostQuery{From: first, To: last.Add(time.Hour)}, 4, 1},
		"To is exclusive":   {wflo.CostQuery{To: first}, 0, 0},
		"From is inclusive": {wflo.CostQuery{From: last}, 0, 1},
		"later":             {wflo.CostQuery{From: last.Add(time.Hour)}, 0, 0},
		"in another zone":   {wflo.CostQuery{From: last.In(time.FixedZone("", 3600)), To: last.Add(time.Hour)}, 0, 1},
	} {
		// Whatever the times, what is running is running.
		if got := b.total(c.q); got.Calls != c.calls || got.Hits != c.hits || got.Reserved != 7 {
			b.Errorf("%s: %+v, want %d calls and %d hits", name, got, c.calls, c.hits)
		}
	}
}

func costsLimit(b *books) {
	var want wflo.Money
	for i := range 7 {
		b.pay(fmt.Sprint(i), wflo.Money(10+i), fmt.Sprint("user:u", i))
		want += wflo.Money(10 + i)
	}
	b.reserve(in(ask("open", 1, 5), "user:u0"))
	rows := b.costs(wflo.CostQuery{By: "user", Limit: 3})
	var got []string
	var sum wflo.Money
	for _, r := range rows {
		got = append(got, r.Key)
		sum += r.Spent
	}
	if !slices.Equal(got, []string{"u6", "u5", "u4", wflo.CostOthers}) || sum != want {
		b.Errorf("rows are %+v, want the three dearest and the others, %s in all", rows, want)
	} else if rows[3].Calls != 4 || rows[3].Reserved != 5 {
		b.Errorf("the others are %+v", rows[3])
	}
	if rows := b.costs(wflo.CostQuery{By: "user", Limit: 7}); len(rows) != 7 {
		b.Errorf("with room for all there are %+v", rows)
	}
}

// costsByTime cannot set the clock; TestWindows does.
func costsByTime(b *books) {
	b.pay("a", 10)
	b.pay("b", 20)
	at := b.entries(run.RootID())[0].At
	for _, zone := range []string{"", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			b.Fatal(err)
		}
		for by, key := range timeKeys(at.In(loc)) {
			rows := b.costs(wflo.CostQuery{By: by, TimeZone: zone})
			var sum wflo.Money
			for _, r := range rows {
				sum += r.Spent
			}
			// The unit may end between both calls; then the latest is first.
			if len(rows) == 0 || rows[len(rows)-1].Key != key || sum != 30 {
				b.Errorf("by %s in %q: %+v, want %s", by, zone, rows, key)
			}
		}
	}
}

// timeKeys are the keys of a moment in its own zone.
func timeKeys(at time.Time) map[string]string {
	_, offset := at.Zone()
	// Hours begin where the zone's clock shows none of the minutes.
	hour := time.Unix((at.Unix()+int64(offset))/3600*3600-int64(offset), 0).In(at.Location())
	monday, _ := window(wflo.PeriodWeekly, at)
	return map[string]string{"hour": hour.Format(time.RFC3339), "day": at.Format(time.DateOnly), "week": monday.Format(time.DateOnly), "month": at.Format("2006-01")}
}

func openHolds(b *books) {
	var want []wflo.EffectKey
	for i := range 5 {
		r := in(ask(fmt.Sprint("k", i), 1, wflo.Money(10+i), line("x", 30)), "user:ann")
		r.Least, r.Within = 1, time.Minute
		if i > 2 {
			r.Budgets = nil
		}
		b.reserve(r)
		want = append(want, r.Key)
	}
	b.settle(bill("k0", 1, 1))
	b.release("k1", 1)
	b.save(sampleSaving("cached", 1, 5))
	list := func(age time.Duration, n int) []wflo.EffectKey {
		b.Helper()
		got, err := b.OpenHolds(b.Context(), age, n)
		if err != nil {
			b.Fatal(err)
		}
		var keys []wflo.EffectKey
		for _, h := range got {
			keys = append(keys, h.Key)
			if h.State != wflo.HoldOpen || h.Within != time.Minute || h.Granted == 0 || h.At.IsZero() || h.Run.User != run.User || !slices.Equal(h.Scopes, []string{"user:ann"}) {
				b.Errorf("open hold: %+v", h)
			}
		}
		return keys
	}
	if got := list(0, 10); !slices.Equal(got, want[2:]) {
		b.Errorf("open are %v, want %v", got, want[2:])
	}
	if got := list(0, 2); !slices.Equal(got, want[2:4]) {
		b.Errorf("the oldest two are %v", got)
	}
	if got := list(time.Hour, 10); len(got) != 0 {
		b.Errorf("open for an hour are %v", got)
	}
}

func unknownHolds(b *books) {
	for _, key := range []string{"a", "b", "c"} {
		b.reserve(in(ask(key, 1, 10, line("x", 100)), "user:ann"))
		b.unknown(key, 1)
	}
	b.reserve(ask("d", 1, 10, line("x", 100))) // open
	list := func(n int) string {
		b.Helper()
		got, err := b.UnknownHolds(b.Context(), n)
		if err != nil {
			b.Fatal(err)
		}
		keys := ""
		for _, h := range got {
			keys += string(h.Key)
			if h.State != wflo.HoldUnknown || h.Granted != 10 || h.Attempt != 1 || !slices.Equal(h.Scopes, []string{"user:ann"}) {
				b.Errorf("unknown hold: %+v", h)
			}
		}
		return keys
	}
	if all, two := list(10), list(2); all != "cba" || two != "cb" {
		b.Errorf("unknown are %s and %s, want the latest first", all, two)
	}
	b.settle(bill("b", 1, 3)) // reconciled
	if got := list(10); got != "ca" {
		b.Errorf("unknown are %s after one is found out", got)
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 23, Reserved: 10, Unknown: 20})
	if got := b.total(wflo.CostQuery{}); got.Calls != 3 || got.Spent != 23 || got.Unknown != 20 || got.Reserved != 10 {
		b.Errorf("total is %+v", got)
	}
}

// costsEqualEntries after a race of all ways that calls end.
func costsEqualEntries(b *books) {
	b.race(16, func(ctx context.Context, racer int, dice *rand.Rand) error {
		for round := range rounds {
			r := in(ask(fmt.Sprintf("%d.%d", racer, round), 1, 1+wflo.Money(dice.IntN(100))), fmt.Sprint("user:u", racer%3), fmt.Sprint("tag:n=", round))
			if _, err := b.lifecycle(ctx, r, dice); err != nil {
				return err
			}
		}
		return nil
	})
	entries := b.entries(run.RootID())
	for _, by := range []string{"", "user", "tag", "provider", "run", "day", "hour"} {
		b.Run("by "+by, func(t *testing.T) {
			b := &books{T: t, Ledger: b.Ledger}
			var got, want, over wflo.Money
			for _, r := range b.costs(wflo.CostQuery{By: by}) {
				got, over = got+r.Spent, over+r.Overdraft
			}
			for _, e := range entries {
				want += e.Amount
			}
			if got != want || over != 0 {
				t.Errorf("the rows sum up to %s, the entries to %s", got, want)
			}
		})
	}
}
