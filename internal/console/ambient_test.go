package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// headerProxy is the name in a header that a proxy adds to everything.
const headerProxy = "X-Proxy-User"

// proxied knows people by that header: ann approves, lee of acme too, vic looks.
type proxied struct{}

func (proxied) Authenticate(r *http.Request) (wflo.Identity, error) {
	id := wflo.Identity{Subject: r.Header.Get(headerProxy), Method: "proxy", Groups: []string{"ops"}, Roles: []wflo.AccessRole{wflo.RoleApprover}}
	switch id.Subject {
	case "":
		return wflo.Identity{}, auth.ErrNone
	case "ann":
	case "lee":
		id.Org = "acme"
	case "vic":
		id.Roles = []wflo.AccessRole{wflo.RoleViewer}
	case "ghost":
		id.Subject = ""
	default:
		return id, auth.Refused("come through the proxy")
	}
	return id, nil
}

func behindProxy(t *testing.T) *office {
	t.Helper()
	return newOffice(t, func(c *Config) { c.Ambient = proxied{} })
}

// What a proxy says decides before a session and a key, because both may be somebody
// else's who used the browser before, and its refusal is not mended by either.
func TestAmbientComesFirst(t *testing.T) {
	o := behindProxy(t)
	key := o.key("bob", "", wflo.RoleAdmin)
	session := o.logIn(key)
	for name, tt := range map[string]struct {
		who    string
		status int
		want   string
	}{
		"nobody":  {"", http.StatusOK, `"bob"`},
		"ann":     {"ann", http.StatusOK, `"ann"`},
		"refused": {"mallory", http.StatusUnauthorized, "unauthenticated"},
		"ghost":   {"ghost", http.StatusUnauthorized, "unauthenticated"},
	} {
		for from, c := range map[string]*http.Client{"a session": session, "a key": o.plain()} {
			header := []string{headerProxy, tt.who}
			if from == "a key" {
				header = append(header, "Authorization", "Bearer "+key)
			}
			if got := o.send(c, "GET", "/api/v1/whoami", "", header...); got.status != tt.status || !strings.Contains(got.body, tt.want) {
				t.Errorf("%s with %s: %d %s", name, from, got.status, got.body)
			}
		}
	}
}

// Roles and tenants hold for whom a proxy names.
func TestAmbientRolesAndTenants(t *testing.T) {
	o := behindProxy(t)
	o.gate("n1", "acme", nil)
	o.gate("n2", "other", nil)
	for _, tt := range []struct {
		who, method, path string
		status            int
	}{
		{"vic", "GET", "/gates/n1", http.StatusOK},
		{"vic", "POST", "/api/v1/approvals/n1/decisions", http.StatusForbidden},
		{"vic", "GET", "/api/v1/audit", http.StatusForbidden},
		{"lee", "GET", "/gates/n1", http.StatusOK},
		{"lee", "GET", "/gates/n2", http.StatusNotFound},
		{"lee", "GET", "/metrics", http.StatusForbidden},
		{"lee", "GET", "/api/v1/keys", http.StatusForbidden},
		{"ann", "GET", "/gates/n2", http.StatusOK},
		{"mallory", "GET", "/gates/n1", http.StatusSeeOther}, // to the login page
		{"mallory", "GET", "/api/v1/runs", http.StatusUnauthorized},
	} {
		if got := o.send(o.plain(), tt.method, tt.path, "{}", headerProxy, tt.who); got.status != tt.status {
			t.Errorf("%s %s by %s: %d, want %d", tt.method, tt.path, tt.who, got.status, tt.status)
		}
	}
	o.untouched("those who may not", "n1")
}

// The proxy adds its header to whatever the browser sends, also to what a page of
// others made it send. A form of ours repeats a token, and it is of one person.
func TestAmbientForgedRequests(t *testing.T) {
	o := behindProxy(t)
	o.gate("n1", "acme", nil)
	c := o.plain()
	page := o.send(c, "GET", "/gates/n1", "", headerProxy, "ann").body
	form := o.form(page, "approve")
	if strings.Contains(page, "Log out") || form.Get("csrf") == "" || form.Get("csrf") == o.handler.formToken {
		t.Errorf("token %q on a page without a session: %s", form.Get("csrf"), page)
	}
	others := o.form(o.send(c, "GET", "/gates/n1", "", headerProxy, "lee").body, "approve").Get("csrf")
	with := func(token string) url.Values {
		forged := url.Values{}
		for name, values := range form {
			forged[name] = values
		}
		forged.Set("csrf", token)
		return forged
	}
	for name, got := range map[string]answered{
		"no token":            o.post(c, "/gates/n1", with(""), headerProxy, "ann"),
		"another's token":     o.post(c, "/gates/n1", with(others), headerProxy, "ann"),
		"a page of others":    o.post(c, "/gates/n1", form, headerProxy, "ann", "Sec-Fetch-Site", "cross-site"),
		"the API from others": o.send(c, "POST", "/api/v1/approvals/n1/decisions", "{}", headerProxy, "ann", "Origin", "https://evil.example"),
	} {
		if got.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	o.untouched("forged requests", "n1")
	if got := o.post(c, "/gates/n1", form, headerProxy, "ann"); got.status != http.StatusOK && got.status != http.StatusSeeOther {
		t.Errorf("approve: %d %s", got.status, got.body)
	}
	if g := o.runs.Gate("n1"); g.Status != wflo.GateApproved || g.Decision.By != "ann" || g.Decision.Method != "proxy" {
		t.Errorf("gate %s, %+v", g.Status, g.Decision)
	}
}

// A console without keys shows no form for them, and takes none.
func TestNobodyLogsInByKey(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Ambient, c.Auth, c.Keys = proxied{}, auth.Chain(), nil })
	key := o.key("bob", "", wflo.RoleAdmin)
	if got := o.send(o.plain(), "GET", "/login", ""); got.status != http.StatusOK || strings.Contains(got.body, "<form") || !strings.Contains(got.body, "Nobody logs in on this page") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := o.post(o.browser(), "/login/key", url.Values{"key": {key}}); got.status != http.StatusNotFound && got.status != http.StatusMethodNotAllowed {
		t.Errorf("a key: %d", got.status)
	}
	if got := o.api(key, "GET", "/api/v1/whoami", ""); got.status != http.StatusUnauthorized {
		t.Errorf("a key: %d", got.status)
	}
	if got := o.send(o.plain(), "GET", "/inbox", "", headerProxy, "ann"); got.status != http.StatusOK {
		t.Errorf("ann: %d", got.status)
	}
}

// Beside the proxy nobody gets in, even where nothing else proves who people are.
func TestAmbientAlone(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Ambient, c.Auth, c.Keys = proxied{}, nil, nil })
	if got := o.send(o.plain(), "GET", "/api/v1/whoami", "", HeaderUser, "ann"); got.status != http.StatusUnauthorized {
		t.Errorf("beside the proxy: %d %s", got.status, got.body)
	}
}
