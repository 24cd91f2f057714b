package pricing

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

// tiered has a factor, rates of its own, a region and a tier by size.
const tiered = `{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{
	"per_request":"0.001","per_mtok":{"input":"1","output":"2"},"tiers":[{"prompt_tokens_gt":100,"per_mtok":{"input":"3","output":"4"}}],
	"service_tiers":{"flex":{"factor":"0.5"},"priority":{"per_mtok":{"input":"5","output":"6"}},"geo:us":{"factor":"1.1"},"odd":{"factor":"0.333333"}}}]}`

const milliUSD = 1000 * wflo.MicroUSD

func TestFindServiceTier(t *testing.T) {
	b := parse(t, tiered)
	tests := []struct {
		tier          string
		prompt        int64
		id            string
		input, output int64
		perRequest    wflo.Money
	}{
		{"", 100, "p/m@start", 1_000_000, 2_000_000, milliUSD},
		{"", 101, "p/m@start+101", 3_000_000, 4_000_000, milliUSD},
		{"flex", 1, "p/m@start#flex", 500_000, 1_000_000, milliUSD / 2},
		{"flex", 101, "p/m@start#flex+101", 1_500_000, 2_000_000, milliUSD / 2},
		// Rates of its own hold for all sizes where they say nothing of sizes.
		{"priority", 101, "p/m@start#priority", 5_000_000, 6_000_000, milliUSD},
		{"geo:us", 1, "p/m@start#geo:us", 1_100_000, 2_200_000, milliUSD * 11 / 10},
		{"flex+geo:us", 1, "p/m@start#flex+geo:us", 550_000, 1_100_000, milliUSD * 55 / 100},
		{"geo:us+priority", 1, "p/m@start#geo:us+priority", 5_500_000, 6_600_000, milliUSD * 11 / 10},
		// Rounded up, in favour of whoever pays the provider.
		{"odd", 1, "p/m@start#odd", 333_333, 666_666, 333_333},
		{"odd", 101, "p/m@start#odd+101", 999_999, 1_333_332, 333_333},
		// Never dearer, so the standard rates do without a price.
		{"batch", 1, "p/m@start", 1_000_000, 2_000_000, milliUSD},
		{"batch+geo:us", 1, "p/m@start#batch+geo:us", 1_100_000, 2_200_000, milliUSD * 11 / 10},
	}
	for _, tt := range tests {
		want := wflo.Price{
			ID: tt.id, Input: tt.input, CacheRead: tt.input, CacheWrite5m: tt.input, CacheWrite1h: tt.input,
			Output: tt.output, Reasoning: tt.output, PerRequest: tt.perRequest,
		}
		got, err := b.Find("p", WithTier("m", tt.tier), day("2026-11-01"), tt.prompt)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q for %d tokens: %v (-want +got):\n%s", tt.tier, tt.prompt, err, diff)
		}
	}
}

// A tier that nobody priced may be dearer than the standard one, so that it must
// not be charged as such.
func TestUnpricedTiersAreRefused(t *testing.T) {
	b := parse(t, tiered+`,{"provider":"p","id":"two","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"1","output":"2"},
		"service_tiers":{"fast":{"per_mtok":{"input":"5","output":"6"}},"priority":{"per_mtok":{"input":"5","output":"6"}}}}]}`)
	for _, model := range []string{"m#fast", "m#geo:eu", "m#flex+fast", "m#geo:us+geo:eu", "m##flex", "m#FLEX", "two#fast+priority", "m#flex#geo:us", "nobody#flex"} {
		for kind, find := range map[string]func(string, string, time.Time, int64) (wflo.Price, error){"Find": b.Find, "FindWorst": b.FindWorst} {
			if p, err := find("p", model, day("2026-11-01"), 1); !errors.Is(err, wflo.ErrUnknownModel) || wflo.HintOf(err) == "" {
				t.Errorf("%s %s: %+v, %v", kind, model, p, err)
			}
		}
	}
	if p, err := b.Find("p", "m#*", day("2026-11-01"), 1); !errors.Is(err, wflo.ErrUnknownModel) {
		t.Errorf("every tier has one price: %+v, %v", p, err)
	}
}

