package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/pricing"
)

// ownRow is a row of provider p with these rates.
func ownRow(id, input, output string) string {
	return `{"provider":"p","id":"` + id + `","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"` + input + `","output":"` + output + `"}}],"source":"contract","source_date":"2026-11-20"}`
}

func ownBook(t *testing.T, rows ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "own.json")
	text := "{\"version\":1,\"currency\":\"USD\",\"models\":[\n" + strings.Join(rows, ",\n") + "]}"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func prices(t *testing.T, line ...string) result {
	t.Helper()
	return invoke(t, &fakeTemporal{}, line...)
}

func TestPricesHelp(t *testing.T) {
	for _, name := range []string{"prices", "prices list", "prices show", "prices lint", "prices diff", "prices import", "cost", "cost estimate", "cost compare"} {
		golden(t, "help-"+strings.ReplaceAll(name, " ", "-")+".txt", prices(t, append(strings.Fields(name), "--help")...))
	}
}

func TestPricesUsageErrors(t *testing.T) {
	t.Setenv("WFLO_PRICES", "")
	broken := ownBook(t, `{"provider":"p"}`)
	for _, tc := range []struct {
		line string
		code int
		want []string
	}{
		{"prices lst", ExitUsage, []string{"unknown command", "hint: did you mean list or lint?"}},
		{"prices list --at yesterday", ExitUsage, []string{`--at is "yesterday"`, "hint: write a day as in"}},
		{"prices list --provider opnai", ExitUsage, []string{`--provider is "opnai"`, "anthropic"}},
		{"prices list --prices /does/not/exist", ExitError, []string{"no such file", "hint: check the path"}},
		{"prices list --prices /", ExitError, []string{"/ is a directory", "hint: "}},
		{"prices list --prices " + broken, ExitError, []string{broken + ":2: prices: models[0] lacks", "hint: see all that is wrong with it: wflo prices lint"}},
		{"prices show", ExitUsage, []string{"MODEL is missing"}},
		{"prices show gpt-5.5x", ExitError, []string{"has no price", "did you mean"}},
		{"prices lint", ExitUsage, []string{"FILE is missing"}},
		{"prices diff", ExitUsage, []string{"OLD is missing"}},
		{"prices diff a b --prices c", ExitUsage, []string{"--prices is of no use"}},
		{"prices import", ExitUsage, []string{"FILE is missing"}},
		{"prices import x", ExitUsage, []string{"--into names no file", "hint: name your price book"}},
		{"prices import " + broken + " --into /does/not/exist", ExitError, []string{":2: "}},
		{"cost estimate", ExitUsage, []string{"--model is missing", "wflo prices list"}},
		{"cost estimate --model gpt-5.4 --max-tokens 0", ExitUsage, []string{"--max-tokens is 0", "hint: "}},
		{"cost estimate --model gpt-5.4 --calls -1", ExitUsage, []string{"--calls is -1"}},
		{"cost estimate --model nope", ExitError, []string{`model "nope" has no price`}},
		{"cost estimate --model gpt-5.4 --prompt-file /does/not/exist", ExitError, []string{"no such file"}},
		{"cost compare --model a --provider b", ExitUsage, []string{"exclude each other"}},
		{"cost compare --provider opnai", ExitUsage, []string{`--provider is "opnai"`}},
		{"cost compare --model nope", ExitError, []string{`model "nope" has no price`}},
	} {
		t.Run(tc.line, func(t *testing.T) {
			r := prices(t, strings.Fields(tc.line)...)
			r.out = ""
			r.want(t, tc.code, nil, tc.want)
		})
	}
}

func TestPricesListAndShow(t *testing.T) {
	t.Setenv("WFLO_PRICES", ownBook(t, ownRow("m", "0.003625", "12.5")))
	prices(t, "prices", "list", "--provider", "p").want(t, 0, []string{"p/m    chat  current  0.003625  0.003625  12.5    -      yours\n"}, nil)
	prices(t, "prices", "list", "--at", "2026-11-22").want(t, 0, []string{"anthropic/claude-", "built-in"}, nil)
	var list []listedPrice
	if err := json.Unmarshal([]byte(prices(t, "prices", "list", "-o", "json").out), &list); err != nil || len(list) != len(pricing.Default().Models())+1 {
		t.Errorf("%d models, %v", len(list), err)
	}
	prices(t, "prices", "show", "m").want(t, 0, []string{"model   p/m\n", "book    yours", "source  contract 2026-11-20", "*  start  -", "0.003625  (0.003625)"}, []string{"* in force at "})
	prices(t, "prices", "show", "p/m", "-o", "json").want(t, 0, []string{`"id": "override:p/m@start"`, `"written": [`}, nil)
	// The flag goes before the variable.
	prices(t, "prices", "show", "m", "--prices", ownBook(t, ownRow("k", "1", "2"))).want(t, 1, nil, []string{"has no price"})
	// What strangers write into a file does not reach the terminal.
	evil := ownBook(t, strings.Replace(ownRow("m", "1", "2"), "contract", `\u001b[31m\u202e`, 1))
	prices(t, "prices", "show", "m", "--prices", evil).want(t, 0, []string{`\x1b[31m\u202e`}, []string{"* in force"})
}

