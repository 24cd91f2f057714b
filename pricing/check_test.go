package pricing

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckSaysWhere(t *testing.T) {
	tests := []struct {
		name, file string
		want       []string
	}{
		{"empty", "", []string{"1: prices: the file is empty"}},
		{"syntax", "{\n\"version\": 1,\n}", []string{"3: prices: invalid character '}'"}},
		{"cut off", "{\n\"version\": 1", []string{"2: prices: unexpected EOF"}},
		{"trailing", fileOf("") + "\n\n{}", []string{"3: prices go on after the closing brace"}},
		{"a list", "[]", []string{"1: prices is a list"}},
		{"null", "null", []string{"1: prices: version is 0", "1: prices: currency is"}},
		{"head", "{\"version\": 2,\n\"currency\": \"EUR\",\n\"models\": []}", []string{"1: prices: version is 2", `2: prices: currency is "EUR"`}},
		{"no id", fileOf("\n{\"provider\": \"p\"}"), []string{"2: prices: models[0] lacks a provider or an id"}},
		{"several rows", fileOf("\n{\"provider\":\"p\",\"id\":\"a\"," + rest(`"input":"x"`) + "},\n{\"provider\":\"p\",\"id\":\"a\"," + rest(`"input":"1","output":"0"`) + "}"), []string{
			`2: price of p/a: rates[0].per_mtok.input is "x"`, "2: price of p/a: rates[0].per_mtok.output is missing",
			`3: price of p/a: id "a" is also a name of p/a`, "3: price of p/a: rates[0].per_mtok.output is 0",
		}},
		{"kinds and names", fileOf("\n{\"provider\":\"p\",\n\"id\":\"a\",\n\"modes\":\"chat\",\n\"mode\":\"chat\",\"status\":\"current\",\n\"rates\":[\n{\"per_mtok\":{\n\"input\":1,\n\"output\":\"1\",\n\"output\":\"2\"}}]}"), []string{
			"4: prices: models[0].modes is no field of a price file", "8: prices: models[0].rates[0].per_mtok.input is the number 1",
			"10: prices: models[0].rates[0].per_mtok.output is there twice",
		}},
		{"foreign names", fileOf("{\"provider\":\"p: q\",\"id\":\"a: b\",\n" + rest(`"input":"x","output":"1"`) + "}"), []string{`2: price of p: q/a: b: rates[0].per_mtok.input is "x"`}},
		{"rates are no list", fileOf("{\"provider\":\"p\",\"id\":\"a\",\n\"mode\":\"chat\",\"status\":\"current\",\"rates\":{}}"), []string{"2: prices: models[0].rates is an object"}},
		{"broken number", fileOf("{\"provider\":\"p\",\"id\":\"a\",\n\"context_window\":1.5," + rest(`"input":"1","output":"1"`) + "}"), []string{"2: prices: models[0].context_window is the number 1.5"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			problems := Check([]byte(tt.file))
			var got []string
			for i, p := range problems {
				line := fmt.Sprintf("%d: %s", p.Line, p.Message)
				if i < len(tt.want) && strings.HasPrefix(line, tt.want[i]) {
					line = tt.want[i]
				}
				got = append(got, line)
				if p.Hint == "" {
					t.Errorf("%q has no hint", p.Message)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	if p := Check(embedded); len(p) > 0 {
		t.Errorf("the embedded book: %v", p)
	}
	if p := Check(bytes.Repeat([]byte(" "), maxFile+1)); len(p) != 1 || !strings.Contains(p[0].Message, "larger than") {
		t.Errorf("too large: %v", p)
	}
}

// FuzzCheck holds Check to what Parse refuses, and files that parse to what
// Merge and Diff promise of them.
func FuzzCheck(f *testing.F) {
	ok := rest(`"input":"1","output":"2"`)
	for _, s := range []string{
		"", "{", "null", "[]", `"x"`, fileOf(""), fileOf("{}") + "{}", fileOf(`{"provider":"p","id":"m",` + ok + `}`),
		fileOf(`{"provider":"p","id":"m",` + ok + `,"rates":[{"per_mtok":{"input":1}}]}`),
		`{"Version":1,"CURRENCY":"USD","models":[{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"utc_windows":[["01:00","25:00","x"]],"per_mtok":{"input":"1","output":"2"},"tiers":[{"prompt_tokens_gte":1e2}]}]}]}`,
		fileOf(`{"provider":"p","id":"m","unit":"search","mode":"rerank","status":"current","rates":[{"uncounted":{"a.b c":"x"}}]}`),
		fileOf(tiered), fileOf(timed), `{"models":[{"rates":[{"service_tiers":{"flex":{"tiers":[null]}},"per_second":1}]}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		problems := Check(data)
		b, err := Parse(bytes.NewReader(data))
		if err != nil && len(problems) == 0 {
			t.Fatalf("Parse refuses it, Check does not: %v", err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > 1+bytes.Count(data, []byte("\n")) || p.Message == "" || p.Hint == "" {
				t.Fatalf("problem %+v", p)
			}
		}
		if err != nil {
			return
		}
		if d := Diff(b, b); len(d) > 0 {
			t.Fatalf("differs from itself: %+v", d)
		}
		merged, err := Merge(nil, data)
		if err != nil {
			t.Fatalf("merge into nothing: %v", err)
		}
		same, err := Parse(bytes.NewReader(merged))
		if err != nil {
			t.Fatal(err)
		}
		if d := Diff(b, same); len(d) > 0 {
			t.Fatalf("merging into nothing changes %+v", d)
		}
	})
}
