package pricing

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Find is what package activities asks of its prices.
var _ interface {
	Find(provider, model string, at time.Time, promptTokens int64) (wflo.Price, error)
} = (*Book)(nil)

// day is midnight UTC of a day, or a moment given as 2006-01-02T15:04.
func day(s string) time.Time {
	t, err := time.Parse("2006-01-02T15:04", s)
	if err != nil {
		t, err = time.Parse(dayFormat, s)
	}
	if err != nil {
		panic(err)
	}
	return t
}

// TestGolden prices real calls. The sums were made by hand from the providers'
// published rates; the comment has the USD per million tokens that were used.
func TestGolden(t *testing.T) {
	tests := []struct {
		provider, model, at string
		usage               wflo.Usage
		want                string
	}{
		// 0.75 in, 4.5 out: 0.00075 + 0.00225
		{"openai", "gpt-5.4-mini", "2026-11-01", wflo.Usage{Input: 1000, Output: 500}, "0.003"},
		{"openai", "gpt-5.4-mini-2026-03-05", "2026-11-01", wflo.Usage{Input: 1000, Output: 500}, "0.003"},
		// one token below the tier, 2.5 and 15: 0.6799975 + 0.015
		{"", "openai/gpt-5.4", "2026-11-01", wflo.Usage{Input: 271_999, Output: 1000}, "0.6949975"},
		// in the tier, 5 and 22.5: 1.36 + 0.0225
		{"", "gpt-5.4", "2026-11-01", wflo.Usage{Input: 272_000, Output: 1000}, "1.3825"},
		// cut on 2026-08-21 from 5/30 to 4/20: 0.05 + 0.03, 0.04 + 0.02
		{"openai", "gpt-5.6-sol", "2026-08-20T23:59", wflo.Usage{Input: 10_000, Output: 1000}, "0.08"},
		{"openai", "gpt-5.6-sol", "2026-08-21", wflo.Usage{Input: 10_000, Output: 1000}, "0.06"},
		// in the tier, 0.2 and 0.75: 0.0544002 + 0.00000075
		{"openai", "gpt-6-luna", "2026-11-01", wflo.Usage{Input: 272_001, Output: 1}, "0.05440095"},
		// 30/60: 0.03 + 0.03
		{"openai", "gpt-4-0613", "2024-01-01", wflo.Usage{Input: 1000, Output: 500}, "0.06"},
		// 0.5/1.5: 0.0005 + 0.0015
		{"openai", "gpt-3.5-turbo", "2024-06-01", wflo.Usage{Input: 1000, Output: 1000}, "0.002"},
		// this snapshot has a price of its own, 5/15 and not 2.5/10
		{"openai", "gpt-4o-2024-05-13", "2026-01-01", wflo.Usage{Input: 1000, Output: 1000}, "0.02"},
		// no cache-write rate written, so 1.25 times 2.5
		{"openai", "gpt-4o-2024-08-06", "2026-01-01", wflo.Usage{CacheWrite5m: 1000}, "0.003125"},
		// 1 in, 0.1 read, 1.25 and 2 written, 5 out: 0.0001 + 0.001 + 0.0025 + 0.002 + 0.0015
		{"anthropic", "claude-haiku-4-5-20251001", "2026-11-01",
			wflo.Usage{Input: 100, CacheRead: 10_000, CacheWrite5m: 2000, CacheWrite1h: 1000, Output: 300}, "0.0071"},
		// long context was dearer until 2026-03-13, 10/37.5 and then 5/25: 2.00001 + 0.00375, 1.000005 + 0.0025
		{"anthropic", "anthropic/claude-opus-4-6", "2026-03-12", wflo.Usage{Input: 200_001, Output: 100}, "2.00376"},
		{"anthropic", "claude-opus-4-6", "2026-03-13", wflo.Usage{Input: 200_001, Output: 100}, "1.002505"},
		// cache reads count for the tier, 0.5, 0.05 and 2.5: 0.0000005 + 0.005 + 0.000025
		{"anthropic", "claude-haiku-5-5", "2026-11-01", wflo.Usage{Input: 1, CacheRead: 100_000, Output: 10}, "0.0050255"},
		// 15/75: 0.015 + 0.075
		{"anthropic", "claude-3-opus-20240229", "2024-06-01", wflo.Usage{Input: 1000, Output: 1000}, "0.09"},
		// doubles on 2027-01-01, 0.75/3.75 and then 1.5/7.5: 0.075 + 0.0375, 0.15 + 0.075
		{"google", "gemini-3.8-flash", "2026-12-31T23:59", wflo.Usage{Input: 100_000, Output: 10_000}, "0.1125"},
		{"google", "gemini-3.8-flash", "2027-01-01", wflo.Usage{Input: 100_000, Output: 10_000}, "0.225"},
		// thinking costs what output costs, 2.5 and 15 in the tier: 0.5000025 + 0.015 + 0.03
		{"google", "gemini-2.5-pro", "2026-11-01", wflo.Usage{Input: 200_001, Output: 1000, Reasoning: 2000}, "0.5450025"},
		// no cache-read rate written, so that of input, 0.075
		{"google", "gemini-2.0-flash-lite", "2026-01-01", wflo.Usage{CacheRead: 1000}, "0.000075"},
		// 3 tokens at 3625 pico are 10.875 nano
		{"deepseek", "deepseek-v4-pro", "2026-08-01", wflo.Usage{CacheRead: 3}, "0.000000011"},
		// dearer at peak hours, 0.44/1.32 from 01:00 and from 06:00, 0.22/0.66 between
		{"deepseek", "deepseek-v4-flash", "2026-09-01T01:00", wflo.Usage{Input: 1000, Output: 1000}, "0.00176"},
		{"deepseek", "deepseek-v4-flash", "2026-09-01T04:00", wflo.Usage{Input: 1000, Output: 1000}, "0.00088"},
		{"deepseek", "deepseek-v4-flash", "2026-09-01T09:59", wflo.Usage{Input: 1000, Output: 1000}, "0.00176"},
		// 0.0375/0.15: 0.0000375 + 0.00015
		{"cohere", "command-r7b-12-2024", "2026-01-01", wflo.Usage{Input: 1000, Output: 1000}, "0.0001875"},
		{"cohere", "embed-english-v3.0", "2026-01-01", wflo.Usage{Input: 1234}, "0.0001234"},
		// 2/6 below and 4/12 from 200,000 on: 0.8 + 0.012
		{"xai", "grok-4.6", "2026-11-01", wflo.Usage{Input: 200_000, Output: 1000}, "0.812"},
		{"", "ollama/llama3.3:70b", "2026-11-01", wflo.Usage{Input: 1_000_000, Output: 1_000_000}, "0"},
	}
	for _, tt := range tests {
		t.Run(tt.model+"@"+tt.at, func(t *testing.T) {
			p, err := Default().Find(tt.provider, tt.model, day(tt.at), tt.usage.Prompt())
			if err != nil {
				t.Fatal(err)
			}
			want, err := wflo.ParseMoney(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if got := Cost(p, tt.usage); got != want {
				t.Errorf("cost = %v at %s, want %v", got, p.ID, want)
			}
		})
	}
}

func TestFindRefuses(t *testing.T) {
	tests := []struct {
		name, provider, model, at string
		message, hint             string
	}{
		{"typo", "openai", "gpt-5.4-mimi", "2026-11-01", `model "openai/gpt-5.4-mimi" has no price`, "openai/gpt-5.4-mini"},
		{"typo without provider", "", "claude-haiku-4.5", "2026-11-01", "has no price", "anthropic/claude-haiku-4-5"},
		{"nothing like it", "openai", "zzzzzzzzzzzzzzzzzz", "2026-11-01", "has no price", "add a row"},
		{"a prefix is no match", "openai", "gpt-5.4-mini-turbo", "2026-11-01", "has no price", "add a row"},
		{"no such day", "openai", "gpt-5.4-mini-2026-13-05", "2026-11-01", "has no price", "add a row"},
		{"empty", "openai", "", "2026-11-01", "has no price", "add a row"},
		{"another provider's", "openai", "anthropic/claude-haiku-4-5", "2026-11-01", "has no price", "add a row"},
		{"free rows need their provider", "", "llama3.3", "2026-11-01", "has no price", "add a row"},
		{"before its first rate", "anthropic", "claude-opus-5-5", "2026-09-21", "no rate in force on 2026-09-21 (it has one from 2026-09-22", "add a row"},
		{"per character", "google", "text-bison", "2024-01-01", "priced per character, not per token", "add a row"},
		{"per hour", "openai", "whisper-1", "2026-01-01", "priced per audio hour", "add a row"},
		{"several prices for tokens", "openai", "gpt-realtime", "2026-11-01", "is for realtime", "chat or embedding"},
		{"moving alias", "deepseek", "deepseek-chat", "2026-11-01", "has no price: a moving alias", "add a row"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for kind, find := range map[string]func(string, string, time.Time, int64) (wflo.Price, error){
				"Find": Default().Find, "FindWorst": Default().FindWorst,
			} {
				p, err := find(tt.provider, tt.model, day(tt.at), 10)
				if !errors.Is(err, wflo.ErrUnknownModel) {
					t.Fatalf("%s gives %+v, %v", kind, p, err)
				}
				var e *wflo.Error
				if !errors.As(err, &e) || !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Hint, tt.hint) {
					t.Errorf("%s: message %q with hint %q, want %q and %q", kind, e.Message, e.Hint, tt.message, tt.hint)
				}
			}
		})
	}
}