func TestPricesLint(t *testing.T) {
	path := ownBook(t, ownRow("m", "1", "2"), ownRow("m", "x", "0"))
	prices(t, "prices", "lint", path).want(t, ExitError,
		[]string{path + `:3: price of p/m: id "m" is also a name of p/m` + "\n    let each", `:3: price of p/m: rates[0].per_mtok.input is "x"`, "output is 0"},
		[]string{path + " has mistakes: 3", "hint: mend them"})
	var problems []pricing.Problem
	if err := json.Unmarshal([]byte(prices(t, "prices", "lint", path, "-o", "json").out), &problems); err != nil || len(problems) != 3 || problems[0].Line != 3 {
		t.Errorf("%+v, %v", problems, err)
	}
	prices(t, "prices", "lint", ownBook(t, ownRow("m", "1", "2"))).want(t, 0, nil, []string{"has no mistakes"})
	prices(t, "prices", "lint", ownBook(t, ownRow("m", "1", "2")), "-o", "json").want(t, 0, []string{"[]\n"}, []string{"has no mistakes"})
}

func TestPricesDiff(t *testing.T) {
	t.Setenv("WFLO_PRICES", "")
	before, after := ownBook(t, ownRow("m", "1", "2"), ownRow("gone", "1", "2")), ownBook(t, ownRow("m", "1", "3"), ownRow("new", "1", "2"))
	prices(t, "prices", "diff", before, after).want(t, 0, []string{"p/gone  removed", "p/m     output     2", "x 1.5", "p/new   added      -"}, nil)
	prices(t, "prices", "diff", before, after, "-o", "jsonl").want(t, 0, []string{`{"kind":"rate","provider":"p","model":"m","field":"output","old":"2","new":"3","factor":"1.5"}`}, nil)
	prices(t, "prices", "diff", before, before).want(t, 0, nil, []string{"no difference"})
	// Laid over the book in use, a file takes nothing away.
	r := prices(t, "prices", "diff", after)
	r.want(t, 0, []string{"p/m", "added"}, nil)
	if strings.Contains(r.out, "removed") {
		t.Errorf("a file that lays rows over the book removes some:\n%s", r.out)
	}
	prices(t, "prices", "diff", after, "--prices", before).want(t, 0, []string{"p/m    output     2    3"}, nil)
}

func TestPricesImport(t *testing.T) {
	t.Setenv("WFLO_PRICES", "")
	own := filepath.Join(t.TempDir(), "own.json")
	read := func() string {
		data, err := os.ReadFile(own)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	mode := func(want os.FileMode) {
		t.Helper()
		if about, err := os.Stat(own); err != nil || about.Mode().Perm() != want {
			t.Errorf("mode %v, %v, want %v", about.Mode(), err, want)
		}
	}
	first := ownBook(t, ownRow("m", "1", "2"), ownRow("k", "1", "2"))
	prices(t, "prices", "import", first, "--into", own, "--dry-run").want(t, 0, []string{"p/m    added"}, []string{"this was a dry run"})
	if _, err := os.Stat(own); err == nil {
		t.Fatal("a dry run wrote the file")
	}
	prices(t, "prices", "import", first, "--into", own).want(t, 0, []string{"p/m    added"}, []string{"wrote " + own})
	mode(0o600)
	prices(t, "prices", "lint", own).want(t, 0, nil, []string{"no mistakes"})

	// A jump is refused and written down nowhere, whatever the direction.
	before := read()
	for _, rates := range [][2]string{{"5.000001", "2"}, {"1", "0.39"}} {
		jump := ownBook(t, ownRow("m", rates[0], rates[1]))
		for _, line := range [][]string{{"--dry-run"}, nil} {
			prices(t, append([]string{"prices", "import", jump, "--into", own}, line...)...).want(t, ExitError, []string{"p/m"},
				[]string{"by more than a factor of 5: p/m ", "add --force. Nothing was written"})
		}
	}
	// So is one of a built-in row that has no counterpart in the file.
	builtIn := ownBook(t, strings.Replace(ownRow("gpt-5.4", "2500", "9000"), `"p"`, `"openai"`, 1))
	prices(t, "prices", "import", builtIn, "--into", own).want(t, ExitError, []string{"openai/gpt-5.4"}, []string{"openai/gpt-5.4 input from 2.5 to 2500"})
	if read() != before {
		t.Errorf("a refused import changed the file:\n%s", read())
	}
	if err := os.Chmod(own, 0o640); err != nil { //nolint:gosec // another mode than that of a new file
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WFLO_PRICES", link)
	prices(t, "prices", "import", ownBook(t, ownRow("m", "1000", "2")), "--force").want(t, 0, []string{"x 1000"}, []string{"wrote " + own})
	mode(0o640)
	if about, err := os.Lstat(link); err != nil || about.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link: %v, %v", about, err)
	}
	prices(t, "prices", "show", "k").want(t, 0, []string{"p/k"}, []string{"* in force"})
	prices(t, "prices", "show", "m").want(t, 0, []string{"1000"}, []string{"* in force"})
	prices(t, "prices", "import", own).want(t, 0, nil, []string{"no difference", "has all of it already"})
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(own), ".wflo-prices-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(own + ".lock"); err == nil {
		t.Error("the lock is left behind")
	}
	if err := replaceFile(own, []byte("older"), []byte("x")); err == nil || !strings.Contains(err.Error(), "changed by somebody else") {
		t.Errorf("a file that changed meanwhile: %v", err)
	}
	prices(t, "prices", "import", first, "--into", "/does/not/exist/own.json").want(t, ExitError, nil, []string{"hint: name a file in a directory that exists"})
}
