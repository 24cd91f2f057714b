package storetest

import (
	"fmt"
	"math"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

func grantWhatThereIs(b *books) {
	b.reserve(ask("a", 1, 70, line("x", 100), line("y", 0)))
	r := ask("b", 1, 50, line("x", 0), line("y", 0))
	r.Least = 20
	want := wflo.Hold{Reservation: r, State: wflo.HoldOpen, Granted: 30, Room: 0}
	if diff := cmp.Diff(want, b.reserve(r), sameHold); diff != "" {
		b.Errorf("hold (-want +got):\n%s", diff)
	}
	b.sums("x", 100, 0, 100)
	b.sums("y", 0, 0, 100)
	// Asking again gives the same grant, whatever room there is by now, and
	// the amount that was asked for is what must not change.
	b.release("a", 1)
	want.Repeated, want.Room = true, 70
	if diff := cmp.Diff(want, b.reserve(r), sameHold); diff != "" {
		b.Errorf("repeated hold (-want +got):\n%s", diff)
	}
	granted := r
	granted.Amount = 30
	b.refused(granted, wflo.CodeConflict)
	s := bill("b", 1, 25)
	b.settle(s)
	b.sums("x", 100, 25, 0)
	if got := b.entries(run.RootID()); len(got) != 1 || got[0].Reserved != 30 || got[0].Amount != 25 {
		b.Errorf("entries: %+v", got)
	}
}

func grantOfTheTightest(b *books) {
	r := ask("k", 1, 100, line("wide", 90), line("free", 0), line("tight", 60))
	r.Least = 60
	if h := b.reserve(r); h.Granted != 60 || h.Room != 0 {
		b.Errorf("granted %d with room %d, want 60 and none", h.Granted, h.Room)
	}
	b.sums("wide", 90, 0, 60)
	b.sums("free", 0, 0, 60)
	// With room enough, all is granted and no more.
	all := ask("all", 1, 30, line("wide", 0))
	all.Least = 1
	if h := b.reserve(all); h.Granted != 30 || h.Room != 0 {
		b.Errorf("granted %d with room %d, want 30 and none", h.Granted, h.Room)
	}
	// The least itself is granted only if there is room for it.
	none := ask("none", 1, 30, line("wide", 0))
	none.Least = 1
	if got := b.denied(none); got.Asked != 1 || got.Reserved != 90 {
		b.Errorf("refusal is %+v", got)
	}
}

// unknownOfAGrant: what was granted is charged, not what was asked for.
func unknownOfAGrant(b *books) {
	r := ask("k", 1, 100, line("x", 60))
	r.Least = 10
	b.reserve(r)
	b.unknown("k", 1)
	b.spend(wflo.Spend{Budget: "x", Limit: 60, Spent: 60, Unknown: 60})
	b.settle(bill("k", 1, 70))
	b.spend(wflo.Spend{Budget: "x", Limit: 60, Spent: 70})
	got := b.entries(run.RootID())
	if len(got) != 2 || got[0].Amount != 60 || got[1].Amount != 10 || got[1].Overdraft != 10 {
		b.Errorf("entries: %+v", got)
	}
	r.Key = "late"
	r.Budgets = []wflo.BudgetLine{line("z", 60)}
	b.reserve(r)
	r.Attempt = 2
	if refusal := b.denied(r); refusal.Spent != 60 || refusal.Reserved != 0 {
		b.Errorf("refusal is %+v, want the first attempt's grant spent", refusal)
	}
	b.spend(wflo.Spend{Budget: "z", Limit: 60, Spent: 60, Unknown: 60})
}

func releaseOfAGrant(b *books) {
	r := ask("k", 1, 100, line("x", 60), line("y", 0))
	r.Least = 60
	b.reserve(r)
	b.release("k", 1)
	b.sums("x", 60, 0, 0)
	b.sums("y", 0, 0, 0)
}

func refusalHasNumbers(b *books) {
	b.reserve(ask("a", 1, 40, line("x", 100)))
	b.settle(bill("a", 1, 30))
	b.reserve(ask("b", 1, 20, line("x", 0)))
	r := ask("c", 1, 80, line("x", 0))
	want := wflo.Refusal{Budget: "x", Limit: 100, Spent: 30, Reserved: 20, Asked: 80, OnExceeded: wflo.ExceedHalt}
	if diff := cmp.Diff(want, b.denied(r)); diff != "" {
		b.Errorf("refusal (-want +got):\n%s", diff)
	}
	r.Least = 51
	want.Asked = 51
	if diff := cmp.Diff(want, b.denied(r)); diff != "" {
		b.Errorf("refusal of the least (-want +got):\n%s", diff)
	}
	r.Least = 50
	if h := b.reserve(r); h.Granted != 50 {
		b.Errorf("granted %d, want the 50 that there are", h.Granted)
	}
}

// refusalIsOfTheFirst wants the order of the lines and then of the scopes, not
// that of names or of locks.
func refusalIsOfTheFirst(b *books) {
	b.set(wflo.Budget{Scope: wflo.ScopeUser, Name: "zoe", Limit: 10}, wflo.Budget{Scope: wflo.ScopeTeam, Name: "ants", Limit: 10})
	lines := []wflo.BudgetLine{line("p", 10), line("b", 10)}
	scopes := []string{"user:zoe", "team:ants"}
	for i, c := range []struct {
		lines  []wflo.BudgetLine
		scopes []string
		want   string
	}{
		{lines, scopes, "p"},
		{[]wflo.BudgetLine{lines[1], lines[0]}, scopes, "b"},
		{nil, scopes, "user:zoe"},
		{nil, []string{scopes[1], scopes[0]}, "team:ants"},
		{[]wflo.BudgetLine{line("wide", 1000)}, scopes, "user:zoe"},
	} {
		if got := b.denied(in(ask(fmt.Sprint(i), 1, 11, c.lines...), c.scopes...)); got.Budget != c.want {
			b.Errorf("case %d: %s refused, want %s", i, got.Budget, c.want)
		}
	}
	b.sums("wide", 1000, 0, 0)
	b.sums("user:zoe", 10, 0, 0)
}

func refusalHasTheWindow(b *books) {
	b.set(wflo.Budget{Scope: wflo.ScopeUser, Name: "ann", Limit: 10, Period: wflo.PeriodDaily, TimeZone: noonZone(), OnExceeded: wflo.ExceedAsk},
		wflo.Budget{Scope: wflo.ScopeTeam, Name: "search", Limit: 10, Period: wflo.Rolling(time.Hour)})
	got := b.denied(in(ask("k", 1, 11), "user:ann"))
	s := b.read("user:ann")
	want := wflo.Refusal{Budget: "user:ann", Limit: 10, Asked: 11, WindowEnd: s.WindowEnd, OnExceeded: wflo.ExceedAsk}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("refusal (-want +got):\n%s", diff)
	}
	if length := s.WindowEnd.Sub(s.WindowStart); length != 24*time.Hour || s.WindowEnd.Location() != time.UTC {
		b.Errorf("window is %s long, from %s", length, s.WindowStart)
	}
	if got := b.denied(in(ask("k", 1, 11), "team:search")); !got.WindowEnd.IsZero() {
		b.Errorf("a sliding window ends at %s", got.WindowEnd)
	}
}

