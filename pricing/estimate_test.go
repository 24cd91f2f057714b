package pricing

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

func TestInputBoundCountsEverythingSent(t *testing.T) {
	base := wflo.Prompt{
		System:   "system",
		Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "text"}},
	}
	if got, want := InputBound(base), int64(overheadCall+len("system")+overheadMessage+len("user")+len("text")); got != want {
		t.Errorf("plain prompt: %d, want %d", got, want)
	}
	// Each part, 100 bytes longer, must raise the bound by at least as much.
	long := strings.Repeat("x", 100)
	parts := map[string]wflo.Prompt{
		"system":       {System: long},
		"text":         {Messages: []wflo.Message{{Text: long}}},
		"tool result":  {Messages: []wflo.Message{{Role: wflo.RoleTool, Text: long}}},
		"tool call id": {Messages: []wflo.Message{{ToolCallID: long}}},
		"tool name":    {Messages: []wflo.Message{{ToolName: long}}},
		"call id":      {Messages: []wflo.Message{{ToolCalls: []wflo.ToolCall{{ID: long}}}}},
		"call name":    {Messages: []wflo.Message{{ToolCalls: []wflo.ToolCall{{Name: long}}}}},
		"arguments":    {Messages: []wflo.Message{{ToolCalls: []wflo.ToolCall{{Arguments: long}}}}},
		"opaque":       {Messages: []wflo.Message{{ToolCalls: []wflo.ToolCall{{Opaque: long}}}}},
		"name":         {Tools: []wflo.Tool{{Name: long}}},
		"description":  {Tools: []wflo.Tool{{Description: long}}},
		"schema":       {Tools: []wflo.Tool{{Parameters: json.RawMessage(`"` + long + `"`)}}},
	}
	for part, p := range parts {
		if got := InputBound(p); got < 100+overheadCall {
			t.Errorf("%s: %d", part, got)
		}
	}
	if got := InputBound(wflo.Prompt{System: "\xff\xff"}); got < overheadCall+2*int64(len("\uFFFD")) {
		t.Errorf("invalid UTF-8: %d", got)
	}
}

func TestEscapedLenIsNoLessThanJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		var out strings.Builder
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		if sent := int64(len(out.String()) - len("\"\"\n")); escapedLen(s) < sent {
			t.Fatalf("escapedLen(%q) = %d, JSON has %d", s, escapedLen(s), sent)
		}
	})
	if got := escapedLen("中😀"); got != 6+12 {
		t.Errorf("escapedLen = %d, want the length of \\u escapes, 18", got)
	}
}

func TestEstimateByHand(t *testing.T) {
	prompt := wflo.Prompt{System: "sys", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hello"}}, MaxTokens: 1000}
	p := wflo.Price{Input: 3_000_000, CacheRead: 300_000, CacheWrite5m: 3_750_000, CacheWrite1h: 6_000_000, Output: 15_000_000, Reasoning: 20_000_000, PerRequest: 7}
	// 64 + 3 + 32 + 4 + 5 = 108 tokens at 6 USD per million; 1000 at 20.
	worst, n := Estimate(p, prompt)
	if want := wflo.Money(108*6000 + 1000*20_000 + 7); worst != want || n != 108 {
		t.Errorf("Estimate = %v, %d, want %v, 108", worst, n, want)
	}
	prompt.MaxTokens = 0
	if worst, _ := Estimate(p, prompt); worst != math.MaxInt64 {
		t.Errorf("without a limit: %v, want the largest Money", worst)
	}
	if worst, _ := Estimate(wflo.Price{}, prompt); worst != 0 {
		t.Errorf("a free model without a limit: %v", worst)
	}
}

func TestMaxOutputIsTheLongestThatFits(t *testing.T) {
	prompt := wflo.Prompt{Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hello"}}}
	in := InputBound(prompt)
	rapid.Check(t, func(t *rapid.T) {
		p := aPrice().Draw(t, "price")
		within := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "within"))
		room := wflo.Money(anInt64().Draw(t, "room"))
		cost := func(n int64) wflo.Money {
			var sum uint128
			sum.add(in, inputRate(p))
			sum.add(n, outputRate(p))
			sum.addTime(millisUp(within), p.PerSecond)
			return plus(sum.nano(), p.PerRequest)
		}
		n := MaxOutputWithin(p, in, room, within)
		if n < 0 {
			t.Fatalf("MaxOutput = %d", n)
		}
		if n > 0 {
			limited := prompt
			limited.MaxTokens = n
			if worst, _ := EstimateWithin(p, limited, within); worst > room {
				t.Fatalf("MaxOutput = %d costs %v, room is %v", n, worst, room)
			}
		}
		if n < math.MaxInt64 && cost(n+1) <= room && room < maxMoney {
			t.Fatalf("MaxOutput = %d, but %d costs %v of %v", n, n+1, cost(n+1), room)
		}
	})
}

