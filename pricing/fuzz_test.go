package pricing

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// FuzzMerge: what two files make is a file, and every model of either is in it.
func FuzzMerge(f *testing.F) {
	row := `{"provider":"p","id":"m","mode":"chat","status":"current","rates":[{"effective_from":"2027-01-01","per_mtok":{"input":"7","output":"8"}}]}`
	f.Add([]byte(fileOf(tiered)), []byte(fileOf(row)))
	f.Add([]byte(fileOf(timed)), []byte(fileOf(tiered)))
	f.Add([]byte(""), []byte(fileOf(row)))
	f.Fuzz(func(t *testing.T, own, incoming []byte) {
		merged, err := Merge(own, incoming)
		if err != nil {
			return
		}
		b, err := Parse(bytes.NewReader(merged))
		if err != nil {
			t.Fatal(err)
		}
		have := map[name]bool{}
		for _, m := range b.Models() {
			have[name{m.Provider, m.ID}] = true
		}
		for _, data := range [][]byte{own, incoming} {
			part, err := Parse(bytes.NewReader(data))
			if err != nil {
				continue // an empty file
			}
			for _, m := range part.Models() {
				if !have[name{m.Provider, m.ID}] {
					t.Fatalf("%s/%s is lost", m.Provider, m.ID)
				}
			}
			Diff(part, b)
		}
	})
}

// FuzzDecimals: a number that is read is written as the same number.
func FuzzDecimals(f *testing.F) {
	for _, s := range []string{"0", "0.003625", "10000", "007", "1e3", "0.000000000001", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for kind, x := range map[string]struct {
			parse func(string) (int64, error)
			write func(int64) string
			most  int64
		}{"rate": {parseRate, PerMillion, maxRate}, "second": {parseSecond, PerSecond, maxSecond}} {
			n, err := x.parse(s)
			if err != nil {
				continue
			}
			if n < 0 || n > x.most {
				t.Fatalf("%s %q is %d", kind, s, n)
			}
			if again, err := x.parse(x.write(n)); err != nil || again != n {
				t.Fatalf("%s %q is %d, and %q is %d, %v", kind, s, n, x.write(n), again, err)
			}
		}
	})
}

// FuzzFind: a name that is asked for has a price or is refused; a reservation is
// never below it, whatever the tier.
func FuzzFind(f *testing.F) {
	for _, s := range []string{"gpt-5.4#flex", "anthropic/claude-opus-4-8#fast+geo:us", "gpt-5.4-2026-03-05", "ollama/x", "#", "gpt-5.4##", "claude-opus-5-5#geo:us+batch+fast", "gpt-5.4#+"} {
		f.Add("", s, int64(1000))
	}
	f.Add("openai", "openai/gpt-5.4#priority", int64(300_000))
	at := day("2026-11-22")
	f.Fuzz(func(t *testing.T, provider, model string, prompt int64) {
		p, err := Default().Find(provider, model, at, prompt)
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeUnknownModel || len(err.Error()) > 2000 {
				t.Fatalf("%v", err)
			}
			return
		}
		w, err := Default().FindWorst(provider, model, at, prompt)
		if err != nil || higher(w, p) != w {
			t.Fatalf("%+v is above the worst, %+v, %v", p, w, err)
		}
		if !strings.Contains(p.ID, "/") {
			t.Fatalf("the price has no name: %+v", p)
		}
	})
}
