package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const full = `# What our agents may spend.
budgets:
  - scope: org
    name: acme
    limit: "2000.00"
    period: monthly
    time_zone: Europe/Berlin
    thresholds: [50, 80, 95]
    on_exceeded: ask
  - {scope: user, limit: "5", period: "rolling:24h", thresholds: []}
routes:
  - model: cheap
    scopes: ["tag:env=dev"]
    max_input: 4000
    above: 75
    to: [gpt-5.4-mini, claude-haiku-4-5]
cache:
  ttl: 10m
  redis: redis://cache:6379/1
estimates: strict
gateway:
  keys:
    - name: ci
      env: CI_KEY
      team: build
      tags: {env: ci}
    - name: docs
      file: /run/secrets/docs
      user: ann
      budget: "0.50"
meter:
  hosts: {"llm.internal:8000": vllm}
  models:
    our-gpt: gpt-5.4-mini
  allow: [/v1/files]
  outside_tokens: 2000
`

func TestParse(t *testing.T) {
	got, err := Parse("wflo.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := File{
		Budgets: []wflo.Budget{
			{
				Scope: wflo.ScopeOrg, Name: "acme", Limit: 2000 * wflo.USD, Period: wflo.PeriodMonthly, TimeZone: "Europe/Berlin",
				Thresholds: []int{50, 80, 95}, OnExceeded: wflo.ExceedAsk,
			},
			{Scope: wflo.ScopeUser, Limit: 5 * wflo.USD, Period: wflo.Rolling(24 * time.Hour), Thresholds: []int{}},
		},
		Routes: []activities.Route{{
			Model: "cheap", Scopes: []string{"tag:env=dev"}, MaxInput: 4000, Above: 75, To: []string{"gpt-5.4-mini", "claude-haiku-4-5"},
		}},
		Cache:     Cache{TTL: 10 * time.Minute, Redis: "redis://cache:6379/1"},
		Estimates: EstimatesStrict,
		Gateway: Gateway{Keys: []GatewayKey{
			{Name: "ci", Env: "CI_KEY", Team: "build", Tags: map[string]string{"env": "ci"}},
			{Name: "docs", File: "/run/secrets/docs", User: "ann", Budget: wflo.USD / 2},
		}},
		Meter: Meter{
			Hosts: map[string]string{"llm.internal:8000": "vllm"}, Models: map[string]string{"our-gpt": "gpt-5.4-mini"},
			Allow: []string{"/v1/files"}, OutsideTokens: 2000,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
}

// TestDocumentedExamples: what the guides show can be copied.
func TestDocumentedExamples(t *testing.T) {
	for _, guide := range []string{"budgets.md", "meter.md", "console.md", "notifications.md", "authentication.md", "storage.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", guide))
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```yaml\n")[1:]
		if len(blocks) == 0 {
			t.Errorf("%s has no example", guide)
		}
		for _, block := range blocks {
			example, _, _ := strings.Cut(block, "```")
			if _, err := Parse(guide, []byte(example)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestParseNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing yet\n", "---\n"} {
		got, err := Parse("wflo.yaml", []byte(text))
		if diff := cmp.Diff(File{}, got); diff != "" || err != nil {
			t.Errorf("%q gave %v, difference:\n%s", text, err, diff)
		}
	}
}

// TestParseRefuses has one line per mistake: where it is found, what is said and
// what to do.
func TestParseRefuses(t *testing.T) {
	const budget = "budgets:\n  - scope: team\n    limit: \"5.00\"\n"
	tests := []struct{ name, text, where, what, hint string }{
		{"unknown field", budget + "    limt: \"6.00\"\n", "4:5", `unknown field "limt" of a budget`, `did you mean "limit"?`},
		{"unknown section", "budget: []\n", "1:1", `unknown field "budget" of the configuration`, `did you mean "budgets"?`},
		{"nothing like it", budget + "    colour: red\n", "4:5", `unknown field "colour"`, "use scope, name, period"},
		{"field of elsewhere", budget + "    ttl: 10m\n", "4:5", `unknown field "ttl" of a budget`, "use scope"},
		{"wrong case", budget + "    Period: daily\n", "4:5", `unknown field "Period"`, `did you mean "period"?`},
		{"set twice", budget + "    limit: \"6.00\"\n", "4:5", "limit", ""},
		{"declared twice", budget + "  - scope: team\n    name: \"*\"\n    limit: \"6\"\n", "4:5", "budget team:* is declared again, after line 2", "once"},
		{"number as limit", "budgets:\n  - scope: team\n    limit: 5.00\n", "3:12", "limit is a number", "in quotes"},
		{"whole number as limit", "budgets:\n  - scope: team\n    limit: 5\n", "3:12", "limit is a number", "in quotes"},
		{"zero limit", "budgets:\n  - scope: team\n    limit: \"0\"\n", "3:12", `limit is "0"`, "above zero"},
		{"negative limit", "budgets:\n  - scope: team\n    limit: \"-5\"\n", "3:12", `limit is "-5"`, "above zero"},
		{"no limit", "budgets:\n  - scope: team\n", "2:5", "budget team:* has no limit", "limit:"},
		{"no scope", "budgets:\n  - limit: \"5\"\n", "2:5", "no scope", "scope: team"},
		{"unknown scope", "budgets:\n  - scope: planet\n    limit: \"5\"\n", "2:12", `budget.scope is "planet"`, "run, step"},
		{"unknown period", budget + "    period: hourly\n", "4:13", `budget.period is "hourly"`, "daily"},
		{"unknown zone", budget + "    time_zone: Europe/Bonn\n", "4:16", `budget.time_zone is "Europe/Bonn"`, "IANA"},
		{"unknown excess", budget + "    on_exceeded: panic\n", "4:18", `budget.on_exceeded is "panic"`, "halt"},
		{"threshold above 100", budget + "    thresholds: [50, 120]\n", "4:22", "a threshold is 120", "ascending"},
		{"thresholds descend", budget + "    thresholds: [80, 50]\n", "4:17", "budget.thresholds[1]", "ascending"},
		{"threshold in words", budget + "    thresholds: [half]\n", "4:18", "a threshold is text", ""},
		{"list as mapping", "budgets:\n  scope: team\n", "2:3", "budgets is a mapping", "list"},
		{"mapping as text", "budgets:\n  - team\n", "2:5", "a budget is text", "NAME: VALUE"},
		{"nothing as list", "budgets:\n", "", "budgets is empty", "list"},
		{"name as number", budget + "    name: 42\n", "4:11", "name is a number", "quotes"},
		{"alias", "budgets:\n  - &a\n    scope: team\n    limit: \"5\"\n  - *a\n", "", "anchor", ""},
		{"merge", "budgets:\n  - <<: {scope: team}\n    limit: \"5\"\n", "2:5", "", ""},
		{"tag", "estimates: !!str strict\n", "", "tag", ""},
		{"two documents", budget + "---\nestimates: strict\n", "5:1", "second document", "one document"},
		{"not YAML", "budgets: [\n", "", "", ""},
		{"tab", "budgets:\n\t- scope: team\n", "", "", ""},
		{"estimates", "estimates: exact\n", "1:12", `estimates is "exact"`, "strict or learned"},
		{"route to nowhere", "routes:\n  - model: cheap\n", "2:5", "route.to is empty", "models"},
		{"route of each", "routes:\n  - scopes: [\"team:*\"]\n    to: [a]\n", "2:13", "route.scopes[0]", "SCOPE:NAME"},
		{"route above nothing", "routes:\n  - above: 0\n    to: [a]\n", "2:12", "above is 0", "percentage"},
		{"cache without end", "cache:\n  redis: redis://cache:6379\n", "2:3", "no ttl", "10m"},
		{"cache for a number", "cache: {ttl: 10}\n", "1:14", "ttl is a number", ""},
		{"cache elsewhere", "cache:\n  ttl: 10m\n  redis: http://cache\n", "3:10", "redis is not the URL", "redis://"},
		{"key without a place", "gateway:\n  keys:\n    - name: ci\n", "3:7", "does not say where", "env and file"},
		{"key in two places", "gateway:\n  keys:\n    - name: ci\n      env: A\n      file: /a\n", "3:7", "twice", "env and file"},
		{"two keys of a name", "gateway:\n  keys:\n    - {name: ci, env: A}\n    - {name: ci, env: B}\n", "4:7", "key ci is declared again", "own"},
		{"key without money", "gateway:\n  keys:\n    - {name: ci, env: A, budget: \"0\"}\n", "3:34", `budget is "0"`, "above zero"},
		{"images for nothing", "meter:\n  outside_tokens: 0\n", "2:19", "outside_tokens is 0", "leave it out"},
		{"hosts as a list", "meter:\n  hosts: [a]\n", "2:10", "hosts is a list", "NAME: VALUE"},
		{"nameless key", "gateway:\n  keys:\n    - env: A\n", "3:7", "no name", "logs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("wflo.yaml", []byte(tt.text))
			if !errors.Is(err, wflo.ErrInvalid) {
				t.Fatalf("Parse = %v", err)
			}
			message, hint := wflo.Explain(err)
			if !strings.HasPrefix(message, "wflo.yaml:"+tt.where) || !strings.Contains(message, tt.what) || !strings.Contains(hint, tt.hint) {
				t.Errorf("error = %v\nwant it at %s with %q and the hint %q", err, tt.where, tt.what, tt.hint)
			}
		})
	}
}

