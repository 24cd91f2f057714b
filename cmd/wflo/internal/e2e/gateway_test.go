//go:build integration

package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

const (
	gatewayKey   = "gw-e2e-0123456789abcdef"
	gatewayLimit = 2 * wflo.USD / 1000
	// gatewayConfig has room for a few calls.
	gatewayConfig = `budgets:
  - {scope: team, name: build, limit: "0.002"}
gateway:
  keys:
    - {name: ci, env: GATEWAY_CI, team: build, tags: {env: ci}}
`
	plainChat    = `{"model":"` + modelName + `","messages":[{"role":"user","content":"hello"}],"max_tokens":100}`
	streamedChat = `{"model":"` + modelName + `","messages":[{"role":"user","content":"hello"}],"max_tokens":100,"stream":true}`
)

// answered is what the gateway said.
type answered struct {
	status int
	body   string
	// cost is the header, or of a stream the trailer.
	cost string
}

// chat sends a completion to the gateway as any program would.
func chat(t *testing.T, base, key, body string) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answered{status: resp.StatusCode, body: string(data), cost: resp.Header.Get("X-Wflo-Cost")}
	if a.cost == "" {
		a.cost = resp.Trailer.Get("X-Wflo-Cost")
	}
	if strings.Contains(a.body, apiKey) || strings.Contains(a.body, gatewayKey) {
		t.Errorf("a key is in the answer: %s", a.body)
	}
	return a
}

// price reads what the call cost.
func (a answered) price(t *testing.T) wflo.Money {
	t.Helper()
	m, err := wflo.ParseMoney(a.cost)
	if err != nil || m <= 0 {
		t.Fatalf("%d %s: cost %q, %v", a.status, a.body, a.cost, err)
	}
	return m
}

// wantSpent compares the report by team with what callers were told.
func wantSpent(t *testing.T, api string, calls int64, spent wflo.Money) {
	t.Helper()
	var costs console.Costs
	get(t, api+"/api/v1/costs?by=team", &costs)
	if len(costs.Rows) != 1 {
		t.Fatalf("costs %+v", costs)
	}
	if r := costs.Rows[0]; r.Key != "build" || r.Calls != calls || r.Spent != spent || r.Reserved != 0 || r.Unknown != 0 {
		t.Errorf("costs %+v, want %d calls for %s", r, calls, spent)
	}
}

// TestGateway is a program that knows nothing of wflo, with a key and a budget:
// it is answered until the budget is used up, and again when that is raised.
func TestGateway(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	path := filepath.Join(home, "wflo.yaml")
	if err := os.WriteFile(path, []byte(gatewayConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	model, env := vendor(t, scripted.Echo)
	env = append(env, "WFLO_CONFIG="+path, "GATEWAY_CI="+gatewayKey)
	d := startDev(t, home, append(env, "WFLO_OWNER=another-installation")...)
	t.Cleanup(func() { d.stop(t) })
	base := ""
	for _, m := range d.More {
		if m.Name == "Gateway" {
			base = m.Value
		}
	}
	if base != d.api+"/v1" {
		t.Fatalf("the gateway is announced at %q, the API at %q", base, d.api)
	}
	if a := chat(t, base, "gw-e2e-of-somebody-else", plainChat); a.status != http.StatusUnauthorized || len(model.Calls()) != 0 {
		t.Errorf("another key: %d %s", a.status, a.body)
	}
	plain := chat(t, base, gatewayKey, plainChat)
	if plain.status != http.StatusOK || !strings.Contains(plain.body, "echo: hello") {
		t.Fatalf("%d %s", plain.status, plain.body)
	}
	streamed := chat(t, base, gatewayKey, streamedChat)
	if streamed.status != http.StatusOK || !strings.Contains(streamed.body, "chat.completion.chunk") || !strings.HasSuffix(streamed.body, "data: [DONE]\n\n") {
		t.Fatalf("%d %s", streamed.status, streamed.body)
	}
	calls, spent := int64(2), plain.price(t)+streamed.price(t)
	wantSpent(t, d.api, calls, spent)
	refused := chat(t, base, gatewayKey, plainChat)
	for refused.status == http.StatusOK {
		calls, spent = calls+1, spent+refused.price(t)
		refused = chat(t, base, gatewayKey, plainChat)
	}
	wantRefusal(t, refused, spent)
	if spent > gatewayLimit || int64(len(model.Calls())) != calls {
		t.Errorf("%s was spent, the vendor was called %d times and answered %d", spent, len(model.Calls()), calls)
	}
	wantSpent(t, d.api, calls, spent)
	d.wflo(t, "budget", "topup", "team:build", "1.00", "--reason", "the build must go on", "--yes", "--api", d.api).want(t, 0, "team:build")
	again := chat(t, base, gatewayKey, plainChat)
	if again.status != http.StatusOK {
		t.Fatalf("after the top-up: %d %s", again.status, again.body)
	}
	wantSpent(t, d.api, calls+1, spent+again.price(t))
	// The production worker has the same, with a ledger of its own.
	_, api := d.worker(t, t.TempDir(), unique("gateway"), env...)
	first := chat(t, api+"/v1", gatewayKey, plainChat)
	if first.status != http.StatusOK {
		t.Fatalf("the worker: %d %s", first.status, first.body)
	}
	wantSpent(t, api, 1, first.price(t))
}

// wantRefusal checks what a program is told of a budget that said no.
func wantRefusal(t *testing.T, a answered, spent wflo.Money) {
	t.Helper()
	var out struct {
		Error struct {
			Type, Code string
			Wflo       wflo.Refusal
		}
	}
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	e := out.Error
	if a.status != http.StatusPaymentRequired || e.Type != "budget_exceeded" || e.Code != string(wflo.CodeBudgetExceeded) ||
		e.Wflo.Budget != "team:build" || e.Wflo.Limit != gatewayLimit || e.Wflo.Spent != spent || e.Wflo.Reserved != 0 {
		t.Errorf("%d %s; spent was %s", a.status, a.body, spent)
	}
}
