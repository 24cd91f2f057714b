package pricing

import (
	"errors"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// rateDecimals is how many decimals USD per million tokens may have so that
// pico-USD per token stays whole.
const rateDecimals = 6

// maxRate is 10,000 USD per million tokens, in pico-USD per token: sixteen times
// the dearest model so far. A larger rate is a mistake of unit.
const maxRate int64 = 10_000_000_000

var (
	errNotDecimal = errors.New("is not a plain decimal number")
	errPrecision  = errors.New("has more than 6 decimals")
	errTooLarge   = errors.New("is above 10000 USD per million")
)

// secondDecimals is how many decimals USD per second may have so that pico-USD
// per second stays whole, and maxSecond 1,000 USD per second.
const (
	secondDecimals       = 12
	maxSecond      int64 = 1_000_000_000_000_000
)

// factorDecimals is how many decimals a factor of a service tier may have, and
// maxFactor the largest one, 100, in millionths.
const (
	factorDecimals       = 6
	factorOne      int64 = 1_000_000
	maxFactor            = 100 * factorOne
)

var (
	errPrecise12 = errors.New("has more than 12 decimals")
	errDearTime  = errors.New("is above 1000 USD per second")
	errFactor    = errors.New("is above 100")
)

// parseRate reads USD per million tokens, such as "0.003625", as pico-USD per
// token.
func parseRate(s string) (int64, error) {
	return parseDecimal(s, rateDecimals, maxRate, errPrecision, errTooLarge)
}

// parseSecond reads USD per second as pico-USD per second.
func parseSecond(s string) (int64, error) {
	return parseDecimal(s, secondDecimals, maxSecond, errPrecise12, errDearTime)
}

// parseFactor reads a factor in millionths.
func parseFactor(s string) (int64, error) {
	return parseDecimal(s, factorDecimals, maxFactor, errPrecision, errFactor)
}

// parseDecimal reads a plain decimal number in units of its last decimal.
// Nothing is rounded.
func parseDecimal(s string, decimals int, most int64, tooPrecise, tooLarge error) (int64, error) {
	whole, frac, dot := strings.Cut(s, ".")
	if whole == "" || dot && frac == "" {
		return 0, errNotDecimal
	}
	for _, r := range whole + frac {
		if r < '0' || r > '9' {
			return 0, errNotDecimal
		}
	}
	if len(frac) > decimals {
		return 0, tooPrecise
	}
	var n int64
	for _, r := range whole + frac + strings.Repeat("0", decimals-len(frac)) {
		n = n*10 + int64(r-'0')
		if n > most {
			return 0, tooLarge
		}
	}
	return n, nil
}

// price turns the written rates into pico-USD, filling in what is absent as the
// package comment says. The rates have passed the lint.
func (r tokenRates) price(id string, flat wflo.Price, habits providerHabits) wflo.Price {
	p := wflo.Price{ID: id, PerRequest: flat.PerRequest, PerSecond: flat.PerSecond}
	p.Input = pico(r.Input, 0)
	p.CacheRead = pico(r.CacheRead, p.Input)
	write := p.Input
	if habits.cacheWrites {
		// Rounded up: an undercharge would be ours.
		write = (p.Input*5 + 3) / 4
	}
	p.CacheWrite5m = pico(r.CacheWrite5m, write)
	long := p.CacheWrite5m
	if habits.longCacheWrites {
		long = max(long, 2*p.Input)
	}
	p.CacheWrite1h = pico(r.CacheWrite1h, long)
	p.Output = pico(r.Output, p.Input)
	p.Reasoning = pico(r.Reasoning, p.Output)
	return p
}

// pico is the rate, or absent when none is written.
func pico(s *string, absent int64) int64 {
	if s == nil {
		return absent
	}
	n, err := parseRate(*s)
	if err != nil {
		return absent
	}
	return n
}

// providerHabits says which cache writes a provider charges for at all.
type providerHabits struct{ cacheWrites, longCacheWrites bool }

// learn adds what a row shows.
func (h providerHabits) learn(r row) providerHabits {
	for _, x := range r.Rates {
		if x.PerMtok != nil { // a row without token rates shows nothing
			h.longCacheWrites = h.longCacheWrites || x.PerMtok.CacheWrite1h != nil
			h.cacheWrites = h.cacheWrites || h.longCacheWrites || x.PerMtok.CacheWrite5m != nil
		}
	}
	return h
}
