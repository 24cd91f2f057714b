package cli

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

func TestCostUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"cost --by planet", []string{`--by is "planet"`, "hint: use run, step"}},
		{"cost --since yesterday", []string{"--since: time", "such as --since 7d"}},
		{"cost --since 0d", []string{"--since: time"}},
		{"cost --since 7d --from 2026-11-01", []string{"--since excludes"}},
		{"cost --from 2026-11-31", []string{`--from is "2026-11-31"`}},
		{"cost --from 2026-11-02 --to 2026-11-02", []string{"--from is not before --to", "--to is not included"}},
		{"cost --zone Local", []string{`--zone is "Local"`}},
		{"cost --zone ../etc/passwd", []string{"--zone is"}},
		{"cost --scope ann", []string{`--scope is "ann"`, "user:ann"}},
		{"cost --scope user:*", []string{`--scope is "user:*"`}},
		{"cost --limit 0", []string{"--limit is 0"}},
		{"cost r1 r2", []string{"too many arguments"}},
		{"cost r1 --by day", []string{"--by is not for the entries of one run"}},
		{"cost -o yaml", []string{`--output is "yaml"`, "table, csv"}},
		{"cost compare -o csv", []string{`--output is "csv"`}},
		{"cost reconcile k", []string{"--amount is missing"}},
		{"cost reconcile k --amount -1 --reason x --yes", []string{"--amount is -$1.00"}},
		{"cost reconcile k --amount lots --reason x --yes", []string{`amount "lots"`}},
		{"cost reconcile k --amount 1 --yes", []string{"--reason is missing"}},
		{"cost reconcile k --amount 1 --reason x", []string{"no terminal to ask on"}},
		{"cost reconcile 3f9a --amount 1 --reason x --yes", []string{`"3f9a" fits 3 calls`, "hint: name one: 3f9a1c20b7de1 --attempt 1, 3f9a1c20b7de2 --attempt 1"}},
		{"cost reconcile k --invoice f", []string{"exclude each other"}},
		{"cost reconcile --invoice f", []string{"--invoice needs the time"}},
		{"cost estimate --workflow w --model m", []string{"--model is about one call"}},
		{"cost estimate --workflow w --scope x", []string{`--scope is "x"`}},
	} {
		t.Run(tc.line, func(t *testing.T) {
			b := someBooks()
			b.ask(t, strings.Fields(tc.line)...).want(t, ExitUsage, nil, tc.want)
			if len(b.settled) > 0 {
				t.Error("settled all the same")
			}
		})
	}
}

func TestCost(t *testing.T) {
	b := someBooks()
	b.ask(t, "cost").want(t, 0, []string{"DAY ", "total "}, []string{"by day, of the last 7 days", "$0.03 of it is unknown"})
	if q := b.queries[0]; q.By != "day" || time.Since(q.From) < 7*day-time.Minute || time.Since(q.From) > 7*day+time.Minute || !q.To.IsZero() {
		t.Errorf("query %+v", q)
	}
	b.queries = nil
	b.ask(t, "cost", "--by", "user", "--from", "2026-03-29", "--to", "2026-03-30", "--zone", "Europe/Berlin", "--scope", "team:payments", "--scope", "tag:a=b", "-o", "table").want(t, 0, []string{
		"USER ", "=cmd|' /C calc'!A0  3      1       $2.00   $0.03", `bob\x1b[2J`, "-$0.01", "total               4      1       $1.99   $0.03    $0.05     $0.01  0",
	}, []string{"unknown"})
	want := wflo.CostQuery{
		By: "user", From: time.Date(2026, 3, 28, 23, 0, 0, 0, time.UTC), To: time.Date(2026, 3, 29, 22, 0, 0, 0, time.UTC), // 23 hours: the clock is put forward
		TimeZone: "Europe/Berlin", Scopes: []string{"team:payments", "tag:a=b"}, Limit: 1000,
	}
	if diff := gocmp.Diff(want, b.queries[0]); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	var report console.Costs
	if err := json.Unmarshal([]byte(b.ask(t, "cost", "--by", "user", "-o", "json").out), &report); err != nil || len(report.Rows) != 2 || report.Total.Spent != 199*wflo.Cent {
		t.Errorf("%+v, %v", report, err)
	}
	if r := b.ask(t, "cost", "--by", "user", "-o", "jsonl"); strings.Count(r.out, "\n") != 2 || r.errOut != "" {
		t.Errorf("%s%s", r.out, r.errOut)
	}
	(&books{}).ask(t, "cost", "--from", "2026-11-01").want(t, 0, nil, []string{"nothing was spent from Sun 1 Nov 2026 00:00 UTC", "--since 30d", "wflo run agent"})
}

