package cli

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/wflo-ai/wflo-go/pricing"
)

// standardTier is what the table of rates calls the service without a name.
const standardTier = "standard"

// tiersInForce are the service tiers and regions that have a price in the rate
// in force, by name.
func tiersInForce(d pricing.Description) []string {
	var names []string
	for _, r := range d.Rates {
		for _, s := range r.Services {
			if r.InForce {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// rateLine is a line of the table of rates: a span of days and hours, a service
// tier, and a size of prompt.
type rateLine struct {
	mark, from, until, hours, service string
	tier                              pricing.Tier
}

// rateLines are the lines of a rate, the standard service first.
func rateLines(r pricing.Rate) []rateLine {
	line := rateLine{mark: " ", from: r.From, until: r.Until, hours: "all"}
	if r.InForce {
		line.mark = "*"
	}
	if r.From == "" {
		line.from = "start"
	}
	if r.Until == "" {
		line.until = "-"
	}
	var hours []string
	for _, h := range r.Windows {
		hours = append(hours, h[0]+"-"+h[1])
	}
	if len(hours) > 0 {
		line.hours = strings.Join(hours, " ")
	}
	var lines []rateLine
	add := func(service string, tiers []pricing.Tier) {
		for _, t := range tiers {
			line.service, line.tier = service, t
			lines = append(lines, line)
		}
	}
	add(standardTier, r.Tiers)
	for _, s := range r.Services {
		name := s.Name
		if s.Factor != "" {
			name += " (x " + s.Factor + ")"
		}
		add(name, s.Tiers)
	}
	return lines
}

// pricesRates is the table of rates; an asterisk marks those in force, and
// parentheses what the book fills in. A column that says the same of every rate
// is left out.
func (a *app) pricesRates(d pricing.Description) error {
	var lines []rateLine
	for _, r := range d.Rates {
		lines = append(lines, rateLines(r)...)
	}
	some := func(told func(rateLine) bool) bool { return slices.ContainsFunc(lines, told) }
	tiers := some(func(l rateLine) bool { return l.service != standardTier })
	calls := some(func(l rateLine) bool { return l.tier.Price.PerRequest > 0 })
	seconds := some(func(l rateLine) bool { return l.tier.Price.PerSecond > 0 })

	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	head := []string{"\n ", "FROM", "UNTIL", "HOURS"}
	head = appendIf(head, tiers, "TIER")
	head = append(head, "PROMPT", "INPUT", "CACHED", "WRITE 5M", "WRITE 1H", "OUTPUT", "REASONING")
	head = appendIf(appendIf(head, calls, "CALL"), seconds, "SECOND")
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, l := range lines {
		cells := []string{l.mark, l.from, l.until, l.hours}
		cells = appendIf(cells, tiers, escapeLine(l.service))
		cells = append(cells, fmt.Sprintf("%d+", l.tier.PromptTokens))
		cells = append(cells, ratesOf(l.tier)...)
		cells = appendIf(cells, calls, l.tier.Price.PerRequest.String())
		cells = appendIf(cells, seconds, "$"+pricing.PerSecond(l.tier.Price.PerSecond))
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := a.uncounted(d); err != nil {
		return err
	}
	text := fmt.Sprintf("* in force at %s; dollars per million tokens; (in parentheses) not in the book, filled in so as not to undercharge", d.InForceAt)
	if tiers {
		text += fmt.Sprintf("\nwhat a call in a tier costs: wflo cost estimate --model %s --tier %s", shellWord(d.Provider+"/"+d.ID), shellWord(firstTier(d)))
	}
	a.note("%s", text)
	return nil
}

// appendIf adds a cell to a line of a table that has the column.
func appendIf(cells []string, has bool, cell string) []string {
	if has {
		return append(cells, cell)
	}
	return cells
}

// firstTier is a service tier for an example, one in force if there is any.
func firstTier(d pricing.Description) string {
	if now := tiersInForce(d); len(now) > 0 {
		return now[0]
	}
	for _, r := range d.Rates {
		for _, s := range r.Services {
			return s.Name
		}
	}
	return ""
}

// uncounted tells of rates that the book holds as facts only.
func (a *app) uncounted(d pricing.Description) error {
	for _, r := range d.Rates {
		for _, name := range sortedKeys(r.Uncounted) {
			from := r.From
			if from == "" {
				from = "the start"
			}
			if _, err := fmt.Fprintf(a.deps.Stdout, "never part of a cost: %s %s, from %s\n", escapeLine(name), escapeLine(r.Uncounted[name]), from); err != nil {
				return err
			}
		}
	}
	return nil
}

// ratesOf are the cells of the rates per token.
func ratesOf(t pricing.Tier) []string {
	p := t.Price
	var cells []string
	for _, r := range []struct {
		name string
		pico int64
	}{
		{"input", p.Input}, {"cache_read", p.CacheRead}, {"cache_write_5m", p.CacheWrite5m},
		{"cache_write_1h", p.CacheWrite1h}, {"output", p.Output}, {"reasoning", p.Reasoning},
	} {
		text := "(" + pricing.PerMillion(r.pico) + ")"
		if slices.Contains(t.Written, r.name) {
			text = pricing.PerMillion(r.pico)
		}
		cells = append(cells, text)
	}
	return cells
}