func TestMaxOutputEdges(t *testing.T) {
	p := wflo.Price{Input: 1_000_000, Output: 2_000_000, PerRequest: 10}
	tests := []struct {
		name string
		p    wflo.Price
		room wflo.Money
		want int64
	}{
		// 100 prompt tokens are 100,000 nano; 10 is the fee; a token of output is 2000.
		{"exactly one", p, 102_010, 1},
		{"a nano short of one", p, 102_009, 0},
		{"input does not fit", p, 100_009, 0},
		{"fee does not fit", p, 9, 0},
		{"no room", p, 0, 0},
		{"overdrawn", p, -5, 0},
		{"free output", wflo.Price{Input: 1_000_000}, 100_000, math.MaxInt64},
		{"free output, input too dear", wflo.Price{Input: 1_000_000}, 99_999, 0},
	}
	for _, tt := range tests {
		if got := MaxOutput(tt.p, 100, tt.room); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestReservationIsNeverExceeded is the promise of this package: whatever the
// model, the moment and the split of the tokens, what is billed within the bound
// is not above what was reserved.
func TestReservationIsNeverExceeded(t *testing.T) {
	b := Default()
	var models []Model
	for _, m := range b.Models() {
		if _, err := b.Find(m.Provider, m.ID, day("2026-11-22"), 1); err == nil {
			models = append(models, m)
		}
	}
	start, end := day("2025-01-01").Unix(), day("2027-06-01").Unix()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(models).Draw(t, "model")
		at := time.Unix(rapid.Int64Range(start, end).Draw(t, "at"), 0)
		size := rapid.OneOf(rapid.IntRange(0, 1000), rapid.IntRange(90_000, 300_000)).Draw(t, "size")
		prompt := wflo.Prompt{
			Messages:  []wflo.Message{{Role: wflo.RoleUser, Text: strings.Repeat("x", size)}},
			MaxTokens: rapid.Int64Range(1, 100_000).Draw(t, "max tokens"),
		}
		p, err := b.FindWorst(m.Provider, m.ID, at, InputBound(prompt))
		if err != nil {
			return // not in force yet
		}
		worst, left := Estimate(p, prompt)
		part := func(name string, of *int64) int64 {
			n := rapid.Int64Range(0, *of).Draw(t, name)
			*of -= n
			return n
		}
		answer := prompt.MaxTokens
		u := wflo.Usage{
			Input: part("input", &left), CacheRead: part("cache read", &left), CacheWrite5m: part("5m", &left),
			CacheWrite1h: part("1h", &left), Output: part("output", &answer), Reasoning: part("reasoning", &answer),
		}
		billed := at.Add(time.Duration(rapid.Int64Range(0, int64(callHorizon)).Draw(t, "later")))
		actual, err := b.Find(m.Provider, m.ID, billed, u.Prompt())
		if err != nil {
			return // no longer in force when billed
		}
		if c := Cost(actual, u); c > worst {
			t.Fatalf("%s costs %v at %v, reserved were %v at %v", actual.ID, c, billed, worst, at)
		}
	})
}

func TestCompare(t *testing.T) {
	b := parse(t, `
		{"provider":"p","id":"dear",`+rest(`"input":"2","output":"2"`)+`},
		{"provider":"p","id":"cheap",`+rest(`"input":"1","output":"1"`)+`},
		{"provider":"a","id":"cheap-too",`+rest(`"input":"1","output":"1"`)+`},
		{"provider":"p","id":"small","context_window":10,`+rest(`"input":"0.1","output":"0.1"`)+`},
		{"provider":"p","id":"old","mode":"chat","status":"legacy","rates":[{"per_mtok":{"input":"0.1","output":"0.1"}}]},
		{"provider":"p","id":"vectors","mode":"embedding","status":"current","rates":[{"per_mtok":{"input":"0.1"}}]},
		{"provider":"p","id":"later","mode":"chat","status":"current","rates":[{"effective_from":"2027-01-01","per_mtok":{"input":"0.1","output":"0.1"}}]},
		{"provider":"home","id":"*","free":true,`+rest(`"input":"0","output":"0"`)+`}`)
	var got []string
	for _, q := range b.Compare(wflo.Usage{Input: 10, Output: 1}, day("2026-11-01")) {
		got = append(got, q.Provider+"/"+q.Model+" "+q.Cost.String())
	}
	want := "a/cheap-too $0.000011, p/cheap $0.000011, p/dear $0.000022"
	if strings.Join(got, ", ") != want {
		t.Errorf("Compare = %v, want %s", got, want)
	}
	if n := len(Default().Compare(benchUsage, day("2026-11-22"))); n < 20 {
		t.Errorf("the embedded book compares %d models", n)
	}
}
