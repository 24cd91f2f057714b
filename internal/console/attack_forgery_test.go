package console

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/auth/session"
)

// csrf is the token of a browser's session.
func (o *office) csrf(c *http.Client) string {
	o.t.Helper()
	var who Whoami
	if err := json.Unmarshal([]byte(o.send(c, "GET", "/api/v1/whoami", "").body), &who); err != nil || who.CSRF == "" {
		o.t.Fatalf("no token: %v", err)
	}
	return who.CSRF
}

// withToken puts a token where the route has it: a field of a form, or a header.
func withToken(pattern string, line try, token string) (try, []string) {
	if strings.Contains(pattern, "/api/") {
		return line, []string{HeaderCSRF, token}
	}
	line.with += "&csrf=" + url.QueryEscape(token)
	return line, nil
}

// Every route that changes something, with a cookie that is good: without the token of the
// session, with that of another one, from another site, or as a GET, nothing changes.
func TestAttackForgery(t *testing.T) {
	s := newTarget(t)
	key, _ := s.made("", time.Time{}, admin, approver)
	c, other := s.logIn(key), s.logIn(key)
	own, foreign := s.csrf(c), s.csrf(other)
	before, tried := s.state(), 0
	for pattern, line := range tries {
		if line.role == "" || strings.HasPrefix(pattern, "GET ") {
			continue
		}
		tried++
		with, header := withToken(pattern, line, own)
		without, stolen := line, foreign
		strange, strangeHeader := withToken(pattern, line, stolen)
		_, path := s.path(pattern)
		for name, got := range map[string]answered{
			"no token":            s.sent(c, pattern, without),
			"an empty token":      s.sent(c, pattern, without, HeaderCSRF, ""),
			"another's token":     s.sent(c, pattern, strange, strangeHeader...),
			"another site":        s.sent(c, pattern, with, append(header, "Origin", "https://evil.example")...),
			"a sandboxed frame":   s.sent(c, pattern, with, append(header, "Origin", "null")...),
			"the browser's word":  s.sent(c, pattern, with, append(header, "Sec-Fetch-Site", "cross-site")...),
			"a neighbouring site": s.sent(c, pattern, with, append(header, "Sec-Fetch-Site", "same-site", "Origin", s.server.URL)...),
		} {
			if got.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d %.200s", pattern, name, got.status, got.body)
			}
		}
		for _, method := range []string{"GET", "HEAD", "PATCH", "TRACE"} { // what is read by this path changes nothing
			s.send(c, method, path+"?"+strings.TrimPrefix(with.with, "&"), "", append(header, "X-HTTP-Method-Override", "POST")...)
		}
	}
	if after := s.state(); after != before || tried < 20 {
		t.Errorf("%d routes; state\n%s\nbecame\n%s", tried, before, after)
	}
	heard(t)
}

// heard sends the same with the token of the session, which is heard.
func heard(t *testing.T) {
	t.Helper()
	var s *target
	var c *http.Client
	begin := func() {
		s = newTarget(t)
		key, _ := s.made("", time.Time{}, admin, approver)
		c = s.logIn(key)
	}
	begin()
	for pattern, line := range tries {
		if line.role == "" || strings.HasPrefix(pattern, "GET ") || pattern == "POST /logout" { // TestSessions logs out
			continue
		}
		with, header := withToken(pattern, line, s.csrf(c))
		got := s.sent(c, pattern, with, header...)
		if got.status != line.in { // an earlier one has changed it
			begin()
			with, header = withToken(pattern, line, s.csrf(c))
			got = s.sent(c, pattern, with, header...)
		}
		if got.status != line.in {
			t.Errorf("%s with the token: %d, want %d: %.200s", pattern, got.status, line.in, got.body)
		}
	}
}

// Logging somebody in from another site would have them work as somebody else.
func TestAttackLoginFromElsewhere(t *testing.T) {
	s := newTarget(t)
	key, _ := s.made("", time.Time{}, viewer)
	for path, form := range map[string]url.Values{"/login/key": {"key": {key}}, "/login/password": {"name": {"pat"}, "password": {"right"}}} {
		for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}} {
			b := s.browser()
			if got := s.post(b, path, form, header...); got.status != http.StatusForbidden || len(s.cookies(b)) != 0 {
				t.Errorf("%s from %v: %d, %d cookies", path, header, got.status, len(s.cookies(b)))
			}
		}
	}
}

