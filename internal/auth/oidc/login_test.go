package oidc

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

func isRefused(err error) bool { return errors.Is(err, auth.ErrRefused) }
func isAway(err error) bool    { return errors.Is(err, auth.ErrUnavailable) }

func TestLoginAtARealProvider(t *testing.T) {
	_, log := use(t, func(c *Config) {
		c.Claims.Subject = "email"
		c.Mapping = auth.Mapping{
			FoldCase: true, Allow: []string{"finance"}, SubjectPrefix: "op:",
			GroupRoles: map[string][]wflo.AccessRole{"engineering": {wflo.RoleApprover}},
		}
	})
	b := newBrowser(t)
	at := b.logIn("ann", "/inbox?tab=mine")
	got := b.finish(at)
	want := wflo.Identity{Subject: "op:ann@example.com", Name: "Ann Arbor", Email: "ann@example.com", Groups: []string{"finance"}, Roles: []wflo.AccessRole{wflo.RoleApprover}, Method: Method}
	if diff := cmp.Diff(outcome{Identity: want, Back: "/inbox?tab=mine"}, got, cmpopts.IgnoreFields(wflo.Identity{}, "At")); diff != "" {
		t.Error(diff)
	}
	if left := b.cookies(); len(left) != 0 {
		t.Errorf("the browser still holds %v", left)
	}
	if log.Len() > 0 {
		t.Errorf("a good login is logged: %s", log)
	}
}

func TestNestedClaimsOfARealProvider(t *testing.T) {
	use(t, func(c *Config) {
		c.Claims.Groups = "realm_access.roles"
		c.Mapping = auth.Mapping{GroupRoles: map[string][]wflo.AccessRole{"approvals": {wflo.RoleApprover}}}
	})
	b := newBrowser(t)
	if got := b.finish(b.logIn("ann", "")); got.Identity.Subject != "id-ann" || got.Back != "/" || !got.Identity.May(wflo.RoleApprover) {
		t.Errorf("%+v", got)
	}
	// Bob is in no group.
	b = newBrowser(t)
	if got := b.finish(b.logIn("bob", "")); got.Identity.Subject != "" || !strings.Contains(got.Error, "no role") {
		t.Errorf("%+v", got)
	}
}

func TestAddressMustBeVerified(t *testing.T) {
	use(t, func(c *Config) { c.Claims.Subject = "email" })
	b := newBrowser(t)
	if got := b.finish(b.logIn("bob", "")); !got.Refused {
		t.Errorf("bob's address is not verified: %+v", got)
	}
	use(t, nil)
	b = newBrowser(t)
	if got := b.finish(b.logIn("bob", "")); got.Identity.Subject != "id-bob" || got.Identity.Email != "" {
		t.Errorf("want id-bob without an address: %+v", got)
	}
}

// tampered says which check must notice what was changed.
var tampered = map[string]string{
	"no cookie": "0 cookies", "two cookies": "2 cookies", "no state": "not one state", "two states": "not one state", "another state": "state is of another login",
	"no code": "not one code", "two codes": "not one code", "another code": "does not take the code", "another issuer": "another issuer",
	"the provider says no": "access_denied", "too late": "more than 10 minutes", "wrong secret of the client": "does not take the code",
	"a cookie that was changed": "cookie is not ours", "a cookie that is no text": "cookie is not ours", "cookie and address of another client": "cookie is not ours",
	"state of another browser: a login that an attacker began": "state is of another login",
	"code of another browser":                                  "does not take the code", "code of another client": "does not take the code",
}

