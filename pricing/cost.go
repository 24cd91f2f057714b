package pricing

import (
	"math"
	"math/bits"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// maxMoney is what sums saturate at: about 9.2 billion USD.
const maxMoney = wflo.Money(math.MaxInt64)

// picoPerNano is how many pico-USD make a nano-USD.
const picoPerNano = 1000

const millisPerSecond = 1000

// Cost is what the usage costs at these rates, in nano-USD: the sum of tokens
// times rate over all buckets and of the time times the rate per second, kept in
// 128 bits and rounded up once, plus the price per request. A cost beyond Money is the largest Money. Negative counts
// and rates, which neither Usage.Validate nor a Book lets pass, count as zero,
// so that they cannot lower a cost.
func Cost(p wflo.Price, u wflo.Usage) wflo.Money {
	var sum uint128
	sum.add(u.Input, p.Input)
	sum.add(u.CacheRead, p.CacheRead)
	sum.add(u.CacheWrite5m, p.CacheWrite5m)
	sum.add(u.CacheWrite1h, p.CacheWrite1h)
	sum.add(u.Output, p.Output)
	sum.add(u.Reasoning, p.Reasoning)
	sum.addTime(u.Millis, p.PerSecond)
	return plus(sum.nano(), p.PerRequest)
}

// TimeCost is what so much time costs at these rates, rounded up. A reservation
// for a call that is billed by time needs it: see [Estimate].
func TimeCost(p wflo.Price, d time.Duration) wflo.Money {
	var sum uint128
	sum.addTime(millisUp(d), p.PerSecond)
	return sum.nano()
}

// millisUp is a duration in milliseconds, rounded up.
func millisUp(d time.Duration) int64 {
	n := d.Milliseconds()
	if d > 0 && d%time.Millisecond != 0 {
		n++
	}
	return n
}

// uint128 is an amount of pico-USD. It saturates.
type uint128 struct{ hi, lo uint64 }

// add adds units times rate.
func (s *uint128) add(units, rate int64) {
	if units <= 0 || rate <= 0 {
		return
	}
	s.plus(bits.Mul64(uint64(units), uint64(rate)))
}

// addTime adds milliseconds times a rate per second, rounded up to whole pico-USD.
// That is not rounding twice: nothing between two whole pico-USD rounds up to
// another nano-USD than the upper one does.
func (s *uint128) addTime(millis, perSecond int64) {
	if millis <= 0 || perSecond <= 0 {
		return
	}
	hi, lo := bits.Mul64(uint64(millis), uint64(perSecond))
	whole, rest := bits.Div64(hi%millisPerSecond, lo, millisPerSecond)
	if rest > 0 {
		s.plus(0, 1)
	}
	s.plus(hi/millisPerSecond, whole)
}

// plus adds 128 bits.
func (s *uint128) plus(hi, lo uint64) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, carry = bits.Add64(s.hi, hi, carry)
	if carry != 0 {
		s.hi, s.lo = math.MaxUint64, math.MaxUint64
	}
}

// nano rounds up to nano-USD.
func (s uint128) nano() wflo.Money {
	if s.hi >= picoPerNano {
		return maxMoney
	}
	n, rest := bits.Div64(s.hi, s.lo, picoPerNano)
	if n >= math.MaxInt64 {
		return maxMoney
	}
	if rest > 0 {
		n++
	}
	return wflo.Money(n)
}

// plus adds a fee to an amount that is not negative. It saturates.
func plus(m, fee wflo.Money) wflo.Money {
	if fee <= 0 {
		return m
	}
	if m > maxMoney-fee {
		return maxMoney
	}
	return m + fee
}