func TestFindWantsAProviderWhenSeveralSell(t *testing.T) {
	b := parse(t, `{"provider":"a","id":"m",`+rest(`"input":"1","output":"2"`)+`}, {"provider":"b","id":"m",`+rest(`"input":"3","output":"4"`)+`}`)
	if _, err := b.Find("", "m", day("2026-11-01"), 1); wflo.CodeOf(err) != wflo.CodeUnknownModel || !strings.Contains(err.Error(), "sold by a and b") {
		t.Errorf("error = %v", err)
	}
	if p, err := b.Find("", "b/m", day("2026-11-01"), 1); err != nil || p.Input != 3_000_000 {
		t.Errorf("Find = %+v, %v", p, err)
	}
}

func TestFindFillsInRates(t *testing.T) {
	b := parse(t, `
		{"provider":"plain","id":"m",`+rest(`"input":"1.000001","output":"2"`)+`},
		{"provider":"short","id":"m",`+rest(`"input":"1.000001","output":"2"`)+`},
		{"provider":"short","id":"other",`+rest(`"input":"1","cache_write_5m":"1","output":"2"`)+`},
		{"provider":"long","id":"m",`+rest(`"input":"1.000001","output":"2","reasoning":"3","cache_read":"0.5"`)+`},
		{"provider":"long","id":"other",`+rest(`"input":"1","cache_write_1h":"1","output":"2"`)+`}`)
	want := map[string]wflo.Price{
		"plain": {Input: 1_000_001, CacheRead: 1_000_001, CacheWrite5m: 1_000_001, CacheWrite1h: 1_000_001, Output: 2_000_000, Reasoning: 2_000_000},
		// 1.25 times is rounded up, in favour of whoever pays the provider.
		"short": {Input: 1_000_001, CacheRead: 1_000_001, CacheWrite5m: 1_250_002, CacheWrite1h: 1_250_002, Output: 2_000_000, Reasoning: 2_000_000},
		"long":  {Input: 1_000_001, CacheRead: 500_000, CacheWrite5m: 1_250_002, CacheWrite1h: 2_000_002, Output: 2_000_000, Reasoning: 3_000_000},
	}
	for provider, p := range want {
		p.ID = provider + "/m@start"
		if got, err := b.Find(provider, "m", day("2026-11-01"), 1); err != nil || got != p {
			t.Errorf("%s: %+v, %v, want %+v", provider, got, err, p)
		}
	}
}