// noonZone is a zone in which it is noon now or within an hour of it, so that
// no window of a calendar ends while a test runs.
func noonZone() string {
	// The signs of these names are those of POSIX: west is positive.
	switch west := time.Now().UTC().Hour() - 12; {
	case west < 0:
		return fmt.Sprintf("Etc/GMT%d", west)
	case west > 0:
		return fmt.Sprintf("Etc/GMT+%d", west)
	}
	return ""
}

func onExceededOfLines(b *books) {
	for _, what := range []wflo.OnExceeded{wflo.ExceedHalt, wflo.ExceedAsk, wflo.ExceedAlert, wflo.ExceedIgnore} {
		l := line("line "+string(what), 100)
		l.OnExceeded, l.Thresholds = what, []int{}
		b.exceed(what, ask(string(what), 1, 60, l), l.ID)
	}
}

func onExceededOfRules(b *books) {
	for _, what := range []wflo.OnExceeded{wflo.ExceedHalt, wflo.ExceedAsk, wflo.ExceedAlert, wflo.ExceedIgnore} {
		rule := wflo.Budget{Scope: wflo.ScopeUser, Name: string(what), Limit: 100, Thresholds: []int{}, OnExceeded: what}
		b.set(rule)
		b.exceed(what, in(ask(string(what), 1, 60), rule.ID()), rule.ID())
	}
}

