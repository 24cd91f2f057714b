package ledger

import (
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"pgregory.net/rapid"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		name            string
		period          wflo.Period
		zone            string
		now, start, end string
		hours           float64
	}{
		{name: "UTC", period: wflo.PeriodDaily, now: "2026-11-23T01:43:47Z", start: "2026-11-23T00:00:00Z", end: "2026-11-24T00:00:00Z", hours: 24},
		{name: "first moment", period: wflo.PeriodDaily, now: "2026-11-23T00:00:00Z", start: "2026-11-23T00:00:00Z", end: "2026-11-24T00:00:00Z", hours: 24},
		{name: "Berlin, clocks go forward", period: wflo.PeriodDaily, zone: "Europe/Berlin", now: "2026-03-29T12:00:00Z",
			start: "2026-03-28T23:00:00Z", end: "2026-03-29T22:00:00Z", hours: 23},
		{name: "Berlin, clocks go back", period: wflo.PeriodDaily, zone: "Europe/Berlin", now: "2026-10-25T22:59:59Z",
			start: "2026-10-24T22:00:00Z", end: "2026-10-25T23:00:00Z", hours: 25},
		{name: "Sao Paulo skips midnight", period: wflo.PeriodDaily, zone: "America/Sao_Paulo", now: "2018-11-04T15:00:00Z",
			start: "2018-11-04T03:00:00Z", end: "2018-11-05T02:00:00Z", hours: 23},
		{name: "Sao Paulo before the midnight that is skipped", period: wflo.PeriodDaily, zone: "America/Sao_Paulo", now: "2018-11-04T02:59:59Z",
			start: "2018-11-03T03:00:00Z", end: "2018-11-04T03:00:00Z", hours: 24},
		{name: "Sao Paulo goes back at midnight", period: wflo.PeriodDaily, zone: "America/Sao_Paulo", now: "2018-02-18T02:30:00Z",
			start: "2018-02-17T02:00:00Z", end: "2018-02-18T03:00:00Z", hours: 25},
		{name: "St John's went back a minute after midnight", period: wflo.PeriodDaily, zone: "America/St_Johns", now: "2010-11-07T03:00:00Z",
			start: "2010-11-07T02:30:00Z", end: "2010-11-08T03:30:00Z", hours: 25},
		{name: "Apia left out a day", period: wflo.PeriodDaily, zone: "Pacific/Apia", now: "2011-12-30T09:00:00Z",
			start: "2011-12-29T10:00:00Z", end: "2011-12-30T10:00:00Z", hours: 24},
		{name: "Apia after that day", period: wflo.PeriodDaily, zone: "Pacific/Apia", now: "2011-12-30T10:00:00Z",
			start: "2011-12-30T10:00:00Z", end: "2011-12-31T10:00:00Z", hours: 24},
		{name: "Kathmandu", period: wflo.PeriodDaily, zone: "Asia/Kathmandu", now: "2026-11-23T18:15:00Z",
			start: "2026-11-23T18:15:00Z", end: "2026-11-24T18:15:00Z", hours: 24},
		{name: "week over the end of the year", period: wflo.PeriodWeekly, now: "2027-01-01T00:00:00Z",
			start: "2026-12-28T00:00:00Z", end: "2027-01-04T00:00:00Z", hours: 168},
		{name: "week on a Monday", period: wflo.PeriodWeekly, now: "2026-11-23T00:00:00Z", start: "2026-11-23T00:00:00Z", end: "2026-11-30T00:00:00Z", hours: 168},
		{name: "week on a Sunday", period: wflo.PeriodWeekly, now: "2026-11-22T23:59:59Z", start: "2026-11-16T00:00:00Z", end: "2026-11-23T00:00:00Z", hours: 168},
		{name: "week with a short day", period: wflo.PeriodWeekly, zone: "Europe/Berlin", now: "2026-03-29T12:00:00Z",
			start: "2026-03-22T23:00:00Z", end: "2026-03-29T22:00:00Z", hours: 167},
		{name: "February", period: wflo.PeriodMonthly, now: "2028-02-29T23:00:00Z", start: "2028-02-01T00:00:00Z", end: "2028-03-01T00:00:00Z", hours: 29 * 24},
		{name: "a long October", period: wflo.PeriodMonthly, zone: "Europe/Berlin", now: "2026-10-31T22:59:59Z",
			start: "2026-09-30T22:00:00Z", end: "2026-10-31T23:00:00Z", hours: 31*24 + 1},
		{name: "December", period: wflo.PeriodMonthly, now: "2026-12-31T23:59:59Z", start: "2026-12-01T00:00:00Z", end: "2027-01-01T00:00:00Z", hours: 31 * 24},
		{name: "rolling", period: wflo.Rolling(90 * time.Minute), zone: "Europe/Berlin", now: "2026-10-25T02:00:00+01:00",
			start: "2026-10-24T23:30:00Z", end: "2026-10-25T01:00:00Z", hours: 1.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			start, end, err := Window(c.period, c.zone, at(t, c.now))
			if err != nil {
				t.Fatal(err)
			}
			if !start.Equal(at(t, c.start)) || !end.Equal(at(t, c.end)) || start.Location() != time.UTC || end.Location() != time.UTC {
				t.Errorf("window is %s to %s, want %s to %s", start, end, c.start, c.end)
			}
			if got := end.Sub(start).Hours(); got != c.hours {
				t.Errorf("window has %v hours, want %v", got, c.hours)
			}
		})
	}
}

