package ledger

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Window is the window of a period that now is in: from start, inclusive, to end,
// exclusive. Calendar windows begin with the first moment of a day in the zone,
// an IANA name where empty means UTC, whatever its clocks do at midnight; weeks
// begin on Monday. Together they cover all time without gaps. A rolling window
// ends now. Budgets that never start again have zero times.
func Window(p wflo.Period, zone string, now time.Time) (start, end time.Time, err error) {
	if d, ok := p.Rolling(); ok {
		return now.Add(-d).UTC(), now.UTC(), nil
	}
	if p == wflo.PeriodNone {
		return time.Time{}, time.Time{}, nil
	}
	loc, err := Zone(zone)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	first, next := firstDay(p, now.In(loc)), 0
	days, months := 0, 0
	switch p {
	case wflo.PeriodDaily:
		days = 1
	case wflo.PeriodWeekly:
		days = 7
	case wflo.PeriodMonthly:
		months = 1
	default:
		return time.Time{}, time.Time{}, fmt.Errorf("period %q is not known", string(p))
	}
	// Where clocks go back over midnight, the date of yesterday comes again: the
	// window that began stays begun.
	for {
		start = dawn(first.AddDate(0, months*next, days*next), loc)
		end = dawn(first.AddDate(0, months*(next+1), days*(next+1)), loc)
		if now.Before(end) {
			return start, end, nil
		}
		next++
	}
}

// firstDay is the date, as midnight UTC, on which the window of a local time's
// date begins.
func firstDay(p wflo.Period, local time.Time) time.Time {
	year, month, day := local.Date()
	switch p {
	case wflo.PeriodMonthly:
		day = 1
	case wflo.PeriodWeekly:
		day -= (int(local.Weekday()) + 6) % 7 // Monday is the first
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// farthest is more than any zone was ever away from UTC.
const farthest = 48 * time.Hour

// dawn is the first moment at which the clocks of a zone show the date of
// midnight, or a later one. [time.Date] does not say what it gives where clocks
// skip or repeat midnight, so this walks over the zone's changes.
func dawn(midnight time.Time, loc *time.Location) time.Time {
	for t := midnight.Add(-farthest).In(loc); ; {
		_, offset := t.Zone()
		_, change := t.ZoneBounds()
		shown := midnight.Add(-time.Duration(offset) * time.Second)
		if shown.Before(t) {
			shown = t // the change skipped it
		}
		if change.IsZero() || shown.Before(change) {
			return shown.UTC()
		}
		t = change
	}
}

// zones keeps what was loaded: time.LoadLocation reads a file each time.
var zones sync.Map

// Zone is the location of an IANA name; empty means UTC.
func Zone(name string) (*time.Location, error) {
	if loc, ok := zones.Load(name); ok {
		return loc.(*time.Location), nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, wflo.Errorf(wflo.CodeInvalid, "use a name of the IANA time zone database, such as Europe/Berlin, and see that the machine has the database",
			"time zone %q is not known", name)
	}
	zones.Store(name, loc)
	return loc, nil
}

const rolling = "rolling:"

// AccountID names what a budget has in one window: BUDGET@START, in UTC, for
// calendar windows, BUDGET@PERIOD for rolling ones, and else the budget. No two
// budgets or windows have the same.
func AccountID(budget string, p wflo.Period, start time.Time) string {
	if _, ok := p.Rolling(); ok {
		return budget + "@" + string(p)
	}
	if p != wflo.PeriodNone {
		return budget + "@" + start.UTC().Format(time.RFC3339)
	}
	// A name that looks like one of a window is not that window's.
	i := strings.LastIndexByte(budget, '@')
	if i < 0 {
		return budget
	}
	tail := budget[i+1:]
	if _, err := time.Parse(time.RFC3339, tail); err == nil || tail == "" || strings.HasPrefix(tail, rolling) {
		return budget + "@"
	}
	return budget
}
