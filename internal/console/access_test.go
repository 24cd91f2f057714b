package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// everything is a console with all that it can have.
func everything(c *Config) {
	c.Passwords = directory{}
	c.Redirects = map[string]auth.Redirects{"sso": provider{}}
	c.Slack = &Slack{}
	c.tells = told{someTale()} // its events are the console's own
}

// told is a story whose events the test does not send.
type told struct{ *tale }

// directory knows the passwords of a few.
type directory struct{}

func (directory) Login(_ context.Context, name, password string) (wflo.Identity, error) {
	switch {
	case name == "down":
		return wflo.Identity{}, auth.Unavailable("directory")
	case name == "norole" && password == "right":
		return wflo.Identity{Subject: name, Method: "ldap"}, nil
	case password == "right":
		return wflo.Identity{Subject: name, Groups: []string{"ops"}, Roles: []wflo.AccessRole{wflo.RoleApprover}, Method: "ldap"}, nil
	}
	return wflo.Identity{}, auth.Refused("try again")
}

// provider logs in ann, and brings back what it was given.
type provider struct{}

func (provider) Begin(w http.ResponseWriter, r *http.Request, back string) error {
	http.Redirect(w, r, "https://sso.example/authorize?back="+url.QueryEscape(back), http.StatusFound)
	return nil
}

func (provider) Finish(_ http.ResponseWriter, r *http.Request) (wflo.Identity, string, error) {
	if r.URL.Query().Get("state") != "good" {
		return wflo.Identity{}, "", auth.Refused("start again")
	}
	return wflo.Identity{Subject: "ann", Roles: []wflo.AccessRole{wflo.RoleApprover}, Method: "oidc"}, r.URL.Query().Get("back"), nil
}

// wantRoutes is who may do what, written down a second time so that nobody changes
// it in passing. A star marks routes that show those of an org what is theirs.
var wantRoutes = map[string]string{
	"GET /healthz": "", "GET /assets/console.css": "", "GET /assets/console.js": "", "GET /login": "", "POST /login/key": "", "POST /login/password": "",
	"GET /login/via/{name}": "", "GET /login/via/{name}/callback": "", "POST /slack/interactions": "",

	"GET /metrics": "viewer", "GET /api/v1/openapi.json": "viewer*", "GET /api/v1/whoami": "viewer*", "GET /api/v1/version": "viewer*", "GET /api/v1/runs": "viewer*", "GET /api/v1/runs/{id}": "viewer*",
	"GET /api/v1/runs/{id}/head": "viewer*", "GET /api/v1/runs/{id}/rows": "viewer*", "GET /api/v1/runs/{id}/rows/{row}": "viewer*",
	"GET /api/v1/runs/{id}/rows/{row}/output": "viewer*", "GET /api/v1/runs/{id}/events": "viewer*",
	"GET /api/v1/runs/{id}/ledger": "viewer*", "GET /api/v1/approvals": "viewer*", "GET /api/v1/approvals/{nonce}": "viewer*",
	"GET /api/v1/budgets": "viewer", "GET /api/v1/budgets/{id}": "viewer", "GET /api/v1/spends": "viewer", "GET /api/v1/alerts": "viewer",
	"GET /api/v1/runs/{id}/logs": "viewer*", "GET /api/v1/costs": "viewer*", "GET /api/v1/holds": "viewer", "GET /{$}": "viewer*", "GET /inbox": "viewer*",
	"GET /gates/{nonce}": "viewer*", "POST /logout": "viewer*",
	"GET /runs": "viewer*", "GET /runs/{id}": "viewer*", "GET /runs/{id}/rows/{row}": "viewer*", "GET /spend": "viewer*", "GET /spend.csv": "viewer*", "GET /settings": "viewer*",
	"POST /spend/topups": "operator",

	"PUT /api/v1/budgets/{id}": "operator", "DELETE /api/v1/budgets/{id}": "operator", "POST /api/v1/budgets/{id}/topups": "operator",
	"POST /api/v1/holds/{key}/{attempt}/settlement": "operator", "GET /api/v1/notices": "operator", "GET /api/v1/audit": "operator*",

	"POST /api/v1/runs/{id}/decisions": "approver*", "POST /api/v1/approvals/{nonce}/decisions": "approver*", "POST /gates/{nonce}": "approver*", "POST /inbox": "approver*",

	"GET /api/v1/snapshots": "viewer*", "GET /api/v1/snapshots/{id}": "viewer*", "GET /api/v1/snapshots/{id}/diff": "viewer*",
	"GET /api/v1/restores/{id}": "viewer*", "GET /api/v1/runs/{id}/lineage": "viewer*", "GET /api/v1/compensations": "viewer*", "GET /api/v1/compensations/{id}": "viewer*",
	"GET /recovery": "viewer*", "GET /runs/{id}/recovery": "viewer*", "GET /restores/{id}": "viewer*", "GET /compensations": "viewer*",
	"POST /api/v1/runs/{id}/snapshots": "operator*", "POST /api/v1/snapshots/{id}/pin": "operator*", "DELETE /api/v1/snapshots/{id}/pin": "operator*",
	"POST /api/v1/runs/{id}/restores": "operator*", "POST /api/v1/runs/{id}/cancel": "operator*", "POST /api/v1/runs/{id}/halt": "operator*",
	"GET /runs/{id}/stop": "operator*", "POST /runs/{id}/stop": "operator*", "POST /api/v1/compensations/{id}/retry": "operator*",
	"POST /runs/{id}/recovery": "operator*", "POST /runs/{id}/snapshots": "operator*", "POST /snapshots/{id}/pin": "operator*", "POST /compensations/{id}/retry": "operator*",
	"DELETE /api/v1/snapshots/{id}": "admin*", "POST /api/v1/compensations/{id}/resolve": "admin*", "POST /api/v1/compensations/{id}/skip": "admin*",
	"POST /compensations/{id}/resolve": "admin*", "POST /compensations/{id}/skip": "admin*",

	"GET /api/v1/keys": "admin*", "POST /api/v1/keys": "admin*", "DELETE /api/v1/keys/{id}": "admin*", "POST /api/v1/notices/{id}/retry": "admin",
}

