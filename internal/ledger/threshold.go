package ledger

import (
	"math/bits"

	"github.com/wflo-ai/wflo-go"
)

// Thresholds are the percentages that alert, where nil means the default.
func Thresholds(percents []int) []int {
	if percents == nil {
		return wflo.DefaultThresholds
	}
	return percents
}

// Reached says whether spent is at least so many percent of the limit. Without a
// limit nothing is reached. The products have 128 bits, so no amount is too large.
func Reached(spent, limit wflo.Money, percent int) bool {
	if limit <= 0 || spent < 0 || percent < 0 {
		return false
	}
	high, low := bits.Mul64(uint64(spent), 100)
	wantHigh, wantLow := bits.Mul64(uint64(limit), uint64(percent))
	return high > wantHigh || high == wantHigh && low >= wantLow
}

// Crossed lists the thresholds, ascending as they are, that spent has reached and
// that are above alerted, the highest one that alerted before in this window.
func Crossed(spent, limit wflo.Money, thresholds []int, alerted int) []int {
	var crossed []int
	for _, t := range Thresholds(thresholds) {
		if t > alerted && Reached(spent, limit, t) {
			crossed = append(crossed, t)
		}
	}
	return crossed
}

// StillAlerted is what counts as the highest alerted threshold after the limit
// was raised or a window slid: the highest one up to alerted that is reached now,
// or zero. Those above alert again.
func StillAlerted(spent, limit wflo.Money, thresholds []int, alerted int) int {
	still := 0
	for _, t := range Thresholds(thresholds) {
		if t <= alerted && Reached(spent, limit, t) {
			still = t
		}
	}
	return still
}
