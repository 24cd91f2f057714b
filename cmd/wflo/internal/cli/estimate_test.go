package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

func promptFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prompt.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCostEstimate(t *testing.T) {
	t.Setenv("WFLO_PRICES", ownBook(t, ownRow("m", "0.000001", "2")))
	// 64 + 32 + 4 + 9 = 109 tokens in, of which 2 are words.
	line := []string{"cost", "estimate", "--model", "m", "--prompt-file", promptFile(t, "two words"), "--max-tokens", "3"}
	prices(t, line...).want(t, 0,
		[]string{"model   p/m\n", "input   2 to 109 tokens\n", "answer  up to 3 tokens\n", "at least $0.000000001", "at most $0.000006001"},
		[]string{"no tokenizer is known for p/m: the input is bounded by its 9 bytes"})
	r := prices(t, append(line, "--calls", "1000")...)
	r.want(t, 0, []string{"1000 calls", "at least $0.000001", "at most $0.006001"}, []string{"no tokenizer"})
	var e callEstimate
	if err := json.Unmarshal([]byte(prices(t, append(line, "-o", "json")...).out), &e); err != nil ||
		e.Most != 6001 || e.Least != 1 || e.InputBound != "bytes" || e.InputTokensMost != 109 || !e.Fits || e.MaxTokens != 3 {
		t.Errorf("%+v, %v", e, err)
	}
	prices(t, append(line, "--calls", "9223372036854775807")...).want(t, 0, []string{"at most more than $9223372036.854775807"}, []string{"no tokenizer"})
	prices(t, "cost", "estimate", "--model", "m").want(t, 0, []string{"input   0 to 100 tokens", "up to 4096 tokens"}, []string{"the prompt is taken to be empty"})
	prices(t, "cost", "estimate", "--model", "ollama/anything").want(t, 0, []string{"model   ollama/anything", "at most $0.00"}, []string{"no tokenizer"})
	small := ownBook(t, strings.Replace(ownRow("m", "1", "2"), `"mode"`, `"context_window":4,"mode"`, 1))
	prices(t, append(line, "--prices", small)...).want(t, 0, []string{"p/m"}, []string{"do not fit the context window of 4 tokens"})

	var out, errOut bytes.Buffer
	code := Main(t.Context(), Deps{Stdin: strings.NewReader("two words"), Stdout: &out, Stderr: &errOut}, []string{"cost", "estimate", "--model", "m", "--prompt-file", "-"})
	if code != 0 || !strings.Contains(out.String(), "2 to 109 tokens") {
		t.Errorf("from standard input: %d\n%s%s", code, out.String(), errOut.String())
	}
}

func TestCostCompare(t *testing.T) {
	t.Setenv("WFLO_PRICES", ownBook(t, ownRow("dear", "10", "20"), ownRow("cheap", "1", "2"), ownRow("small", "0.1", "0.2")[:len(ownRow("small", "0.1", "0.2"))-1]+`,"context_window":10}`))
	prompt := promptFile(t, "two words")
	var models []string
	for _, line := range strings.Split(prices(t, "cost", "compare", "--prompt-file", prompt, "--provider", "p", "--max-tokens", "100").out, "\n")[1:] {
		models = append(models, strings.Fields(line + " -")[0])
	}
	if !slices.Equal(models, []string{"p/cheap", "p/dear", "-"}) {
		t.Errorf("models %v", models)
	}
	named := []string{"cost", "compare", "--prompt-file", prompt, "--max-tokens", "100", "--model", "dear", "--model", "p/small", "--model", "dear"}
	prices(t, named...).want(t, 0, []string{"p/small", "$0.00002", "no\np/dear"}, []string{"no tokenizer is known"})
	var all []callEstimate
	if err := json.Unmarshal([]byte(prices(t, "cost", "compare", "--prompt-file", prompt, "-o", "json").out), &all); err != nil || len(all) < 20 {
		t.Fatalf("%d models, %v", len(all), err)
	}
	if !slices.IsSortedFunc(all, func(x, y callEstimate) int { return int(x.Most - y.Most) }) {
		t.Error("not sorted by the most that a call costs")
	}
	for _, e := range all {
		if e.Least > e.Most || e.Most <= 0 {
			t.Errorf("%s: from %v to %v", e.Model, e.Least, e.Most)
		}
	}
}

func TestTimesSaturates(t *testing.T) {
	for _, tc := range []struct {
		m    wflo.Money
		n    int64
		want wflo.Money
	}{
		{3, 4, 12}, {0, math.MaxInt64, 0}, {math.MaxInt64, 1, math.MaxInt64}, {math.MaxInt64/2 + 1, 2, math.MaxInt64}, {math.MaxInt64, math.MaxInt64, math.MaxInt64},
	} {
		if got := times(tc.m, tc.n); got != tc.want {
			t.Errorf("%d x %d = %d, want %d", tc.m, tc.n, got, tc.want)
		}
	}
}