// Each row changes one thing of a good login that must not be changed.
func TestLoginsThatAreTampered(t *testing.T) {
	for _, test := range []struct {
		name   string
		tamper func(t *testing.T, l *Login, b *browser, at *url.URL)
	}{
		{"no cookie", func(_ *testing.T, _ *Login, b *browser, _ *url.URL) { b.Jar = newBrowser(b.t).Jar }},
		{"no state", change("state", "")},
		{"another state", change("state", random())},
		{"two states", func(_ *testing.T, _ *Login, _ *browser, at *url.URL) { at.RawQuery += "&state=x" }},
		{"no code", change("code", "")},
		{"another code", change("code", random())},
		{"two codes", func(_ *testing.T, _ *Login, _ *browser, at *url.URL) { at.RawQuery += "&code=x" }},
		{"another issuer", change("iss", "https://evil.example")},
		{"the provider says no", change("error", "access_denied")},
		{"a cookie that was changed", func(_ *testing.T, _ *Login, b *browser, _ *url.URL) {
			c := b.cookies()
			c[0].Value = c[0].Value[:20] + flip(c[0].Value[20:21]) + c[0].Value[21:]
			b.setCookies(c)
		}},
		{"a cookie that is no text", func(_ *testing.T, _ *Login, b *browser, _ *url.URL) {
			c := b.cookies()
			c[0].Value = "!!"
			b.setCookies(c)
		}},
		{"too late", func(_ *testing.T, l *Login, _ *browser, _ *url.URL) {
			l.cfg.Now = func() time.Time { return time.Now().Add(loginTime) }
		}},
		{"state of another browser: a login that an attacker began", func(t *testing.T, _ *Login, b *browser, at *url.URL) {
			*at = *newBrowser(t).logIn("bob", "")
		}},
		// PKCE: the provider refuses a code for which another login asked.
		{"code of another browser", func(t *testing.T, _ *Login, b *browser, at *url.URL) {
			change("code", newBrowser(t).logIn("bob", "").Query().Get("code"))(t, nil, b, at)
		}},
		{"code of another client", func(t *testing.T, l *Login, b *browser, at *url.URL) {
			use(t, func(c *Config) { c.ClientID, c.ClientSecret = "other", "other-client-secret" })
			code := newBrowser(t).logIn("bob", "").Query().Get("code")
			site.put(l)
			change("code", code)(t, nil, b, at)
		}},
		{"cookie and address of another client", func(t *testing.T, l *Login, b *browser, at *url.URL) {
			use(t, func(c *Config) { c.ClientID, c.ClientSecret = "other", "other-client-secret" })
			other := newBrowser(t)
			*at = *other.logIn("bob", "")
			b.setCookies(other.cookies())
			site.put(l)
		}},
		{"two cookies", func(t *testing.T, l *Login, b *browser, _ *url.URL) {
			second := *b.cookies()[0]
			second.Path = "/callback"
			b.setCookies([]*http.Cookie{&second})
		}},
		{"wrong secret of the client", func(_ *testing.T, l *Login, _ *browser, _ *url.URL) {
			l.found.provider.oauth.ClientSecret = "wrong"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, log := use(t, nil)
			b := newBrowser(t)
			at := b.logIn("ann", "")
			code, state := at.Query().Get("code"), at.Query().Get("state")
			test.tamper(t, l, b, at)
			got := b.finish(at)
			if !got.Refused || got.Identity.Subject != "" {
				t.Errorf("%+v", got)
			}
			if got.Error != auth.Refused(hint).Error() {
				t.Errorf("the answer says why: %s", got.Error)
			}
			for _, secret := range []string{code, state, "client-secret", "ann-password"} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log has a secret: %s", log)
				}
			}
			if reason := tampered[test.name]; reason == "" || !strings.Contains(log.String(), reason) {
				t.Errorf("the log does not say %q: %s", reason, log)
			}
		})
	}
}

func change(name, value string) func(*testing.T, *Login, *browser, *url.URL) {
	return func(_ *testing.T, _ *Login, _ *browser, at *url.URL) {
		q := at.Query()
		q.Set(name, value)
		at.RawQuery = q.Encode()
	}
}

