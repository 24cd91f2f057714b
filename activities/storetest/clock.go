package storetest

import (
	"time"

	"github.com/wflo-ai/wflo-go"
)

// clockGoesBack has the store's clock jump back over midnight and come there again, as
// that of a machine does which was ahead: no limit is exceeded, no money is lost, and
// an alert is neither lost nor sent twice.
func clockGoesBack(b *books, at func(time.Time)) {
	midnight := b.clock("2026-11-24 00:00:00 UTC")
	before, after := midnight.Add(-30*time.Minute), midnight.Add(30*time.Minute)
	at(before)
	b.set(periodic("user:*", 100, wflo.PeriodDaily, ""), rule("team:search", 1000))
	scopes := []string{"user:ann", "team:search"}
	b.pay("yesterday", 40, scopes...)
	at(after)
	b.pay("today", 60, scopes...)
	b.reserve(in(ask("open", 1, 30), scopes...))
	first := b.claim(10, time.Minute)
	at(before) // an hour back
	b.sums("user:ann", 100, 40, 0)
	b.denied(in(ask("more", 1, 61), scopes...))
	b.settle(bill("open", 1, 30)) // of the day that it was held in
	b.sums("user:ann", 100, 40, 0)
	b.pay("again", 60, scopes...)
	b.sums("user:ann", 100, 100, 0)
	b.sums("team:search", 1000, 190, 0)
	second := b.claim(10, time.Minute)
	for _, a := range second {
		for _, earlier := range first {
			if a.ID == earlier.ID {
				b.Errorf("alert %s is given out twice within its lease", a.ID)
			}
		}
	}
	at(after.Add(time.Minute))
	b.sums("user:ann", 100, 90, 0)
	all := append(first, second...)
	lost := b.claim(10, time.Minute)
	if len(lost) != len(all) || len(first) == 0 || len(second) == 0 {
		b.Errorf("claimed %d and %d alerts, and after their leases %d", len(first), len(second), len(lost))
	}
	for _, a := range lost {
		b.done(a.ID)
	}
	if kept := b.alerts("user:ann"); len(kept) != len(all) {
		b.Errorf("%d alerts were given out, and %d are kept", len(all), len(kept))
	}
	b.denied(in(ask("more", 1, 11), scopes...))
}
