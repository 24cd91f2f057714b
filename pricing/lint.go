package pricing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// linter collects what is wrong with a price file.
type linter struct {
	problems []error
	owner    map[name]string // who has an id or alias already
}

// lint checks a price file and joins all of its problems.
func lint(f file) error {
	l := &linter{owner: map[name]string{}}
	if f.Version != formatVersion {
		l.add("", "version", fmt.Sprintf("is %d", f.Version), fmt.Sprintf("write %d", formatVersion))
	}
	if f.Currency != "USD" {
		l.add("", "currency", fmt.Sprintf("is %q", f.Currency), "write USD and convert the rates")
	}
	l.day("", "date", f.Date)
	for i, r := range f.Models {
		if r.Provider == "" || r.ID == "" || strings.Contains(r.Provider, "/") {
			l.add("", fmt.Sprintf("models[%d]", i), "lacks a provider or an id, or has a slash in the provider", "set both, as in openai and gpt-5.4")
			continue
		}
		l.row(r)
	}
	return errors.Join(l.problems...)
}

// add notes a problem of a field, in a row or in the file as a whole.
func (l *linter) add(row, field, problem, hint string) {
	where := "prices: " + field
	if row != "" {
		where = "price of " + row + ": " + field
	}
	l.problems = append(l.problems, wflo.Invalid(where, problem, hint))
}

func (l *linter) row(r row) {
	at := r.name()
	for i, model := range append([]string{r.ID}, r.Aliases...) {
		field := "id"
		if i > 0 {
			field = fmt.Sprintf("aliases[%d]", i-1)
		}
		key := name{r.Provider, model}
		if other, ok := l.owner[key]; ok {
			l.add(at, field, fmt.Sprintf("%q is also a name of %s", model, other), "let each id and alias name one row")
		}
		l.owner[key] = at
		if strings.Contains(model, tierMark) {
			l.add(at, field, fmt.Sprintf("%q has a %s, behind which a service tier stands", model, tierMark), "put the tier under service_tiers")
		}
		if i > 0 && (model == "" || model == anyModel) {
			l.add(at, field, fmt.Sprintf("is %q", model), "name a model; only an id may be "+anyModel)
		}
	}
	l.oneOf(at, "mode", r.Mode, modeChat, modeEmbedding, modeRerank, modeImage, modeRealtime, modeTranscription)
	l.oneOf(at, "status", r.Status, statusCurrent, statusLegacy, statusRetired, statusUnpriced)
	l.oneOf(at, "unit", r.unit(), unitToken, unitRequest, unitSecond, unitCharacter, unitAudioHour, unitSearch)
	if r.ContextWindow < 0 {
		l.add(at, "context_window", fmt.Sprintf("is %d", r.ContextWindow), "leave it out when unknown")
	}
	l.day(at, "source_date", r.SourceDate)
	l.day(at, "provider_page_checked", r.PageChecked)
	switch {
	case r.Status == statusUnpriced && len(r.Rates) > 0:
		l.add(at, "rates", "are given for an unpriced model", "remove them, or choose another status")
	case r.Status != statusUnpriced && len(r.Rates) == 0:
		l.add(at, "rates", "are missing", "add a rate; a free model needs free and zeros")
	}
	for i, x := range r.Rates {
		l.rate(r, x, fmt.Sprintf("rates[%d]", i))
	}
	l.overlaps(r)
}

