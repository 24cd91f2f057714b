package gateway

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/meter/metertest"
	"github.com/wflo-ai/wflo-go/pricing"
)

// Whatever a caller sends as a body goes to an upstream that is configured, with the model
// that was named and the rest as it was, or nowhere.
func FuzzRoute(f *testing.F) {
	g, err := New(Config{Ledger: &metertest.Books{}, Prices: pricing.Default(), Upstreams: []Upstream{{Provider: "openai"}, {Provider: "anthropic"}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		`{"model":"gpt-5.4-mini","messages":[]}`, `{"model":"anthropic/claude-haiku-4-5","stream":true}`, `{"model":"openai/openai/gpt-5.4-mini"}`, `{"model":"/"}`, `{"model":"google/x"}`,
		`{"model":"openai/gpt-5.4-mini","model":"anthropic/claude-haiku-4-5"}`, `{"Model":"openai/gpt-5.4-mini"}`, `{"model":1}`, `[]`, `{"model":"openai/\u0000"}`, `{"model":"override:openai/x"}`, strings.Repeat("[", 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		u, out, err := g.route(body)
		if err != nil {
			if out != nil || u.base != nil {
				t.Errorf("%q is refused and goes to %v", body, u.base)
			}
			return
		}
		if u.base == nil || u.Provider != "openai" && u.Provider != "anthropic" {
			t.Fatalf("%q goes to %q", body, u.Provider)
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(body, &before) != nil || json.Unmarshal(out, &after) != nil || len(before) != len(after) {
			t.Fatalf("%q became %q", body, out)
		}
		var named, sent string
		if json.Unmarshal(before["model"], &named) != nil || json.Unmarshal(after["model"], &sent) != nil || sent == "" || !strings.HasSuffix(named, sent) {
			t.Errorf("model %q became %q", named, sent)
		}
	})
}

// The headers of a caller narrow what its key says, and never change it.
func FuzzHeaders(f *testing.F) {
	f.Add("talk-1", "feature=search,env=prod")
	f.Add("../x", "env=dev")
	f.Add("", "a=b,a=c, =, k==v")
	f.Add("x\r\ny", "\u202e=1")
	c := caller{Key: Key{Name: "search", Run: wflo.Run{User: "ann", Team: "payments", Org: "acme", Tags: map[string]string{"env": "prod"}, Budget: wflo.Budget{Limit: wflo.USD}}}}
	f.Fuzz(func(t *testing.T, run, tags string) {
		r, err := c.run(http.Header{HeaderRun: {run}, HeaderTags: {tags}})
		if !maps.Equal(c.Run.Tags, map[string]string{"env": "prod"}) {
			t.Fatalf("the key's tags are %v", c.Run.Tags)
		}
		if err != nil {
			return
		}
		if r.User != "ann" || r.Team != "payments" || r.Org != "acme" || r.Tags["env"] != "prod" || r.WorkflowID != "gateway/search" || len(r.Lines) != 1 || r.Lines[0].Limit != wflo.USD {
			t.Errorf("%q and %q make %+v", run, tags, r)
		}
		if !runName.MatchString(r.FirstRunID) {
			t.Errorf("run %q", r.FirstRunID)
		}
	})
}
