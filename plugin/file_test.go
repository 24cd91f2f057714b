package plugin

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const inFile = `budgets:
  - {scope: team, name: books, limit: "5.00", period: daily}
routes:
  - {model: cheap, to: [gpt-5.4-mini]}
cache:
  ttl: 10m
  redis: redis://cache:6379
estimates: strict
gateway:
  keys:
    - {name: ci, env: CI_KEY, team: build, budget: "0.50"}
meter:
  hosts: {"llm.internal:8000": ollama}
  outside_tokens: 2000
`

// configFile writes text and takes the environment's say away.
func configFile(t *testing.T, text string) string {
	t.Helper()
	for _, name := range []string{"WFLO_CONFIG", "WFLO_ESTIMATES", "WFLO_CACHE_TTL", "WFLO_REDIS_URL", "WFLO_DATA_DIR", "WFLO_DATABASE", "CI_KEY"} {
		t.Setenv(name, "")
	}
	path := filepath.Join(t.TempDir(), "wflo.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFromFile(t *testing.T) {
	path := configFile(t, inFile)
	t.Setenv("CI_KEY", "0123456789abcdef\n")
	t.Setenv("WFLO_DATABASE", "memory")
	for how, read := range map[string]func() (Config, error){
		"by name": func() (Config, error) { return FromFile(path) },
		"by variable": func() (Config, error) {
			t.Setenv("WFLO_CONFIG", path)
			return FromEnv()
		},
	} {
		c, err := read()
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		want := Config{
			Budgets: []wflo.Budget{{Scope: wflo.ScopeTeam, Name: "books", Limit: 5 * wflo.USD, Period: wflo.PeriodDaily}},
			Routes:  []activities.Route{{Model: "cheap", To: []string{"gpt-5.4-mini"}}}, Strict: true,
			CacheTTL: 10 * time.Minute, CacheURL: "redis://cache:6379", Database: "memory",
			GatewayKeys: []GatewayKey{{Name: "ci", Secret: "0123456789abcdef", Run: wflo.Run{Team: "build", Budget: wflo.Budget{Limit: wflo.USD / 2}}}},
			Meter:       Meter{Hosts: map[string]string{"llm.internal:8000": "ollama"}, OutsideTokens: 2000},
		}
		if diff := cmp.Diff(want.Budgets, c.Budgets) + cmp.Diff(want.Routes, c.Routes) + cmp.Diff(want.GatewayKeys, c.GatewayKeys) + cmp.Diff(want.Meter, c.Meter); diff != "" ||
			c.Strict != want.Strict || c.CacheTTL != want.CacheTTL || c.CacheURL != want.CacheURL || c.Database != want.Database {
			t.Errorf("%s: %+v\n%s", how, c, diff)
		}
	}
}

func TestEnvironmentBeatsTheFile(t *testing.T) {
	path := configFile(t, inFile)
	t.Setenv("CI_KEY", "0123456789abcdef")
	t.Setenv("WFLO_ESTIMATES", "learned")
	t.Setenv("WFLO_CACHE_TTL", "1h")
	t.Setenv("WFLO_REDIS_URL", "redis://:hunter2@other:6379")
	c, err := FromFile(path)
	if err != nil || c.Strict || c.CacheTTL != time.Hour || c.CacheURL != "redis://:hunter2@other:6379" {
		t.Errorf("FromFile = %+v, %v", c, err)
	}
}

func TestFromFileRefuses(t *testing.T) {
	path := configFile(t, inFile)
	for name, tt := range map[string]struct {
		env  [2]string
		want error
		text string
	}{
		"no key":       {[2]string{"CI_KEY", ""}, wflo.ErrMissingKey, "variable CI_KEY"},
		"short key":    {[2]string{"CI_KEY", "hunter2"}, wflo.ErrMissingKey, "variable CI_KEY"},
		"estimates":    {[2]string{"WFLO_ESTIMATES", "exact"}, wflo.ErrInvalid, "WFLO_ESTIMATES"},
		"time to live": {[2]string{"WFLO_CACHE_TTL", "-1s"}, wflo.ErrInvalid, "WFLO_CACHE_TTL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CI_KEY", "0123456789abcdef")
			t.Setenv(tt.env[0], tt.env[1])
			_, err := FromFile(path)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || wflo.HintOf(err) == "" || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("FromFile = %v", err)
			}
		})
	}
	t.Setenv("WFLO_CONFIG", filepath.Join(t.TempDir(), "not-there.yaml"))
	if _, err := FromEnv(); !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), "not-there.yaml") {
		t.Errorf("a file that is not there gave %v", err)
	}
}

