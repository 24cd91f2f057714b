package ledger

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

func TestTimeKey(t *testing.T) {
	for _, c := range []struct{ zone, now, hour, day, week, month string }{
		{"", "2026-11-01T13:59:59Z", "2026-11-01T13:00:00Z", "2026-11-01", "2026-10-26", "2026-11"},
		{"Europe/Berlin", "2026-10-31T23:30:00Z", "2026-11-01T00:00:00+01:00", "2026-11-01", "2026-10-26", "2026-11"},
		// The hour from two to three comes twice.
		{"Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00+02:00", "2026-10-25", "2026-10-19", "2026-10"},
		{"Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00+01:00", "2026-10-25", "2026-10-19", "2026-10"},
		{"Asia/Kathmandu", "2026-12-31T18:20:00Z", "2027-01-01T00:00:00+05:45", "2027-01-01", "2026-12-28", "2027-01"},
	} {
		zone, err := Zone(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		local := at(t, c.now).In(zone)
		got := []string{TimeKey(ByHour, local), TimeKey(ByDay, local), TimeKey(ByWeek, local), TimeKey(ByMonth, local)}
		if diff := cmp.Diff([]string{c.hour, c.day, c.week, c.month}, got); diff != "" {
			t.Errorf("%s in %q (-want +got):\n%s", c.now, c.zone, diff)
		}
	}
}

// TestCosts adds up the same four things by everything.
func TestCosts(t *testing.T) {
	entries := []wflo.Entry{
		{At: at(t, "2026-11-01T10:00:00Z"), State: wflo.HoldSettled, Provider: "a", Amount: 5, Overdraft: 1, Usage: wflo.Usage{Input: 3},
			Scopes: []string{"user:ann", "tag:env=prod", "tag:team=x"}},
		{At: at(t, "2026-11-02T10:00:00Z"), State: wflo.HoldUnknown, Provider: "b", Amount: 20, Scopes: []string{"user:bob"}},
		{At: at(t, "2026-11-02T11:00:00Z"), State: wflo.HoldCached, Provider: "a", Saved: 9, Scopes: []string{"user:ann"}},
		{At: at(t, "2026-11-03T10:00:00Z"), State: wflo.HoldSettled, Amount: 1},
	}
	hold := wflo.Hold{Reservation: wflo.Reservation{Provider: "b", Scopes: []string{"user:bob"}}, Granted: 7, At: at(t, "2026-11-03T12:00:00Z")}
	ann := wflo.CostRow{Calls: 1, Hits: 1, Spent: 5, Overdraft: 1, Saved: 9, Usage: wflo.Usage{Input: 3}}
	bob := wflo.CostRow{Calls: 1, Spent: 20, Unknown: 20, Reserved: 7}
	named := func(key string, r wflo.CostRow) wflo.CostRow { r.Key = key; return r }
	for _, c := range []struct {
		query wflo.CostQuery
		want  []wflo.CostRow
	}{
		{wflo.CostQuery{}, []wflo.CostRow{{Calls: 3, Hits: 1, Spent: 26, Unknown: 20, Overdraft: 1, Reserved: 7, Saved: 9, Usage: wflo.Usage{Input: 3}}}},
		{wflo.CostQuery{By: "user"}, []wflo.CostRow{named("bob", bob), named("ann", ann), {Key: wflo.CostNone, Calls: 1, Spent: 1}}},
		{wflo.CostQuery{By: ByProvider}, []wflo.CostRow{named("b", bob), named("a", ann), {Key: wflo.CostNone, Calls: 1, Spent: 1}}},
		{wflo.CostQuery{By: "user", Limit: 1}, []wflo.CostRow{named("bob", bob),
			{Key: wflo.CostOthers, Calls: 2, Hits: 1, Spent: 6, Overdraft: 1, Saved: 9, Usage: wflo.Usage{Input: 3}}}},
		{wflo.CostQuery{By: "user", Scopes: []string{"user:ann"}}, []wflo.CostRow{named("ann", ann)}},
		{wflo.CostQuery{Scopes: []string{"user:ann", "user:bob"}}, []wflo.CostRow{{}}},
		{wflo.CostQuery{By: "tag", Scopes: []string{"tag:env=prod"}}, []wflo.CostRow{
			{Key: "env=prod", Calls: 1, Spent: 5, Overdraft: 1, Usage: wflo.Usage{Input: 3}},
			{Key: "team=x", Calls: 1, Spent: 5, Overdraft: 1, Usage: wflo.Usage{Input: 3}}}},
		{wflo.CostQuery{By: ByDay}, []wflo.CostRow{{Key: "2026-11-03", Calls: 1, Spent: 1, Reserved: 7},
			{Key: "2026-11-02", Calls: 1, Hits: 1, Spent: 20, Unknown: 20, Saved: 9},
			{Key: "2026-11-01", Calls: 1, Spent: 5, Overdraft: 1, Usage: wflo.Usage{Input: 3}}}},
	} {
		costs, err := NewCosts(c.query)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if err := costs.AddEntry(e, false, e.State == wflo.HoldUnknown); err != nil {
				t.Fatal(err)
			}
		}
		if err := costs.AddHold(hold); err != nil {
			t.Fatal(err)
		}
		got, err := costs.Rows()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.query, diff)
		}
	}
}

func TestCostsDoNotOverflow(t *testing.T) {
	costs, err := NewCosts(wflo.CostQuery{})
	if err != nil {
		t.Fatal(err)
	}
	most := wflo.Entry{State: wflo.HoldSettled, Amount: math.MaxInt64}
	if err := costs.AddEntry(most, false, false); err != nil {
		t.Fatal(err)
	}
	if err := costs.AddEntry(most, false, false); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("twice the largest amount gave %v", err)
	}
}
