package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// TestWindows runs the suite for what budgets do in the course of time. open
// gives an empty ledger, as for TestLedger, and a function that sets its clock.
// The clock is set to whole seconds, and back by ClockGoesBack alone. A store whose clock cannot
// be set is held by TestLedger to what can be seen within seconds.
func TestWindows(t *testing.T, open func(t *testing.T) (activities.Ledger, func(time.Time))) {
	for _, c := range []struct {
		name string
		test func(*books, func(time.Time))
	}{
		{"CalendarWindows", calendarWindows},
		{"DaysOfSummerTime", daysOfSummerTime},
		{"HoldsSettleInTheirOwnWindow", holdsSettleInTheirOwnWindow},
		{"UnknownIsCorrectedInItsOwnWindow", unknownIsCorrectedInItsOwnWindow},
		{"CorrectionsOfYesterdayAreNotToday", correctionsOfYesterdayAreNotToday},
		{"TopUpIsForOneWindow", topUpIsForOneWindow},
		{"AlertsOncePerWindow", alertsOncePerWindow},
		{"SetCountsOnlyTheWindow", setCountsOnlyTheWindow},
		{"RollingWindow", rollingWindow},
		{"RollingWindowNeverBelowZero", rollingNeverBelowZero},
		{"RollingWindowAlertsAgain", rollingAlertsAgain},
		{"CostsByTime", costsOverTime},
		{"LeaseEnds", leaseEnds},
		{"HoldsGrowOld", holdsGrowOld},
		{"ClockGoesBack", clockGoesBack},
		{"Model", walkThroughTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, at := open(t)
			c.test(&books{T: t, Ledger: l}, at)
		})
	}
}

// clock parses a moment, "2026-03-28 23:59:59 Europe/Berlin".
func (b *books) clock(text string) time.Time {
	b.Helper()
	const layout = "2006-01-02 15:04:05"
	loc, err := time.LoadLocation(text[len(layout)+1:])
	if err != nil {
		b.Fatal(err)
	}
	at, err := time.ParseInLocation(layout, text[:len(layout)], loc)
	if err != nil {
		b.Fatal(err)
	}
	return at
}

func periodic(id string, limit wflo.Money, period wflo.Period, zone string) wflo.Budget {
	r := rule(id, limit)
	r.Period, r.TimeZone = period, zone
	return r
}

func calendarWindows(b *books, at func(time.Time)) {
	for i, c := range []struct {
		period           wflo.Period
		zone             string
		now, start, end  string
		justBefore, then string // the last second of the window, and the first of the next
	}{
		{wflo.PeriodDaily, "UTC", "2026-11-23 15:00:00", "2026-11-23 00:00:00", "2026-11-24 00:00:00", "2026-11-23 23:59:59", "2026-11-24 00:00:00"},
		{wflo.PeriodDaily, "Asia/Kathmandu", "2026-11-25 00:00:00", "2026-11-25 00:00:00", "2026-11-26 00:00:00", "2026-11-25 23:59:59", "2026-11-26 00:00:00"},
		{wflo.PeriodWeekly, "America/New_York", "2026-12-29 12:00:00", "2026-12-28 00:00:00", "2027-01-04 00:00:00", "2027-01-03 23:59:59", "2027-01-04 00:00:00"},
		{wflo.PeriodWeekly, "UTC", "2027-01-10 23:00:00", "2027-01-04 00:00:00", "2027-01-11 00:00:00", "2027-01-10 23:59:59", "2027-01-11 00:00:00"},
		{wflo.PeriodMonthly, "Europe/Berlin", "2027-02-28 12:00:00", "2027-02-01 00:00:00", "2027-03-01 00:00:00", "2027-02-28 23:59:59", "2027-03-01 00:00:00"},
		{wflo.PeriodMonthly, "Pacific/Auckland", "2027-12-31 12:00:00", "2027-12-01 00:00:00", "2028-01-01 00:00:00", "2027-12-31 23:59:59", "2028-01-01 00:00:00"},
		{wflo.PeriodMonthly, "UTC", "2028-02-29 12:00:00", "2028-02-01 00:00:00", "2028-03-01 00:00:00", "2028-02-29 23:59:59", "2028-03-01 00:00:00"},
	} {
		clock := func(text string) time.Time { return b.clock(text + " " + c.zone) }
		at(clock(c.now))
		id := fmt.Sprint("user:u", i)
		b.set(periodic(id, 100, c.period, c.zone))
		b.pay(id+" 1", 60, id)
		at(clock(c.justBefore))
		got := b.read(id)
		if !got.WindowStart.Equal(clock(c.start)) || !got.WindowEnd.Equal(clock(c.end)) || got.Spent != 60 {
			b.Errorf("%s in %s at %s: %+v, want the window %s to %s", c.period, c.zone, c.justBefore, got, c.start, c.end)
		}
		if refusal := b.denied(in(ask(id+" 2", 1, 41), id)); !refusal.WindowEnd.Equal(clock(c.end)) {
			b.Errorf("refusal is %+v", refusal)
		}
		at(clock(c.then))
		b.sums(id, 100, 0, 0)
		b.pay(id+" 2", 100, id)
		if got := b.read(id); !got.WindowStart.Equal(clock(c.end)) || got.Spent != 100 {
			b.Errorf("%s in %s at %s: %+v", c.period, c.zone, c.then, got)
		}
	}
}

