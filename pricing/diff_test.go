package pricing

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

// dated is a row with these rates.
func dated(id, more, rates string) string {
	return `{"provider":"p","id":"` + id + `",` + more + `"mode":"chat","status":"current","rates":[` + rates + `]}`
}

func told(changes []Change) []string {
	var out []string
	for _, c := range changes {
		parts := []string{c.Kind, c.Model}
		if c.PromptTokens > 0 {
			parts = append(parts, "+"+PerMillion(c.PromptTokens*1_000_000))
		}
		for _, s := range []string{c.Was, c.From, c.Field, c.Old, c.New, c.Factor} {
			if s != "" {
				parts = append(parts, s)
			}
		}
		if c.Beyond(5) {
			parts = append(parts, "!")
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name, before, after string
		want                []string
	}{
		{"five times is not beyond five", dated("m", "", `{"per_mtok":{"input":"1","output":"5"}}`), dated("m", "", `{"per_mtok":{"input":"5","output":"1"}}`), []string{
			"rate m cache_read 1 5 5", "rate m cache_write_1h 1 5 5", "rate m cache_write_5m 1 5 5", "rate m input 1 5 5", "rate m output 5 1 0.2", "rate m reasoning 5 1 0.2",
		}},
		{"a millionth above five times is", dated("m", "", `{"per_mtok":{"input":"1","output":"1"}}`), dated("m", "", `{"per_mtok":{"input":"1","output":"5.000001","reasoning":"0.199999"}}`), []string{
			"rate m output 1 5.000001 5.000001 !", "rate m reasoning 1 0.199999 0.199999 !",
		}},
		{"a rate to come", dated("m", "", `{"per_mtok":{"input":"1","output":"2"}}`),
			dated("m", "", `{"effective_until":"2026-12-01","per_mtok":{"input":"1","output":"2"}},{"effective_from":"2026-12-01","per_mtok":{"input":"1","output":"2000"}}`), []string{
				"field m dates start.. 2026-12-01.., start..2026-12-01", "rate m 2026-12-01T00:00:00Z output 2 2000 1000 !", "rate m 2026-12-01T00:00:00Z reasoning 2 2000 1000 !",
			}},
		{"a gap is as the rate before it", dated("m", "", `{"effective_until":"2026-02-01","per_mtok":{"input":"1","output":"2"}}`),
			dated("m", "", `{"effective_from":"2026-03-01","per_mtok":{"input":"1","output":"20"}}`), []string{
				"field m dates start..2026-02-01 2026-03-01..", "rate m output 2 20 10 !", "rate m reasoning 2 20 10 !",
			}},
		{"a tier", dated("m", "", `{"per_mtok":{"input":"1","output":"2"}}`),
			dated("m", "", `{"per_mtok":{"input":"1","output":"2"},"tiers":[{"prompt_tokens_gte":100,"per_mtok":{"input":"1","output":"3"}}]}`), []string{
				"rate m +100 output 2 3 1.5", "rate m +100 reasoning 2 3 1.5",
			}},
		{"some hours", dated("m", "", `{"per_mtok":{"input":"1","output":"2"}}`),
			dated("m", "", `{"per_mtok":{"input":"1","output":"2"}},{"utc_windows":[["01:00","04:00"]],"per_mtok":{"input":"1","output":"4"}}`), []string{
				"field m dates start.. start.., start.. 01:00-04:00", "rate m output 2 4 2", "rate m reasoning 2 4 2",
			}},
		{"from free", `{"provider":"p","id":"m","free":true,` + rest(`"input":"0","output":"0"`) + `}`, dated("m", "", `{"per_mtok":{"input":"1","output":"1"},"per_request":"0.5"}`), []string{
			"field m free true false", "rate m cache_read 0 1 !", "rate m cache_write_1h 0 1 !", "rate m cache_write_5m 0 1 !", "rate m input 0 1 !", "rate m output 0 1 !", "rate m per_request 0.00 0.50 !", "rate m reasoning 0 1 !",
		}},
		{"an alias becomes a row", dated("m", `"aliases":["k"],`, `{"per_mtok":{"input":"1","output":"2"}}`),
			dated("m", "", `{"per_mtok":{"input":"1","output":"2"}}`) + "," + dated("k", "", `{"per_mtok":{"input":"1","output":"200"}}`), []string{
				"added k input 1, output 200", "rate k m output 2 200 100 !", "rate k m reasoning 2 200 100 !", "field m aliases k",
			}},
		{"a snapshot becomes a row", dated("m", "", `{"per_mtok":{"input":"1","output":"2"}}`),
			dated("m", "", `{"per_mtok":{"input":"1","output":"2"}}`) + "," + dated("m-2026-01-02", "", `{"per_mtok":{"input":"1","output":"4"}}`), []string{
				"added m-2026-01-02 input 1, output 4", "rate m-2026-01-02 m output 2 4 2", "rate m-2026-01-02 m reasoning 2 4 2",
			}},
		{"removed", dated("m", "", `{"per_mtok":{"input":"1","output":"2"}}`), "", []string{"removed m input 1, output 2"}},
		{"not per token", `{"provider":"p","id":"s","unit":"search","mode":"rerank","status":"current","rates":[{"uncounted":{"per_1k":"2"}}]}`,
			`{"provider":"p","id":"s","unit":"search","mode":"rerank","status":"legacy","rates":[{"uncounted":{"per_1k":"3"}}]}`, []string{
				"field s status current legacy", "rate s uncounted.per_1k 2 3 1.5",
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, told(Diff(parse(t, tt.before), parse(t, tt.after)))); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
	if d := Diff(Default(), Default().With(parse(t, ""))); len(d) > 0 {
		t.Errorf("nothing laid over the book changes %v", told(d))
	}
}

func TestMerge(t *testing.T) {
	own := fileOf(dated("m", `"aliases":["a"],"source":"old",`, `{"per_mtok":{"input":"1","output":"2"}}`) + "," + dated("other", "", `{"per_mtok":{"input":"1","output":"2"}}`))
	merged, err := Merge([]byte(own), []byte(fileOf(dated("m", `"aliases":["b"],"source":"a < b",`, `{"effective_from":"2026-12-01","per_mtok":{"input":"3","output":"4"}}`)+","+dated("new", "", `{"per_mtok":{"input":"1","output":"2"}}`))))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(strings.NewReader(string(merged)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		model, day string
		input      int64
	}{{"a", "2026-11-30", 1}, {"a", "2026-12-01", 3}, {"b", "2027-01-01", 3}, {"other", "2026-11-30", 1}, {"new", "2026-11-30", 1}} {
		if p, err := b.Find("p", tt.model, day(tt.day), 0); err != nil || p.Input != tt.input*1_000_000 {
			t.Errorf("%s on %s: %v, %v", tt.model, tt.day, p, err)
		}
	}
	if !strings.Contains(string(merged), "a < b") {
		t.Errorf("text is changed:\n%s", merged)
	}
	again, err := Merge(merged, merged)
	if err != nil || string(again) != string(merged) {
		t.Errorf("merging a file into itself changes it: %v\n%s", err, again)
	}
	for name, incoming := range map[string]string{
		"overlap": dated("m", "", `{"effective_from":"2026-11-01","per_mtok":{"input":"3","output":"4"}}`),
		"names":   dated("new", `"aliases":["other"],`, `{"per_mtok":{"input":"3","output":"4"}}`),
		"broken":  dated("new", "", `{"per_mtok":{"input":"3"}}`),
	} {
		if _, err := Merge(merged, []byte(fileOf(incoming))); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Merge([]byte("{"), merged); err == nil || !strings.Contains(err.Error(), "the file to merge into") {
		t.Errorf("into a broken file: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	b := parse(t, dated("m", `"aliases":["a"],"source":"contract",`, `{"effective_until":"2026-12-01","per_mtok":{"input":"1","output":"2"}},
		{"effective_from":"2026-12-01","per_mtok":{"input":"3","output":"4"},"tiers":[{"prompt_tokens_gte":100,"per_mtok":{"input":"5","output":"6","reasoning":"7"}}]},
		{"effective_from":"2026-12-01","utc_windows":[["01:00","02:00"]],"per_mtok":{"input":"8","output":"9"}}`)+
		`,{"provider":"p","id":"s","unit":"search","mode":"rerank","status":"current","rates":[{"uncounted":{"per_1k":"2"}}]}`)
	for at, want := range map[string]int{"2026-11-30T01:30:00Z": 0, "2026-12-01T00:59:59Z": 1, "2026-12-01T01:30:00Z": 2} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		d, err := b.Describe("", "a", when)
		if err != nil || d.ID != "m" || d.Source != "contract" || !d.PriceIsUsable || len(d.Rates) != 3 {
			t.Fatalf("%+v, %v", d, err)
		}
		for i, r := range d.Rates {
			if r.InForce != (i == want) {
				t.Errorf("%s: rate %d in force: %v", at, i, r.InForce)
			}
		}
		if tier := d.Rates[1].Tiers[1]; tier.PromptTokens != 100 || tier.Price.Reasoning != 7_000_000 || strings.Join(tier.Written, " ") != "input output reasoning" {
			t.Errorf("tier %+v", tier)
		}
	}
	if d, err := b.Describe("p", "s", day("2026-11-01")); err != nil || d.PriceIsUsable || d.Rates[0].Uncounted["per_1k"] != "2" || !d.Rates[0].InForce {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := b.Describe("", "nope", day("2026-11-01")); wflo.CodeOf(err) != wflo.CodeUnknownModel {
		t.Errorf("error = %v", err)
	}
	for pico, want := range map[int64]string{0: "0", 1: "0.000001", 3625: "0.003625", 12_500_000: "12.5", 10_000_000: "10", -1_500_000: "-1.5"} {
		if got := PerMillion(pico); got != want {
			t.Errorf("PerMillion(%d) = %q, want %q", pico, got, want)
		}
	}
}

func TestFloorIsBelowTheEstimate(t *testing.T) {
	prompt := wflo.Prompt{System: "be brief", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "one two\n three"}}, MaxTokens: 10}
	p := wflo.Price{Input: 4_000_000, CacheRead: 1_000_000, Output: 8_000_000, PerRequest: 7}
	if least, tokens := Floor(p, prompt); least != 5*1000+7 || tokens != 5 {
		t.Errorf("Floor = %v, %d", least, tokens)
	}
	for _, m := range Default().Models() {
		q, err := Default().Find(m.Provider, m.ID, day("2026-11-22"), 5)
		if err != nil {
			continue
		}
		least, _ := Floor(q, prompt)
		if worst, _ := Estimate(q, prompt); least > worst {
			t.Errorf("%s: at least %v, at most %v", m.ID, least, worst)
		}
	}
}