// A session is worth no more than the key that opened it, and ends with it.
func TestAttackSessionOutlivesItsKey(t *testing.T) {
	o := newOffice(t, nil)
	root := o.key("root", "", admin)
	for name, end := range map[string]func(id string){
		"revoked by the API": func(id string) { wants(t, "revoke", o.api(root, "DELETE", "/api/v1/keys/"+id, ""), 200) },
		"revoked in the database": func(id string) {
			if err := o.records.RevokeKey(t.Context(), id, "root"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		plain, kept, err := o.keys.Make(t.Context(), apikey.Spec{Name: "n", Subject: "ann", Roles: []wflo.AccessRole{approver}, MadeBy: "root"})
		if err != nil {
			t.Fatal(err)
		}
		c := o.logIn(plain)
		wants(t, name+", before", o.send(c, "GET", "/inbox", ""), 200)
		end(kept.ID)
		if got := o.send(c, "GET", "/inbox", ""); got.status != seeOther || !strings.HasPrefix(got.header.Get("Location"), "/login") {
			t.Errorf("%s: the session goes on: %d", name, got.status)
		}
		if got := o.send(c, "GET", "/api/v1/whoami", ""); got.status != nobody {
			t.Errorf("%s: the session goes on at the API: %d", name, got.status)
		}
	}
	// One that expires, by the clock of the console's keys.
	late := time.Now().Add(2 * time.Hour)
	short, kept, err := o.keys.Make(t.Context(), apikey.Spec{Name: "n", Subject: "ann", Roles: []wflo.AccessRole{approver}, MadeBy: "root", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	c := o.logIn(short)
	later, err := apikey.New(apikey.Config{Store: o.records, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return late }})
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "not expired", o.send(c, "GET", "/inbox", ""), 200)
	o.handler.cfg.Keys = later
	if got := o.send(c, "GET", "/inbox", ""); got.status != seeOther {
		t.Errorf("the session of %s, which expired, goes on: %d", kept.ID, got.status)
	}
}

// A cookie that was copied is good until the logout, and for nobody after it.
func TestAttackStolenCookie(t *testing.T) {
	o := newOffice(t, nil)
	c := o.logIn(o.key("ann", "", approver))
	u, err := url.Parse(o.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	thief := o.browser()
	thief.Jar.SetCookies(u, o.cookies(c))
	wants(t, "before", o.send(thief, "GET", "/inbox", ""), 200)
	if got := o.post(c, "/logout", url.Values{"csrf": {o.csrf(c)}}); got.status != seeOther {
		t.Fatalf("logout: %d", got.status)
	}
	if got := o.send(thief, "GET", "/inbox", ""); got.status != seeOther {
		t.Errorf("after the logout: %d", got.status)
	}
	// Of two cookies, one of which a neighbouring host may have set, none counts.
	d := o.logIn(o.key("bob", "", approver))
	two := o.cookies(d)[0].String() + "; " + o.cookies(d)[0].String()
	if got := o.send(o.plain(), "GET", "/inbox", "", "Cookie", two); got.status != seeOther {
		t.Errorf("two cookies: %d", got.status)
	}
}

// What a browser may do with the cookie of a session.
func TestAttackCookieFlags(t *testing.T) {
	o := newOffice(t, func(c *Config) {
		records := c.Desk.Records
		logins, err := session.New(session.Config{Store: records, Logger: c.Logger})
		if err != nil {
			t.Fatal(err)
		}
		c.Logins = logins
	})
	got := o.post(o.browser(), "/login/key", url.Values{"key": {o.key("ann", "", viewer)}})
	set := got.header.Values("Set-Cookie")
	if len(set) != 1 {
		t.Fatalf("cookies %q", set)
	}
	for _, want := range []string{"__Host-", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age=43200"} {
		if !strings.Contains(set[0], want) {
			t.Errorf("the cookie lacks %q: %s", want, strings.SplitN(set[0], ";", 2)[1])
		}
	}
	if strings.Contains(set[0], "Domain") {
		t.Error("the cookie is for other hosts too")
	}
}

// Nobody who is bound to an org reads the trail of the installation by being of an org
// that has its name.
func TestAttackOrgOfTheInstallation(t *testing.T) {
	o := newOffice(t, nil)
	o.key("ann", "", viewer)
	o.post(o.browser(), "/login/key", url.Values{"key": {"wflo_nobody"}})
	if _, _, err := o.keys.Make(t.Context(), apikey.Spec{Name: "n", Subject: "mal", Roles: []wflo.AccessRole{operator}, Org: "main", MadeBy: "root"}); err == nil {
		t.Error("a key for the org main was made")
	}
	// A way to log in of somebody else's may say so all the same.
	o = newOffice(t, func(c *Config) { c.Auth = person{Subject: "mal", Org: "main", Roles: []wflo.AccessRole{admin}} })
	for _, path := range []string{"/api/v1/audit", "/api/v1/audit?chain=main", "/api/v1/keys", "/inbox"} {
		wants(t, path, o.api("", "GET", path, ""), 403, "!login")
	}
}

// person is who sends every request.
type person wflo.Identity

func (p person) Authenticate(*http.Request) (wflo.Identity, error) { return wflo.Identity(p), nil }
