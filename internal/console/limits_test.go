package console

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// An address that sends too much waits.
func TestRate(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Rate = 1 })
	var last answered
	for range 12 {
		last = o.api("", "GET", "/api/v1/whoami", "")
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("%d", last.status)
	}
	if got := o.api("", "GET", "/healthz", ""); got.status != http.StatusOK {
		t.Errorf("health: %d", got.status)
	}
}

// Answers tell browsers to be careful.
func TestHeaders(t *testing.T) {
	o := newOffice(t, everything)
	for _, path := range []string{"/login", "/api/v1/whoami", "/inbox", "/assets/console.css"} {
		got := o.api("", "GET", path, "")
		csp := got.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q", path, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || got.header.Get("X-Content-Type-Options") != "nosniff" || path != "/assets/console.css" && got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
	page := o.api("", "GET", "/login", "").body
	for _, never := range []string{"<script", "style=", "onclick", "javascript:", "http://", "https://"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %s", never)
		}
	}
}

// Bodies that are huge, or are not what they should be, end there.
func TestBodies(t *testing.T) {
	o := newOffice(t, nil)
	o.gate("n1", "", nil)
	key := o.key("ann", "", wflo.RoleApprover)
	c := o.logIn(key)
	form := o.form(o.send(c, "GET", "/gates/n1", "").body, "approve")
	huge := strings.Repeat("x", maxDecision+1)
	for name, got := range map[string]answered{
		"huge JSON":      o.api(key, "POST", "/api/v1/approvals/n1/decisions", `{"reason":"`+huge+`"}`),
		"no JSON":        o.api(key, "POST", "/api/v1/approvals/n1/decisions", `approve`),
		"a typo":         o.api(key, "POST", "/api/v1/approvals/n1/decisions", `{"verdct":"approve"}`),
		"two values":     o.api(key, "POST", "/api/v1/approvals/n1/decisions", `{}{}`),
		"another gate":   o.api(key, "POST", "/api/v1/approvals/n1/decisions", `{"nonce":"n2","verdict":"approve"}`),
		"no digest":      o.api(key, "POST", "/api/v1/approvals/n1/decisions", `{"verdict":"approve"}`),
		"huge form":      o.post(c, "/gates/n1", url.Values{"csrf": {form.Get("csrf")}, "reason": {huge}}),
		"broken form":    o.send(c, "POST", "/gates/n1", "csrf=%zz&verdict=approve", "Content-Type", formType),
		"form of a file": o.send(c, "POST", "/gates/n1", "--x\r\n", "Content-Type", "multipart/form-data; boundary=x"),
	} {
		large := strings.Contains(got.body, "too large")
		if got.status < 400 || got.status >= 500 || large != strings.HasPrefix(name, "huge") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	o.untouched("odd bodies", "n1")
}

// A trail or a store that is broken lets nobody in and decides nothing.
func TestFailsClosed(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Auth = broken{} })
	o.gate("n1", "", nil)
	for _, path := range []string{"/api/v1/approvals", "/gates/n1", "/metrics"} {
		got := o.api("", "GET", path, "")
		if got.status != http.StatusInternalServerError || strings.Contains(got.body, "10.1.2.3") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

type broken struct{}

func (broken) Authenticate(*http.Request) (wflo.Identity, error) {
	return wflo.Identity{Subject: "root", Roles: []wflo.AccessRole{wflo.RoleAdmin}}, errors.New("dial 10.1.2.3: refused")
}

func drain(r io.Reader) string {
	data, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