// daysOfSummerTime are 23 and 25 hours long.
func daysOfSummerTime(b *books, at func(time.Time)) {
	for i, c := range []struct {
		day   string
		zone  string
		hours time.Duration
	}{
		{"2027-03-28", "Europe/Berlin", 23}, {"2027-10-31", "Europe/Berlin", 25},
		{"2028-03-12", "America/New_York", 23}, {"2028-11-05", "America/New_York", 25}, {"2029-04-01", "Australia/Lord_Howe", 24},
	} {
		id := fmt.Sprint("team:t", i)
		start := b.clock(c.day + " 00:00:00 " + c.zone)
		at(start)
		b.set(periodic(id, 10, wflo.PeriodDaily, c.zone))
		b.pay(id, 10, id)
		length := c.hours * time.Hour
		if i == 4 { // there the clocks go back by half an hour
			length += 30 * time.Minute
		}
		if got := b.read(id); !got.WindowStart.Equal(start) || got.WindowEnd.Sub(got.WindowStart) != length {
			b.Errorf("%s in %s is from %s to %s, want %s", c.day, c.zone, got.WindowStart, got.WindowEnd, length)
		}
		at(start.Add(length - time.Second))
		b.denied(in(ask(id+" 2", 1, 1), id))
		at(start.Add(length))
		b.pay(id+" 2", 1, id)
		b.sums(id, 10, 1, 0)
	}
}

func holdsSettleInTheirOwnWindow(b *books, at func(time.Time)) {
	midnight := b.clock("2026-11-24 00:00:00 UTC")
	at(midnight.Add(-time.Minute))
	b.set(periodic("user:*", 100, wflo.PeriodDaily, ""), rule("team:search", 1000))
	scopes := []string{"user:ann", "team:search"}
	for _, key := range []string{"settled", "released", "unknown", "dead"} {
		b.reserve(in(ask(key, 1, 20), scopes...))
	}
	at(midnight.Add(time.Minute))
	b.settle(bill("settled", 1, 15))
	b.release("released", 1)
	b.unknown("unknown", 1)
	h := b.reserve(in(ask("settled", 1, 20), scopes...)) // repeated: no hold of today
	if h.State != wflo.HoldSettled {
		b.Errorf("hold is %+v", h)
	}
	b.sums("team:search", 1000, 35, 20)
	b.pay("today", 1, scopes...)
	b.sums("user:ann", 100, 1, 0)
	// The next attempt of a call that yesterday's worker lost is of today.
	b.reserve(in(ask("dead", 2, 20), scopes...))
	b.sums("user:ann", 100, 1, 20)
	b.sums("team:search", 1000, 56, 20)
	// The day that it was made in had room for it, this one does not.
	b.denied(in(ask("more", 1, 80), scopes...))
}

func unknownIsCorrectedInItsOwnWindow(b *books, at func(time.Time)) {
	midnight := b.clock("2026-11-24 00:00:00 UTC")
	at(midnight.Add(-time.Minute))
	b.set(periodic("user:ann", 100, wflo.PeriodDaily, ""))
	b.reserve(in(ask("k", 1, 50), "user:ann"))
	b.unknown("k", 1)
	at(midnight.Add(time.Minute))
	b.pay("today", 5, "user:ann")
	b.settle(bill("k", 1, 10))
	b.sums("user:ann", 100, 5, 0)
	if got := b.read("user:ann"); got.Unknown != 0 {
		b.Errorf("budget is %+v", got)
	}
	b.settle(bill("k", 1, 10))
	if got := b.total(wflo.CostQuery{Scopes: []string{"user:ann"}}); got.Spent != 15 || got.Calls != 2 {
		b.Errorf("total is %+v", got)
	}
}

