package console

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	slackchannel "github.com/wflo-ai/wflo-go/internal/notify/slack"
)

// The API of approvals: lists, one, and decisions.
func TestApprovalsAPI(t *testing.T) {
	o := newOffice(t, nil)
	g := o.gate("n1", "", nil)
	o.gate("n2", "", func(a *wflo.Approval) { a.Approvers, a.Timeout = []string{"zoe"}, 2*time.Hour })
	key := o.key("ann", "", wflo.RoleApprover)
	for query, want := range map[string]string{
		"": `n1,n2`, "?mine=true": "n1", "?approver=zoe": "n2", "?workflow=run-n2": "n2", "?limit=1": "n1", "?limit=1&after=n1": "n2", "?closed=true": "",
	} {
		var items []struct {
			Nonce string `json:"nonce"`
			Need  int    `json:"need"`
			You   struct {
				Can []string `json:"can"`
			} `json:"you"`
		}
		got := o.api(key, "GET", "/api/v1/approvals"+query, "")
		if err := json.Unmarshal([]byte(got.body), &items); err != nil {
			t.Fatalf("%s: %v in %s", query, err, got.body)
		}
		var nonces []string
		for _, item := range items {
			nonces = append(nonces, item.Nonce)
			if item.Need != 1 || item.Nonce == "n1" && len(item.You.Can) != 3 {
				t.Errorf("%s: %+v", query, item)
			}
		}
		if strings.Join(nonces, ",") != want {
			t.Errorf("%s: %v, want %s", query, nonces, want)
		}
	}
	for _, bad := range []string{"?limit=0", "?limit=9999", "?mine=perhaps", "?mien=true"} {
		wants(t, bad, o.api(key, "GET", "/api/v1/approvals"+bad, ""), 422, "hint")
	}
	wants(t, "one", o.api(key, "GET", "/api/v1/approvals/n1", ""), 200, `"live":true`, `"payload":{"order":17,"amount":"25.00"}`, `"sets":[{"approvers":["ann","group:ops"]`)
	wants(t, "none", o.api(key, "GET", "/api/v1/approvals/n9", ""), 404, "no gate n9")
	wants(t, "not asked", o.api(key, "POST", "/api/v1/approvals/n2/decisions", `{"verdict":"approve","digest":"`+o.runs.Gate("n2").Digest+`"}`), 422, "not an approver")
	wants(t, "decide", o.api(key, "POST", "/api/v1/approvals/n1/decisions", `{"verdict":"approve","digest":"`+g.Digest+`","reason":"fine"}`), 200, `"status":"approved"`, `"by":"ann"`)
	o.runs.StopWorkers()
	wants(t, "no worker", o.api(o.key("zoe", "", wflo.RoleApprover), "POST", "/api/v1/approvals/n2/decisions", `{"verdict":"approve","digest":"`+o.runs.Gate("n2").Digest+`"}`), 504, "has not confirmed", "!10.1.2.3")
}

func TestUnconfirmed(t *testing.T) {
	o := newOffice(t, nil)
	g := o.gate("n1", "", nil)
	o.runs.StayAway(true)
	wants(t, "API", o.api(o.key("ann", "", wflo.RoleApprover), "POST", "/api/v1/approvals/n1/decisions", `{"verdict":"escalate","digest":"`+g.Digest+`"}`), 422, "nobody left")
	c := o.logIn(o.key("ann", "", wflo.RoleApprover))
	form := o.form(o.send(c, "GET", "/gates/n1", "").body, "ack")
	wants(t, "page", o.post(c, "/gates/n1", form), 504, "has not confirmed it", "It is not known whether the decision counts", "!Your decision counts")
	wants(t, "API", o.api(o.key("ann", "", wflo.RoleApprover), "POST", "/api/v1/approvals/n1/decisions", `{"verdict":"approve","digest":"`+g.Digest+`"}`), 504, `"code":"unconfirmed"`)
}

