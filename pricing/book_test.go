package pricing

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

// fileOf wraps rows into a price file.
func fileOf(rows string) string { return `{"version":1,"currency":"USD","models":[` + rows + `]}` }

// rest is what a row has besides provider and id, with these token rates.
func rest(rates string) string {
	return `"mode":"chat","status":"current","rates":[{"per_mtok":{` + rates + `}}]`
}

func parse(t *testing.T, rows string) *Book {
	t.Helper()
	b, err := Parse(strings.NewReader(fileOf(rows)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1_000_000, "0.003625": 3625, "12.5": 12_500_000, "0.000001": 1, "10000": maxRate, "007": 7_000_000,
	} {
		if got, err := parseRate(s); err != nil || got != want {
			t.Errorf("parseRate(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for s, want := range map[string]error{
		"": errNotDecimal, "-1": errNotDecimal, "+1": errNotDecimal, "1e3": errNotDecimal, ".5": errNotDecimal, "5.": errNotDecimal,
		"1.2.3": errNotDecimal, "1,5": errNotDecimal, "٣": errNotDecimal, "0.0000001": errPrecision, "10000.000001": errTooLarge,
		"99999999999999999999999999": errTooLarge,
	} {
		if got, err := parseRate(s); !errors.Is(err, want) {
			t.Errorf("parseRate(%q) = %d, %v, want %v", s, got, err, want)
		}
	}
}

func TestParseNamesRowAndField(t *testing.T) {
	ok := rest(`"input":"1","output":"2"`)
	tests := []struct{ name, file, want string }{
		{"not JSON", `{`, "prices at byte"},
		{"unknown field", fileOf(`{"provider":"p","id":"m","modes":"chat"}`), "modes"},
		{"trailing", fileOf("") + "{}", "after the closing brace"},
		{"version", `{"version":2,"currency":"USD"}`, "prices: version is 2"},
		{"currency", `{"version":1,"currency":"EUR"}`, `prices: currency is "EUR"`},
		{"no id", fileOf(`{"provider":"p",` + ok + `}`), "prices: models[0] lacks"},
		{"duplicate id", fileOf(`{"provider":"p","id":"m",` + ok + `},{"provider":"p","id":"m",` + ok + `}`), `price of p/m: id "m" is also a name of p/m`},
		{"duplicate alias", fileOf(`{"provider":"p","id":"m",` + ok + `},{"provider":"p","id":"n","aliases":["x","m"],` + ok + `}`), `price of p/n: aliases[1] "m" is also a name of p/m`},
		{"wild alias", fileOf(`{"provider":"p","id":"m","aliases":["*"],` + ok + `}`), `aliases[0] is "*"`},
		{"mode", fileOf(`{"provider":"p","id":"m","mode":"talk","status":"current","rates":[{"per_mtok":{"input":"1","output":"2"}}]}`), `price of p/m: mode is "talk"`},
		{"status", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"new","rates":[{"per_mtok":{"input":"1","output":"2"}}]}`), `status is "new"`},
		{"unit", fileOf(`{"provider":"p","id":"m","unit":"word",` + ok + `}`), `unit is "word"`},
		{"token rates per character", fileOf(`{"provider":"p","id":"m","unit":"character",` + ok + `}`), "rates[0] has token rates, but the unit is character"},
		{"no rates", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current"}`), "price of p/m: rates are missing"},
		{"negative", fileOf(`{"provider":"p","id":"m",` + rest(`"input":"-1","output":"2"`) + `}`), `price of p/m: rates[0].per_mtok.input is "-1"`},
		{"too precise", fileOf(`{"provider":"p","id":"m",` + rest(`"input":"1","output":"0.0000001"`) + `}`), "rates[0].per_mtok.output is \"0.0000001\", which has more than 6 decimals"},
		{"too large", fileOf(`{"provider":"p","id":"m",` + rest(`"input":"1","output":"10001"`) + `}`), "above 10000 USD"},
		{"missing output", fileOf(`{"provider":"p","id":"m",` + rest(`"input":"1"`) + `}`), "rates[0].per_mtok.output is missing"},
		{"missing input", fileOf(`{"provider":"p","id":"m",` + rest(`"output":"1"`) + `}`), "rates[0].per_mtok.input is missing"},
		{"missing all", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{}]}`), "rates[0].per_mtok is missing"},
		{"zero by a slip", fileOf(`{"provider":"p","id":"m",` + rest(`"input":"0","output":"0.000"`) + `}`), `rates[0].per_mtok.output is 0 (a free model needs "free": true`},
		{"free but not", fileOf(`{"provider":"p","id":"m","free":true,` + rest(`"input":"0","output":"1"`) + `}`), "rates[0].per_mtok.output is 1 for a free model"},
		{"number for a rate", fileOf(`{"provider":"p","id":"m",` + rest(`"input":1,"output":"2"`) + `}`), "prices at byte"},
		{"day", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"effective_from":"2026-02-30","per_mtok":{"input":"1","output":"2"}}]}`), `rates[0].effective_from is "2026-02-30"`},
		{"backwards", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"effective_from":"2026-02-03","effective_until":"2026-02-03","per_mtok":{"input":"1","output":"2"}}]}`), "rates[0].effective_until is not after"},
		{"overlap", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"effective_until":"2026-02-03","per_mtok":{"input":"1","output":"2"}},{"effective_from":"2026-02-02","per_mtok":{"input":"1","output":"2"}}]}`), "price of p/m: rates[1] holds at the same time as rates[0]"},
		{"window", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"utc_windows":[["01:00","25:00"]],"per_mtok":{"input":"1","output":"2"}}]}`), "rates[0].utc_windows[0] is"},
		{"windows overlap past midnight", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"utc_windows":[["23:00","02:00"]],"per_mtok":{"input":"1","output":"2"}},{"utc_windows":[["01:59","03:00"]],"per_mtok":{"input":"1","output":"2"}}]}`), "rates[1] holds at the same time as rates[0]"},
		{"tiers out of order", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"1","output":"2"},"tiers":[{"prompt_tokens_gte":9,"per_mtok":{"input":"1","output":"2"}},{"prompt_tokens_gte":9,"per_mtok":{"input":"1","output":"2"}}]}]}`), "rates[0].tiers[1].prompt_tokens_gte is 9"},
		{"tier without output", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"1","output":"2"},"tiers":[{"prompt_tokens_gte":9,"per_mtok":{"input":"1"}}]}]}`), "rates[0].tiers[0].per_mtok.output is missing"},
		{"fee", fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"per_request":"-1","per_mtok":{"input":"1","output":"2"}}]}`), `rates[0].per_request is "-1"`},
		{"uncounted", fileOf(`{"provider":"p","id":"m","unit":"search","mode":"rerank","status":"current","rates":[{"uncounted":{"rerank_search_per_1k":"two"}}]}`), `rates[0].uncounted.rerank_search_per_1k is "two"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tt.file))
			if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestParseReportsEveryProblem(t *testing.T) {
	_, err := Parse(strings.NewReader(fileOf(`{"provider":"p","id":"a",` + rest(`"input":"x"`) + `},{"provider":"p","id":"b",` + rest(`"output":"1"`) + `}`)))
	for _, want := range []string{"p/a: rates[0].per_mtok.input", "p/a: rates[0].per_mtok.output", "p/b: rates[0].per_mtok.input"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q too", err, want)
		}
	}
}

