package pricing

import (
	"os"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// TestReadmeExamples parses the rows that operators will copy.
func TestReadmeExamples(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range strings.Split(string(data), "```json\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if !strings.Contains(text, `"version"`) {
			text = fileOf(text)
		}
		if _, err := Parse(strings.NewReader(text)); err != nil {
			t.Errorf("example %d: %v", n, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d examples, want 3", n)
	}
}

// readmeBook is the book of an example, by a model that is in it.
func readmeBook(t *testing.T, model string) *Book {
	t.Helper()
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(data), "```json\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if strings.Contains(text, model) {
			b, err := Parse(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("no example has %s", model)
	return nil
}

// TestReadmePriceModels prices calls at the rates of the README's example.
func TestReadmePriceModels(t *testing.T) {
	b := readmeBook(t, "writer-1")
	for _, tt := range []struct {
		model, at string
		usage     wflo.Usage
		want      string
	}{
		// 1000*0.2 + 500*0.8 micro-USD, 0.0001 a call, 2 seconds at 0.0005
		{"writer-1", "2026-12-01T07:59", wflo.Usage{Input: 1000, Output: 500, Millis: 2000}, "0.0017"},
		// by day 1000*0.3 + 500*1, and no price per call
		{"writer-1", "2026-12-01T08:00", wflo.Usage{Input: 1000, Output: 500, Millis: 2000}, "0.0018"},
		// from 2027 on 1000*0.1 + 500*0.4
		{"writer-1", "2027-01-01T08:00", wflo.Usage{Input: 1000, Output: 500, Millis: 2000}, "0.0013"},
		// 100000 tokens are not above 100000, 100001 are
		{"writer-1", "2026-12-01", wflo.Usage{Input: 100_000}, "0.0201"},
		{"writer-1", "2026-12-01", wflo.Usage{Input: 100_001}, "0.0401004"},
		// half of 0.0017
		{"writer-1#flex", "2026-12-01", wflo.Usage{Input: 1000, Output: 500, Millis: 2000}, "0.00085"},
		// (1000*1 + 500*4) micro-USD + 0.0001 + 0.001, and 1.1 times that
		{"writer-1#fast", "2026-12-01", wflo.Usage{Input: 1000, Output: 500, Millis: 2000}, "0.0041"},
		{"writer-1#fast+geo:eu", "2026-12-01", wflo.Usage{Input: 1000, Output: 500, Millis: 2000}, "0.00451"},
		// a minute and a half
		{"ear-1", "2026-12-01", wflo.Usage{Millis: 90_000}, "0.009"},
	} {
		p, err := b.Find("acme", tt.model, day(tt.at), tt.usage.Prompt())
		if err != nil {
			t.Errorf("%s: %v", tt.model, err)
			continue
		}
		want, err := wflo.ParseMoney(tt.want)
		if got := Cost(p, tt.usage); err != nil || got != want {
			t.Errorf("%s at %s: %v, want %v, %v", tt.model, tt.at, got, want, err)
		}
	}
}