func TestNewRefusesBudgetsThatDoNotHold(t *testing.T) {
	team := wflo.Budget{Scope: wflo.ScopeTeam, Name: "books", Limit: wflo.USD}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"declared twice": {func(c *Config) { c.Budgets = []wflo.Budget{team, {Scope: wflo.ScopeOrg, Limit: 1}, team} }, "Budgets[2] declares team:books again, after Budgets[0]"},
		"run and each": {func(c *Config) {
			c.Budgets = []wflo.Budget{{Limit: 1}, {Scope: wflo.ScopeRun, Name: wflo.Each, Limit: 1}}
		}, "run:*"},
		"unknown period":  {func(c *Config) { c.Budgets = []wflo.Budget{team, {Scope: wflo.ScopeOrg, Period: "hourly"}} }, "Budgets[1]"},
		"negative pause":  {func(c *Config) { c.AlertEvery = -1 }, "AlertEvery"},
		"negative sweep":  {func(c *Config) { c.HoldSweepEvery = -1 }, "HoldSweepEvery"},
		"negative ttl":    {func(c *Config) { c.CacheTTL = -1 }, "CacheTTL"},
		"route to nobody": {func(c *Config) { c.Routes = []activities.Route{{To: []string{"gpt-99-ultra"}}} }, "gpt-99-ultra"},
		"odd Redis":       {func(c *Config) { c.CacheTTL, c.CacheURL = time.Minute, "http://:hunter2@cache" }, "cache"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{DataDir: t.TempDir(), Database: "memory", Providers: []Provider{}}
			tt.change(&cfg)
			p, err := New(cfg)
			if err == nil {
				p.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || wflo.HintOf(err) == "" || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("New = %v; want %q", err, tt.want)
			}
		})
	}
}

// TestBudgetsAreDeclared once more at the next start, which does not undo what
// an operator set in between.
func TestBudgetsAreDeclared(t *testing.T) {
	dir := t.TempDir()
	start := func(limit wflo.Money) *Plugin {
		return newPlugin(t, func(c *Config) {
			c.DataDir, c.Database = dir, ""
			c.Budgets = []wflo.Budget{{Scope: wflo.ScopeTeam, Name: "books", Limit: limit, Period: wflo.PeriodMonthly}}
		})
	}
	limit := func(p *Plugin) wflo.Money {
		s, err := p.Ledger().ListBudgets(context.Background())
		if err != nil || len(s) != 1 || s[0].Budget != "team:books" {
			t.Fatalf("budgets %+v, %v", s, err)
		}
		return s[0].Limit
	}
	first := start(wflo.USD)
	if got := limit(first); got != wflo.USD {
		t.Errorf("declared %s", got)
	}
	if err := first.Ledger().SetBudget(context.Background(), wflo.Budget{Scope: wflo.ScopeTeam, Name: "books", Limit: 2 * wflo.USD, Period: wflo.PeriodMonthly}, "ann"); err != nil {
		t.Fatal(err)
	}
	first.Close()
	again := start(wflo.USD)
	if got := limit(again); got != 2*wflo.USD {
		t.Errorf("the same declaration made it %s", got)
	}
	again.Close()
	if got := limit(start(3 * wflo.USD)); got != 3*wflo.USD {
		t.Errorf("another declaration made it %s", got)
	}
}

// TestTransportRefusesWithoutARun: what cannot be charged to anybody is not sent.
func TestTransportRefusesWithoutARun(t *testing.T) {
	p := newPlugin(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1/v1/chat/completions", strings.NewReader(`{"model":"gpt-5.4-mini","messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.HTTPClient().Do(req)
	if err == nil {
		res.Body.Close()
	}
	if wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("Do = %v", err)
	}
}
