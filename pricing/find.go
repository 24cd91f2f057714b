package pricing

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// callHorizon is how long after its start a call may be billed at the latest:
// FindWorst also reckons with the rates that come into force within it.
const callHorizon = time.Hour

// Find gives the rates of a model at a moment for a prompt of so many tokens.
// A rate with UTC windows goes before one without while a window is open.
//
// model is an id or an alias of a row, or one of these with the date of a
// snapshot behind it ("gpt-5.4-mini-2026-03-17", "claude-haiku-4-5-20251001"):
// a snapshot that has a row of its own has its own price. Nothing else is
// matched, prefixes least of all. The provider may stand before the model
// ("anthropic/claude-haiku-4-5") if provider is empty or the same; without any
// provider the model must be sold by one provider only.
//
// A service tier may stand behind the model ("gpt-5.4#priority"); see [WithTier].
// A tier without a price is refused, because it may be dearer, except for those
// that never are (batch, flex and what was bought beforehand): these have the
// standard rates then.
//
// A model that is not known, that has no rate at that moment, or that is not
// priced in what wflo.Usage counts is an *wflo.Error with CodeUnknownModel. Its
// hint names the nearest ids.
func (b *Book) Find(provider, model string, at time.Time, promptTokens int64) (wflo.Price, error) {
	model, tier := SplitTier(model)
	i, err := b.resolve(provider, model)
	if err != nil {
		return wflo.Price{}, err
	}
	found := -1
	for j, s := range b.spans[i] {
		if s.covers(at, 0) && (found < 0 || len(s.windows) > 0) {
			found = j
		}
	}
	if found < 0 {
		return wflo.Price{}, b.notInForce(i, at)
	}
	l, ok := b.spans[i][found].in(tier)
	if !ok {
		return wflo.Price{}, b.noTier(i, tier)
	}
	return l.price(promptTokens), nil
}

// anyTier as a service tier stands for every one that has a price, in FindWorst.
const anyTier = "*"

// regionPrefix begins the words for data that has to stay in a region, as in
// geo:us; they stand besides one for speed.
const regionPrefix = "geo:"

// FindWorst gives rates that no call which starts at that moment with a prompt
// of at most so many tokens can exceed: of each rate the highest over the base,
// the tiers that promptBound reaches, and everything in force within the hour
// after at. It is for reservations, where the size of the prompt is a bound
// ([InputBound]) and a smaller prompt may fall into another tier. It finds
// models, and fails, as Find does.
//
// Of a service tier that the call may or may not get, the standard rates count
// too; so do those of dearer regions unless the tier names one. The tier "*"
// ("gpt-5.4#*") stands for all that have a price, for requests that leave the
// choice to the account's settings.
func (b *Book) FindWorst(provider, model string, at time.Time, promptBound int64) (wflo.Price, error) {
	model, tier := SplitTier(model)
	i, err := b.resolve(provider, model)
	if err != nil {
		return wflo.Price{}, err
	}
	var worst wflo.Price
	n := 0
	take := func(p wflo.Price) {
		n++
		if n == 1 {
			worst = p
			return
		}
		worst = higher(worst, p)
	}
	now := false
	for _, s := range b.spans[i] {
		now = now || s.covers(at, 0)
		if !s.covers(at, callHorizon) {
			continue
		}
		ladders, ok := s.reached(tier)
		if !ok {
			return wflo.Price{}, b.noTier(i, tier)
		}
		for _, l := range ladders {
			l.each(promptBound, take)
		}
	}
	if !now {
		return wflo.Price{}, b.notInForce(i, at)
	}
	if n > 1 {
		worst.ID += "+worst"
	}
	return worst, nil
}

// reached are the ladders that a call which asks for a tier may be billed at, the
// standard one first. Each may be billed in a region that costs more, because
// settings of the account choose it and not the request.
func (s span) reached(tier string) ([]ladder, bool) {
	all := []ladder{s.ladder}
	switch tier {
	case "":
	case anyTier:
		for name, x := range s.services {
			if !s.dearRegion(name) {
				all = append(all, x.ladder)
			}
		}
	default:
		l, ok := s.in(tier)
		if !ok {
			return nil, false
		}
		all = append(all, l)
		if strings.Contains(tier, regionPrefix) {
			return all, true // it says which
		}
	}
	anywhere := all[:len(all):len(all)]
	for name, x := range s.services {
		if s.dearRegion(name) {
			for _, l := range anywhere {
				all = append(all, l.times(x.factor, s.id+tierMark+name))
			}
		}
	}
	return all, true
}

// dearRegion says whether a service tier is a region that costs more.
func (s span) dearRegion(name string) bool {
	return strings.HasPrefix(name, regionPrefix) && s.services[name].factor > factorOne
}

// each gives the rates that prompts of at most so many tokens can meet.
func (l ladder) each(promptBound int64, take func(wflo.Price)) {
	take(l.base)
	for _, t := range l.tiers {
		if promptBound >= t.promptTokens {
			take(t.price)
		}
	}
}

