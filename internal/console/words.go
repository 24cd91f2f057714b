package console

import (
	"fmt"
	"strconv"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// took is a duration for people, in two units at most; empty for none.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d.%d s", int(d.Seconds()), d.Milliseconds()/100%10)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days %d h", int(d.Hours()/24), int(d.Hours())%24)
}

// number groups the digits of a count.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// whole is how many units a bar has from end to end: SVG draws it, and style attributes
// would need a policy for content that is less strict.
const whole = 1000

// share is a part in units of the whole of a bar, between none and all.
func share(part, of int64) int {
	switch {
	case of <= 0 || part <= 0:
		return 0
	case part >= of:
		return whole
	case part > 1<<50:
		return int(part / (of / whole)) // the product would not fit
	}
	return int(part * whole / of)
}

// meterBar is a budget as a bar, in units of the whole.
type meterBar struct {
	wflo.Spend
	Spends, Reserves int
	// Marks are the thresholds.
	Marks []int
	// Left is what is neither spent nor reserved; zero when nothing is, or without a limit.
	Left wflo.Money
	Over bool
}

func barOf(s wflo.Spend) meterBar {
	b := meterBar{Spend: s, Spends: share(int64(s.Spent), int64(s.Limit))}
	b.Reserves = min(share(int64(s.Reserved), int64(s.Limit)), whole-b.Spends)
	b.Left = max(s.Limit-s.Spent-s.Reserved, 0)
	b.Over = s.Limit > 0 && s.Spent >= s.Limit
	marks := wflo.DefaultThresholds
	if s.Rule != nil && s.Rule.Thresholds != nil {
		marks = s.Rule.Thresholds
	}
	for _, percent := range marks {
		if s.Limit > 0 && percent < 100 {
			b.Marks = append(b.Marks, percent*whole/100)
		}
	}
	return b
}
