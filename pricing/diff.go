package pricing

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Kinds of [Change].
const (
	ChangeAdded   = "added"   // the row is new
	ChangeRemoved = "removed" // the row is gone
	ChangeRate    = "rate"    // a name costs another amount
	ChangeField   = "field"   // something else of the row
)

// Change is one difference between two books.
type Change struct {
	Kind     string `json:"kind"`
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Was is the id of the row that priced Model before, if it was another one.
	Was string `json:"was,omitempty"`
	// Field names the rate or the field of the row.
	Field string `json:"field,omitempty"`
	// From is the first moment (RFC 3339, UTC) with this change, empty from the
	// start; PromptTokens the size of the prompt from which it holds.
	From         string `json:"from,omitempty"`
	PromptTokens int64  `json:"prompt_tokens_gte,omitempty"`
	// Old and New are USD per million tokens, USD for per_request and per_second, or
	// text. Field names a rate of a service tier with the tier before it, as in
	// flex.output.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Factor is new divided by old with up to 6 decimals, for rates; empty when
	// the old one is zero.
	Factor string `json:"factor,omitempty"`

	old, new int64
}

// Beyond says whether a rate changed by more than a factor, up or down. A change
// from or to zero is beyond every factor. It is for factors from 1 on.
func (c Change) Beyond(factor int64) bool {
	if c.Kind != ChangeRate {
		return false
	}
	low, high := big.NewInt(min(c.old, c.new)), big.NewInt(max(c.old, c.new))
	return high.Cmp(low.Mul(low, big.NewInt(factor))) > 0
}

// Diff lists what differs from one book to another, by provider and model. Rates
// are compared as they are charged, what the book fills in included, over all
// dates, hours and prompt sizes of either book, and by name: a model that takes
// the name of another is compared with it. Where a book has no rate for a time,
// the one before is taken, or else the next.
func Diff(before, after *Book) []Change {
	var changes []Change
	pairs := map[[2]int]bool{}
	for _, b := range []*Book{before, after} {
		for n := range b.names {
			i, okOld := before.at(n.provider, n.model)
			j, okNew := after.at(n.provider, n.model)
			if okOld && okNew {
				pairs[[2]int{i, j}] = true
			}
		}
	}
	for pair := range pairs {
		changes = append(changes, rateChanges(before, after, pair[0], pair[1])...)
	}
	for _, r := range after.rows {
		if old, ok := before.row(r); ok {
			changes = append(changes, fieldChanges(old, r)...)
		} else {
			changes = append(changes, Change{Kind: ChangeAdded, Provider: r.Provider, Model: r.ID, New: summary(r)})
		}
	}
	for _, r := range before.rows {
		if _, ok := after.row(r); !ok {
			changes = append(changes, Change{Kind: ChangeRemoved, Provider: r.Provider, Model: r.ID, Old: summary(r)})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Was, b.Was),
			cmp.Compare(a.From, b.From), cmp.Compare(a.PromptTokens, b.PromptTokens), cmp.Compare(a.Field, b.Field))
	})
	return changes
}

// row finds the row with the same provider and id.
func (b *Book) row(like row) (row, bool) {
	i, ok := b.names[name{like.Provider, like.ID}]
	if !ok || b.rows[i].ID != like.ID {
		return row{}, false
	}
	return b.rows[i], true
}

// summary is a row's first rates in one line.
func summary(r row) string {
	if len(r.Rates) == 0 || !r.Rates[0].priced(r) {
		return r.Status
	}
	var parts []string
	if rates := r.Rates[0].PerMtok; rates != nil {
		for _, x := range rates.named() {
			if x.value != nil {
				parts = append(parts, x.name+" "+*x.value)
			}
		}
	}
	for _, x := range [][2]string{{"per_request", r.Rates[0].PerRequest}, {"per_second", r.Rates[0].PerSecond}} {
		if x[1] != "" {
			parts = append(parts, x[0]+" "+x[1])
		}
	}
	return strings.Join(parts, ", ")
}

func fieldChanges(before, after row) []Change {
	var changes []Change
	old := fields(before)
	for i, f := range fields(after) {
		if old[i][1] != f[1] {
			changes = append(changes, Change{Kind: ChangeField, Provider: after.Provider, Model: after.ID, Field: f[0], Old: old[i][1], New: f[1]})
		}
	}
	return changes
}

// fields are names and values of what a row has besides rates.
func fields(r row) [][2]string {
	var dates, services []string
	for _, x := range r.Rates {
		services = append(services, slices.Collect(maps.Keys(x.Services))...)
		span := cmp.Or(x.From, "start") + ".." + x.Until
		for _, w := range x.Windows {
			span += " " + w[0] + "-" + w[1]
		}
		dates = append(dates, span)
	}
	return [][2]string{
		{"aliases", strings.Join(slices.Sorted(slices.Values(r.Aliases)), ", ")}, {"mode", r.Mode}, {"status", r.Status}, {"unit", r.unit()},
		{"free", fmt.Sprint(r.Free)}, {"context_window", fmt.Sprint(r.ContextWindow)}, {"dates", strings.Join(slices.Sorted(slices.Values(dates)), ", ")},
		{"service_tiers", strings.Join(slices.Compact(slices.Sorted(slices.Values(services))), ", ")},
		{"source", r.Source}, {"source_date", r.SourceDate}, {"note", r.Note},
	}
}

