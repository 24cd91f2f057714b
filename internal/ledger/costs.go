package ledger

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// defaultRows is what zero means as wflo.CostQuery.Limit.
const defaultRows = 1000

// Costs adds up entries and holds to the rows that a question asks for.
type Costs struct {
	query wflo.CostQuery
	zone  *time.Location
	rows  map[string]*costRow
}

type costRow struct {
	wflo.CostRow
	latest time.Time
}

// NewCosts begins an answer. The question must have passed CheckCostQuery.
func NewCosts(q wflo.CostQuery) (*Costs, error) {
	zone, err := Zone(q.TimeZone)
	if err != nil {
		return nil, err
	}
	c := &Costs{query: q, zone: zone, rows: map[string]*costRow{}}
	if q.By == "" {
		c.rows[""] = &costRow{}
	}
	return c, nil
}

// AddEntry counts an entry. open says that it is of a hold whose outcome is still
// unknown, adjusts that it corrects an earlier entry and is no call of its own.
// Entries that are not in all of the question's scopes are left out; times are
// the caller's matter.
func (c *Costs) AddEntry(e wflo.Entry, adjusts, open bool) error {
	if !within(e.Scopes, c.query.Scopes) {
		return nil
	}
	one := wflo.CostRow{Spent: e.Amount, Overdraft: e.Overdraft, Saved: e.Saved, Usage: e.Usage}
	switch {
	case e.State == wflo.HoldCached:
		one.Hits, one.Usage = 1, wflo.Usage{}
	case !adjusts:
		one.Calls = 1
	}
	if open {
		one.Unknown = e.Amount
	}
	return c.add(e.Scopes, e.Provider, e.At, one)
}

// AddHold counts what a running call holds.
func (c *Costs) AddHold(h wflo.Hold) error {
	if !within(h.Scopes, c.query.Scopes) {
		return nil
	}
	return c.add(h.Scopes, h.Provider, h.At, wflo.CostRow{Reserved: h.Granted})
}

func within(scopes, asked []string) bool {
	for _, s := range asked {
		if !slices.Contains(scopes, s) {
			return false
		}
	}
	return true
}

func (c *Costs) add(scopes []string, provider string, at time.Time, one wflo.CostRow) error {
	for _, key := range c.keys(scopes, provider, at) {
		row := c.rows[key]
		if row == nil {
			row = &costRow{CostRow: wflo.CostRow{Key: key}}
			c.rows[key] = row
		}
		if at.After(row.latest) {
			row.latest = at
		}
		if err := sum(&row.CostRow, one); err != nil {
			return err
		}
	}
	return nil
}

// keys are the rows that something counts in.
func (c *Costs) keys(scopes []string, provider string, at time.Time) []string {
	switch {
	case c.query.By == "":
		return []string{""}
	case c.query.By == ByProvider:
		if provider == "" {
			return []string{wflo.CostNone}
		}
		return []string{provider}
	case slices.Contains(timeUnits, c.query.By):
		return []string{TimeKey(c.query.By, at.In(c.zone))}
	}
	var names []string
	for _, s := range scopes {
		if name, ok := strings.CutPrefix(s, c.query.By+":"); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{wflo.CostNone}
	}
	return names
}

// TimeKey names the hour, day, week or month of a local time: the start of the
// hour in RFC 3339, the date of the day or of the week's Monday, the month as
// 2006-01. The hour that comes twice when clocks go back has two names.
func TimeKey(unit string, local time.Time) string {
	switch unit {
	case ByHour:
		return local.Format("2006-01-02T15") + ":00:00" + local.Format("Z07:00")
	case ByWeek:
		return firstDay(wflo.PeriodWeekly, local).Format(time.DateOnly)
	case ByMonth:
		return local.Format("2006-01")
	}
	return local.Format(time.DateOnly)
}

// sum adds b to a. A sum that wflo.Money cannot hold is an error.
func sum(a *wflo.CostRow, b wflo.CostRow) error {
	for _, pair := range []struct{ into, more *wflo.Money }{
		{&a.Spent, &b.Spent}, {&a.Unknown, &b.Unknown}, {&a.Overdraft, &b.Overdraft}, {&a.Reserved, &b.Reserved}, {&a.Saved, &b.Saved},
	} {
		if *pair.more > 0 && *pair.into > math.MaxInt64-*pair.more {
			return OutOfRange(fmt.Sprintf("the costs of %q", a.Key))
		}
		*pair.into += *pair.more
	}
	a.Calls += b.Calls
	a.Hits += b.Hits
	a.Usage.Input += b.Usage.Input
	a.Usage.CacheRead += b.Usage.CacheRead
	a.Usage.CacheWrite5m += b.Usage.CacheWrite5m
	a.Usage.CacheWrite1h += b.Usage.CacheWrite1h
	a.Usage.Output += b.Usage.Output
	a.Usage.Reasoning += b.Usage.Reasoning
	a.Usage.Millis += b.Usage.Millis
	return nil
}

// Rows is the answer: dearest first, times latest first, and what is beyond the
// question's limit added up last.
func (c *Costs) Rows() ([]wflo.CostRow, error) {
	sorted := make([]*costRow, 0, len(c.rows))
	for _, row := range c.rows {
		sorted = append(sorted, row)
	}
	byTime := slices.Contains(timeUnits, c.query.By)
	slices.SortFunc(sorted, func(a, b *costRow) int {
		if byTime {
			return cmp.Or(b.latest.Compare(a.latest), cmp.Compare(a.Key, b.Key))
		}
		return cmp.Or(cmp.Compare(b.Spent, a.Spent), cmp.Compare(a.Key, b.Key))
	})
	limit := c.query.Limit
	if limit == 0 {
		limit = defaultRows
	}
	var rows []wflo.CostRow
	others := wflo.CostRow{Key: wflo.CostOthers}
	for i, row := range sorted {
		if i < limit {
			rows = append(rows, row.CostRow)
		} else if err := sum(&others, row.CostRow); err != nil {
			return nil, err
		}
	}
	if len(sorted) > limit {
		rows = append(rows, others)
	}
	return rows, nil
}