// Every route, for everybody: who may not is turned away before anything happens,
// and who may is not.
func TestRoutesByRole(t *testing.T) {
	o := newOffice(t, everything)
	g := o.gate("n1", "acme", nil)
	got := map[string]string{}
	for _, rt := range Routes(o.cfg) {
		got[rt.Pattern] = string(rt.Role)
		if rt.Tenants {
			got[rt.Pattern] += "*"
		}
	}
	if diff := cmp.Diff(wantRoutes, got); diff != "" {
		t.Fatalf("routes (-want +got):\n%s", diff)
	}
	keys := map[string]string{"nobody": "", "forged": "wflo_" + strings.Repeat("a", 16) + "_" + strings.Repeat("b", 52)}
	for _, role := range wflo.AccessRoles() {
		keys[string(role)] = o.key("pat-"+string(role), "", role)
		keys[string(role)+" of acme"] = o.key("lee-"+string(role), "acme", role)
	}
	values := strings.NewReplacer("{id}", "team:none", "{nonce}", g.Nonce, "{key}", "k1", "{attempt}", "1", "{name}", "sso", "{row}", "s1", "{$}", "")
	for pattern, want := range wantRoutes {
		role, tenants := strings.CutSuffix(want, "*")
		method, path, _ := strings.Cut(pattern, " ")
		if role == "" {
			continue
		}
		for who, key := range keys {
			status := o.api(key, method, values.Replace(path), "").status
			has, of, bound := wflo.Identity{}, "", false
			if has.Roles = nil; key != "" && who != "forged" {
				of, _, bound = strings.Cut(who, " ")
				has.Roles = []wflo.AccessRole{wflo.AccessRole(of)}
			}
			switch {
			case has.Roles == nil && status != http.StatusUnauthorized && !(status == http.StatusSeeOther && method == http.MethodGet):
				t.Errorf("%s by %s: %d", pattern, who, status)
			case has.Roles != nil && (!has.May(wflo.AccessRole(role)) || bound && !tenants) && status != http.StatusForbidden:
				t.Errorf("%s by %s: %d, want 403", pattern, who, status)
			case has.May(wflo.AccessRole(role)) && (tenants || !bound) && (status == http.StatusForbidden || status == http.StatusUnauthorized || status >= 500):
				t.Errorf("%s by %s: %d", pattern, who, status)
			}
		}
	}
	o.untouched("all routes", "n1")
}

