//go:build integration

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// Secrets of the bureau. Nobody but who needs them may ever see one.
const (
	slackToken    = "xoxb-canary-bot-token-4711"
	slackSecret   = "canary-signing-secret-4711"
	ldapPassword  = "canary-reader-password-4711"
	annPassword   = "canary-ann-password-4711"
	oidcSecret    = "wflo-client-secret" // tools/oidc has it in its source
	slackTeam     = "T0CANARY1"
	slackUser     = "U0CANARY1"
	slackChannel  = "C0CANARY1"
	bureauChannel = "slack://ops-channel"
)

// bureau is a company that governs its agents: a worker with policies and channels,
// and a console beside it that people reach by an API key, LDAP or OpenID Connect.
type bureau struct {
	*dev
	dir, url, queue string
	slack           *notifytest.Slack
	replies         *notifytest.Server
	mails           string // a directory with one file per mail
	workerProgram   *program
	consoleProgram  *program
	workerAPI       string
	keys            []string // API keys that were made
}

// bureauPolicies ask before a model is called. team is what the run says.
const bureauPolicies = `default: allow
policies:
  - name: signed
    on: model
    when: team == 'ops'
    per: run
    do:
      - require_approval: {approvers: ["group:finance"], answers: [approve, reject], timeout: 1h}
  - name: open
    on: model
    when: team == 'open'
    per: run
    do:
      - require_approval: {timeout: 1h}
`

// newBureau starts it all.
func newBureau(t *testing.T) *bureau {
	t.Helper()
	b := &bureau{dir: t.TempDir(), queue: unique("bureau"), url: "http://" + freeAddress(t), mails: t.TempDir()}
	b.slack, b.replies = notifytest.NewSlack(t, slackToken, slackChannel), notifytest.NewReplies(t)
	directory, issuer, smtp := startDirectory(t), startProvider(t, b.url+"/login/via/company/callback"), startMailServer(t, b.mails)
	_, env := vendor(t, scripted.Echo)
	b.dev = startDev(t, t.TempDir(), env...)
	t.Cleanup(func() { b.dev.stop(t) })
	public := strings.TrimSpace(start(t, environment(b.dir), bin.wflo, "keygen", filepath.Join(b.dir, "console.key")).wait(t).find(t, `([A-Za-z0-9+/]{43}=)`))
	b.write(t, "policies.yaml", bureauPolicies)
	b.write(t, "wflo.yaml", fmt.Sprintf(`approvals:
  keys: {console: %q}
  unsigned_gates: ["policy/open"]
  notify: [%q, "email://ops"]
policies: {file: %q}
channels:
  %s: {token: {env: SLACK_BOT_TOKEN}, channel: %s, api: %q, allow_http: true, allow_networks: [127.0.0.0/8]}
  email://ops:
    host: 127.0.0.1
    port: %s
    security: plain
    from: wflo <wflo@example.com>
    allow_networks: [127.0.0.0/8]
    to: [{address: ann@example.com, subject: ann}]
console:
  url: %s
  listen: %s
  key: %q
  ldap:
    url: %s
    allow_plain: true
    bind_dn: cn=reader,dc=example,dc=com
    bind_password: {env: LDAP_PASSWORD}
    base_dn: ou=people,dc=example,dc=com
    user_filter: "(&(objectClass=inetOrgPerson)(uid={name}))"
    dummy_dn: uid=dummy,ou=people,dc=example,dc=com
    groups: {base_dn: "ou=groups,dc=example,dc=com", filter: "(&(objectClass=groupOfNames)(member={dn}))"}
    mapping: {allow: ["*"], group_roles: {finance: [approver]}}
  oidc:
    - name: company
      issuer: %s
      client_id: wflo
      client_secret: {env: OIDC_CLIENT_SECRET}
      scopes: [profile, email]
      claims: {subject: preferred_username, groups: groups}
      userinfo: true
      mapping: {fold_case: true, allow: ["*"], group_roles: {finance: [approver]}}
  slack:
    signing_secret: {env: SLACK_SIGNING_SECRET}
    team: %s
    api: %q
    allow_http: true
    allow_networks: [127.0.0.0/8]
    users: {%s: {subject: ann, groups: [finance], roles: [approver]}}
`, public, bureauChannel, filepath.Join(b.dir, "policies.yaml"), bureauChannel, slackChannel, b.slack.URL+"/api/", smtp,
		b.url, strings.TrimPrefix(b.url, "http://"), filepath.Join(b.dir, "console.key"), directory, issuer, slackTeam, b.replies.URL+"/", slackUser))
	b.begin(t, env)
	return b
}

