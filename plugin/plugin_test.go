package plugin

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPlugin(t *testing.T, change func(*Config)) *Plugin {
	t.Helper()
	cfg := Config{DataDir: t.TempDir(), Database: "memory", Providers: []Provider{}, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   error
		text   string
	}{
		{"negative limit", func(c *Config) { c.MaxTokens = -1 }, wflo.ErrInvalid, "negative"},
		{"odd database", func(c *Config) { c.Database = "mysql://root:hunter2@db/x" }, wflo.ErrInvalid, "Database"},
		{"odd provider", func(c *Config) { c.Providers = []Provider{{Kind: "skynet"}} }, wflo.ErrInvalid, "skynet"},
		{"provider without key", func(c *Config) { c.Providers = []Provider{{Kind: KindAnthropic}} }, wflo.ErrMissingKey, "anthropic"},
		{"two of a name", func(c *Config) {
			c.Providers = []Provider{{Kind: KindCohere, APIKey: "k"}, {Kind: KindCohere, APIKey: "k"}}
		}, wflo.ErrInvalid, "taken"},
		{"database of somebody else", func(c *Config) {
			c.Database = ""
			if err := os.WriteFile(filepath.Join(c.DataDir, "wflo.db"), []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, wflo.ErrInvalid, "wflo.db"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{DataDir: t.TempDir(), Database: "memory", Providers: []Provider{}}
			tt.change(&cfg)
			p, err := New(cfg)
			if err == nil {
				p.Close()
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || wflo.HintOf(err) == "" {
				t.Errorf("New = %v; want %v about %q with a hint", err, tt.want, tt.text)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

func TestFromEnv(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := base64.StdEncoding.EncodeToString(pub)
	prices := filepath.Join(t.TempDir(), "prices.json")
	if err := os.WriteFile(prices, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		env  map[string]string
		want string // part of the error; empty means that it is fine
	}{
		{"nothing", nil, ""},
		{"all", map[string]string{"WFLO_APPROVER_KEYS": "ann=" + key + ", bob=" + key, "WFLO_ALLOW_UNSIGNED": "true", "WFLO_MAX_TOKENS": "100"}, ""},
		{"key without a name", map[string]string{"WFLO_APPROVER_KEYS": key}, "WFLO_APPROVER_KEYS"},
		{"key cut short", map[string]string{"WFLO_APPROVER_KEYS": "ann=" + key[:20]}, `"ann"`},
		{"maybe", map[string]string{"WFLO_ALLOW_UNSIGNED": "maybe"}, "WFLO_ALLOW_UNSIGNED"},
		{"no tokens", map[string]string{"WFLO_MAX_TOKENS": "0"}, "WFLO_MAX_TOKENS"},
		{"price book missing", map[string]string{"WFLO_PRICES": "/does/not/exist"}, "price book"},
		{"price book broken", map[string]string{"WFLO_PRICES": prices}, "prices.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"WFLO_APPROVER_KEYS", "WFLO_ALLOW_UNSIGNED", "WFLO_MAX_TOKENS", "WFLO_PRICES"} {
				t.Setenv(name, tt.env[name])
			}
			c, err := FromEnv()
			switch {
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("FromEnv = %v; want an error with %q", err, tt.want)
			case tt.want == "" && err != nil:
				t.Errorf("FromEnv = %v", err)
			case tt.name == "all" && (len(c.Approvals.Keys) != 2 || !c.Approvals.AllowUnsigned || c.MaxTokens != 100):
				t.Errorf("FromEnv = %+v", c)
			}
		})
	}
}

func TestProvidersFromEnv(t *testing.T) {
	for _, name := range []string{
		"OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "GEMINI_API_KEY", "GOOGLE_API_KEY",
		"GEMINI_BASE_URL", "CO_API_KEY", "COHERE_API_KEY", "CO_API_URL", "OLLAMA_HOST",
	} {
		t.Setenv(name, "")
	}
	if got := ProvidersFromEnv(); len(got) != 0 {
		t.Errorf("an empty environment gives %+v", got)
	}
	t.Setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
	t.Setenv("GOOGLE_API_KEY", "g")
	t.Setenv("OLLAMA_HOST", "127.0.0.1:11434")
	got := ProvidersFromEnv()
	if len(got) != 3 || got[0].Kind != KindOpenAI || got[1].Kind != KindGoogle || got[2].Name != "ollama" || got[2].BaseURL != "http://127.0.0.1:11434/v1" {
		t.Errorf("ProvidersFromEnv = %+v", got)
	}
	for host, want := range map[string]string{
		"box": "http://box:11434/v1", "box:1": "http://box:1/v1", "::1": "http://[::1]:11434/v1", "[::1]": "http://[::1]:11434/v1", "https://box/": "https://box/v1",
	} {
		t.Setenv("OLLAMA_HOST", host)
		if got := ProvidersFromEnv(); got[2].BaseURL != want {
			t.Errorf("OLLAMA_HOST=%s gives %s, want %s", host, got[2].BaseURL, want)
		}
	}
}

// TestNamesAreNotHijacked registers functions of a user whose short names are
// those of wflo's own functions: each must run the user's code.
func TestNamesAreNotHijacked(t *testing.T) {
	for name, fn := range map[string]any{"RunAgent": RunAgent, "closure": func(workflow.Context) (string, error) { return "mine", nil }} {
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestWorkflowEnvironment()
		p := newPlugin(t, nil)
		env.SetWorkerOptions(worker.Options{Interceptors: p.Interceptors()})
		Register(env, p)
		env.RegisterWorkflow(fn)
		env.ExecuteWorkflow(fn)
		var got string
		if err := env.GetWorkflowResult(&got); err != nil || got != "mine" {
			t.Errorf("%s: result %q, %v", name, got, err)
		}
	}
}

// RunAgent is a user's workflow that happens to have the name of ours.
func RunAgent(workflow.Context) (string, error) { return "mine", nil }

func TestClaims(t *testing.T) {
	blobs, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() })
	s := &claimStore{blobs: blobs}
	big, err := converter.GetDefaultDataConverter().ToPayload(strings.Repeat("x", 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := s.Store(converter.StorageDriverStoreContext{Context: context.Background()}, []*commonpb.Payload{big, big})
	if err != nil || len(claims) != 2 || claims[0].ClaimData[claimKey] != claims[1].ClaimData[claimKey] {
		t.Fatalf("Store = %v, %v; want the same claim twice", claims, err)
	}
	back, err := s.Retrieve(converter.StorageDriverRetrieveContext{Context: context.Background()}, claims)
	if err != nil || len(back) != 2 || string(back[1].GetData()) != string(big.GetData()) || string(back[1].GetMetadata()["encoding"]) != string(big.GetMetadata()["encoding"]) {
		t.Errorf("Retrieve = %d payloads, %v", len(back), err)
	}
	for _, key := range []string{"", "../../etc/passwd", strings.Repeat("0", 64)} {
		claim := converter.StorageDriverClaim{ClaimData: map[string]string{claimKey: key}}
		if _, err := s.Retrieve(converter.StorageDriverRetrieveContext{Context: context.Background()}, []converter.StorageDriverClaim{claim}); err == nil {
			t.Errorf("claim %q was honoured", key)
		}
	}
}

// TestClientSendsOnlyItsPart keeps a client from choosing another run's budget.
func TestClientSendsOnlyItsPart(t *testing.T) {
	ctx := wflo.WithRun(context.Background(), wflo.Run{
		User: "ann", Team: "t", Budget: wflo.Budget{Limit: wflo.USD},
		Root: "other/run", Lines: []wflo.BudgetLine{{ID: "run:other/run"}}, Epoch: 7, WorkflowID: "w",
	})
	got, ok, err := outgoing(ctx)
	want := wflo.Run{User: "ann", Team: "t", Budget: wflo.Budget{Limit: wflo.USD}}
	if diff := cmp.Diff(want, got); diff != "" || !ok || err != nil {
		t.Errorf("outgoing = %v, %v; difference (-want +got):\n%s", ok, err, diff)
	}
	if n := withIdentity(temporal.SearchAttributes{}, got).Size(); n != 3 {
		t.Errorf("%d search attributes, want state, user and team", n)
	}
	if _, ok, err := outgoing(context.Background()); ok || err != nil {
		t.Errorf("no run gave %v, %v", ok, err)
	}
	bad := wflo.WithRun(context.Background(), wflo.Run{Budget: wflo.Budget{Limit: -1}})
	if _, _, err := outgoing(bad); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a negative budget gave %v", err)
	}
}

func TestStartRefusesAWorkerWithoutItsClient(t *testing.T) {
	p := newPlugin(t, nil)
	err := p.start(context.Background(), temporal.SimplePluginRunContextBeforeOptions{})
	if !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), "client") {
		t.Errorf("start = %v", err)
	}
}

func TestOwner(t *testing.T) {
	if got := newPlugin(t, func(c *Config) { c.Owner = "blue" }).owner(); got != "blue" {
		t.Errorf("owner = %q", got)
	}
	p := newPlugin(t, nil)
	p.options = &client.Options{HostPort: "temporal:7233"}
	if got := p.owner(); got != "temporal:7233/default" {
		t.Errorf("owner = %q", got)
	}
}

func TestLedgerSurvivesClose(t *testing.T) {
	dir := t.TempDir()
	run := wflo.Run{WorkflowID: "w", FirstRunID: "r", Step: "s"}
	line := wflo.BudgetLine{ID: wflo.RunBudgetID(run.ID()), Limit: wflo.USD}
	first := newPlugin(t, func(c *Config) { c.DataDir, c.Database = dir, "" })
	if _, err := first.Ledger().Reserve(context.Background(), wflo.Reservation{Key: run.EffectKey(), Attempt: 1, Amount: wflo.Cent, Budgets: []wflo.BudgetLine{line}, Run: run}); err != nil {
		t.Fatal(err)
	}
	first.Close()
	second := newPlugin(t, func(c *Config) { c.DataDir, c.Database = dir, "" })
	s, err := second.Ledger().Spend(context.Background(), line.ID)
	if err != nil || s.Reserved != wflo.Cent {
		t.Errorf("Spend = %+v, %v", s, err)
	}
}