// Paths that are not in the table are not served.
func TestOtherPaths(t *testing.T) {
	o := newOffice(t, everything)
	key := o.key("root", "", wflo.RoleAdmin)
	for path, want := range map[string]int{"/debug/pprof/": 404, "/api/v1/secrets": 404, "/assets/../console.go": 404, "/assets/gate.html": 404, "/v1/models": 404} {
		if got := o.api(key, "GET", path, ""); got.status != want && got.status != http.StatusMovedPermanently && got.status != http.StatusTemporaryRedirect {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"} {
		if got := o.api(key, method, "/api/v1/approvals/n1/decisions", ""); got.status != http.StatusMethodNotAllowed && got.status != http.StatusNotFound {
			t.Errorf("%s: %d", method, got.status)
		}
	}
}

// Who has proved who they are cannot say to be somebody else.
func TestNameOfHeaderIsIgnored(t *testing.T) {
	o := newOffice(t, nil)
	g := o.gate("n1", "", nil)
	got := o.api(o.key("ann", "", wflo.RoleApprover), "POST", "/api/v1/approvals/n1/decisions", `{"verdict":"approve","digest":"`+g.Digest+`"}`, HeaderUser, "ceo")
	if got.status != http.StatusOK || o.runs.Gate("n1").Decision.By != "ann" || o.runs.Gate("n1").Decision.Method != "apikey" {
		t.Errorf("%d %s, by %q", got.status, got.body, o.runs.Gate("n1").Decision.By)
	}
	admin := o.key("root", "", wflo.RoleAdmin)
	if got := o.api(admin, "PUT", "/api/v1/budgets/team:a", `{"limit":"5.00"}`, HeaderUser, "ceo"); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := o.api(admin, "GET", "/api/v1/whoami", "", HeaderUser, "ceo"); !strings.Contains(got.body, `"subject":"root"`) || strings.Contains(got.body, "ceo") {
		t.Errorf("whoami: %s", got.body)
	}
}

// Requests that other pages make, or that repeat no token, change nothing.
func TestForgedRequests(t *testing.T) {
	o := newOffice(t, nil)
	o.gate("n1", "", nil)
	key := o.key("ann", "", wflo.RoleApprover)
	c, other := o.logIn(key), o.logIn(key)
	page := o.send(c, "GET", "/gates/n1", "").body
	form := o.form(page, "approve")
	with := func(name, value string) url.Values {
		v := url.Values{}
		for k := range form {
			v.Set(k, form.Get(k))
		}
		v.Set(name, value)
		return v
	}
	foreign := o.form(o.send(other, "GET", "/gates/n1", "").body, "approve").Get("csrf")
	if foreign == form.Get("csrf") || form.Get("csrf") == "" {
		t.Fatal("two sessions have one token")
	}
	json := `{"verdict":"approve","digest":"` + form.Get("digest") + `"}`
	for name, got := range map[string]answered{
		"no token":               o.post(c, "/gates/n1", with("csrf", "")),
		"token of another login": o.post(c, "/gates/n1", with("csrf", foreign)),
		"token in the query":     o.post(c, "/gates/n1?csrf="+url.QueryEscape(form.Get("csrf")), with("csrf", "")),
		"from another site":      o.post(c, "/gates/n1", form, "Origin", "https://evil.example"),
		"from a sandboxed frame": o.post(c, "/gates/n1", form, "Origin", "null"),
		"by another site's word": o.post(c, "/gates/n1", form, "Sec-Fetch-Site", "cross-site"),
		"by a neighbouring site": o.post(c, "/gates/n1", form, "Sec-Fetch-Site", "same-site"),
		"plain text":             o.send(c, "POST", "/gates/n1", form.Encode(), "Content-Type", "text/plain"),
		"API by cookie alone":    o.send(c, "POST", "/api/v1/approvals/n1/decisions", json, "Content-Type", "application/json"),
		"API with a wrong token": o.send(c, "POST", "/api/v1/approvals/n1/decisions", json, HeaderCSRF, foreign),
		"logout":                 o.post(c, "/logout", url.Values{}),
	} {
		if got.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	o.untouched("forged requests", "n1")
	if got := o.api(o.key("vic", "", wflo.RoleViewer), "POST", "/api/v1/approvals/n1/decisions", json); got.status != http.StatusForbidden {
		t.Errorf("by a viewer: %d", got.status)
	}
	records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateRefused})
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]int{}
	for _, r := range records {
		by[r.Actor]++
	}
	if by["ann"] != 6 || by["vic"] != 1 {
		t.Errorf("refused attempts in the trail: %v", by)
	}
	if got := o.send(c, "POST", "/api/v1/approvals/n1/decisions", json, HeaderCSRF, form.Get("csrf")); got.status != http.StatusOK {
		t.Errorf("API with the token: %d %s", got.status, got.body)
	}
}