func TestFindWorst(t *testing.T) {
	b := parse(t, `{"provider":"p","id":"m","mode":"chat","status":"current","rates":[
		{"effective_until":"2026-06-02","per_mtok":{"input":"5","output":"10"},"tiers":[
			{"prompt_tokens_gte":100,"per_mtok":{"input":"1","output":"30"}},
			{"prompt_tokens_gte":200,"per_mtok":{"input":"9","output":"9"}}]},
		{"effective_from":"2026-06-02","per_mtok":{"input":"7","output":"7"}},
		{"effective_from":"2026-06-02","utc_windows":[["23:00","01:00"],["12:10","12:20"]],"per_mtok":{"input":"8","output":"8"}}]}`)
	tests := []struct {
		at            string
		bound         int64
		input, output int64
		id            string
	}{
		{"2026-06-01", 99, 5, 10, "p/m@start"},
		{"2026-06-01", 100, 5, 30, "p/m@start+worst"},
		{"2026-06-01", 500, 9, 30, "p/m@start+worst"},
		// Both rates of the next day come into force within the hour.
		{"2026-06-01T23:30", 1, 8, 10, "p/m@start+worst"},
		{"2026-06-02T10:00", 1, 7, 7, "p/m@2026-06-02"},
		// A window that opens and closes within the hour.
		{"2026-06-02T11:30", 1, 8, 8, "p/m@2026-06-02+worst"},
		{"2026-06-02T22:30", 1, 8, 8, "p/m@2026-06-02+worst"},
		{"2026-06-03T00:59", 1, 8, 8, "p/m@2026-06-02+worst"},
		{"2026-06-03T01:00", 1, 7, 7, "p/m@2026-06-02"},
	}
	for _, tt := range tests {
		p, err := b.FindWorst("p", "m", day(tt.at), tt.bound)
		if err != nil || p.Input != tt.input*1_000_000 || p.Output != tt.output*1_000_000 || p.ID != tt.id {
			t.Errorf("at %s for %d tokens: %+v, %v", tt.at, tt.bound, p, err)
		}
	}
}