// correctionsOfYesterdayAreNotToday: a rule that counts the window's entries
// meets the correction of a charge that is not among them.
func correctionsOfYesterdayAreNotToday(b *books, at func(time.Time)) {
	midnight := b.clock("2026-11-24 00:00:00 UTC")
	at(midnight.Add(-time.Minute))
	b.reserve(in(ask("k", 1, 50), "user:ann"))
	b.unknown("k", 1)
	at(midnight.Add(time.Minute))
	b.pay("today", 5, "user:ann")
	b.settle(bill("k", 1, 10))
	b.set(periodic("user:ann", 100, wflo.PeriodDaily, ""))
	if got := b.read("user:ann"); got.Spent < 0 || got.Spent > 15 || got.Unknown != 0 {
		b.Errorf("budget is %+v, want the 5 of today", got)
	}
	b.denied(in(ask("over", 1, 101), "user:ann"))
	b.pay("more", 80, "user:ann")
}

func topUpIsForOneWindow(b *books, at func(time.Time)) {
	midnight := b.clock("2026-11-24 00:00:00 UTC")
	at(midnight.Add(-time.Minute))
	b.set(periodic("user:*", 100, wflo.PeriodDaily, ""))
	b.pay("a", 100, "user:ann")
	b.topUp("t", "user:ann", 50)
	b.pay("b", 50, "user:ann")
	at(midnight)
	b.pay("c", 1, "user:ann")
	got := b.read("user:ann")
	if got.Limit != 100 || got.ToppedUp != 0 || got.Spent != 1 {
		b.Errorf("the next day has %+v, want no top-up", got)
	}
	if again := b.topUp("t", "user:ann", 50); again.Limit != 100 {
		b.Errorf("yesterday's top-up raised today: %+v", again)
	}
}

func alertsOncePerWindow(b *books, at func(time.Time)) {
	day := b.clock("2026-11-24 12:00:00 UTC")
	at(day)
	b.set(periodic("user:*", 100, wflo.PeriodDaily, ""))
	var want []int
	for n := range 3 {
		at(day.Add(time.Duration(n) * 24 * time.Hour))
		b.pay(fmt.Sprint("a", n), 60, "user:ann")
		b.denied(in(ask(fmt.Sprint("b", n), 1, 41), "user:ann"))
		b.denied(in(ask(fmt.Sprint("b", n), 1, 41), "user:ann"))
		b.pay(fmt.Sprint("c", n), 5, "user:ann")
		want = append(want, 50, 0)
	}
	got := b.alerts("user:ann")
	if len(got) != len(want) {
		b.Fatalf("alerts: %+v, want %v", got, want)
	}
	for i, a := range got {
		if start := day.Add(time.Duration(i/2)*24*time.Hour - 12*time.Hour); !a.WindowStart.Equal(start) || !a.WindowEnd.Equal(start.Add(24*time.Hour)) {
			b.Errorf("alert %d is of the window %s to %s", i, a.WindowStart, a.WindowEnd)
		}
	}
}

func setCountsOnlyTheWindow(b *books, at func(time.Time)) {
	monday := b.clock("2026-11-23 12:00:00 UTC")
	at(monday)
	b.pay("monday", 10, "user:ann")
	at(monday.Add(24 * time.Hour))
	b.pay("tuesday", 20, "user:ann")
	at(monday.Add(48 * time.Hour))
	b.pay("wednesday", 40, "user:ann")
	for _, c := range []struct {
		period wflo.Period
		want   wflo.Money
	}{{wflo.PeriodDaily, 40}, {wflo.PeriodWeekly, 70}, {wflo.Rolling(36 * time.Hour), 60}, {wflo.PeriodNone, 70}, {wflo.Rolling(time.Hour), 40}, {wflo.PeriodMonthly, 70}} {
		b.set(periodic("user:ann", 100, c.period, ""))
		b.sums("user:ann", 100, c.want, 0)
		b.set(periodic("user:ann", 90, c.period, "")) // the same period goes on
		b.sums("user:ann", 90, c.want, 0)
	}
	// In Auckland it is Thursday by now.
	b.set(periodic("user:ann", 100, wflo.PeriodDaily, "Pacific/Auckland"))
	b.sums("user:ann", 100, 40, 0)
	at(monday.Add(60 * time.Hour))
	b.sums("user:ann", 100, 40, 0)
	at(monday.Add(71 * time.Hour))
	b.sums("user:ann", 100, 0, 0)
}

