package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/wflo-ai/wflo-go"
)

const day = 24 * time.Hour

// parseSpan reads a length of time such as 7d, 2w, 36h or 1d12h: Go's durations
// and, before them, weeks of seven days and days of 24 hours.
func parseSpan(text string) (time.Duration, error) {
	rest, total := text, time.Duration(0)
	for _, unit := range []struct {
		letter string
		length time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		digits, after, ok := strings.Cut(rest, unit.letter)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || time.Duration(n) > (math.MaxInt64-total)/unit.length {
			return 0, fmt.Errorf("time %q: want a length such as 7d, 2w or 36h", text)
		}
		total, rest = total+time.Duration(n)*unit.length, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || strings.ContainsAny(rest[:1], "+-") || d > math.MaxInt64-total {
			return 0, fmt.Errorf("time %q: want a length such as 7d, 2w or 36h", text)
		}
		total += d
	}
	if total <= 0 {
		return 0, fmt.Errorf("time %q: want a length above zero, such as 7d, 2w or 36h", text)
	}
	return total, nil
}

// spanFlags say which time a report is about.
type spanFlags struct{ since, from, to, zone string }

func (f *spanFlags) add(flags *pflag.FlagSet, without string) {
	flags.StringVar(&f.since, "since", "", "from so long ago until now, such as 36h, 7d or 2w"+without)
	flags.StringVar(&f.from, "from", "", "from this day or time on, such as 2026-11-01 or 2026-11-01T13:00:00Z")
	flags.StringVar(&f.to, "to", "", "until before this day or time")
	flags.StringVar(&f.zone, "zone", "", "IANA time zone of days, such as Europe/Berlin (default UTC)")
}

// location is the zone, which only names in the IANA database can be: "Local"
// would be the zone of whoever asks and not of whoever answers.
func (f spanFlags) location() (*time.Location, error) {
	if err := (wflo.Budget{TimeZone: f.zone}).Validate(); err != nil {
		return nil, Usage("use a name of the IANA time zone database, such as Europe/Berlin", "--zone is %q", f.zone)
	}
	return time.LoadLocation(f.zone)
}

// bounds gives the times that are asked about; zero means no bound. without is
// the length until now when nothing is given; zero means all time.
func (f spanFlags) bounds(now time.Time, without time.Duration) (from, to time.Time, err error) {
	zone, err := f.location()
	if err != nil {
		return from, to, err
	}
	if f.since != "" {
		if f.from != "" || f.to != "" {
			return from, to, Usage("give --since alone, or --from and --to", "--since excludes --from and --to")
		}
		if without, err = parseSpan(f.since); err != nil {
			return from, to, Usage("such as --since 7d", "--since: %w", err)
		}
	}
	if from, err = parseMoment("--from", f.from, zone); err != nil {
		return from, to, err
	}
	if to, err = parseMoment("--to", f.to, zone); err != nil {
		return from, to, err
	}
	switch {
	case f.from == "" && f.to == "" && without > 0:
		from = now.Add(-without)
	case f.from != "" && f.to != "" && !from.Before(to):
		return from, to, Usage("--to is not included: for the whole of November, give --from 2026-11-01 --to 2026-12-01", "--from is not before --to")
	}
	return from, to, nil
}

// parseMoment reads a day, which begins in the zone, or a time.
func parseMoment(flag, text string, zone *time.Location) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, zone); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, Usage("write a day as in 2026-12-01, or a time as in 2026-12-01T13:00:00Z", "%s is %q", flag, text)
	}
	return t, nil
}

// parseThresholds reads percentages with commas; "none" is no percentage at all.
func parseThresholds(text string) ([]int, error) {
	const hint = "give ascending percentages from 1 to 100 with commas, such as 50,75,90, or none"
	if text == "none" {
		return []int{}, nil
	}
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(part), "%"))
		if err != nil {
			return nil, Usage(hint, "--thresholds is %q", text)
		}
		all = append(all, n)
	}
	if (wflo.Budget{Thresholds: all}).Validate() != nil {
		return nil, Usage(hint, "--thresholds is %q", text)
	}
	return all, nil
}

// parseTags reads KEY=VALUE pairs.
func parseTags(pairs []string) (map[string]string, error) {
	const hint = "such as --tag env=prod"
	var tags map[string]string
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, Usage(hint, "--tag is %q", pair)
		}
		if _, twice := tags[key]; twice {
			return nil, Usage("a run has one value per key", "--tag %s is given twice", key)
		}
		if tags == nil {
			tags = map[string]string{}
		}
		tags[key] = value
	}
	return tags, nil
}

// parsePeriod reads a period; "none" is never, and a rolling one may be given in
// days, as in rolling:7d.
func parsePeriod(text string) (wflo.Period, error) {
	p := wflo.Period(text)
	if text == "none" {
		p = wflo.PeriodNone
	} else if span, ok := strings.CutPrefix(text, "rolling:"); ok {
		d, err := parseSpan(span)
		if err != nil {
			return "", Usage("such as rolling:24h or rolling:7d", "--period is %q", text)
		}
		p = wflo.Rolling(d)
	}
	if err := (wflo.Budget{Period: p}).Validate(); err != nil || text == "" {
		return "", Usage("use none, daily, weekly, monthly, or rolling: with whole seconds up to 366 days, such as rolling:24h", "--period is %q", text)
	}
	return p, nil
}