// exceed spends 60 of the 100 that a budget has, and asks for as much twice.
func (b *books) exceed(what wflo.OnExceeded, r wflo.Reservation, budget string) {
	b.Helper()
	b.reserve(r)
	b.settle(bill(string(r.Key), 1, 60))
	b.alerted(budget)
	for _, key := range []string{"second", "third"} {
		r.Key = wflo.EffectKey(key + " " + string(what))
		switch what {
		case wflo.ExceedHalt, wflo.ExceedAsk:
			want := wflo.Refusal{Budget: budget, Limit: 100, Spent: 60, Asked: 60, OnExceeded: what}
			if diff := cmp.Diff(want, b.denied(r)); diff != "" {
				b.Errorf("refusal (-want +got):\n%s", diff)
			}
		default:
			if h := b.reserve(r); h.Granted != 60 || h.Room != math.MaxInt64 {
				b.Errorf("%s granted %d with room %d, want all, and room as without a limit", budget, h.Granted, h.Room)
			}
		}
	}
	reserved, alerts := wflo.Money(0), []int{0}
	if what == wflo.ExceedAlert || what == wflo.ExceedIgnore {
		reserved = 120
	}
	if what == wflo.ExceedIgnore {
		alerts = nil
	}
	b.sums(budget, 100, 60, reserved)
	b.alerted(budget, alerts...)
}

// busyBudgetsDoNotAlert: what other calls hold comes back for the most part.
func busyBudgetsDoNotAlert(b *books) {
	b.reserve(ask("k", 1, 60, line("x", 100)))
	b.denied(ask("busy", 1, 60, line("x", 0)))
	b.alerted("x")
	b.settle(bill("k", 1, 41))
	b.denied(ask("over", 1, 60, line("x", 0)))
	b.alerted("x", 0)
}

// alertingBudgetsDoNotLetOthersPass: only their own limit is soft.
func alertingBudgetsDoNotLetOthersPass(b *books) {
	soft := line("soft", 10)
	soft.OnExceeded = wflo.ExceedAlert
	if got := b.denied(ask("k", 1, 60, soft, line("hard", 50))); got.Budget != "hard" {
		b.Errorf("%s refused", got.Budget)
	}
	b.sums("soft", 10, 0, 0)
	r := ask("part", 1, 60, soft, line("hard", 50))
	r.Least = 40
	if h := b.reserve(r); h.Granted != 50 {
		b.Errorf("granted %d, want what the hard budget has", h.Granted)
	}
}

// refusedCallsStillAlert: the transaction that refuses keeps the alert.
func refusedCallsStillAlert(b *books) {
	r := ask("k", 1, 11, line("x", 10))
	b.denied(r)
	b.alerted("x", 0)
	r.Run.User = "bob"
	r.Key = "other"
	b.denied(r)
	b.alerted("x", 0)
	a := b.alerts("x")[0]
	if a.Run.User != run.User {
		b.Errorf("the alert names %q, want the first run", a.Run.User)
	}
	want := wflo.BudgetAlert{ID: a.ID, Kind: wflo.AlertExceeded, Budget: "x", Percent: 100, Limit: 10, OnExceeded: a.OnExceeded, At: a.At, Run: run}
	if diff := cmp.Diff(want, a); diff != "" {
		b.Errorf("alert (-want +got):\n%s", diff)
	}
}
