package pricing

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

// bigCost is Cost in arbitrary precision.
func bigCost(p wflo.Price, u wflo.Usage) wflo.Money {
	sum := new(big.Int)
	for _, x := range [][2]int64{
		{u.Input, p.Input}, {u.CacheRead, p.CacheRead}, {u.CacheWrite5m, p.CacheWrite5m},
		{u.CacheWrite1h, p.CacheWrite1h}, {u.Output, p.Output}, {u.Reasoning, p.Reasoning},
	} {
		units, rate := big.NewInt(max(0, x[0])), big.NewInt(max(0, x[1]))
		sum.Add(sum, units.Mul(units, rate))
	}
	// In thousandths of a pico-USD, as time is in thousandths of a second.
	sum.Mul(sum, big.NewInt(1000))
	millis, second := big.NewInt(max(0, u.Millis)), big.NewInt(max(0, p.PerSecond))
	sum.Add(sum, millis.Mul(millis, second))
	sum.Add(sum, big.NewInt(999_999)).Div(sum, big.NewInt(1_000_000))
	sum.Add(sum, big.NewInt(int64(max(0, p.PerRequest))))
	if !sum.IsInt64() {
		return math.MaxInt64
	}
	return wflo.Money(sum.Int64())
}

// anInt64 draws small, ordinary, huge and negative numbers about equally often.
func anInt64() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(0, 10), rapid.Int64Range(0, 3_000_000), rapid.Int64Range(0, 1<<40), rapid.Int64())
}

func aPrice() *rapid.Generator[wflo.Price] {
	return rapid.Custom(func(t *rapid.T) wflo.Price {
		n := anInt64()
		return wflo.Price{
			Input: n.Draw(t, "input"), CacheRead: n.Draw(t, "cache read"), CacheWrite5m: n.Draw(t, "cache write 5m"),
			CacheWrite1h: n.Draw(t, "cache write 1h"), Output: n.Draw(t, "output"), Reasoning: n.Draw(t, "reasoning"),
			PerRequest: wflo.Money(n.Draw(t, "per request")), PerSecond: n.Draw(t, "per second"),
		}
	})
}

func TestCostEqualsArbitraryPrecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anInt64()
		u := wflo.Usage{
			Input: n.Draw(t, "u input"), CacheRead: n.Draw(t, "u cache read"), CacheWrite5m: n.Draw(t, "u cache write 5m"),
			CacheWrite1h: n.Draw(t, "u cache write 1h"), Output: n.Draw(t, "u output"), Reasoning: n.Draw(t, "u reasoning"),
			Millis: n.Draw(t, "u millis"),
		}
		p := aPrice().Draw(t, "price")
		if got, want := Cost(p, u), bigCost(p, u); got != want {
			t.Fatalf("Cost = %d, want %d", got, want)
		}
	})
}

func TestCostSaturates(t *testing.T) {
	const most = math.MaxInt64
	all := wflo.Usage{Input: most, CacheRead: most, CacheWrite5m: most, CacheWrite1h: most, Output: most, Reasoning: most, Millis: most}
	p := wflo.Price{Input: most, CacheRead: most, CacheWrite5m: most, CacheWrite1h: most, Output: most, Reasoning: most, PerRequest: most, PerSecond: most}
	// Four times (2^63-1)^2 and 5*2^64 are 2^64+4 above 128 bits.
	wrapped, rates := all, p
	wrapped.Output, rates.Output, wrapped.Reasoning, rates.PerRequest = 1<<33, 5<<31, 0, 0
	wrapped.Millis = 0
	for name, got := range map[string]wflo.Money{
		"just beyond 128":   Cost(rates, wrapped),
		"beyond 128 bits":   Cost(p, all),
		"time beyond":       Cost(wflo.Price{PerSecond: most}, wflo.Usage{Millis: most}),
		"beyond 64 bits":    Cost(wflo.Price{Input: most}, wflo.Usage{Input: 1000}),
		"the fee is beyond": Cost(wflo.Price{Input: 1000, PerRequest: most}, wflo.Usage{Input: 1}),
	} {
		if got != most {
			t.Errorf("%s: Cost = %d, want the largest Money", name, got)
		}
	}
}

func TestCostRoundsUpOnce(t *testing.T) {
	// Three buckets of 0.4 nano each: 1.2 nano, so 2, not 3 times 1.
	p := wflo.Price{Input: 400, Output: 400, Reasoning: 400}
	if got := Cost(p, wflo.Usage{Input: 1, Output: 1, Reasoning: 1}); got != 2 {
		t.Errorf("Cost = %d nano-USD, want 2", got)
	}
}

var benchPrice = wflo.Price{PerSecond: 100_000_000, Input: 3_000_000, CacheRead: 300_000, CacheWrite5m: 3_750_000, CacheWrite1h: 6_000_000, Output: 15_000_000, Reasoning: 15_000_000}
var benchUsage = wflo.Usage{Millis: 12_345, Input: 1234, CacheRead: 56_789, CacheWrite5m: 2345, CacheWrite1h: 678, Output: 912, Reasoning: 3456}

func TestCostAndFindDoNotAllocate(t *testing.T) {
	var total wflo.Money
	if n := testing.AllocsPerRun(1000, func() { total += Cost(benchPrice, benchUsage) }); n != 0 {
		t.Errorf("Cost allocates %v times per call", n)
	}
	b, at := Default(), day("2026-11-01")
	if n := testing.AllocsPerRun(1000, func() {
		for _, model := range []string{"claude-haiku-4-5-20251001", "claude-opus-4-8#fast"} {
			p, err := b.Find("anthropic", model, at, 1000)
			if err != nil {
				t.Fatal(err)
			}
			total += Cost(p, benchUsage)
		}
	}); n != 0 {
		t.Errorf("Find allocates %v times per call", n)
	}
	if total <= 0 {
		t.Errorf("total = %v", total)
	}
}

func BenchmarkCost(b *testing.B) {
	b.ReportAllocs()
	u := benchUsage
	var total wflo.Money
	for b.Loop() {
		u.Output++
		total = Cost(benchPrice, u)
	}
	if total <= 0 {
		b.Fatal(total)
	}
}

func BenchmarkFind(b *testing.B) {
	b.ReportAllocs()
	at := day("2026-11-01")
	prices := Default()
	for b.Loop() {
		if _, err := prices.Find("anthropic", "claude-haiku-4-5-20251001", at, 1000); err != nil {
			b.Fatal(err)
		}
	}
}