// CSV is as RFC 4180 has it, amounts are numbers, and names are no formulas.
func TestCostCSV(t *testing.T) {
	r := someBooks().ask(t, "cost", "--by", "user", "-o", "csv")
	if want := "user,calls,cached,spent,unknown,overdraft,reserved,saved,input,cache_read,cache_write_5m,cache_write_1h,output,reasoning,millis\r\n" +
		"'=cmd|' /C calc'!A0,3,1,2.00,0.03,0.00,0.00,0.01,10,5,0,0,7,1,0\r\n" + `bob\x1b[2J,1,0,-0.01,0.00,0.00,0.00,0.00,0,0,0,0,0,0,0` + "\r\n"; r.out != want || r.code != 0 {
		t.Errorf("got %q\nwant %q\n%s", r.out, want, r.errOut)
	}
	for text, want := range map[string]string{
		"": "", "ann": "ann", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "a=1": "a=1", "＝1": "'＝1", "\t=1": `\x09=1`, "\r=1": `\x0d=1`,
	} {
		if got := textCell(text); got != want {
			t.Errorf("cell %q = %q, want %q", text, got, want)
		}
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("=1+1", "a,\"b\"\r\n")
	f.Add("\xff\x00", "－1")
	f.Fuzz(func(t *testing.T, x, y string) {
		var out strings.Builder
		a := &app{deps: Deps{Stdout: &out}}
		if err := a.printCSV([]string{"one", "two"}, 2, [][]string{{x, y}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != 2 {
			t.Fatalf("%q became %q: %v", []string{x, y}, out.String(), err)
		}
		for _, cell := range rows[1] {
			if strings.IndexAny(cell, "=+-@\t\r\n＝＋－＠") == 0 || strings.ContainsFunc(cell, wflo.Hidden) {
				t.Errorf("%q became the cell %q", []string{x, y}, cell)
			}
		}
	})
}

func TestCostOfRun(t *testing.T) {
	b := someBooks()
	b.entries = []wflo.Entry{
		{Key: keyA, Attempt: 1, State: wflo.HoldSettled, Run: wflo.Run{Step: "classify#1"}, Provider: "openai", Model: "gpt-5.4", Reserved: 5 * wflo.Cent, Amount: 2 * wflo.Cent, Usage: wflo.Usage{Input: 9, Output: 3}},
		{Key: keyB, Attempt: 1, State: wflo.HoldCached, Run: wflo.Run{Step: "x\x1b[2J"}, Provider: "=p", Model: "m", Saved: wflo.Cent},
	}
	invoke(t, b.serves(t, withRun()), "cost", "r1").want(t, 0, []string{"classify", "openai/gpt-5.4", "cached", "$0.02", `x\x1b[2J`}, []string{"total $0.02 in 2 lines, saved $0.01; $0.01 reserved, limit $5.00"})
	if b.asked != "r1/run-r1" {
		t.Errorf("asked for the entries of %q", b.asked)
	}
	invoke(t, b.serves(t, withRun()), "cost", "r1", "-o", "csv").want(t, 0, []string{"run,step,provider,model", ",openai,gpt-5.4,,settled,", ",'=p,m,"}, nil)
	invoke(t, b.serves(t, withRun()), "cost", "r1", "-o", "json").want(t, 0, []string{`"amount": "0.02"`}, nil)
	b.ask(t, "cost", "estimat").want(t, ExitError, nil, []string{"no run estimat", "hint: did you mean: wflo cost estimate?"})
}

func TestReconcile(t *testing.T) {
	b := someBooks()
	r := b.ask(t, "cost", "reconcile")
	r.want(t, 0, []string{"3f9a1c20b7de1  1    r1   classify  openai/gpt-5.4  $0.03    1m00s", "3f9a1c20b7de2  2 "}, []string{"$0.09 charged for 3 calls", "wflo cost reconcile 3f9a1c20b7de1 --attempt 1"})
	if strings.Contains(b.ask(t, "cost", "reconcile", "-o", "json").out, "outcome") {
		t.Error("what a model answered is shown")
	}
	b.ask(t, "cost", "reconcile", "-o", "csv").want(t, 0, []string{"key,run,step,provider,model,attempt,amount,at\r\n" + string(keyA) + ",r1/first,classify,openai,gpt-5.4,1,0.03,"}, nil)
	b.ask(t, "cost", "reconcile", "3f9a1c20b7de2", "--attempt", "2", "--amount", "0.012", "--reason", "invoice", "--yes").want(t, 0,
		[]string{"settled 3f9a1c20b7de2, attempt 2: $0.012 instead of $0.03\n"}, []string{"charged $0.03, becomes $0.012"})
	b.ask(t, "cost", "reconcile", string(keyA), "--amount", "0", "--reason", "never billed", "--yes", "-o", "json").want(t, 0, []string{`"amount": "0.00"`}, []string{"becomes $0.00"})
	if len(b.settled) != 2 || b.settled[0].Key != keyB || b.settled[0].Attempt != 2 || b.settled[0].Amount != 12*wflo.Cent/10 || b.settled[1].Amount != 0 ||
		b.settled[1].By != "bob" || b.settled[1].Reason != "never billed" {
		t.Errorf("settled %+v", b.settled)
	}
	b.ask(t, "cost", "reconcile", string(keyA), "--amount", "0", "--reason", "again", "--yes").want(t, ExitError, nil, []string{"no call " + string(keyA) + " has an unknown cost"})
	(&books{}).ask(t, "cost", "reconcile").want(t, 0, nil, []string{"every call's cost is known"})
}

func invoiceFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "invoice.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInvoice(t *testing.T) {
	b := someBooks()
	b.rows = []wflo.CostRow{
		{Key: "openai/gpt-5.4", Calls: 10, Spent: 2 * wflo.USD, Unknown: 3 * wflo.Cent},
		{Key: "openai/old", Calls: 1, Spent: wflo.Cent},
		{Key: "anthropic/claude", Calls: 1, Spent: wflo.USD},
	}
	file := invoiceFile(t, "\ufeffModel, amount ,calls\r\ngpt-5.4,1.50,6\r\n\"gpt-5.4\",$0.48,4\r\n=new,0.10,1\r\n")
	line := []string{"cost", "reconcile", "--invoice", file, "--from", "2026-11-01", "--to", "2026-12-01", "--provider", "openai"}
	b.ask(t, line...).want(t, 0, []string{
		"openai/=new     $0.00   $0.00    $0.10    $0.10     0      1\n", "openai/gpt-5.4  $2.00   $0.03    $1.98    -$0.02    10     10\n",
		"openai/old      $0.01   $0.00    $0.00    -$0.01    1      -\n", "total           $2.01   $0.03    $2.08    $0.07     11     -\n",
	}, []string{"from Sun 1 Nov 2026 00:00 UTC until Tue 1 Dec 2026 00:00 UTC", "up to $0.03"})
	if q := b.queries[0]; q.By != "model" || q.Limit != maxRows || q.From.Month() != 11 || q.To.Month() != 12 {
		t.Errorf("query %+v", q)
	}
	b.ask(t, append(line, "-o", "csv")...).want(t, 0, []string{"model,ledger,unknown,invoice,residual,ledger_calls,invoice_calls\r\nopenai/=new,0.00,"}, nil)
	var all []residual
	if err := json.Unmarshal([]byte(b.ask(t, append(line, "-o", "json")...).out), &all); err != nil || len(all) != 3 || all[1].Residual != -2*wflo.Cent {
		t.Errorf("%+v, %v", all, err)
	}
	b.rows = append(b.rows, wflo.CostRow{Key: "azure/gpt-5.4", Spent: 1})
	b.ask(t, line[:8]...).want(t, ExitError, nil, []string{"model gpt-5.4 may be azure/gpt-5.4 or openai/gpt-5.4", "--provider"})
}

func TestParseInvoice(t *testing.T) {
	for text, want := range map[string]string{
		"":                                         "line 1: has no header",
		"model\nx":                                 `line 1: lacks the column "amount"`,
		"model,amount,model\n":                     `has the column "model" twice`,
		"model,amount,notes\n":                     `line 1: has the column "notes"`,
		"model,amount\n":                           "nothing was billed",
		"model,amount\n,1":                         "line 2: has a model of 0 bytes",
		"model,amount\nm,1,2":                      "line 2: wrong number of fields",
		"model,amount\nm,1e3":                      `line 2: amount "1e3"`,
		"model,amount\nm,\"1,000\"":                `line 2: amount "1,000"`,
		"model,amount\nm,1\nm,\x1b[2J":             `line 3: amount`,
		"model,amount\n\"m":                        "line 2: extraneous",
		"model,amount,calls\nm,1,-1":               `line 2: calls are "-1"`,
		"model,amount,calls\nm,1,many":             `line 2: calls are "many"`,
		"model,amount\nm,9223372036\nm,9223372036": "line 3: amounts of m are more than can be counted",
		"model,amount,calls\nm,1,9223372036854775807\nm,1,1":                "line 3: calls of m are more",
		"model,amount\n" + strings.Repeat("x", maxModelName+1) + ",1":       "has a model of 501 bytes",
		"model,amount\n" + strings.Repeat("m,0\n", maxInvoiceLines) + "m,0": "one of more than 100000",
	} {
		if _, err := parseInvoice([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%.40q: %v; want %s", text, err, want)
		}
	}
	got, err := parseInvoice([]byte("amount,model\n-0.50,m\n2,m\n1,n\n"))
	if diff := gocmp.Diff(map[string]invoiceLine{"m": {"m", 150 * wflo.Cent, -1}, "n": {"n", wflo.USD, -1}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func FuzzParseInvoice(f *testing.F) {
	for _, text := range []string{"model,amount\nm,1\n", "\ufeffmodel,amount,calls\r\n\"a,b\",-0.5,3\r\n", "amount,model\n$1,=x\n$-1,=x\n", "model,amount\n\"", "calls,model,amount\n9223372036854775807,m,9223372036.854775807\n1,m,0"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := parseInvoice(data)
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" || strings.ContainsFunc(err.Error(), wflo.Hidden) {
				t.Errorf("%q: %q", data, err)
			}
			return
		}
		for name, l := range lines {
			if name != l.Model || name == "" || l.Calls < -1 {
				t.Errorf("%q: %+v", data, l)
			}
		}
		// The residuals of what was just booked add up to nothing.
		all, err := residuals(nil, lines, "p")
		if err != nil {
			return // the sum over two spellings of one model may not fit
		}
		for _, r := range all {
			again, err := residuals([]wflo.CostRow{{Key: r.Model, Spent: r.Invoice}}, map[string]invoiceLine{r.Model: {Model: r.Model, Amount: r.Invoice, Calls: -1}}, "")
			if err == nil && (len(again) != 1 || again[0].Residual != 0) {
				t.Errorf("%q: %+v", data, again)
			}
		}
	})
}

func TestEstimateFromRuns(t *testing.T) {
	b := someBooks()
	b.rows = nil
	for i := range 100 {
		b.rows = append(b.rows, wflo.CostRow{Key: "r", Calls: 1, Spent: wflo.Money(i+1) * wflo.Cent})
	}
	b.rows = append(b.rows, wflo.CostRow{Key: "running", Reserved: wflo.Cent})
	b.ask(t, "cost", "estimate", "--workflow", "wflo.Agent", "--scope", "team:payments", "--since", "2w").want(t, 0,
		[]string{"runs      100\n", "p50       $0.50\n", "p90       $0.90\n", "most      $1.00\n"}, []string{"runs that paid for something from", "$1.99 in all", "$0.03 of it is unknown"})
	if q := b.queries[0]; q.By != "run" || !slices.Equal(q.Scopes, []string{"workflow:wflo.Agent", "team:payments"}) || time.Since(q.From) > 14*day+time.Minute {
		t.Errorf("query %+v", q)
	}
	b.ask(t, "cost", "estimate", "--workflow", "w", "-o", "json").want(t, 0, []string{`"p90": "0.90"`}, nil)
	b.rows = append(b.rows, wflo.CostRow{Key: wflo.CostOthers, Calls: 1})
	b.ask(t, "cost", "estimate", "--workflow", "w").want(t, ExitError, nil, []string{"more than 10000 runs", "shorter time"})
	(&books{}).ask(t, "cost", "estimate", "--workflow", "w").want(t, ExitError, nil, []string{"no run of w has paid"})
	for _, tc := range []struct {
		n, p int
		want wflo.Money
	}{{1, 50, 1}, {1, 90, 1}, {2, 50, 1}, {2, 90, 2}, {10, 90, 9}, {11, 90, 10}, {3, 50, 2}} {
		amounts := make([]wflo.Money, tc.n)
		for i := range amounts {
			amounts[i] = wflo.Money(i + 1)
		}
		if got := rank(amounts, tc.p); got != tc.want {
			t.Errorf("p%d of 1 to %d is %d, want %d", tc.p, tc.n, got, tc.want)
		}
	}
}

// An estimate reckons with the longest answer of the worker.
func TestEstimateTakesTheWorkersLimit(t *testing.T) {
	t.Setenv("WFLO_PRICES", ownBook(t, ownRow("m", "1", "2")))
	t.Setenv("WFLO_MAX_TOKENS", "77")
	prices(t, "cost", "estimate", "--model", "m").want(t, 0, []string{"up to 77 tokens"}, []string{"no tokenizer"})
	prices(t, "cost", "estimate", "--model", "m", "--max-tokens", "5").want(t, 0, []string{"up to 5 tokens"}, []string{"no tokenizer"})
	for _, bad := range []string{"0", "-1", "many", "1.5"} {
		t.Setenv("WFLO_MAX_TOKENS", bad)
		prices(t, "cost", "compare", "--model", "m").want(t, ExitUsage, nil, []string{`WFLO_MAX_TOKENS is "` + bad + `"`})
	}
}

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 7 * day, "2w": 14 * day, "1w1d": 8 * day, "36h": 36 * time.Hour, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "1d1h1m1s": day + time.Hour + time.Minute + time.Second,
		"": 0, "d": 0, "7": 0, "-7d": 0, "+7d": 0, "7d-1h": 0, "7d+1h": 0, "0d": 0, "1.5d": 0, "1d1d": 0, "1d1w": 0, "7 d": 0, "∞": 0, "106752d": 0, "99999999999999999999d": 0, "15250w106751d": 0, "106751d24h": 0,
	} {
		got, err := parseSpan(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("parseSpan(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func FuzzParseSpan(f *testing.F) {
	for _, text := range []string{"7d", "2w3d4h", "1d-1h", "9223372036854775807ns", "15250w", "d", "1w1w", "٣d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseSpan(text)
		if err != nil {
			return
		}
		if again, err := parseSpan(spanWords(d)); d <= 0 || again != d || err != nil {
			t.Errorf("%q is %v, and %q is %v, %v", text, d, spanWords(d), again, err)
		}
	})
}

func FuzzFlags(f *testing.F) {
	for _, text := range []string{"50,75,90", "none", "100%", "rolling:7d", "rolling:1ns", "a=b", "=", "user:ann", "user:*", ":", "daily"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if marks, err := parseThresholds(text); err == nil && (wflo.Budget{Thresholds: marks}).Validate() != nil {
			t.Errorf("thresholds %q: %v", text, marks)
		}
		if p, err := parsePeriod(text); err == nil && (wflo.Budget{Period: p}).Validate() != nil {
			t.Errorf("period %q: %q", text, p)
		}
		if tags, err := parseTags([]string{text}); err == nil {
			key, value, _ := strings.Cut(text, "=")
			if len(tags) != 1 || tags[key] != value {
				t.Errorf("tag %q: %v", text, tags)
			}
		}
		if err := checkScopes([]string{text}); err == nil {
			if _, name, err := wflo.SplitBudgetID(text); err != nil || name == wflo.Each {
				t.Errorf("scope %q", text)
			}
		}
		if limit, err := parseLimit(text); err == nil && (limit < 0 || limit == 0 && text != "none") {
			t.Errorf("limit %q: %v", text, limit)
		}
	})
}

func refused(budget string, end time.Time) error {
	r := wflo.Refusal{Budget: budget, Limit: 5 * wflo.USD, Spent: 490 * wflo.Cent, Reserved: 8 * wflo.Cent, Asked: 3*wflo.Cent + 1, WindowEnd: end}
	return temporal.NewApplicationErrorWithOptions(r.Error()+" (raise it)", string(wflo.CodeBudgetExceeded), temporal.ApplicationErrorOptions{Details: []any{"raise it", r}})
}

// Whoever is told that there is no room is told how much there is, until when,
// and what to type.
func TestRefusal(t *testing.T) {
	f := &fakeTemporal{
		history: ends(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED), failure: refused("team:pay ments\x1b[2J", time.Date(2126, 11, 25, 0, 0, 0, 0, time.UTC)),
		statuses: map[string]wflo.Status{},
	}
	want := []string{
		`budget        team:pay ments\x1b[2J`, "limit         $5.00\n", "spent         $4.90\n", "reserved      $0.08\n", "needed        at least $0.030000001\n",
		"(Mon 25 Nov 2126 00:00 UTC)\n", `raise it      wflo budget topup 'team:pay ments\x1b[2J' 0.02 --reason "..."`,
	}
	invoke(t, f, "run", "x.Y", "--id", "r1").want(t, ExitBudget, nil, append(want, "wflo: run r1 failed: budget ", "hint: raise it\n"))
	invoke(t, f, "run", "x.Y", "--id", "r1", "-o", "json").want(t, ExitBudget, []string{`"refusal": {`, `"reserved": "0.08"`}, want)
	f.failure = refused("run:r1/first", time.Time{})
	r := invoke(t, f, "run", "x.Y", "--id", "r1")
	r.want(t, ExitBudget, nil, []string{"again with  wflo run ... --budget 5.02 or more\n"})
	if strings.Contains(r.errOut, "starts again") {
		t.Errorf("a run's budget starts again:\n%s", r.errOut)
	}
	if got := missing(&wflo.Refusal{Limit: math.MaxInt64, Spent: math.MaxInt64, Asked: math.MaxInt64}); got <= 0 {
		t.Errorf("missing %v", got)
	}
}

func TestStatusOfRefusedRun(t *testing.T) {
	b := someBooks()
	f := &fakeTemporal{statuses: map[string]wflo.Status{}, failure: refused("team:payments", time.Time{})}
	failed := info("r1", enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, nil)
	failed.CloseTime, failed.FirstRunId = failed.StartTime, "run-r1"
	f.runs = append(f.runs, failed)
	b.serves(t, f)
	invoke(t, f, "status", "r1").want(t, 0, []string{
		"spent     $2.00, $0.01 reserved, of $5.00 [####......] 40%", "error     run r1 failed: budget", "raise it  wflo budget topup team:payments 0.02",
	}, []string{"note: "})
	invoke(t, f, "status", "r1", "-o", "json").want(t, 0, []string{`"ledger": {`, `"refusal": {`, `"code": "wflo.BudgetExceeded"`}, nil)
	invoke(t, f, "list").want(t, 0, []string{"SPENT  RESERVED  LIMIT", "$2.00  $0.01     $5.00"}, nil)
	invoke(t, f, "list", "-o", "jsonl").want(t, 0, []string{`"ledger":{"budget":"run:r1/run-r1"`}, nil)
	// A retry counts for the first run, where the list says which that is.
	failed.Execution.RunId = "later"
	invoke(t, f, "list").want(t, 0, []string{"$2.00  $0.01     $5.00"}, nil)
	// Another run of that name is not this one.
	failed.FirstRunId = ""
	if r := invoke(t, f, "list"); strings.Contains(r.out, "$5.00") {
		t.Errorf("the budget of another run:\n%s", r.out)
	}
}
