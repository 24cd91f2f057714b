package pricing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Description is all that the book knows about a model.
type Description struct {
	Model
	Free          bool     `json:"free,omitempty"`
	ConfirmedBy   []string `json:"confirmed_by,omitempty"`
	Contradicted  []string `json:"contradicted_by,omitempty"`
	PageChecked   string   `json:"provider_page_checked,omitempty"`
	Rates         []Rate   `json:"rates"`
	AskedAs       string   `json:"asked_as"`
	InForceAt     string   `json:"in_force_at"`
	PriceIsUsable bool     `json:"priced"` // false when Find refuses the model at that moment
}

// Rate is what a model costs during a span of days, or some hours of them.
type Rate struct {
	// From is the first day and Until the day after the last one, in UTC; empty
	// means open.
	From  string `json:"effective_from,omitempty"`
	Until string `json:"effective_until,omitempty"`
	// Windows are hours of the day in UTC; none means all day.
	Windows [][2]string `json:"utc_windows,omitempty"`
	// InForce is set for the rate that Find takes at the moment asked about.
	InForce bool `json:"in_force"`
	// Tiers are the rates by size of the prompt, the smallest first. A rate that
	// cannot be priced has none.
	Tiers []Tier `json:"tiers,omitempty"`
	// Services are the rates of the service tiers, by name.
	Services []Service `json:"service_tiers,omitempty"`
	// Uncounted are rates that never enter a cost, as the file has them.
	Uncounted map[string]string `json:"uncounted,omitempty"`
}

// Service is the rates of a service tier that is not the standard one.
type Service struct {
	// Name is the word of wflo.Reply.Tier, such as flex.
	Name string `json:"name"`
	// Factor is what multiplies the standard rates; empty for a tier with rates of
	// its own.
	Factor string `json:"factor,omitempty"`
	Tiers  []Tier `json:"tiers"`
}

// Tier is the rates of a whole call whose prompt has so many tokens or more.
type Tier struct {
	PromptTokens int64 `json:"prompt_tokens_gte"`
	// Price holds all rates, in the units of wflo.Price.
	Price wflo.Price `json:"price"`
	// Written names the rates that the book has; the others are filled in as the
	// package comment says.
	Written []string `json:"written"`
}

// Describe tells what the book has for a model, which it finds as [Book.Find]
// does, and which of its rates is in force at that moment. Unlike Find it also
// tells of models that cannot be priced.
func (b *Book) Describe(provider, model string, at time.Time) (Description, error) {
	name, tier := SplitTier(model)
	i, ok, err := b.lookUp(provider, name)
	if err != nil {
		return Description{}, err
	}
	if !ok {
		return Description{}, b.unknown(provider, name)
	}
	r := b.rows[i]
	_, unusable := b.Find(r.Provider, WithTier(r.ID, tier), at, 0)
	d := Description{
		Model: b.Models()[i], Free: r.Free, ConfirmedBy: slices.Clone(r.ConfirmedBy), Contradicted: slices.Clone(r.Contradicted),
		PageChecked: r.PageChecked, Rates: []Rate{}, AskedAs: model, InForceAt: at.UTC().Format(time.RFC3339), PriceIsUsable: unusable == nil,
	}
	now := b.rateAt(r, at)
	for j, x := range r.Rates {
		told := Rate{From: x.From, Until: x.Until, Windows: slices.Clone(x.Windows), InForce: j == now, Uncounted: maps.Clone(x.Uncounted)}
		if x.priced(r) {
			s := x.compile(r, b.habits[r.Provider])
			told.Tiers = tell(s.ladder, x.PerMtok, x.Tiers)
			for _, name := range slices.Sorted(maps.Keys(x.Services)) {
				of := x.Services[name]
				rates, tiers := of.PerMtok, of.Tiers
				if of.Factor != "" {
					rates, tiers = x.PerMtok, x.Tiers
				}
				told.Services = append(told.Services, Service{Name: name, Factor: of.Factor, Tiers: tell(s.services[name].ladder, rates, tiers)})
			}
		}
		d.Rates = append(d.Rates, told)
	}
	return d, nil
}

// tell gives the rates of a ladder, and which of them were written.
func tell(l ladder, rates *tokenRates, tiers []tier) []Tier {
	out := []Tier{{Price: l.base, Written: rates.written()}}
	for i, t := range l.tiers {
		out = append(out, Tier{PromptTokens: t.promptTokens, Price: t.price, Written: tiers[i].PerMtok.written()})
	}
	return out
}

func (r *tokenRates) written() []string {
	var names []string
	if r == nil {
		return names
	}
	for _, x := range r.named() {
		if x.value != nil {
			names = append(names, x.name)
		}
	}
	return names
}

// rateAt is the index of the rate that holds at a moment, or -1. It follows the
// rule of Find and also takes rates that are not per token.
func (b *Book) rateAt(r row, at time.Time) int {
	found := -1
	for j, x := range r.Rates {
		timing := x
		timing.PerMtok, timing.Tiers, timing.Services = &tokenRates{}, nil, nil
		if s := timing.compile(r, providerHabits{}); s.covers(at, 0) && (found < 0 || len(s.windows) > 0) {
			found = j
		}
	}
	return found
}

// PerMillion writes a rate in pico-USD per token as the file has it: exact USD
// per million tokens, such as "0.25".
func PerMillion(pico int64) string { return decimal(pico, rateDecimals) }

// PerSecond writes a rate in pico-USD per second as the file has it: exact USD
// per second, such as "0.0001".
func PerSecond(pico int64) string { return decimal(pico, secondDecimals) }

// decimal writes a number of units of the last decimal.
func decimal(n int64, decimals int) string {
	sign, u := "", uint64(n)
	if n < 0 {
		sign, u = "-", -u
	}
	digits := fmt.Sprintf("%0*d", decimals+1, u)
	at := len(digits) - decimals
	return sign + strings.TrimSuffix(strings.TrimRight(digits[:at]+"."+digits[at:], "0"), ".")
}

// Floor is the least that a call with the prompt is billed: one token a word, at
// the lower of the rates for prompt tokens that are new and that come from a
// cache, the price per request, no answer and no time. It rests on tokenisers that do
// not join words; what is billed lies between it and [Estimate].
func Floor(p wflo.Price, prompt wflo.Prompt) (least wflo.Money, inputTokens int64) {
	words := len(strings.Fields(prompt.System))
	for _, m := range prompt.Messages {
		words += len(strings.Fields(m.Text))
	}
	inputTokens = int64(words)
	var sum uint128
	sum.add(inputTokens, min(p.Input, p.CacheRead))
	return plus(sum.nano(), p.PerRequest), inputTokens
}