func TestFindWorstOfServiceTiers(t *testing.T) {
	b := parse(t, tiered)
	for tier, want := range map[string][2]int64{
		// The account may keep its data in a dearer region without the request saying so.
		"":                {3_300_000, 4_400_000},
		"flex":            {3_300_000, 4_400_000}, // the standard service may answer instead
		"priority":        {5_500_000, 6_600_000},
		"geo:us":          {3_300_000, 4_400_000},
		"geo:us+priority": {5_500_000, 6_600_000},
		"*":               {5_500_000, 6_600_000},
	} {
		p, err := b.FindWorst("p", WithTier("m", tier), day("2026-11-01"), 1000)
		if err != nil || p.Input != want[0] || p.Output != want[1] {
			t.Errorf("%q: %+v, %v, want %v", tier, p, err, want)
		}
	}
}

func TestWithTier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model, tier := rapid.StringMatching(`[a-z0-9:/.-]{0,20}`).Draw(t, "model"), rapid.StringMatching(`[a-z:+]{0,10}`).Draw(t, "tier")
		if m, w := SplitTier(WithTier(model, tier)); m != model || w != tier {
			t.Fatalf("%q and %q became %q and %q", model, tier, m, w)
		}
	})
}

// timed are the price models that do not count tokens, or not only.
const timed = `
	{"provider":"p","id":"server","mode":"chat","status":"current","rates":[{"per_second":"0.000000000001","per_mtok":{"input":"1","output":"2"}}]},
	{"provider":"p","id":"audio","mode":"transcription","unit":"second","status":"current","rates":[{"per_second":"0.0001","service_tiers":{"batch":{"factor":"0.5"}}}]},
	{"provider":"p","id":"search","mode":"rerank","unit":"request","status":"current","rates":[{"per_request":"0.002"}]}`

func TestPriceModelsWithoutTokens(t *testing.T) {
	b := parse(t, timed)
	for _, tt := range []struct {
		model string
		usage wflo.Usage
		want  string
	}{
		// 0.0001 a second, 61.5 seconds
		{"audio", wflo.Usage{Millis: 61_500}, "0.00615"},
		{"audio#batch", wflo.Usage{Millis: 61_500}, "0.003075"},
		// Tokens cost nothing where nothing is said about them.
		{"audio", wflo.Usage{Input: 1_000_000, Millis: 1}, "0.0000001"},
		// a pico-USD a second is above nothing, so it is a nano-USD
		{"server", wflo.Usage{Millis: 1}, "0.000000001"},
		// 1 million pico-USD of a token are whole nano-USD, and 1 pico-USD is not
		{"server", wflo.Usage{Input: 1, Millis: 1}, "0.000001001"},
		{"server", wflo.Usage{Input: 1000, Output: 500}, "0.002"},
		{"search", wflo.Usage{}, "0.002"},
		{"search", wflo.Usage{Input: 1000}, "0.002"},
	} {
		p, err := b.Find("p", tt.model, day("2026-11-01"), tt.usage.Prompt())
		if err != nil {
			t.Errorf("%s: %v", tt.model, err)
			continue
		}
		want, err := wflo.ParseMoney(tt.want)
		if got := Cost(p, tt.usage); err != nil || got != want {
			t.Errorf("%s %+v: %v, want %v, %v", tt.model, tt.usage, got, want, err)
		}
	}
}