func flip(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

// Somebody who has all that the browser had cannot log in with it again.
func TestLoginWorksOnce(t *testing.T) {
	_, log := use(t, nil)
	b := newBrowser(t)
	at := b.logIn("ann", "")
	kept := b.cookies()
	if got := b.finish(at); got.Identity.Subject != "id-ann" {
		t.Fatalf("%+v", got)
	}
	if got := b.finish(at); !got.Refused {
		t.Errorf("without its cookie: %+v", got)
	}
	b.setCookies(kept)
	if got := b.finish(at); !got.Refused || !strings.Contains(log.String(), "finished before") {
		t.Errorf("with its cookie: %+v; %s", got, log)
	}
	// A second console shares the key, and not the memory.
	_, log = use(t, nil)
	b.setCookies(kept)
	if got := b.finish(at); !got.Refused || !strings.Contains(log.String(), "does not take the code") {
		t.Errorf("at another console: %+v; %s", got, log)
	}
}

// The provider gives no token for a code without the verifier, so PKCE is on.
func TestCodeWithoutVerifierIsWorthNothing(t *testing.T) {
	use(t, nil)
	b := newBrowser(t)
	at := b.logIn("ann", "")
	for _, verifier := range []string{"", random()} {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {at.Query().Get("code")}, "redirect_uri": {site.url("/callback")}, "code_verifier": {verifier}}
		r, err := http.NewRequestWithContext(t.Context(), "POST", realIssuer+"oauth/token", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("wflo", "wflo-client-secret")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := b.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if page := drain(resp); resp.StatusCode != http.StatusBadRequest || strings.Contains(page, "token\":") {
			t.Errorf("%s: %s", resp.Status, page)
		}
	}
}

func TestBeginAsksForAllChecks(t *testing.T) {
	for _, test := range []struct {
		redirect, name string
		secure         bool
	}{{"https://console.example/callback", "__Host-wflo_oidc", true}, {site.url("/callback"), "wflo_oidc", false}} {
		l, _ := use(t, func(c *Config) { c.RedirectURL = test.redirect })
		seen := map[string]bool{}
		for range 3 {
			w := httptest.NewRecorder()
			if err := l.Begin(w, httptest.NewRequest("GET", "/login", nil), "//evil.example"); err != nil {
				t.Fatal(err)
			}
			resp := w.Result()
			to, err := resp.Location()
			if err != nil {
				t.Fatal(err)
			}
			q := to.Query()
			if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || q.Get("response_type") != "code" || q.Get("redirect_uri") != test.redirect {
				t.Errorf("%s", to)
			}
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				if len(q.Get(name)) != 43 || seen[q.Get(name)] {
					t.Errorf("%s is %q", name, q.Get(name))
				}
				seen[q.Get(name)] = true
			}
			c := resp.Cookies()
			if len(c) != 1 || c[0].Name != test.name || c[0].Secure != test.secure || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode || c[0].Path != "/" || c[0].Domain != "" || c[0].MaxAge != 600 {
				t.Fatalf("%v", c)
			}
			login, err := l.seal.open(c[0].Value)
			if err != nil || login.Back != "/" || login.State != q.Get("state") || strings.Contains(to.String(), login.Verifier) {
				t.Errorf("%+v, %v", login, err)
			}
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"issuer without TLS":       func(c *Config) { c.Issuer = "http://idp.example" },
		"issuer with a password":   func(c *Config) { c.Issuer = "https://a:b@idp.example" },
		"no issuer":                func(c *Config) { c.Issuer = "" },
		"redirect without TLS":     func(c *Config) { c.RedirectURL = "http://console.example/callback" },
		"no client":                func(c *Config) { c.ClientID = "" },
		"algorithm none":           func(c *Config) { c.Algorithms = []string{"RS256", "none"} },
		"algorithm with one key":   func(c *Config) { c.Algorithms = []string{"HS256"} },
		"no algorithm":             func(c *Config) { c.Algorithms = []string{} },
		"short key":                func(c *Config) { c.Key = make([]byte, 16) },
		"clocks that mean nothing": func(c *Config) { c.Skew = time.Hour },
		"unknown role":             func(c *Config) { c.Mapping.DefaultRoles = []wflo.AccessRole{"root"} },
	} {
		cfg := Config{Issuer: "https://idp.example", ClientID: "wflo", RedirectURL: "https://console.example/callback"}
		if _, err := New(cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := New(cfg); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