// begin starts the worker and the console, which share a database.
func (b *bureau) begin(t *testing.T, env []string) {
	t.Helper()
	env = append(env, "WFLO_CONFIG="+filepath.Join(b.dir, "wflo.yaml"), "WFLO_DATA_DIR="+b.dir, "SLACK_BOT_TOKEN="+slackToken)
	t.Cleanup(func() { removeAll(t, b.queue) })
	b.workerProgram = start(t, b.env(append(env, "WFLO_TASK_QUEUE="+b.queue, "WFLO_OWNER="+b.queue, "WFLO_LISTEN=127.0.0.1:0")...), bin.worker)
	b.workerAPI = b.workerProgram.find(t, `worker started.*(http://127\.0\.0\.1:\d+)`)
	b.consoleProgram = start(t, b.consoleEnv(), bin.wflo, "console")
	b.consoleProgram.find(t, `Console (http://127\.0\.0\.1:\d+)`)
}

func (b *bureau) consoleEnv() []string {
	return b.env("WFLO_CONFIG="+filepath.Join(b.dir, "wflo.yaml"), "WFLO_DATA_DIR="+b.dir, "SLACK_SIGNING_SECRET="+slackSecret,
		"LDAP_PASSWORD="+ldapPassword, "OIDC_CLIENT_SECRET="+oidcSecret)
}

func (b *bureau) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is where nobody listens at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// atGate starts an agent for a team and returns when a policy has it wait.
func (b *bureau) atGate(t *testing.T, name, team string) (id string, g wflo.Gate) {
	t.Helper()
	id = unique(name)
	b.wflo(t, "run", "agent", "--detach", "--id", id, "--task-queue", b.queue, "--team", team, "--model", modelName, "--prompt", "echo "+id).want(t, 0)
	return id, awaitGate(t, b.client(t), id)
}

// wantDone waits for the end of an agent that was let go on, and checks who did it.
func (b *bureau) wantDone(t *testing.T, id, by, method string) {
	t.Helper()
	c := b.client(t)
	if a := answer(t, c, id); !strings.Contains(a.Text, id) {
		t.Errorf("the agent answered %q", a.Text)
	}
	s, ok := status(t, c, id)
	if !ok || len(s.Gates) != 1 || s.Gates[0].Decision == nil {
		t.Fatalf("status %+v", s)
	}
	if d := s.Gates[0].Decision; d.By != by || d.Method != method || method != "" && (d.Key != "console" || d.Signature == "") {
		t.Errorf("decided by %q, proved by %q, key %q; want %q by %q", d.By, d.Method, d.Key, by, method)
	}
}

// key makes an API key in the database, as the first one is made.
func (b *bureau) key(t *testing.T, subject, group string) string {
	t.Helper()
	p := start(t, b.consoleEnv(), bin.wflo, "console", "key", "--subject", subject, "--role", "approver", "--group", group).want(t, 0)
	key := strings.TrimSpace(p.out.String())
	b.keys = append(b.keys, key)
	return key
}

// visitor is a browser without scripts: cookies, pages and forms.
type visitor struct {
	http.Client
	t    *testing.T
	base string
}

func (b *bureau) visitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{Client: http.Client{Jar: jar}, t: t, base: b.url}
}

func (v *visitor) page(method, path string, form url.Values) (int, string) {
	v.t.Helper()
	address := path
	if !strings.HasPrefix(path, "http") {
		address = v.base + path
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", v.base)
	}
	resp, err := v.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// decide opens the gate's page, and sends its form for the verdict.
func (v *visitor) decide(g wflo.Gate, verdict string) (int, string) {
	v.t.Helper()
	path := "/gates/" + g.Nonce
	status, page := v.page(http.MethodGet, path, nil)
	for _, part := range strings.Split(page, "<form ")[1:] {
		form := url.Values{}
		for _, m := range hiddenField.FindAllStringSubmatch(part, -1) {
			form.Set(m[1], m[2])
		}
		if form.Get("verdict") == verdict {
			return v.page(http.MethodPost, path, form)
		}
	}
	v.t.Fatalf("no form to %s: %d %s", verdict, status, page)
	return 0, ""
}

// TestGoverned has people decide on every way there is, and then looks for secrets.
func TestGoverned(t *testing.T) {
	t.Parallel()
	b := newBureau(t)
	t.Run("ways", func(t *testing.T) {
		for _, tt := range []struct {
			name string
			test func(*testing.T)
		}{
			{"APIKey", b.testAPIKey},
			{"LDAP", b.testLDAP},
			{"OpenIDConnect", b.testOpenIDConnect},
			{"TrustedProxy", b.testTrustedProxy},
			{"Mail", b.testMail},
			{"Slack", b.testSlack},
			{"CurrentDetails", b.testCurrentDetails},
			{"TemporalAtASignedGate", b.testTemporalAtASignedGate},
			{"TemporalAtAnUnsignedGate", b.testTemporalAtAnUnsignedGate},
		} {
			t.Run(tt.name, tt.test)
		}
	})
	b.wantNoSecrets(t)
}