// A call that is billed by time has no bound in its prompt.
func TestEstimateOfTime(t *testing.T) {
	p := wflo.Price{Input: 1_000_000, Output: 1_000_000, PerSecond: 100_000_000}
	prompt := wflo.Prompt{Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hi"}}, MaxTokens: 100}
	if worst, _ := Estimate(p, prompt); worst != maxMoney {
		t.Errorf("without a bound: %v", worst)
	}
	if n := MaxOutput(p, 10, 5*wflo.USD); n != 0 {
		t.Errorf("an answer of %d tokens without a bound", n)
	}
	worst, input := EstimateWithin(p, prompt, 90*time.Second)
	if want := Cost(p, wflo.Usage{Input: input, Output: 100, Millis: 90_000}); worst != want {
		t.Errorf("within 90 s: %v, want %v", worst, want)
	}
	if got := TimeCost(p, 90*time.Second+time.Nanosecond); got != Cost(p, wflo.Usage{Millis: 90_001}) {
		t.Errorf("TimeCost = %v", got)
	}
}

func TestScaleRoundsUp(t *testing.T) {
	for _, tt := range []struct{ rate, factor, want int64 }{
		{0, 500_000, 0}, {1, 500_000, 1}, {3, 500_000, 2}, {10, 1_100_000, 11}, {-5, 2_000_000, 0},
		{maxRate, maxFactor, 100 * maxRate}, {1 << 62, maxFactor, int64(maxMoney)}, {int64(maxMoney), 1_000_001, int64(maxMoney)},
	} {
		if got := scale(tt.rate, tt.factor); got != tt.want {
			t.Errorf("scale(%d, %d) = %d, want %d", tt.rate, tt.factor, got, tt.want)
		}
	}
}

func TestParseNamesMistakesOfCustomModels(t *testing.T) {
	service := func(s string) string {
		return fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"1","output":"2"},"service_tiers":{` + s + `}}]}`)
	}
	unit := func(unit, rates string) string {
		return fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","unit":"` + unit + `","rates":[{` + rates + `}]}`)
	}
	tests := []struct{ name, file, want string }{
		{"tier in an id", fileOf(`{"provider":"p","id":"m#flex",` + rest(`"input":"1","output":"2"`) + `}`), `id "m#flex" has a #`},
		{"no name", service(`"":{"factor":"2"}`), "is no name of a service tier"},
		{"every tier", service(`"*":{"factor":"2"}`), "is no name of a service tier"},
		{"upper case", service(`"Flex":{"factor":"2"}`), "rates[0].service_tiers.Flex is no name"},
		{"several", service(`"flex+geo:us":{"factor":"2"}`), "is no name of a service tier"},
		{"nothing", service(`"flex":{}`), "rates[0].service_tiers.flex needs either a factor or per_mtok"},
		{"both", service(`"flex":{"factor":"2","per_mtok":{"input":"1","output":"2"}}`), "needs either"},
		{"factor", service(`"flex":{"factor":"half"}`), `service_tiers.flex.factor is "half"`},
		{"factor too large", service(`"flex":{"factor":"100.1"}`), "above 100"},
		{"factor zero", service(`"flex":{"factor":"0.0"}`), "flex.factor is 0"},
		{"factor and tiers", service(`"flex":{"factor":"2","tiers":[{"prompt_tokens_gte":9,"per_mtok":{"input":"1","output":"2"}}]}`), "flex.tiers are given besides a factor"},
		{"rates of a tier", service(`"flex":{"per_mtok":{"input":"1"}}`), "flex.per_mtok.output is missing"},
		{"both thresholds", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"1","output":"2"},"tiers":[{"prompt_tokens_gte":9,"prompt_tokens_gt":9,"per_mtok":{"input":"1","output":"2"}}]}]}`), "tiers[0].prompt_tokens_gt is given besides"},
		{"per second", unit("second", `"per_second":"fast"`), `rates[0].per_second is "fast"`},
		{"per second missing", unit("second", ``), "per_second is missing or 0"},
		{"per second zero", unit("second", `"per_second":"0"`), "per_second is missing or 0"},
		{"per second too precise", unit("second", `"per_second":"0.0000000000001"`), "more than 12 decimals"},
		{"per second too dear", unit("second", `"per_second":"1000.1"`), "above 1000 USD per second"},
		{"per request missing", unit("request", ``), "per_request is missing or 0"},
		{"tokens per second", unit("second", `"per_second":"1","per_mtok":{"input":"1","output":"2"}`), "rates[0] has token rates, but the unit is second"},
		{"tier per second", unit("second", `"per_second":"1","service_tiers":{"flex":{"per_mtok":{"input":"1","output":"2"}}}`), "service_tiers.flex has token rates"},
		{"free but timed", fileOf(`{"provider":"p","id":"m","free":true,"mode":"chat","status":"current","rates":[{"per_second":"1","per_mtok":{"input":"0","output":"0"}}]}`), "per_second is 1 for a free model"},
		{"per character", unit("character", `"per_second":"1"`), "but the unit is character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tt.file))
			if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
			found := false
			for _, p := range Check([]byte(tt.file)) {
				found = found || strings.Contains(p.Message, tt.want) || strings.Contains(p.Message+" ("+p.Hint, tt.want)
			}
			if !found {
				t.Errorf("Check = %+v, want one with %q", Check([]byte(tt.file)), tt.want)
			}
		})
	}
}

func TestDescribeTellsOfTiersAndTime(t *testing.T) {
	d, err := parse(t, tiered).Describe("p", "m#geo:us", day("2026-11-01"))
	if err != nil || !d.PriceIsUsable {
		t.Fatalf("%+v, %v", d, err)
	}
	var got []string
	for _, s := range d.Rates[0].Services {
		got = append(got, s.Name+" "+s.Factor+" "+PerMillion(s.Tiers[0].Price.Input)+" "+PerMillion(s.Tiers[len(s.Tiers)-1].Price.Output))
	}
	want := []string{"flex 0.5 0.5 2", "geo:us 1.1 1.1 4.4", "odd 0.333333 0.333333 1.333332", "priority  5 6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d, err := parse(t, tiered).Describe("p", "m#fast", day("2026-11-01")); err != nil || d.PriceIsUsable {
		t.Errorf("a tier without a price: %+v, %v", d, err)
	}
	audio, err := parse(t, timed).Describe("p", "audio", day("2026-11-01"))
	if err != nil || !audio.PriceIsUsable || PerSecond(audio.Rates[0].Tiers[0].Price.PerSecond) != "0.0001" {
		t.Errorf("%+v, %v", audio, err)
	}
}

func TestDiffOfTiersAndTime(t *testing.T) {
	before := parse(t, tiered+","+timed)
	now := strings.NewReplacer(`"factor":"0.5"}`, `"factor":"0.75"}`, `"0.0001"`, `"0.001"`, `"priority":{"per_mtok":{"input":"5",`, `"priority":{"per_mtok":{"input":"50",`,
		`,"odd":{"factor":"0.333333"}`, ``).Replace(tiered + "," + timed)
	var got []string
	beyond := map[string]bool{}
	for _, c := range Diff(before, parse(t, now)) {
		got = append(got, strings.Join([]string{c.Model, c.Field, c.Old, c.New, c.Factor}, " "))
		beyond[c.Model+" "+c.Field] = c.Beyond(5)
	}
	want := []string{
		"audio batch.per_second 0.00005 0.00075 15", "audio per_second 0.0001 0.001 10",
		"m service_tiers flex, geo:us, odd, priority flex, geo:us, priority ",
		"m flex.cache_read 0.5 0.75 1.5", "m flex.cache_write_1h 0.5 0.75 1.5", "m flex.cache_write_5m 0.5 0.75 1.5",
		"m flex.input 0.5 0.75 1.5", "m flex.output 1 1.5 1.5", "m flex.per_request 0.0005 0.00075 1.5", "m flex.reasoning 1 1.5 1.5",
		"m priority.cache_read 5 50 10", "m priority.cache_write_1h 5 50 10", "m priority.cache_write_5m 5 50 10", "m priority.input 5 50 10",
		"m flex.cache_read 1.5 2.25 1.5", "m flex.cache_write_1h 1.5 2.25 1.5", "m flex.cache_write_5m 1.5 2.25 1.5",
		"m flex.input 1.5 2.25 1.5", "m flex.output 2 3 1.5", "m flex.reasoning 2 3 1.5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !beyond["audio per_second"] || !beyond["m priority.input"] || beyond["m flex.output"] {
		t.Errorf("beyond fivefold: %v", beyond)
	}
}

func TestMergeKeepsTiersAndTime(t *testing.T) {
	own := fileOf(tiered + "," + timed)
	incoming := fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"effective_from":"2027-01-01","per_second":"0.5",
		"per_mtok":{"input":"7","output":"8"},"service_tiers":{"fast":{"factor":"6"}}}]}`)
	merged, err := Merge([]byte(own), []byte(incoming))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(strings.NewReader(string(merged)))
	if err != nil {
		t.Fatal(err)
	}
	old, err := b.Find("p", "m#priority", day("2026-12-31"), 1)
	if err != nil || old.Input != 5_000_000 {
		t.Errorf("before: %+v, %v", old, err)
	}
	fast, err := b.Find("p", "m#fast", day("2027-01-01"), 1)
	if err != nil || fast.Input != 42_000_000 || fast.PerSecond != 3_000_000_000_000 {
		t.Errorf("after: %+v, %v", fast, err)
	}
	if _, err := b.Find("p", "audio#batch", day("2027-01-01"), 1); err != nil {
		t.Error(err)
	}
}