// TestErrorShowsTheLine reads as a person would.
func TestErrorShowsTheLine(t *testing.T) {
	_, err := Parse("wflo.yaml", []byte("budgets:\n  - scope: team\n    limit: \"5.00\"\n    period: hourly\n"))
	message, _ := wflo.Explain(err)
	want := "wflo.yaml:4:13: budget.period is \"hourly\"\n    4 |     period: hourly\n      |             ^"
	if message != want {
		t.Errorf("error =\n%s\nwant\n%s", message, want)
	}
}

// TestErrorsKeepSecrets puts a secret where people put it by mistake.
func TestErrorsKeepSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"key in the file":     "gateway:\n  keys:\n    - name: ci\n      key: sk-hunter2\n",
		"key in flow style":   "gateway:\n  keys: [{name: ci, key: sk-hunter2}]\n",
		"key behind a name":   "gateway:\n  keys:\n    - name: {key: sk-hunter2}\n",
		"key instead of env":  "gateway:\n  keys:\n    - name: ci\n      env: sk-hunter2\n",
		"key as a list":       "gateway:\n  keys:\n    - sk-hunter2\n",
		"password of Redis":   "cache:\n  ttl: 10m\n  redis: redis://:hunter2@cache:6379\n",
		"Redis that is wrong": "cache:\n  ttl: 10m\n  redis: \"redis://:hunter2@[::1\"\n",
		"open quotes":         "gateway:\n  keys:\n    - name: ci\n      key: \"sk-hunter2\n",
		"database":            "database: postgres://wflo:hunter2@db/wflo\n",
		"list of secrets":     "secrets:\n  - hunter2\n",
		"text alone":          "sk-hunter2\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("wflo.yaml", []byte(text))
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Parse = %v", err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wflo.yaml")
	if _, err := Load(path); !errors.Is(err, wflo.ErrInvalid) || wflo.HintOf(err) == "" {
		t.Errorf("a file that is not there gave %v", err)
	}
	if err := os.WriteFile(path, []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(path); err != nil || len(f.Budgets) != 2 {
		t.Errorf("Load = %+v, %v", f, err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("# large\n", MaxSize/8+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a large file gave %v", err)
	}
}

// FuzzParse looks for text that is taken although a budget in it does not hold,
// and for errors that say nothing.
func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add("budgets: [{scope: run, limit: \"1\"}]")
	f.Add("a: &a [*a]")
	f.Add("? {a: b}\n: c\n<<: d")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("f", []byte(text))
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.HasPrefix(err.Error(), "f") {
				t.Fatalf("error %q", err)
			}
			return
		}
		ids := map[string]bool{}
		for _, b := range file.Budgets {
			if b.Limit <= 0 || b.Scope == "" || b.Validate() != nil || ids[b.ID()] {
				t.Fatalf("took %+v", b)
			}
			ids[b.ID()] = true
		}
		for _, r := range file.Routes {
			if err := r.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range file.Gateway.Keys {
			if (k.Env == "") == (k.File == "") || k.Run().Validate() != nil {
				t.Fatalf("took %+v", k)
			}
		}
	})
}