func rollingWindow(b *books, at func(time.Time)) {
	start := b.clock("2026-11-23 12:00:00 UTC")
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	at(start)
	b.set(periodic("user:*", 100, wflo.Rolling(time.Hour), ""))
	b.pay("a", 30, "user:ann")
	at(minute(30))
	b.pay("b", 50, "user:ann")
	b.reserve(in(ask("open", 1, 10), "user:ann"))
	at(minute(59))
	b.sums("user:ann", 100, 80, 10)
	b.denied(in(ask("c", 1, 11), "user:ann"))
	if got := b.read("user:ann"); !got.WindowEnd.Equal(minute(59)) || !got.WindowStart.Equal(minute(-1)) {
		b.Errorf("window is %s to %s", got.WindowStart, got.WindowEnd)
	}
	at(minute(61))
	b.sums("user:ann", 100, 50, 10) // also for who only reads
	b.reserve(in(ask("c", 1, 11), "user:ann"))
	b.settle(bill("open", 1, 10))
	b.sums("user:ann", 100, 60, 11)
	at(minute(91))
	b.sums("user:ann", 100, 10, 11)
	at(minute(600)) // what is held is held, however long
	b.sums("user:ann", 100, 0, 11)
	b.denied(in(ask("d", 1, 90), "user:ann"))
	b.release("c", 1)
	b.sums("user:ann", 100, 0, 0)
}

// rollingNeverBelowZero: a correction goes with what it corrects.
func rollingNeverBelowZero(b *books, at func(time.Time)) {
	start := b.clock("2026-11-23 12:00:00 UTC")
	at(start)
	b.set(periodic("user:ann", 100, wflo.Rolling(time.Hour), ""))
	b.reserve(in(ask("k", 1, 50), "user:ann"))
	b.unknown("k", 1)
	at(start.Add(40 * time.Minute))
	b.settle(bill("k", 1, 10))
	b.sums("user:ann", 100, 10, 0)
	at(start.Add(70 * time.Minute))
	if got := b.read("user:ann"); got.Spent < 0 || got.Spent > 10 {
		b.Errorf("budget is %+v", got)
	}
	b.denied(in(ask("next", 1, 101), "user:ann"))
	at(start.Add(2 * time.Hour))
	b.sums("user:ann", 100, 0, 0)
	b.pay("next", 100, "user:ann")
	// A correction that comes when its charge has left already.
	b.denied(in(ask("full", 1, 1), "user:ann"))
	at(start.Add(4 * time.Hour))
	b.reserve(in(ask("late", 1, 60), "user:ann"))
	b.unknown("late", 1)
	at(start.Add(6 * time.Hour))
	b.settle(bill("late", 1, 5))
	if got := b.read("user:ann"); got.Spent < 0 || got.Spent > 5 || got.Unknown != 0 {
		b.Errorf("budget is %+v", got)
	}
	b.denied(in(ask("over", 1, 101), "user:ann"))
}

func rollingAlertsAgain(b *books, at func(time.Time)) {
	start := b.clock("2026-11-23 12:00:00 UTC")
	at(start)
	b.set(periodic("user:ann", 100, wflo.Rolling(time.Hour), ""))
	b.pay("a", 55, "user:ann")
	b.pay("b", 5, "user:ann")
	b.alerted("user:ann", 50)
	at(start.Add(3 * time.Hour)) // another window altogether
	b.pay("c", 10, "user:ann")
	b.alerted("user:ann", 50)
	b.pay("d", 45, "user:ann")
	b.alerted("user:ann", 50, 50)
}

