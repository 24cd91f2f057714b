package scripted_test

import (
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// The service that answered is in the vendor's words, in streams too.
func TestTierInTheVendorsWords(t *testing.T) {
	const gemini = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`
	tests := []struct {
		tier, path, body string
		want             []string
	}{
		{"", "/v1/chat/completions", `{"model":"m",` + hello + `}`, []string{`"service_tier":"default"`}},
		{"priority", "/v1/chat/completions", `{"model":"m",` + hello + `}`, []string{`"service_tier":"priority"`}},
		{"flex", "/v1/chat/completions", `{"model":"m","stream":true,` + hello + `}`, []string{`"service_tier":"flex"`}},
		{"", "/v1/messages", `{"model":"m","max_tokens":9,` + hello + `}`, []string{`"service_tier":"standard"`, `"speed":"standard"`, `"inference_geo":"global"`}},
		{"fast+geo:us", "/v1/messages", `{"model":"m","max_tokens":9,` + hello + `}`, []string{`"service_tier":"standard"`, `"speed":"fast"`, `"inference_geo":"us"`}},
		{"batch", "/v1/messages", `{"model":"m","max_tokens":9,"stream":true,` + hello + `}`, []string{`"service_tier":"batch"`, `"speed":"standard"`}},
		{"priority", geminiPath, gemini, []string{`"serviceTier":"priority"`}},
	}
	for _, tt := range tests {
		srv, err := scripted.New(scripted.Config{Script: func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: "hi", Tier: tt.tier} }})
		if err != nil {
			t.Fatal(err)
		}
		status, body := post(t, srv, tt.path, tt.body, version)
		srv.Close()
		for _, want := range tt.want {
			if status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s in tier %q: %d %s, want %s", tt.path, tt.tier, status, body, want)
			}
		}
	}
}