// No GET or HEAD changes anything, whoever sends it for whatever reason.
func TestLooking(t *testing.T) {
	o := newOffice(t, everything)
	g := o.gate("n1", "", nil)
	c := o.logIn(o.key("ann", "", wflo.RoleAdmin, wflo.RoleApprover))
	values := strings.NewReplacer("{id}", "run-n1", "{nonce}", "n1", "{key}", "k1", "{attempt}", "1", "{name}", "sso", "{row}", "s1", "{$}", "")
	query := "?verdict=approve&digest=" + g.Digest + "&id=x&d=" + g.Digest
	for _, rt := range Routes(o.cfg) {
		_, path, _ := strings.Cut(rt.Pattern, " ")
		for _, method := range []string{"GET", "HEAD"} {
			o.send(c, method, values.Replace(path)+query, "", "Sec-Purpose", "prefetch;prerender")
			o.send(c, method, values.Replace(path)+query, "", "X-HTTP-Method-Override", "POST", "User-Agent", "LinkScanner/1.0")
		}
	}
	o.untouched("looking", "n1")
	// What a browser fetched by itself is not what somebody saw; what they opened is.
	fresh := newOffice(t, nil)
	fresh.gate("n1", "", nil)
	b := fresh.logIn(fresh.key("ann", "", wflo.RoleApprover))
	seen := func() int {
		records, err := fresh.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateViewed})
		if err != nil {
			t.Fatal(err)
		}
		return len(records)
	}
	fresh.send(b, "HEAD", "/gates/n1", "")
	fresh.send(b, "GET", "/gates/n1", "", "Sec-Purpose", "prefetch")
	if n := seen(); n != 0 {
		t.Errorf("%d views that nobody had", n)
	}
	fresh.send(b, "GET", "/gates/n1", "")
	if n := seen(); n != 1 {
		t.Errorf("%d views of one", n)
	}
}

// Logins: a new session each time, none by a cookie that somebody else made, and
// none after the logout.
func TestSessions(t *testing.T) {
	o := newOffice(t, nil)
	o.gate("n1", "", nil)
	key := o.key("ann", "", wflo.RoleApprover)
	c := o.browser()
	u, err := url.Parse(o.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	fixed := strings.Repeat("A", 43)
	c.Jar.SetCookies(u, []*http.Cookie{{Name: "wflo_session", Value: fixed, Path: "/"}})
	if got := o.send(c, "GET", "/inbox", ""); got.status != http.StatusSeeOther || got.header.Get("Location") != "/login?back=%2Finbox" {
		t.Errorf("forged cookie: %d %s", got.status, got.header.Get("Location"))
	}
	if got := o.send(c, "GET", "/api/v1/whoami", ""); got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("forged cookie at the API: %d", got.status)
	}
	if got := o.post(c, "/login/key", url.Values{"key": {key}, "back": {"/gates/n1?d=x"}}); got.status != http.StatusSeeOther || got.header.Get("Location") != "/gates/n1?d=x" {
		t.Fatalf("login: %d %s", got.status, got.header.Get("Location"))
	}
	first := o.cookies(c)
	if len(first) != 1 || first[0].Value == fixed {
		t.Fatalf("cookies %v", first)
	}
	if got := o.post(c, "/login/key", url.Values{"key": {key}}); got.status != http.StatusSeeOther {
		t.Fatalf("second login: %d", got.status)
	}
	if o.cookies(c)[0].Value == first[0].Value {
		t.Error("the second login has the first one's session")
	}
	old := o.browser()
	old.Jar.SetCookies(u, first)
	if got := o.send(old, "GET", "/inbox", ""); got.status != http.StatusSeeOther {
		t.Errorf("the session before the second login: %d", got.status)
	}
	page := o.send(c, "GET", "/gates/n1", "").body
	if got := o.post(c, "/logout", url.Values{"csrf": {o.form(page, "approve").Get("csrf")}}); got.status != http.StatusSeeOther {
		t.Fatalf("logout: %d", got.status)
	}
	if got := o.send(c, "GET", "/inbox", ""); got.status != http.StatusSeeOther {
		t.Errorf("after the logout: %d", got.status)
	}
	// A bad key is refused even where a good cookie comes with it.
	c = o.logIn(key)
	if got := o.send(c, "GET", "/api/v1/whoami", "", "Authorization", "Bearer wflo_x"); got.status != http.StatusUnauthorized {
		t.Errorf("bad key with a good cookie: %d", got.status)
	}
}