func costsOverTime(b *books, at func(time.Time)) {
	berlin := "Europe/Berlin"
	for i, text := range []string{"2026-10-24 23:30:00", "2026-10-25 02:30:00", "2026-10-25 23:59:59", "2026-10-26 00:00:00", "2026-11-01 12:00:00", "2026-12-28 12:00:00", "2027-01-03 12:00:00"} {
		at(b.clock(text + " " + berlin))
		b.pay(text, wflo.Money(1)<<i)
	}
	for by, want := range map[string][]wflo.CostRow{
		"day": {{Key: "2027-01-03", Spent: 64}, {Key: "2026-12-28", Spent: 32}, {Key: "2026-11-01", Spent: 16}, {Key: "2026-10-26", Spent: 8},
			{Key: "2026-10-25", Spent: 6}, {Key: "2026-10-24", Spent: 1}},
		"week":  {{Key: "2026-12-28", Spent: 96}, {Key: "2026-10-26", Spent: 24}, {Key: "2026-10-19", Spent: 7}},
		"month": {{Key: "2027-01", Spent: 64}, {Key: "2026-12", Spent: 32}, {Key: "2026-11", Spent: 16}, {Key: "2026-10", Spent: 15}},
	} {
		rows := b.costs(wflo.CostQuery{By: by, TimeZone: berlin})
		for i := range rows {
			rows[i] = wflo.CostRow{Key: rows[i].Key, Spent: rows[i].Spent}
		}
		if diff := cmp.Diff(want, rows); diff != "" {
			b.Errorf("by %s (-want +got):\n%s", by, diff)
		}
	}
	rows := b.costs(wflo.CostQuery{By: "hour", TimeZone: berlin, Limit: 2})
	if len(rows) != 3 || rows[0].Key != "2027-01-03T12:00:00+01:00" || rows[1].Key != "2026-12-28T12:00:00+01:00" || rows[2].Key != wflo.CostOthers || rows[2].Spent != 31 {
		b.Errorf("by hour: %+v", rows)
	}
	// Both hours of the night in which the clocks go back are hours.
	one := b.clock("2027-10-31 01:30:00 " + berlin).Add(time.Hour)
	at(one)
	b.pay("summer", 1)
	at(one.Add(time.Hour))
	b.pay("winter", 2)
	rows = b.costs(wflo.CostQuery{By: "hour", TimeZone: berlin, From: one.Add(-time.Hour)})
	if len(rows) != 2 || rows[0].Key != "2027-10-31T02:00:00+01:00" || rows[0].Spent != 2 || rows[1].Key != "2027-10-31T02:00:00+02:00" || rows[1].Spent != 1 {
		b.Errorf("the hours of the long night: %+v", rows)
	}
}

func leaseEnds(b *books, at func(time.Time)) {
	start := b.clock("2026-11-23 12:00:00 UTC")
	at(start)
	b.reserve(ask("k", 1, 50, line("x", 100)))
	b.settle(bill("k", 1, 50))
	first := b.claim(10, time.Minute)
	at(start.Add(59 * time.Second))
	if got := b.claim(10, time.Minute); len(first) != 1 || len(got) != 0 {
		b.Errorf("claimed %+v, then %+v", first, got)
	}
	at(start.Add(61 * time.Second))
	second := b.claim(10, time.Minute)
	if diff := cmp.Diff(first, second); diff != "" {
		b.Errorf("after the lease (-first +second):\n%s", diff)
	}
	b.done(second[0].ID)
	at(start.Add(time.Hour))
	if got := b.claim(10, time.Minute); len(got) != 0 {
		b.Errorf("claimed %+v", got)
	}
}

func holdsGrowOld(b *books, at func(time.Time)) {
	start := b.clock("2026-11-23 12:00:00 UTC")
	for n := range 3 {
		at(start.Add(time.Duration(n) * time.Minute))
		if h := b.reserve(ask(fmt.Sprint("k", n), 1, 1)); !h.At.Equal(start.Add(time.Duration(n) * time.Minute)) {
			b.Errorf("hold is of %s", h.At)
		}
	}
	for age, want := range map[time.Duration]int{0: 3, 30 * time.Second: 2, 90 * time.Second: 1, 3 * time.Minute: 0} {
		got, err := b.OpenHolds(b.Context(), age, 10)
		if err != nil || len(got) != want || want > 0 && got[0].Key != "k0" {
			b.Errorf("open for %s: %+v, %v; want %d", age, got, err, want)
		}
	}
}

// rollingByTheRealClock sees one second of any store pass.
func rollingByTheRealClock(b *books) {
	b.set(periodic("user:ann", 100, wflo.Rolling(time.Second), ""), periodic("team:x", 100, wflo.Rolling(time.Hour), ""))
	b.pay("a", 100, "user:ann", "team:x")
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for spent := wflo.Money(100); spent > 0; {
		s, err := b.Spend(ctx, "user:ann")
		if err != nil {
			b.Fatalf("the second did not pass: %v", err)
		}
		spent = s.Spent
	}
	b.pay("b", 100, "user:ann")
	b.sums("team:x", 100, 100, 0)
	b.denied(in(ask("c", 1, 1), "team:x"))
}
