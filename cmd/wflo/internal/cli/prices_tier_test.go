package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// tieredBook has a model with everything that a price can have, one that costs by
// the second, and a plain one.
func tieredBook(t *testing.T) string {
	t.Helper()
	return ownBook(t,
		`{"provider":"acme","id":"writer","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"2","output":"8"},`+
			`"tiers":[{"prompt_tokens_gt":1000,"per_mtok":{"input":"4","output":"12"}}],"per_request":"0.0001","per_second":"0.0005",`+
			`"service_tiers":{"batch":{"factor":"0.5"},"fast":{"per_mtok":{"input":"10","output":"40"}},"geo:eu":{"factor":"1.1"}}}],"source":"contract","source_date":"2026-11-20"}`,
		`{"provider":"acme","id":"lanes","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"2","output":"8"},`+
			`"tiers":[{"prompt_tokens_gt":50,"per_mtok":{"input":"4","output":"12"}}],`+
			`"service_tiers":{"batch":{"factor":"0.5"},"fast":{"per_mtok":{"input":"10","output":"40"}}}}],"source":"contract","source_date":"2026-11-20"}`,
		ownRow("plain", "2", "8"))
}

func TestPricesShowTiers(t *testing.T) {
	t.Setenv("WFLO_PRICES", tieredBook(t))
	r := prices(t, "prices", "show", "writer")
	r.want(t, 0, []string{"TIER", "CALL      SECOND", "standard        0+      2 ", "standard        1001+   4 ", "batch (x 0.5)   0+      1 ", "batch (x 0.5)   1001+   2 ",
		"fast            0+      10 ", "geo:eu (x 1.1)  1001+   4.4 ", "$0.00005  $0.00025"},
		[]string{"* in force at", "wflo cost estimate --model acme/writer --tier batch"})
	// Columns that say the same of every rate are not there.
	r = prices(t, "prices", "show", "plain")
	r.want(t, 0, []string{"PROMPT  INPUT"}, []string{"* in force at"})
	for _, not := range []string{"TIER", "CALL", "SECOND", "--tier"} {
		if strings.Contains(r.out+r.errOut, not) {
			t.Errorf("a plain model's table has %s:\n%s%s", not, r.out, r.errOut)
		}
	}
	prices(t, "prices", "list", "--provider", "acme").want(t, 0, []string{"acme/writer", "batch fast geo:eu  yours"}, nil)
	var list []listedPrice
	if err := json.Unmarshal([]byte(prices(t, "prices", "list", "--provider", "acme", "-o", "json").out), &list); err != nil || len(list) != 2 ||
		strings.Join(list[1].Tiers, " ") != "batch fast geo:eu" || list[1].PerSecond != "0.0005" {
		t.Errorf("%+v, %v", list, err)
	}
}

// What a tier costs is what it bills, and what is reserved covers the standard one.
func TestCostEstimateTier(t *testing.T) {
	t.Setenv("WFLO_PRICES", tieredBook(t))
	prompt := promptFile(t, "two words")
	of := func(line ...string) (e callEstimate) {
		t.Helper()
		r := prices(t, append([]string{"cost", "estimate", "--prompt-file", prompt, "--max-tokens", "100", "-o", "json"}, line...)...)
		if err := json.Unmarshal([]byte(r.out), &e); err != nil || r.code != 0 {
			t.Fatalf("exit code %d, %v: %s%s", r.code, err, r.out, r.errOut)
		}
		return e
	}
	standard, batch, fast := of("--model", "lanes"), of("--model", "lanes", "--tier", "batch"), of("--model", "lanes#fast")
	// The prompt may have more than 50 tokens, where the rates double: 4 dollars for
	// a million in, 12 for a million out.
	want := wflo.Money(standard.InputTokensMost*4000 + 100*12000)
	if standard.Most != want || batch.Most*2 != want || batch.Least*2 != standard.Least || batch.Reserved != want || batch.Tier != "batch" {
		t.Errorf("standard %+v\nbatch %+v", standard, batch)
	}
	if want := wflo.Money(fast.InputTokensMost*10000 + 100*40000); fast.Most != want || fast.Reserved != want || fast.Tier != "fast" || fast.Model != "acme/lanes" {
		t.Errorf("fast %+v, want at most %v", fast, want)
	}
	prices(t, "cost", "estimate", "--model", "lanes", "--tier", "batch", "--prompt-file", prompt).want(t, 0, []string{"tier    batch\n", "price   override:acme/lanes@start"},
		[]string{"a strict worker reserves", "instead of batch"})
	prices(t, "cost", "estimate", "--model", "plain", "--tier", "fast").want(t, ExitError, nil, []string{"fast", "hint: "})
	prices(t, "cost", "estimate", "--model", "plain", "--tier", "*").want(t, ExitUsage, nil, []string{`--tier is "*"`})
	prices(t, "cost", "estimate", "--workflow", "x", "--tier", "batch").want(t, ExitUsage, nil, []string{"--tier is about one call"})
}

func TestCostCompareTier(t *testing.T) {
	t.Setenv("WFLO_PRICES", tieredBook(t))
	named := prices(t, "cost", "compare", "--model", "lanes", "--model", "lanes#batch", "--model", "p/plain", "--max-tokens", "100", "--prompt-file", promptFile(t, "two words"))
	named.want(t, 0, []string{"acme/lanes#batch", "acme/lanes ", "p/plain"}, []string{"no tokenizer"})
	if strings.Index(named.out, "acme/lanes#batch") > strings.Index(named.out, "acme/lanes ") {
		t.Errorf("half of the rates is not cheaper:\n%s", named.out)
	}
	// Of all models, those that may be dearer in the tier are left out.
	fast := prices(t, "cost", "compare", "--provider", "acme", "--tier", "fast", "-o", "jsonl")
	if !strings.Contains(fast.out, `"acme/lanes","service_tier":"fast"`) {
		t.Errorf("got %s", fast.out)
	}
	all := prices(t, "cost", "compare", "--tier", "fast")
	if !strings.Contains(all.out, pricing.WithTier("acme/lanes", "fast")) || strings.Contains(all.out, "p/plain") || !strings.Contains(all.errOut, "may be dearer in the service tier fast") {
		t.Errorf("got %s%s", all.out, all.errOut)
	}
}