// The ways to log in, and what they say to those who cannot.
func TestLogin(t *testing.T) {
	o := newOffice(t, everything)
	page := o.send(o.plain(), "GET", "/login?back=//evil.example", "").body
	for _, want := range []string{"Log in with sso", `name="password"`, `name="key"`, `name="back" value="/"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the login page lacks %s", want)
		}
	}
	password := func(name, password, back string) answered {
		return o.post(o.browser(), "/login/password", url.Values{"name": {name}, "password": {password}, "back": {back}})
	}
	for name, tt := range map[string]struct {
		got      answered
		status   int
		location string
		want     string
	}{
		"password":              {password("pat", "right", "/gates/n1?d=1"), 303, "/gates/n1?d=1", ""},
		"to another site":       {password("pat2", "right", "https://evil.example/"), 303, "/", ""},
		"to another host":       {password("pat3", "right", "//evil.example/"), 303, "/", ""},
		"to a host by a slash":  {password("pat4", "right", `/\evil.example`), 303, "/", ""},
		"with a line end":       {password("pat5", "right", "/x\r\nSet-Cookie: a=b"), 303, "/", ""},
		"wrong password":        {password("pat6", "wr0ng-canary", "/"), 401, "", "not valid"},
		"no role":               {password("norole", "right", "/"), 403, "", "nothing here is open"},
		"directory down":        {password("down", "right", "/"), 503, "", "cannot be checked"},
		"no key":                {o.post(o.browser(), "/login/key", url.Values{"key": {"hunter2-canary"}}), 401, "", "not valid"},
		"key of line ends":      {o.post(o.browser(), "/login/key", url.Values{"key": {"x\r\nX-Evil: 1"}}), 401, "", "not valid"},
		"login of another site": {o.post(o.browser(), "/login/password", url.Values{"name": {"pat"}, "password": {"right"}}, "Origin", "https://evil.example"), 403, "", ""},
		"elsewhere":             {o.send(o.browser(), "GET", "/login/via/sso?back=%2Finbox", ""), 302, "https://sso.example/authorize?back=%2Finbox", ""},
		"elsewhere and astray":  {o.send(o.browser(), "GET", "/login/via/sso?back=%2F%2Fevil.example", ""), 302, "https://sso.example/authorize?back=%2F", ""},
		"elsewhere, unknown":    {o.send(o.browser(), "GET", "/login/via/none", ""), 404, "", "no such way"},
		"back":                  {o.send(o.browser(), "GET", "/login/via/sso/callback?state=good&back=%2Finbox", ""), 303, "/inbox", ""},
		"back, astray":          {o.send(o.browser(), "GET", "/login/via/sso/callback?state=good&back=%2F%2Fevil.example", ""), 303, "/", ""},
		"back, forged":          {o.send(o.browser(), "GET", "/login/via/sso/callback?state=bad", ""), 401, "", "not valid"},
	} {
		if tt.got.status != tt.status || tt.got.header.Get("Location") != tt.location || !strings.Contains(tt.got.body, tt.want) {
			t.Errorf("%s: %d to %q: %s", name, tt.got.status, tt.got.header.Get("Location"), tt.got.body)
		}
		if strings.Contains(tt.got.body, "canary") {
			t.Errorf("%s: the answer repeats the secret", name)
		}
		if session := slices.ContainsFunc(tt.got.header.Values("Set-Cookie"), func(c string) bool { return strings.HasPrefix(c, "wflo_session=") }); session != (tt.status == 303) {
			t.Errorf("%s: session %v", name, session)
		}
	}
	records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Chain: "main"})
	if err != nil {
		t.Fatal(err)
	}
	count := map[wflo.AuditType]int{}
	for _, r := range records {
		count[r.Type]++
		if strings.Contains(string(r.Data)+r.Actor, "canary") {
			t.Errorf("the trail has the secret: %s %s", r.Actor, r.Data)
		}
	}
	if count[wflo.AuditLogin] != 7 || count[wflo.AuditLoginRefused] == 0 {
		t.Errorf("trail %v", count)
	}
}

// Guesses of passwords are slowed down.
func TestGuesses(t *testing.T) {
	o := newOffice(t, everything)
	limited := false
	for range 12 {
		got := o.post(o.browser(), "/login/password", url.Values{"name": {"pat"}, "password": {"guess"}})
		limited = limited || got.status == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("twelve guesses were all heard")
	}
}

// Where nobody can prove anything, the console answers on this machine only, by a
// name of this machine, and signs nothing unless that was asked for.
func TestWithoutAuth(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		o := newOffice(t, func(c *Config) { c.Auth, c.Logins, c.Keys, c.Insecure = nil, nil, nil, insecure })
		g := o.gate("n1", "", nil)
		decision := `{"verdict":"approve","digest":"` + g.Digest + `"}`
		rebound := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://evil.example/api/v1/approvals/n1/decisions", strings.NewReader(decision))
		w := httptest.NewRecorder()
		o.handler.ServeHTTP(w, rebound)
		if w.Code != http.StatusForbidden {
			t.Errorf("by another host's name: %d %s", w.Code, w.Body)
		}
		if got := o.api("", "POST", "/api/v1/approvals/n1/decisions", decision, HeaderUser, "a\tb"); got.status != http.StatusUnprocessableEntity {
			t.Errorf("by a garbled name: %d", got.status)
		}
		page := o.send(o.browser(), "GET", "/gates/n1", "", HeaderUser, "ann").body
		o.untouched("without proof", "n1")
		got := o.api("", "POST", "/api/v1/approvals/n1/decisions", decision, HeaderUser, "ann")
		if insecure {
			if got.status != http.StatusOK || o.runs.Gate("n1").Decision.By != "ann" || o.runs.Gate("n1").Decision.Method != MethodNone {
				t.Errorf("insecure: %d %s", got.status, got.body)
			}
			form := o.form(page, "reject")
			if got := o.post(o.browser(), "/gates/n1", url.Values{"verdict": {"reject"}, "digest": {g.Digest}, "csrf": {"guess"}}, HeaderUser, "ann"); got.status != http.StatusForbidden {
				t.Errorf("insecure, forged: %d", got.status)
			}
			if got := o.post(o.browser(), "/gates/n1", form, HeaderUser, "ann"); got.status != http.StatusOK || o.runs.Gate("n1").Status != wflo.GateRevoked {
				t.Errorf("insecure, on the page: %d, gate %s", got.status, o.runs.Gate("n1").Status)
			}
			continue
		}
		if got.status != http.StatusForbidden || strings.Contains(page, `name="verdict"`) {
			t.Errorf("without proof: %d %s", got.status, got.body)
		}
		o.untouched("without proof", "n1")
		// What is signed proves itself.
		signed, err := jsonOf(o.runs.Sign(freshly(g.Decide(wflo.VerdictApprove, "ann"))))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.api("", "POST", "/api/v1/runs/run-n1/decisions", signed); got.status != http.StatusOK {
			t.Errorf("signed: %d %s", got.status, got.body)
		}
	}
}