func TestWindowOfNothing(t *testing.T) {
	start, end, err := Window(wflo.PeriodNone, "Europe/Berlin", time.Now())
	if err != nil || !start.IsZero() || !end.IsZero() {
		t.Errorf("window is %s to %s, %v", start, end, err)
	}
	for _, bad := range []struct {
		period wflo.Period
		zone   string
	}{{wflo.PeriodDaily, "Europe/Nowhere"}, {wflo.PeriodDaily, "Local"}, {"yearly", ""}, {"rolling:0s", ""}} {
		if _, _, err := Window(bad.period, bad.zone, time.Now()); err == nil {
			t.Errorf("%+v has a window", bad)
		}
	}
}

// TestWindowsTile walks from window to window: each contains the moments that it
// is the window of, and begins where the one before it ends.
func TestWindowsTile(t *testing.T) {
	zones := []string{"", "Europe/Berlin", "America/Sao_Paulo", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe",
		"Africa/Cairo", "America/Havana", "Asia/Beirut", "Pacific/Kwajalein", "America/Scoresbysund", "Africa/Casablanca", "Antarctica/Troll"}
	periods := []wflo.Period{wflo.PeriodDaily, wflo.PeriodWeekly, wflo.PeriodMonthly}
	rapid.Check(t, func(t *rapid.T) {
		zone, period := rapid.SampledFrom(zones).Draw(t, "zone"), rapid.SampledFrom(periods).Draw(t, "period")
		now := time.Unix(rapid.Int64Range(0, 2_500_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos"))
		start, end, err := Window(period, zone, now)
		if err != nil {
			t.Fatal(err)
		}
		if start.After(now) || !now.Before(end) {
			t.Fatalf("%s is not within %s to %s", now, start, end)
		}
		for _, inside := range []time.Time{start, start.Add(end.Sub(start) / 2), end.Add(-1)} {
			if s, e, _ := Window(period, zone, inside); !s.Equal(start) || !e.Equal(end) {
				t.Fatalf("%s is in %s to %s, and not in %s to %s", inside, s, e, start, end)
			}
		}
		if s, _, _ := Window(period, zone, end); !s.Equal(end) {
			t.Fatalf("the window after %s begins at %s", end, s)
		}
		if _, e, _ := Window(period, zone, start.Add(-1)); !e.Equal(start) {
			t.Fatalf("the window before %s ends at %s", start, e)
		}
	})
}

func TestAccountID(t *testing.T) {
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		budget string
		period wflo.Period
		want   string
	}{
		{"user:ann", wflo.PeriodDaily, "user:ann@2026-11-22T23:00:00Z"},
		{"user:ann@example.com", wflo.PeriodNone, "user:ann@example.com"},
		{"user:ann", wflo.Rolling(time.Hour), "user:ann@rolling:1h0m0s"},
		// Names that somebody chose to get at Ann's money.
		{"user:ann@2026-11-22T23:00:00Z", wflo.PeriodNone, "user:ann@2026-11-22T23:00:00Z@"},
		{"user:ann@rolling:1h0m0s", wflo.PeriodNone, "user:ann@rolling:1h0m0s@"},
		{"user:ann@2026-11-22T23:00:00Z@", wflo.PeriodNone, "user:ann@2026-11-22T23:00:00Z@@"},
	} {
		if got := AccountID(c.budget, c.period, start); got != c.want {
			t.Errorf("account of %s %q is %s, want %s", c.budget, c.period, got, c.want)
		}
	}
}