func (l *linter) rate(r row, x rate, field string) {
	at := r.name()
	from, okFrom := l.day(at, field+".effective_from", x.From)
	until, okUntil := l.day(at, field+".effective_until", x.Until)
	if okFrom && okUntil && x.From != "" && x.Until != "" && !from.Before(until) {
		l.add(at, field+".effective_until", "is not after effective_from", "name the first day on which the rate no longer holds")
	}
	for i, w := range x.Windows {
		win, err := parseWindow(w)
		if err != nil || win[0] == win[1] {
			l.add(at, fmt.Sprintf("%s.utc_windows[%d]", field, i), fmt.Sprintf("is %q", w), `write start and end in UTC, as in ["01:00", "04:00"]`)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(x.Uncounted)) {
		v := x.Uncounted[k]
		l.decimal(at, field+".uncounted."+k, &v)
	}
	l.flat(r, x, field)
	switch r.unit() {
	case unitToken:
		l.ladder(r, x.PerMtok, x.Tiers, field)
		l.services(r, x, field)
	case unitRequest, unitSecond:
		if x.PerMtok != nil || len(x.Tiers) > 0 {
			l.add(at, field, "has token rates, but the unit is "+r.unit(), "remove the unit: a model that is priced in tokens may have per_second and per_request besides")
		}
		l.services(r, x, field)
	default:
		if x.PerMtok != nil || len(x.Tiers) > 0 || x.PerRequest != "" || x.PerSecond != "" || len(x.Services) > 0 {
			l.add(at, field, "has token rates, but the unit is "+r.unit(), "put the rates under uncounted, or remove the unit")
		}
	}
}

// flat checks the rates that do not depend on tokens, and that the one which the
// unit is named for is there.
func (l *linter) flat(r row, x rate, field string) {
	m, err := wflo.ParseMoney(orZero(x.PerRequest))
	if err != nil || m < 0 || r.Free && m != 0 {
		l.add(r.name(), field+".per_request", fmt.Sprintf("is %q", clip(x.PerRequest)), "give dollars per call, with at most 9 decimals; a free model has none")
	}
	n, err := parseSecond(orZero(x.PerSecond))
	switch {
	case err != nil:
		l.add(r.name(), field+".per_second", fmt.Sprintf("is %q, which %v", clip(x.PerSecond), err), "write USD per second as in 0.0001, without sign or exponent")
	case r.Free && n != 0:
		l.add(r.name(), field+".per_second", "is "+x.PerSecond+" for a free model", "write 0, or remove free")
	}
	if (r.unit() == unitRequest && m == 0 || r.unit() == unitSecond && n == 0 && err == nil) && !r.Free {
		l.add(r.name(), field+".per_"+r.unit(), "is missing or 0, but the unit is "+r.unit(), "a rate that is not written is never zero; write it")
	}
}

// ladder checks token rates and those by size of the prompt.
func (l *linter) ladder(r row, rates *tokenRates, tiers []tier, field string) {
	l.tokens(r, rates, field+".per_mtok")
	last := int64(0)
	for i, t := range tiers {
		tf := fmt.Sprintf("%s.tiers[%d]", field, i)
		switch {
		case t.PromptTokens != 0 && t.Above != 0:
			l.add(r.name(), tf+".prompt_tokens_gt", "is given besides prompt_tokens_gte", "keep the one that the provider's page says: from so many tokens on, or above so many")
		case t.from() <= last || t.Above < 0:
			l.add(r.name(), tf+".prompt_tokens_gte", fmt.Sprintf("is %d", t.from()), "order the tiers by size, each above the one before")
		}
		last = t.from()
		l.tokens(r, t.PerMtok, tf+".per_mtok")
	}
}

// services checks the service tiers: each has a factor or rates, and no name
// that could never be found.
func (l *linter) services(r row, x rate, field string) {
	for _, name := range slices.Sorted(maps.Keys(x.Services)) {
		s, at := x.Services[name], field+".service_tiers."+name
		if name == "" || name == anyTier || name != strings.ToLower(name) || strings.ContainsAny(name, " +#/") {
			l.add(r.name(), at, "is no name of a service tier", "use the word that the provider's responses have, in lower case, such as flex, priority or geo:us")
		}
		f, err := parseFactor(orZero(s.Factor))
		switch {
		case (s.Factor == "") == (s.PerMtok == nil):
			l.add(r.name(), at, "needs either a factor or per_mtok", "write the factor of all standard rates as in 0.5, or the rates")
		case s.Factor == "" && r.unit() != unitToken:
			l.add(r.name(), at, "has token rates, but the unit is "+r.unit(), "write a factor")
		case s.Factor == "":
			l.ladder(r, s.PerMtok, s.Tiers, at)
		case err != nil:
			l.add(r.name(), at+".factor", fmt.Sprintf("is %q, which %v", clip(s.Factor), err), "write a plain number as in 0.5 or 2")
		case f == 0:
			l.add(r.name(), at+".factor", "is 0", "a free model needs \"free\": true, so that no zero is a slip")
		case len(s.Tiers) > 0:
			l.add(r.name(), at+".tiers", "are given besides a factor, which covers them", "remove them, or write per_mtok")
		}
	}
}

// tokens checks that the rates which the mode needs are there, and that only a
// free model has zeros where money is made.
func (l *linter) tokens(r row, rates *tokenRates, field string) {
	if rates == nil {
		l.add(r.name(), field, "is missing", "give at least input and output, in USD per million tokens")
		return
	}
	for _, x := range rates.named() {
		n, ok := l.decimal(r.name(), field+"."+x.name, x.value)
		earns := x.name == "input" || x.name == "output"
		switch {
		case !ok:
		case r.Free && n != 0:
			l.add(r.name(), field+"."+x.name, "is "+*x.value+" for a free model", "write 0, or remove free")
		case earns && x.value == nil && (x.name == "input" || r.Mode != modeEmbedding):
			l.add(r.name(), field+"."+x.name, "is missing", "a rate that is not written is never zero; write it")
		case earns && x.value != nil && n == 0 && !r.Free:
			l.add(r.name(), field+"."+x.name, "is 0", "a free model needs \"free\": true, so that no zero is a slip")
		}
	}
}

// decimal checks one rate; one that is absent is fine here.
func (l *linter) decimal(row, field string, v *string) (int64, bool) {
	if v == nil {
		return 0, true
	}
	n, err := parseRate(*v)
	if err != nil {
		l.add(row, field, fmt.Sprintf("is %q, which %v", clip(*v), err), "write USD per million as in 0.25, without sign or exponent")
		return 0, false
	}
	return n, true
}

// day checks a date; an empty one is fine.
func (l *linter) day(row, field, s string) (time.Time, bool) {
	t, err := parseDay(s)
	if err != nil {
		l.add(row, field, fmt.Sprintf("is %q", clip(s)), "write a day as in 2026-03-05")
	}
	return t, err == nil
}

func (l *linter) oneOf(row, field, v string, allowed ...string) {
	if !slices.Contains(allowed, v) {
		l.add(row, field, fmt.Sprintf("is %q", clip(v)), "use "+strings.Join(allowed, ", "))
	}
}

// overlaps finds two rates of a row that would hold at the same moment. One
// with windows may lie over one without: it is the exception to it.
func (l *linter) overlaps(r row) {
	for i, a := range r.Rates {
		for j := range i {
			b := r.Rates[j]
			if len(a.Windows) == 0 != (len(b.Windows) == 0) || !daysMeet(a, b) || !windowsMeet(a.Windows, b.Windows) {
				continue
			}
			l.add(r.name(), fmt.Sprintf("rates[%d]", i), fmt.Sprintf("holds at the same time as rates[%d]", j), "let effective_until of one be effective_from of the next")
		}
	}
}

func daysMeet(a, b rate) bool {
	// Days in this form compare as strings.
	return (a.Until == "" || b.From < a.Until) && (b.Until == "" || a.From < b.Until)
}

func windowsMeet(a, b [][2]string) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	var day [minutes]bool
	for i, w := range slices.Concat(a, b) {
		win, err := parseWindow(w)
		if err != nil {
			return false
		}
		for m := win[0]; m != win[1]; m = wrap(m + 1) {
			if i >= len(a) && day[m] {
				return true
			}
			day[m] = day[m] || i < len(a)
		}
	}
	return false
}

// clip keeps foreign text in messages short.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