// rateChanges compares two rows at every moment and size at which one of them
// changes.
func rateChanges(before, after *Book, i, j int) []Change {
	old, now := before.rows[i], after.rows[j]
	sizes := slices.Compact(slices.Sorted(slices.Values(append(promptSizes(old), promptSizes(now)...))))
	var changes []Change
	last := map[string]string{} // what was said last of a field, size and hour
	for _, at := range moments(old, now) {
		for _, size := range sizes {
			was, is := before.charges(old, at, size), after.charges(now, at, size)
			for _, field := range chargeNames(was, is) {
				c := Change{Kind: ChangeRate, Provider: now.Provider, Model: now.ID, Field: field, PromptTokens: size, old: was[field], new: is[field]}
				c.Old, c.New, c.Factor = inUnit(field, c.old), inUnit(field, c.new), ratio(c.old, c.new)
				if old.ID != now.ID {
					c.Was = old.ID
				}
				if at.Year() > 1 {
					c.From = at.Format(time.RFC3339)
				}
				key, text := fmt.Sprint(field, " ", size, " ", at.Format("15:04")), c.Old+" "+c.New
				if c.old != c.new && last[key] != text && !saidOfSmaller(changes, c) {
					changes = append(changes, c)
				}
				last[key] = text
			}
		}
	}
	return changes
}

// saidOfSmaller says whether the same change is listed for a smaller prompt or
// for the first hour of the same day.
func saidOfSmaller(changes []Change, c Change) bool {
	day := func(from string) string { return from[:min(len(from), len(dayFormat))] }
	return slices.ContainsFunc(changes, func(s Change) bool {
		return s.Field == c.Field && s.old == c.old && s.new == c.new && day(s.From) == day(c.From) && s.PromptTokens <= c.PromptTokens
	})
}

func promptSizes(r row) []int64 {
	sizes := []int64{0}
	for _, x := range r.Rates {
		for _, t := range x.Tiers {
			sizes = append(sizes, t.from())
		}
		for _, of := range x.Services {
			for _, t := range of.Tiers {
				sizes = append(sizes, t.from())
			}
		}
	}
	return sizes
}

// moments are all days on which a rate of either row begins or ends, each at all
// hours at which one does, after the beginning of time.
func moments(rows ...row) []time.Time {
	days := []time.Time{{}}
	hours := []int{0}
	for _, r := range rows {
		for _, x := range r.Rates {
			for _, text := range []string{x.From, x.Until} {
				if day, err := parseDay(text); err == nil {
					days = append(days, day)
				}
			}
			for _, w := range x.Windows {
				if window, err := parseWindow(w); err == nil {
					hours = append(hours, window[0], window[1])
				}
			}
		}
	}
	var all []time.Time
	for _, day := range days {
		for _, minute := range hours {
			all = append(all, day.Add(time.Duration(minute)*time.Minute))
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.CompactFunc(all, time.Time.Equal)
}

// charges are the rates of a row at a moment by name, in millionths of what the
// file has; nil when the row has none at all.
func (b *Book) charges(r row, at time.Time, promptTokens int64) map[string]int64 {
	i := b.rateAt(r, at)
	if i < 0 {
		i = nearestRate(r, at)
	}
	if i < 0 {
		return nil
	}
	x := r.Rates[i]
	all := map[string]int64{}
	for k, v := range x.Uncounted {
		all["uncounted."+k] = pico(&v, 0)
	}
	if x.priced(r) {
		s := x.compile(r, b.habits[r.Provider])
		list(all, "", s.price(promptTokens), r)
		for name, of := range s.services {
			list(all, name+".", of.price(promptTokens), r)
		}
	}
	return all
}

// list adds the rates of a price by name.
func list(all map[string]int64, prefix string, p wflo.Price, of row) {
	if of.unit() == unitToken {
		all[prefix+"input"], all[prefix+"cache_read"], all[prefix+"output"], all[prefix+"reasoning"] = p.Input, p.CacheRead, p.Output, p.Reasoning
		all[prefix+"cache_write_5m"], all[prefix+"cache_write_1h"] = p.CacheWrite5m, p.CacheWrite1h
	}
	all[prefix+"per_request"], all[prefix+"per_second"] = int64(p.PerRequest), p.PerSecond
}

// inUnit writes a rate as the file has it.
func inUnit(field string, n int64) string {
	switch field[strings.LastIndexByte(field, '.')+1:] {
	case "per_request":
		return wflo.Money(n).Decimal()
	case "per_second":
		return PerSecond(n)
	}
	return PerMillion(n)
}

// nearestRate is the last rate before a moment at which none holds, or else the
// first one after it; -1 for a row without rates.
func nearestRate(r row, at time.Time) int {
	found := -1
	day := at.Format(dayFormat)
	for i, x := range r.Rates {
		past := x.From < day
		switch {
		case found < 0:
			found = i
		case past != (r.Rates[found].From < day):
			if past {
				found = i
			}
		case past == (x.From > r.Rates[found].From):
			found = i
		}
	}
	return found
}

// chargeNames are the names that both have; a rate that is new for a row, or
// gone, is a change of its unit and no factor.
func chargeNames(a, b map[string]int64) []string {
	var names []string
	for n := range a {
		if _, ok := b[n]; ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func ratio(old, now int64) string {
	if old == 0 {
		return ""
	}
	return strings.TrimSuffix(strings.TrimRight(big.NewRat(now, old).FloatString(6), "0"), ".")
}
