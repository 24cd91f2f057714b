package pricing

import (
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// span is a rate in force, ready to be looked up.
type span struct {
	// from and until are zero when open.
	from, until time.Time
	// windows are minutes of the day; none means all day. An end that is not
	// after its start lies on the next day.
	windows [][2]int
	id      string
	ladder
	services map[string]offer
}

// ladder is the rates by size of the prompt.
type ladder struct {
	base  wflo.Price
	tiers []step
}

// step is a tier, ready to be looked up.
type step struct {
	promptTokens int64
	price        wflo.Price
}

// offer is a service tier, ready to be looked up. factor is in millionths, and
// zero for one with rates of its own.
type offer struct {
	ladder
	factor int64
}

// compile turns a linted rate into a span.
func (r rate) compile(of row, habits providerHabits) span {
	id := of.name() + "@start"
	if r.From != "" {
		id = of.name() + "@" + r.From
	}
	var s span
	s.from, _ = parseDay(r.From)
	s.until, _ = parseDay(r.Until)
	for _, w := range r.Windows {
		if win, err := parseWindow(w); err == nil {
			s.windows = append(s.windows, win)
		}
	}
	if len(r.Windows) > 0 {
		id += "T" + r.Windows[0][0]
	}
	if of.fromOverrides {
		id = "override:" + id
	}
	s.id = id
	var flat wflo.Price // what does not depend on tokens
	flat.PerRequest, _ = wflo.ParseMoney(orZero(r.PerRequest))
	flat.PerSecond, _ = parseSecond(orZero(r.PerSecond))
	s.ladder = climb(id, r.PerMtok, r.Tiers, flat, habits)
	for name, x := range r.Services {
		if s.services == nil {
			s.services = map[string]offer{}
		}
		at := id + tierMark + name
		if x.Factor == "" {
			s.services[name] = offer{ladder: climb(at, x.PerMtok, x.Tiers, flat, habits)}
		} else if f, err := parseFactor(x.Factor); err == nil {
			s.services[name] = offer{ladder: s.times(f, at), factor: f}
		}
	}
	return s
}

// climb makes a ladder of token rates.
func climb(id string, rates *tokenRates, tiers []tier, flat wflo.Price, habits providerHabits) ladder {
	if rates == nil {
		rates = &tokenRates{}
	}
	l := ladder{base: rates.price(id, flat, habits)}
	for _, t := range tiers {
		l.tiers = append(l.tiers, step{t.from(), t.PerMtok.price(tierID(id, t.from()), flat, habits)})
	}
	return l
}

// price is the rates for a prompt of that size.
func (l ladder) price(promptTokens int64) wflo.Price {
	p := l.base
	for _, t := range l.tiers {
		if promptTokens >= t.promptTokens {
			p = t.price
		}
	}
	return p
}

// times is the ladder at a factor in millionths of all its rates, each rounded
// up: an undercharge would be ours.
func (l ladder) times(factor int64, id string) ladder {
	out := ladder{base: scaled(l.base, factor, id)}
	for _, t := range l.tiers {
		out.tiers = append(out.tiers, step{t.promptTokens, scaled(t.price, factor, tierID(id, t.promptTokens))})
	}
	return out
}

func scaled(p wflo.Price, factor int64, id string) wflo.Price {
	return wflo.Price{
		ID: id, Input: scale(p.Input, factor), CacheRead: scale(p.CacheRead, factor),
		CacheWrite5m: scale(p.CacheWrite5m, factor), CacheWrite1h: scale(p.CacheWrite1h, factor),
		Output: scale(p.Output, factor), Reasoning: scale(p.Reasoning, factor),
		PerRequest: wflo.Money(scale(int64(p.PerRequest), factor)), PerSecond: scale(p.PerSecond, factor),
	}
}

// scale is a rate times millionths, rounded up. It saturates.
func scale(rate, factor int64) int64 {
	const million = 1_000_000
	hi, lo := bits.Mul64(uint64(max(0, rate)), uint64(max(0, factor)))
	if hi >= million {
		return int64(maxMoney)
	}
	n, rest := bits.Div64(hi, lo, million)
	if n >= uint64(maxMoney) {
		return int64(maxMoney)
	}
	if rest > 0 {
		n++
	}
	return int64(n)
}

// notDearer are the service tiers that cost less than the standard one, or that
// were paid for otherwise. Without a price of their own they are charged as the
// standard one; every other tier without a price is refused.
var notDearer = []string{"batch", "flex", "offpeak", "scale", "provisioned_throughput"}

// in is the ladder of a service tier, or false when it has no price. Of several
// joined by "+", at most one may have rates of its own; factors multiply.
func (s span) in(tier string) (ladder, bool) {
	if tier == "" {
		return s.ladder, true
	}
	if x, ok := s.services[tier]; ok {
		return x.ladder, true
	}
	words := strings.Split(tier, "+")
	if len(words) == 1 {
		return s.ladder, slices.Contains(notDearer, tier)
	}
	out, own := s.ladder, false
	for _, w := range words {
		if x, ok := s.services[w]; ok && x.factor == 0 {
			if own {
				return ladder{}, false
			}
			out, own = x.ladder, true
		}
	}
	for _, w := range words {
		x, ok := s.services[w]
		switch {
		case ok && x.factor > 0:
			out = out.times(x.factor, s.id+tierMark+tier)
		case !ok && !slices.Contains(notDearer, w):
			return ladder{}, false
		}
	}
	return out, true
}

// covers says whether the span is in force at any moment from at until at+d,
// both included, for a d of less than a day.
func (s span) covers(at time.Time, d time.Duration) bool {
	at = at.UTC()
	if !s.from.IsZero() && at.Add(d).Before(s.from) || !s.until.IsZero() && !at.Before(s.until) {
		return false
	}
	if len(s.windows) == 0 {
		return true
	}
	now := at.Hour()*60 + at.Minute()
	for _, w := range s.windows {
		length := wrap(w[1] - w[0])
		if length == 0 {
			length = minutes
		}
		untilStart := wrap(w[0] - now)
		// The window starts within d of at's minute, or at lies in it.
		if d > 0 && untilStart <= int(d.Minutes())+1 || wrap(now-w[0]) < length {
			return true
		}
	}
	return false
}