func TestPerRequestIsCharged(t *testing.T) {
	b := parse(t, `{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"per_request":"0.005","per_mtok":{"input":"1","output":"2"}}]}`)
	p, err := b.Find("p", "m", day("2026-11-01"), 1)
	if err != nil || Cost(p, wflo.Usage{Input: 1}) != 5*wflo.MicroUSD*1000+1000 {
		t.Errorf("price %+v, error %v, cost %v", p, err, Cost(p, wflo.Usage{Input: 1}))
	}
}

func TestWithLetsTheOperatorWin(t *testing.T) {
	base := parse(t, `
		{"provider":"p","id":"m","aliases":["m-old","m-nick"],`+rest(`"input":"1","cache_write_5m":"1.25","output":"2"`)+`},
		{"provider":"p","id":"n","aliases":["n-old"],`+rest(`"input":"3","output":"4"`)+`},
		{"provider":"p","id":"k",`+rest(`"input":"5","output":"6"`)+`}`)
	over := parse(t, `
		{"provider":"p","id":"m","aliases":["n-old"],`+rest(`"input":"8","output":"9"`)+`},
		{"provider":"p","id":"new","aliases":["k","m-nick"],`+rest(`"input":"10","output":"11"`)+`},
		{"provider":"ollama","id":"*","free":true,`+rest(`"input":"0","output":"0"`)+`}`)
	merged := base.With(over)
	want := map[string]int64{"m": 8, "m-old": 8, "n-old": 8, "n": 3, "k": 10, "m-nick": 10, "new": 10, "m-2026-01-02": 8}
	for model, input := range want {
		p, err := merged.Find("p", model, day("2026-11-01"), 1)
		if err != nil || p.Input != input*1_000_000 {
			t.Errorf("%s: %+v, %v, want input %d", model, p, err, input)
		}
		if override := input == 8 || input == 10; strings.HasPrefix(p.ID, "override:") != override {
			t.Errorf("%s: id %s", model, p.ID)
		}
	}
	// That the provider charges for cache writes is known from the base.
	if p, err := merged.Find("p", "m", day("2026-11-01"), 1); err != nil || p.CacheWrite5m != 10_000_000 {
		t.Errorf("cache write = %+v, %v", p, err)
	}
	if p, err := merged.Find("ollama", "qwen3:8b", day("2026-11-01"), 1); err != nil || p != (wflo.Price{ID: "override:ollama/*@start"}) {
		t.Errorf("free model: %+v, %v", p, err)
	}
	if p, err := base.Find("p", "m", day("2026-11-01"), 1); err != nil || p.Input != 1_000_000 || len(base.Models()) != 3 {
		t.Errorf("the base changed: %+v, %v", p, err)
	}
}

