package console

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/auth/session"
)

// written is a log that is read while it is written.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// Keys, passwords, codes of a provider, cookies and tokens of sessions: none of them is in
// a log, however much is logged, in the trail, in the database's sessions or in an answer
// that did not have to give it, wherever somebody put them by mistake.
func TestAttackCanaries(t *testing.T) {
	log := &written{}
	o := newOffice(t, func(c *Config) {
		everything(c)
		c.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Desk.Logger = c.Logger
		keys, err := apikey.New(apikey.Config{Store: c.Desk.Records, Logger: c.Logger})
		if err != nil {
			t.Fatal(err)
		}
		logins, err := session.New(session.Config{Store: c.Desk.Records, Plain: true, Logger: c.Logger})
		if err != nil {
			t.Fatal(err)
		}
		c.Auth, c.Keys, c.Logins = keys, keys, logins
	})
	g := o.gate("n1", "", nil)
	key := o.key("ann", "", admin, approver)
	secret := key[keyID+1:]
	c := o.logIn(key)
	cookie, csrf := o.cookies(c)[0].Value, o.csrf(c)
	var answers strings.Builder
	keep := func(got answered) {
		if got.status != seeOther { // that leads back to the address which the browser had
			answers.WriteString(got.body)
		}
	}
	in := url.QueryEscape
	for _, path := range []string{"/inbox?key=" + in(key), "/api/v1/runs?access_token=" + in(key), "/login?back=/x", "/login/via/sso/callback?state=good&code=code-canary&back=/inbox", "/login/via/sso/callback?state=bad&code=code-canary", "/api/v1/keys?csrf=" + in(csrf)} {
		keep(o.send(c, "GET", path, ""))
		keep(o.send(o.plain(), "GET", path, ""))
		keep(o.send(o.plain(), "GET", path, "", "Authorization", "Bearer "+key+"x"))
		keep(o.send(o.plain(), "GET", path, "", "Cookie", "wflo_session="+cookie+"x"))
	}
	keep(o.send(c, "DELETE", "/api/v1/keys/"+key, "", HeaderCSRF, csrf))
	o.send(c, "GET", "/api/v1/approvals/"+key, "") // the answer names what was asked for
	keep(o.api(key, "POST", "/api/v1/approvals/n1/decisions", `{"verdict":"approve","digest":"`+g.Digest+`"}`))
	keep(o.post(o.browser(), "/login/key", url.Values{"key": {key[:len(key)-1] + "a"}}))
	keep(o.post(o.browser(), "/login/password", url.Values{"name": {"pat"}, "password": {"password-canary"}}))
	keep(o.post(o.browser(), "/login/password", url.Values{"name": {"down"}, "password": {"password-canary"}}))
	keep(o.post(c, "/gates/n1", url.Values{"csrf": {"wrong"}, "reason": {"x"}}))

	records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Chain: "main", Limit: 5000})
	if err != nil {
		t.Fatal(err)
	}
	trail, err := json.Marshal(records)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) < 4 || !strings.Contains(log.String(), "API key refused") {
		t.Fatalf("%d records; log %s", len(records), log)
	}
	for where, text := range map[string]string{"the log": log.String(), "the trail": string(trail), "an answer": answers.String()} {
		for what, canary := range map[string]string{"an API key": secret[:40], "a session's cookie": cookie, "a code": "code-canary", "a password": "password-canary"} {
			if strings.Contains(text, canary) {
				t.Errorf("%s has %s: %s", where, what, around(text, canary))
			}
		}
		if where != "an answer" && strings.Contains(text, csrf) { // pages have it in their forms
			t.Errorf("%s has the token of a session: %s", where, around(text, csrf))
		}
	}
	if _, err := o.records.Session(t.Context(), cookie); err == nil {
		t.Error("the database knows a session by its cookie")
	}
}

// around is what stands near a part of a text.
func around(text, part string) string {
	i := strings.Index(text, part)
	return text[max(0, i-200):min(len(text), i+len(part)+20)]
}
