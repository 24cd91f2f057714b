package ledger

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"pgregory.net/rapid"
)

func TestCrossed(t *testing.T) {
	const most = wflo.Money(math.MaxInt64)
	for _, c := range []struct {
		spent, limit wflo.Money
		thresholds   []int
		alerted      int
		want         []int
		still        int
	}{
		{spent: 49, limit: 100},
		{spent: 50, limit: 100, want: []int{50}},
		{spent: 95, limit: 100, want: []int{50, 75, 90}},
		{spent: 95, limit: 100, alerted: 50, want: []int{75, 90}, still: 50},
		{spent: 95, limit: 100, alerted: 90, still: 90},
		{spent: 60, limit: 100, alerted: 90, still: 50},
		{spent: 10, limit: 100, alerted: 90},
		{spent: 100, limit: 100, thresholds: []int{}},
		{spent: 100, limit: 0},
		{spent: 500, limit: 100, thresholds: []int{1, 100}, want: []int{1, 100}},
		{spent: 1, limit: 3, thresholds: []int{33, 34}, want: []int{33}},
		{spent: most, limit: most, thresholds: []int{99, 100}, want: []int{99, 100}},
		{spent: most - 1, limit: most, thresholds: []int{99, 100}, want: []int{99}},
	} {
		if got := Crossed(c.spent, c.limit, c.thresholds, c.alerted); !slices.Equal(got, c.want) {
			t.Errorf("%+v crosses %v", c, got)
		}
		if got := StillAlerted(c.spent, c.limit, c.thresholds, c.alerted); got != c.still {
			t.Errorf("%+v still counts as alerted at %d", c, got)
		}
	}
}

func TestReachedIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spent, limit := rapid.Int64Range(0, math.MaxInt64).Draw(t, "spent"), rapid.Int64Range(1, math.MaxInt64).Draw(t, "limit")
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		left := new(big.Int).Mul(big.NewInt(spent), big.NewInt(100))
		right := new(big.Int).Mul(big.NewInt(limit), big.NewInt(int64(percent)))
		if got := Reached(wflo.Money(spent), wflo.Money(limit), percent); got != (left.Cmp(right) >= 0) {
			t.Fatalf("%d is %d %% of %d: %v", spent, percent, limit, got)
		}
	})
}