// higher takes the larger of each rate, under a's ID.
func higher(a, b wflo.Price) wflo.Price {
	return wflo.Price{
		ID:           a.ID,
		Input:        max(a.Input, b.Input),
		CacheRead:    max(a.CacheRead, b.CacheRead),
		CacheWrite5m: max(a.CacheWrite5m, b.CacheWrite5m),
		CacheWrite1h: max(a.CacheWrite1h, b.CacheWrite1h),
		Output:       max(a.Output, b.Output),
		Reasoning:    max(a.Reasoning, b.Reasoning),
		PerRequest:   max(a.PerRequest, b.PerRequest),
		PerSecond:    max(a.PerSecond, b.PerSecond),
	}
}

// resolve gives the row that prices a model in what wflo.Usage counts.
func (b *Book) resolve(provider, model string) (int, error) {
	i, ok, err := b.lookUp(provider, model)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, b.unknown(provider, model)
	}
	r := b.rows[i]
	switch {
	case r.Status == statusUnpriced:
		return 0, wflo.Errorf(wflo.CodeUnknownModel, addRow, "model %s has no price: %s", r.name(), r.Note)
	case r.unit() == unitRequest, r.unit() == unitSecond:
		return i, nil
	case r.unit() != unitToken:
		return 0, wflo.Errorf(wflo.CodeUnknownModel, addRow, "model %s is priced per %s, not per token", r.name(), strings.ReplaceAll(r.unit(), "_", " "))
	case r.Mode != modeChat && r.Mode != modeEmbedding:
		return 0, wflo.Errorf(wflo.CodeUnknownModel, "use a chat or embedding model",
			"model %s is for %s, whose tokens have several prices", r.name(), r.Mode)
	}
	return i, nil
}

// lookUp finds a row by the rules of Find.
func (b *Book) lookUp(provider, model string) (int, bool, error) {
	if provider != "" {
		if before, after, ok := strings.Cut(model, "/"); ok && before == provider {
			model = after
		}
		i, ok := b.at(provider, model)
		return i, ok, nil
	}
	if before, after, ok := strings.Cut(model, "/"); ok {
		if i, ok := b.at(before, after); ok {
			return i, true, nil
		}
	}
	sellers := b.selling[model]
	if short, ok := cutSnapshot(model); ok && len(sellers) == 0 {
		sellers = b.selling[short]
	}
	if len(sellers) > 1 {
		return 0, false, wflo.Errorf(wflo.CodeUnknownModel, "write provider/model, as in "+b.rows[sellers[0]].Provider+"/"+clip(model),
			"model %q is sold by %s and %s", clip(model), b.rows[sellers[0]].Provider, b.rows[sellers[1]].Provider)
	}
	if len(sellers) == 0 {
		return 0, false, nil
	}
	return sellers[0], true, nil
}

// at finds a row of one provider.
func (b *Book) at(provider, model string) (int, bool) {
	if model == "" {
		return 0, false
	}
	if i, ok := b.names[name{provider, model}]; ok {
		return i, true
	}
	if short, ok := cutSnapshot(model); ok {
		if i, ok := b.names[name{provider, short}]; ok {
			return i, true
		}
	}
	i, ok := b.names[name{provider, anyModel}]
	return i, ok
}

// cutSnapshot takes the date of a snapshot off a model's name: "-2026-03-05" as
// OpenAI writes it, "-20251001" as Anthropic does.
func cutSnapshot(model string) (string, bool) {
	for _, format := range [...]string{"-2006-01-02", "-20060102"} {
		cut := len(model) - len(format)
		if cut <= 0 || !sameShape(model[cut:], format) {
			continue // before time.Parse, which allocates when it fails
		}
		if _, err := time.Parse(format, model[cut:]); err == nil {
			return model[:cut], true
		}
	}
	return model, false
}

// sameShape says whether s has a digit wherever the format has one, and the same
// byte elsewhere. They are equally long.
func sameShape(s, format string) bool {
	for i := range len(format) {
		digit := format[i] >= '0' && format[i] <= '9'
		if digit != (s[i] >= '0' && s[i] <= '9') || !digit && s[i] != format[i] {
			return false
		}
	}
	return true
}

// addRow is the hint for a model that has no usable price.
const addRow = "add a row with its rates to the price overrides file; README.md of package pricing shows one"

// notInForce is the error for a known model without a rate at a moment.
func (b *Book) notInForce(i int, at time.Time) error {
	r := b.rows[i]
	return wflo.Errorf(wflo.CodeUnknownModel, addRow,
		"model %s has no rate in force on %s (%s)", r.name(), at.UTC().Format(dayFormat), inForce(r))
}

// noTier is the error for a service tier without a price.
func (b *Book) noTier(i int, tier string) error {
	return wflo.Errorf(wflo.CodeUnknownModel,
		"add the tier under service_tiers of the model's row in the price overrides file; README.md of package pricing shows how",
		"model %s has no price for the service tier %q, which may be dearer than the standard one", b.rows[i].name(), clip(tier))
}

// inForce says when a row's rates hold.
func inForce(r row) string {
	var spans []string
	for _, x := range r.Rates {
		from, until := x.From, x.Until
		if from == "" {
			from = "the start"
		}
		if until == "" {
			until = "further notice"
		}
		spans = append(spans, fmt.Sprintf("it has one from %s until %s", from, until))
	}
	return strings.Join(spans, ", ")
}

func tierID(id string, promptTokens int64) string {
	return id + "+" + strconv.FormatInt(promptTokens, 10)
}