// A key is shown once, opens what it says, and nothing once it is revoked.
func TestKeysAPI(t *testing.T) {
	o := newOffice(t, nil)
	admin := o.key("root", "", wflo.RoleAdmin)
	made := o.api(admin, "POST", "/api/v1/keys", `{"name":"ci","subject":"ci-bot","roles":["viewer"],"groups":["ops"]}`)
	var k NewKey
	if err := json.Unmarshal([]byte(made.body), &k); err != nil || made.status != 200 || k.Key == "" || k.MadeBy != "root" {
		t.Fatalf("%d %s, %v", made.status, made.body, err)
	}
	wants(t, "whoami", o.api(k.Key, "GET", "/api/v1/whoami", ""), 200, `"subject":"ci-bot"`, `"groups":["ops"]`, `"roles":["viewer"]`)
	wants(t, "list", o.api(admin, "GET", "/api/v1/keys", ""), 200, k.ID, "!"+k.Key, "!"+hexOf(k.Key))
	wants(t, "revoke", o.api(admin, "DELETE", "/api/v1/keys/"+k.ID, ""), 200, `"revoked"`)
	wants(t, "revoked", o.api(k.Key, "GET", "/api/v1/whoami", ""), 401, "not valid", "!revoked\"")
	wants(t, "revoke none", o.api(admin, "DELETE", "/api/v1/keys/none", ""), 404, "no such key")
	for _, bad := range []string{`{"name":"x","subject":"x","roles":["root"]}`, `{"name":"x","subject":"x"}`, `{"name":"x","roles":["viewer"]}`, `{"name":"a\u0007b","subject":"x","roles":["viewer"]}`, `{"name":"x","subject":"group:ops","roles":["viewer"]}`} {
		wants(t, bad, o.api(admin, "POST", "/api/v1/keys", bad), 422, "hint")
	}
	wants(t, "trail", o.api(admin, "GET", "/api/v1/audit?type=key.made", ""), 200, `"actor":"root"`, "!"+k.Key)
	wants(t, "trail", o.api(admin, "GET", "/api/v1/audit?type=key.revoked&latest=true&limit=5", ""), 200, k.ID)
	for _, bad := range []string{"?limit=0", "?from=yesterday", "?after=5", "?after=x&chain=main", "?latest=x", "?tpye=x"} {
		wants(t, bad, o.api(admin, "GET", "/api/v1/audit"+bad, ""), 422, "hint")
	}
}

func hexOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func TestNoticesAPI(t *testing.T) {
	o := newOffice(t, nil)
	admin := o.key("root", "", wflo.RoleAdmin)
	if err := o.records.Enqueue(t.Context(), wflo.Notice{ID: "a1", Channel: "slack://ops", Kind: wflo.NoticeTest, Thread: "a1", Title: "hello", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.records.ClaimNotices(t.Context(), 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	wants(t, "pending", o.api(admin, "GET", "/api/v1/notices?state=pending", ""), 200, `"id":"a1"`)
	wants(t, "not dead", o.api(admin, "POST", "/api/v1/notices/a1/retry", ""), 422, "hint")
	if err := o.records.NoticeFailed(t.Context(), "a1", "no such channel", time.Time{}); err != nil {
		t.Fatal(err)
	}
	wants(t, "dead", o.api(admin, "GET", "/api/v1/notices?state=dead_letter", ""), 200, "no such channel")
	wants(t, "retry", o.api(admin, "POST", "/api/v1/notices/a1/retry", ""), 200, `"notice":"a1"`)
	wants(t, "pending again", o.api(admin, "GET", "/api/v1/notices?state=pending", ""), 200, `"id":"a1"`)
	wants(t, "odd state", o.api(admin, "GET", "/api/v1/notices?state=lost", ""), 422, "dead_letter")
}

// replies keeps what people in Slack are told.
type replies struct {
	mu  sync.Mutex
	all []string
}

func (r *replies) reply(_ context.Context, address, text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, address+" "+text)
	return nil
}

const signingSecret = "canary-signing-secret"

func click(o *office, action, value, user string, change func(http.Header)) answered {
	o.t.Helper()
	payload, err := json.Marshal(map[string]any{
		"type": "block_actions", "user": map[string]string{"id": user, "team_id": "T1"}, "team": map[string]string{"id": "T1"},
		"response_url": "https://hooks.slack.com/actions/1", "actions": []map[string]string{{"action_id": action, "type": "button", "value": value}},
	})
	if err != nil {
		o.t.Fatal(err)
	}
	body := url.Values{"payload": {string(payload)}}.Encode()
	h := http.Header{}
	stamp := fmt.Sprint(time.Now().Unix())
	mac := hmac.New(sha256.New, []byte(signingSecret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	h.Set("X-Slack-Request-Timestamp", stamp)
	h.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	if change != nil {
		change(h)
	}
	got := o.send(o.plain(), "POST", "/slack/interactions", body, "Content-Type", formType,
		"X-Slack-Request-Timestamp", h.Get("X-Slack-Request-Timestamp"), "X-Slack-Signature", h.Get("X-Slack-Signature"))
	o.handler.Wait()
	return got
}

// Clicks in Slack: only Slack's own count, only of people who are known, and each
// gets an answer.
func TestSlack(t *testing.T) {
	told := &replies{}
	o := newOffice(t, func(c *Config) {
		c.Slack = &Slack{
			Verify: func(h http.Header, body []byte, now time.Time) error {
				return slackchannel.Verify(signingSecret, h, body, now)
			},
			Parse: func(body []byte) (Click, error) {
				i, err := slackchannel.ParseInteraction(body)
				return Click{Team: i.TeamID, User: i.User, Nonce: i.Nonce, Digest: i.Digest, Verdict: i.Verdict, ResponseURL: i.ResponseURL}, err
			},
			Reply: told.reply,
			People: map[string]wflo.Identity{
				"T1/U1": {Subject: "ann", Roles: []wflo.AccessRole{wflo.RoleApprover}},
				"T1/U2": {Subject: "zoe", Roles: []wflo.AccessRole{wflo.RoleApprover}},
				"T2/U9": {Subject: "ann", Roles: []wflo.AccessRole{wflo.RoleApprover}},
			},
		}
	})
	g := o.gate("n1", "", func(a *wflo.Approval) { a.Quorum = 2 })
	value := `{"nonce":"n1","digest":"` + g.Digest + `"}`
	for name, tt := range map[string]struct {
		got    answered
		status int
	}{
		"no signature":   {click(o, "wflo_approve", value, "U1", func(h http.Header) { h.Del("X-Slack-Signature") }), 401},
		"forged":         {click(o, "wflo_approve", value, "U1", func(h http.Header) { h.Set("X-Slack-Signature", "v0="+strings.Repeat("0", 64)) }), 401},
		"old":            {click(o, "wflo_approve", value, "U1", func(h http.Header) { h.Set("X-Slack-Request-Timestamp", "1700000000") }), 401},
		"another button": {click(o, "delete_all", value, "U1", nil), 400},
		"another value":  {click(o, "wflo_approve", `n1`, "U1", nil), 400},
		"open":           {click(o, "wflo_open", value, "U1", nil), 200},
	} {
		if tt.got.status != tt.status || strings.Contains(tt.got.body, "canary") {
			t.Errorf("%s: %d %s", name, tt.got.status, tt.got.body)
		}
	}
	if len(told.all) != 0 {
		t.Errorf("told %q", told.all)
	}
	o.untouched("odd clicks", "n1")
	for _, tt := range []struct{ user, action, value, want string }{
		{"U9", "wflo_approve", value, "not known to wflo"},
		{"U2", "wflo_approve", value, "not an approver"},
		{"U1", "wflo_approve", `{"nonce":"n1","digest":"0000"}`, "it changed since"},
		{"U1", "wflo_approve", value, "Others must decide too"},
		{"U1", "wflo_approve", value, "Others must decide too"}, // a double click
		{"U1", "wflo_reject", value, "The gate is rejected"},
	} {
		told.all = nil
		if got := click(o, tt.action, tt.value, tt.user, nil); got.status != http.StatusOK {
			t.Errorf("%s by %s: %d", tt.action, tt.user, got.status)
		}
		if len(told.all) != 1 || !strings.HasPrefix(told.all[0], "https://hooks.slack.com/actions/1 ") || !strings.Contains(told.all[0], tt.want) {
			t.Errorf("%s by %s: told %q, want %s", tt.action, tt.user, told.all, tt.want)
		}
	}
	if d := o.runs.Gate("n1").Decision; d == nil || d.By != "ann" || d.Method != "slack" || len(o.runs.Updates()) != 2 {
		t.Errorf("decision %+v, %d updates", d, len(o.runs.Updates()))
	}
}

// Slack has its answer before the run has said anything.
func TestSlackDoesNotWait(t *testing.T) {
	release := make(chan struct{})
	o := newOffice(t, func(c *Config) {
		c.Slack = &Slack{
			Verify: func(http.Header, []byte, time.Time) error { return nil },
			Parse: func([]byte) (Click, error) {
				return Click{Team: "T1", User: "U1", Verdict: wflo.VerdictApprove}, nil
			},
			Reply: func(context.Context, string, string) error { <-release; return nil },
		}
	})
	wants(t, "click", o.send(o.plain(), "POST", "/slack/interactions", "x"), 200) // would not return otherwise
	close(release)
	o.handler.Wait()
}

// With people who can log in, the console listens anywhere, and with a certificate
// by TLS.
func TestStartWithAuth(t *testing.T) {
	o := newOffice(t, nil)
	base := o.cfg
	base.Addr = "0.0.0.0:0"
	cert, key := certificate(t)
	start := func(change func(*Config)) (*Server, error) {
		cfg := base
		change(&cfg)
		return Start(cfg)
	}
	for name, change := range map[string]func(*Config){
		"nobody can log in":       func(c *Config) { c.Auth = nil },
		"insecure":                func(c *Config) { c.Auth, c.Insecure = nil, true },
		"insecure and with keys":  func(c *Config) { c.Insecure = true },
		"a certificate alone":     func(c *Config) { c.TLSCert = cert },
		"no such certificate":     func(c *Config) { c.TLSCert, c.TLSKey = cert+"x", key },
		"a key as certificate":    func(c *Config) { c.TLSCert, c.TLSKey = key, key },
		"no address":              func(c *Config) { c.Addr = "everywhere" },
		"passwords, no sessions":  func(c *Config) { c.Passwords, c.Logins = directory{}, nil },
		"insecure, not this host": func(c *Config) { c.Auth, c.Insecure, c.Addr = nil, true, "192.0.2.1:80" },
	} {
		s, err := start(change)
		if err == nil {
			s.Stop()
		}
		if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := start(func(c *Config) { c.TLSCert, c.TLSKey, c.Logger = cert, key, slog.New(slog.DiscardHandler) })
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	data, err := os.ReadFile(cert)
	if err != nil || !pool.AppendCertsFromPEM(data) {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}}}
	resp, err := c.Get("https://127.0.0.1:" + port + "/login")
	if err != nil {
		t.Fatal(err)
	}
	if body := drain(resp.Body); resp.StatusCode != 200 || resp.Header.Get("Strict-Transport-Security") == "" || !strings.Contains(body, "Log in") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	_ = resp.Body.Close()
	c.CloseIdleConnections()
	s.Stop()
}

// certificate writes one for localhost.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}
