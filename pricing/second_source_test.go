package pricing

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

var (
	theirs = flag.String("theirs", "", "what testdata/second_source.mjs printed; writes testdata/second_source.json anew, reasons kept")
)

const (
	secondSourceFile = "testdata/second_source.json"
	goldenFile       = "testdata/golden.json"
)

// secondSource is the rates that other people's data sets have for the models of
// the embedded book.
type secondSource struct {
	// Day is that of the rates in force.
	Day     string       `json:"day"`
	Sources []dataSet    `json:"sources"`
	Rates   []foreignRow `json:"rates"`
}

type dataSet struct {
	Name    string `json:"name"`
	Package string `json:"package"`
	Date    string `json:"date"`
	Licence string `json:"licence"`
	Of      string `json:"of"`
}

type foreignRow struct {
	Model  string `json:"model"`
	Source string `json:"source"`
	// As is what the source calls it.
	As    string            `json:"as"`
	Rates map[string]string `json:"rates"`
	// Tiers are its rates by size of the prompt, from that size on.
	Tiers map[string]map[string]string `json:"tiers,omitempty"`
	// Differs says why a rate is not ours, by its name. A rate of a tier is
	// SIZE.NAME.
	Differs map[string]string `json:"differs,omitempty"`
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// ratesOf are the rates of a price by the names of the file.
func ratesOf(p wflo.Price) map[string]int64 {
	return map[string]int64{
		"input": p.Input, "cache_read": p.CacheRead, "cache_write_5m": p.CacheWrite5m, "cache_write_1h": p.CacheWrite1h, "output": p.Output,
	}
}

// differences are the names of the rates that are not ours.
func (f foreignRow) differences(t *testing.T, day0 string) []string {
	t.Helper()
	provider, model, _ := strings.Cut(f.Model, "/")
	var out []string
	compare := func(prefix string, size int64, rates map[string]string) {
		p, err := Default().Find(provider, model, day(day0), size)
		if err != nil {
			t.Fatalf("%s: %v", f.Model, err)
		}
		for name, text := range rates {
			n, err := parseRate(text)
			if err != nil {
				t.Fatalf("%s of %s: %q %v", name, f.Model, text, err)
			}
			if ratesOf(p)[name] != n {
				out = append(out, prefix+name)
			}
		}
	}
	compare("", 0, f.Rates)
	for size, rates := range f.Tiers {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		compare(size+".", n, rates)
	}
	slices.Sort(out)
	return out
}

// TestSecondSources holds the embedded book against three data sets that others
// keep. Every rate of theirs is ours, or the file says why it is not.
func TestSecondSources(t *testing.T) {
	var s secondSource
	readJSON(t, secondSourceFile, &s)
	if *theirs != "" {
		updateSecondSource(t, &s)
	}
	models, agreeing, differing := map[string]bool{}, 0, 0
	for _, f := range s.Rates {
		models[f.Model] = true
		got := f.differences(t, s.Day)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(f.Differs)), got); len(got)+len(f.Differs) > 0 && diff != "" {
			t.Errorf("%s in %s differs in (-said +found):\n%s", f.Model, f.Source, diff)
		}
		for name, why := range f.Differs {
			if len(why) < 20 {
				t.Errorf("%s in %s: %s differs for no reason: %q", f.Model, f.Source, name, why)
			}
		}
		if len(got) == 0 {
			agreeing++
		} else {
			differing++
		}
	}
	if len(models) < 100 || len(s.Sources) != 3 {
		t.Errorf("%d models of %d sources are compared", len(models), len(s.Sources))
	}
	t.Logf("%d models, %d rows of %d sources: %d agree, %d differ with a reason", len(models), len(s.Rates), len(s.Sources), agreeing, differing)
}

func updateSecondSource(t *testing.T, s *secondSource) {
	reasons := map[string]map[string]string{}
	for _, f := range s.Rates {
		reasons[f.Model+" "+f.Source] = f.Differs
	}
	s.Day, s.Rates = Default().Date(), nil
	var all []foreignRow
	readJSON(t, *theirs, &all)
	for _, f := range all {
		provider, model, _ := strings.Cut(f.Model, "/")
		if _, err := Default().Find(provider, model, day(s.Day), 0); err != nil {
			t.Logf("not compared: %v", err)
			continue
		}
		f.Differs = map[string]string{}
		for _, name := range f.differences(t, s.Day) {
			f.Differs[name] = reasons[f.Model+" "+f.Source][name]
			if f.Differs[name] == "" {
				p, _ := Default().Find(provider, model, day(s.Day), 0)
				t.Logf("%s %s %s: theirs %v %v, ours %v", f.Model, f.Source, name, f.Rates, f.Tiers, ratesOf(p))
			}
		}
		s.Rates = append(s.Rates, f)
	}
	var out strings.Builder
	head, err := json.Marshal(s.Sources)
	if err != nil {
		t.Fatal(err)
	}
	out.WriteString("{\n\"day\": \"" + s.Day + "\",\n\"sources\": " + string(head) + ",\n\"rates\": [")
	for i, f := range s.Rates {
		line, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			out.WriteString(",")
		}
		out.WriteString("\n" + string(line))
	}
	out.WriteString("\n]\n}\n")
	if err := os.WriteFile(secondSourceFile, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGoldenVectors prices calls at the rates of others. Each sum can be done by
// hand: tokens times USD per million, which is micro-USD; the file's arithmetic is
// that of testdata/golden.mjs, not ours.
func TestGoldenVectors(t *testing.T) {
	var file struct {
		Day     string `json:"day"`
		Vectors []struct {
			Model  string     `json:"model"`
			Source string     `json:"source"`
			Sum    string     `json:"sum"`
			Usage  wflo.Usage `json:"usage"`
			Nano   int64      `json:"nano"`
		} `json:"vectors"`
	}
	readJSON(t, goldenFile, &file)
	models := map[string]bool{}
	for _, v := range file.Vectors {
		p, err := Default().Find("", v.Model, day(file.Day), v.Usage.Prompt())
		if err != nil {
			t.Errorf("%s: %v", v.Model, err)
			continue
		}
		if got := Cost(p, v.Usage); int64(got) != v.Nano {
			t.Errorf("%s by %s: %d nano-USD, want %d = %s micro-USD", v.Model, v.Source, got, v.Nano, v.Sum)
		}
		models[v.Model] = true
	}
	if len(models) < 100 || len(file.Vectors) < 200 {
		t.Errorf("%d vectors of %d models", len(file.Vectors), len(models))
	}
	t.Logf("%d vectors of %d models", len(file.Vectors), len(models))
}
