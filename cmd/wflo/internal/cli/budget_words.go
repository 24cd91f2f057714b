package cli

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
)

// ruleOf is the rule that made a budget; a run's own has none.
func ruleOf(s wflo.Spend) wflo.Budget {
	if s.Rule == nil {
		return wflo.Budget{}
	}
	return *s.Rule
}

// percent is how much of a limit is used, rounded down: a budget that is not
// quite used up must not read as if it were. It is -1 without a limit.
func percent(used, limit wflo.Money) int64 {
	if limit <= 0 {
		return -1
	}
	hi, lo := bits.Mul64(uint64(max(used, 0)), 100)
	if hi >= uint64(limit) {
		return math.MaxInt64
	}
	p, _ := bits.Div64(hi, lo, uint64(limit))
	return int64(min(p, math.MaxInt64))
}

// usedBar draws spent (#), reserved (+) and free (.) as ten tenths of the limit.
func usedBar(s wflo.Spend) string {
	p := percent(s.Spent+s.Reserved, s.Limit)
	if p < 0 {
		return ""
	}
	spent := min(percent(s.Spent, s.Limit)/10, 10)
	held := min(p/10, 10) - spent
	return fmt.Sprintf("[%s%s%s] %d%%", strings.Repeat("#", int(spent)), strings.Repeat("+", int(held)), strings.Repeat(".", int(10-spent-held)), p)
}

// period is when a budget starts again, as a rule has it.
func period(b wflo.Budget) string {
	if d, ok := b.Period.Rolling(); ok {
		return "last " + spanWords(d)
	}
	return cmp.Or(string(b.Period), "none")
}

// spanWords is a length of time as parseSpan reads it: 7d, 36h, 90s.
func spanWords(d time.Duration) string {
	switch {
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

// startsAgain is the end of a budget's window in words.
func startsAgain(s wflo.Spend, now time.Time) string {
	rule := ruleOf(s)
	switch _, rolling := rule.Period.Rolling(); {
	case rolling:
		return "bit by bit"
	case !s.WindowEnd.IsZero():
		return windowEnd(s.WindowEnd, rule.TimeZone, now)
	case rule.Period != wflo.PeriodNone:
		return "when used"
	}
	return "never"
}

// againSoon is startsAgain without the moment, for tables.
func againSoon(s wflo.Spend, now time.Time) string {
	soon, _, _ := strings.Cut(startsAgain(s, now), " (")
	return soon
}

func windowEnd(end time.Time, zone string, now time.Time) string {
	left := "in " + short(end.Sub(now))
	if !end.After(now) {
		left = "now"
	}
	return left + " (" + moment(end, zone) + ")"
}

// moment is a time in the zone of a budget, which is named.
func moment(t time.Time, zone string) string {
	if place, err := time.LoadLocation(zone); err == nil {
		t = t.In(place)
	}
	return t.Format("Mon 2 Jan 2006 15:04 ") + cmp.Or(zone, "UTC")
}

func thresholds(b wflo.Budget) string {
	marks := b.Thresholds
	if marks == nil {
		marks = wflo.DefaultThresholds
	}
	if len(marks) == 0 {
		return "none"
	}
	words := make([]string, len(marks))
	for i, t := range marks {
		words[i] = fmt.Sprintf("%d%%", t)
	}
	return strings.Join(words, ", ")
}

func exceededWords(e wflo.OnExceeded) string {
	switch cmp.Or(e, wflo.ExceedHalt) {
	case wflo.ExceedHalt:
		return "halt: the call is refused"
	case wflo.ExceedAsk:
		return "ask: the run waits for an approval that raises it"
	case wflo.ExceedAlert:
		return "alert: the call is made"
	case wflo.ExceedIgnore:
		return "ignore: the call is made"
	}
	return string(e)
}

// ruleWords is a rule on one line.
func ruleWords(b wflo.Budget) string {
	limit := "no limit"
	if b.Limit > 0 {
		limit = b.Limit.String()
	}
	text := fmt.Sprintf("%s: %s, period %s", b.ID(), limit, period(b))
	if b.TimeZone != "" {
		text += " in " + b.TimeZone
	}
	return text + ", alerts at " + thresholds(b) + ", when exceeded " + string(cmp.Or(b.OnExceeded, wflo.ExceedHalt))
}

// alertWords says why an alert was given.
func alertWords(a wflo.BudgetAlert) string {
	if a.Kind == wflo.AlertExceeded {
		return "a call did not fit"
	}
	return fmt.Sprintf("%d%% reached", a.Percent)
}

var onExceeded = []string{string(wflo.ExceedHalt), string(wflo.ExceedAsk), string(wflo.ExceedAlert), string(wflo.ExceedIgnore)}

func parseOnExceeded(text string) (wflo.OnExceeded, error) {
	return wflo.OnExceeded(text), oneOf("--on-exceeded", text, onExceeded...)
}

// completeOnExceeded offers the values of --on-exceeded.
func completeOnExceeded(cmd *cobra.Command) {
	if err := cmd.RegisterFlagCompletionFunc("on-exceeded", cobra.FixedCompletions(onExceeded, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the caller added the flag
	}
}