func TestEmbeddedBook(t *testing.T) {
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	at := day(b.Date())
	for _, m := range b.Models() {
		if m.Source == "" || m.SourceDate == "" {
			t.Errorf("%s/%s does not say where and when its rates were read", m.Provider, m.ID)
		}
		if m.ContextWindow == 0 && m.Provider == "anthropic" {
			t.Errorf("%s/%s has no context window", m.Provider, m.ID)
		}
		if m.Status == statusUnpriced || m.Unit != unitToken || m.Mode != modeChat && m.Mode != modeEmbedding {
			continue
		}
		if p, err := b.Find(m.Provider, m.ID, at, 1); err != nil || p.Input == 0 && m.ID != anyModel {
			t.Errorf("%s/%s on the book's day: %+v, %v", m.Provider, m.ID, p, err)
		}
	}
	if Default() != Default() {
		t.Error("Default parses more than once")
	}
}

// TestEmbeddedBookHolds names the models that users were promised.
func TestEmbeddedBookHolds(t *testing.T) {
	var got []string
	have := map[string]string{}
	for _, m := range Default().Models() {
		for _, id := range append([]string{m.ID}, m.Aliases...) {
			have[m.Provider+"/"+id] = m.Unit + " " + m.Mode
		}
	}
	want := []string{
		"token chat openai/gpt-4", "token chat openai/gpt-4-turbo", "token chat openai/gpt-4o", "token chat openai/gpt-3.5-turbo",
		"token chat openai/gpt-5.4", "token chat openai/gpt-5.4-mini", "token chat openai/gpt-6-sol", "token chat openai/gpt-6-luna",
		"token embedding openai/text-embedding-ada-002", "token embedding openai/text-embedding-3-small",
		"token chat anthropic/claude-3-opus", "token chat anthropic/claude-3-sonnet", "token chat anthropic/claude-3-haiku",
		"token chat anthropic/claude-haiku-4-5", "token chat anthropic/claude-opus-5-5", "token chat anthropic/claude-sonnet-5-5",
		"character chat google/palm-2", "character chat google/text-bison",
		"token chat google/gemini-pro", "token chat google/gemini-1.5-pro", "token chat google/gemini-2.5-pro", "token chat google/gemini-3.8-flash",
		"token chat cohere/command", "token chat cohere/command-r", "token chat cohere/command-r-plus", "token chat cohere/command-a",
		"token embedding cohere/embed-english-v3.0", "token embedding cohere/embed-v4.0",
		"token chat mistral/mistral-large-2512", "token chat xai/grok-4.6", "token chat deepseek/deepseek-v4-pro",
	}
	for _, w := range want {
		id := w[strings.LastIndex(w, " ")+1:]
		got = append(got, have[id]+" "+id)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
}

func TestModelsAreCopies(t *testing.T) {
	b := parse(t, `{"provider":"p","id":"m","aliases":["x"],`+rest(`"input":"1","output":"2"`)+`}`)
	b.Models()[0].Aliases[0] = "y"
	if got := b.Models()[0].Aliases[0]; got != "x" {
		t.Errorf("alias = %q", got)
	}
}

func FuzzParse(f *testing.F) {
	// Small seeds: with the whole embedded book the fuzzer only shrinks it.
	f.Add(fileOf(`{"provider":"p","id":"m","mode":"chat","status":"unpriced","rates":[],"source":"s","source_date":"2026-01-01","note":"n"}`))
	f.Add(fileOf(`{"provider":"p","id":"m","unit":"character","mode":"chat","status":"retired","rates":[{"uncounted":{"input_per_mchar":"0.25"}}]}`))
	f.Add(fileOf(`{"provider":"p","id":"m","aliases":["x"],` + rest(`"input":"1","output":"2"`) + `}`))
	f.Add(fileOf(`{"provider":"p","id":"*","free":true,` + rest(`"input":"0","output":"0"`) + `}`))
	f.Add(fileOf(`{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"effective_from":"2026-01-01","utc_windows":[["23:00","02:00"]],"per_request":"0.1","per_mtok":{"input":"1","output":"2"},"tiers":[{"prompt_tokens_gte":9,"per_mtok":{"input":"1","output":"2"}}]}]}`))
	at := day("2026-11-22")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := Parse(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, m := range b.Models() {
			p, err := b.Find(m.Provider, m.ID, at, 1000)
			if err != nil {
				if wflo.CodeOf(err) != wflo.CodeUnknownModel {
					t.Fatalf("%s/%s: %v", m.Provider, m.ID, err)
				}
				continue
			}
			w, err := b.FindWorst(m.Provider, m.ID, at, 1000)
			if err != nil || higher(w, p) != w {
				t.Fatalf("%s/%s: %+v is above the worst, %+v, %v", m.Provider, m.ID, p, w, err)
			}
			if free := p.Input == 0 || p.Output == 0; free && !b.rows[b.names[name{m.Provider, m.ID}]].Free {
				t.Fatalf("%s/%s is free without saying so: %+v", m.Provider, m.ID, p)
			}
		}
		b.With(Default())
	})
}
