package oidc

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A provider that repeats in its errors what it was sent does not bring code, verifier or
// secret into the log, or to whoever logs in; logIn looks for them.
func TestAttackCanaries(t *testing.T) {
	f := newForger(t)
	var sent string
	for name, say := range map[string]func(r *http.Request, body string) (int, string, string){
		"as an OAuth error": func(r *http.Request, body string) (int, string, string) {
			return 400, "application/json", fmt.Sprintf(`{"error":%q,"error_description":%q,"error_uri":%q}`, body, r.Header.Get("Authorization"), body)
		},
		"as text": func(r *http.Request, body string) (int, string, string) {
			return 400, "text/plain", body + r.Header.Get("Authorization")
		},
		"as a token": func(_ *http.Request, body string) (int, string, string) {
			return 200, "application/json", fmt.Sprintf(`{"access_token":"access-canary","token_type":"Bearer","id_token":%q}`, body)
		},
		"as its own fault": func(_ *http.Request, body string) (int, string, string) {
			return 500, "application/json", fmt.Sprintf(`{"error":%q}`, body)
		},
		"as a header": func(_ *http.Request, body string) (int, string, string) {
			return 302, "text/plain; x=\"" + strings.ReplaceAll(body, "\"", "") + "\"", ""
		},
	} {
		token := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			sent = string(body) + r.Header.Get("Authorization")
			status, kind, answer := say(r, sent)
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, answer)
		})
		f.token.Store(&token)
		id, log, err := f.logIn(t, nil)
		if err == nil || id.Subject != "" || !strings.Contains(sent, "code-canary") {
			t.Errorf("%s: %+v, %v; the provider got %q", name, id, err, sent)
		}
		if _, verifier, ok := strings.Cut(sent, "code_verifier="); ok {
			verifier, _, _ = strings.Cut(verifier, "&")
			verifier = verifier[:min(len(verifier), 43)]
			if strings.Contains(log, verifier) || strings.Contains(err.Error(), verifier) {
				t.Errorf("%s: the verifier is in %v or the log", name, err)
			}
		}
	}
}
