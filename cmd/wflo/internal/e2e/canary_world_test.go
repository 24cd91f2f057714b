//go:build integration

package e2e

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// planted is a bureau on PostgreSQL whose configuration has every secret that there
// is, each a canary, and a stand-in for each part that takes one.
type planted struct {
	*bureau
	secrets   canaries
	admin     string // URL of the database for its superuser
	password  string // of the database
	smtp      *postOffice
	pager     *notifytest.PagerDuty
	twilio    *notifytest.Twilio
	hook      *hook
	spans     *spanStore
	redis     *vault
	vendors   map[string]*scripted.Server // by model
	programs  map[string]string           // secrets of sandboxes, by the variable of a program
	workerEnv []string
	env       []string // of both programs
}

// canary makes a secret that is nowhere else, and plants it.
func (p *planted) canary(name string) string {
	return p.secrets.plant(name, "canary-"+name+"-"+strings.ToLower(rand.Text()))
}

func newPlanted(t *testing.T) *planted {
	t.Helper()
	b := &bureau{dir: t.TempDir(), queue: unique("canary"), url: "http://" + freeAddress(t)}
	p := &planted{bureau: b, secrets: canaries{}}
	for name, secret := range map[string]string{
		"Slack token": slackToken, "Slack signing secret": slackSecret, "LDAP bind password": ldapPassword, "LDAP user's password": annPassword,
		"OpenID Connect client secret": oidcSecret, "gateway key": gatewayKey,
	} {
		p.secrets.plant(name, secret)
	}
	b.slack, b.replies = notifytest.NewSlack(t, slackToken, slackChannel), notifytest.NewReplies(t)
	p.channels(t)
	p.models(t)
	collector := p.canary("collector-key")
	p.spans = newSpanStore(t, "Bearer "+collector)
	p.redis = newVault(t, p.canary("redis-password"))
	database := p.database(t)
	directory, issuer := startDirectory(t), startProvider(t, b.url+"/login/via/company/callback")
	b.dev = startDev(t, t.TempDir())
	t.Cleanup(func() { b.dev.stop(t) })
	p.configure(t, directory, issuer)
	p.env = append(p.env, "WFLO_CONFIG="+filepath.Join(b.dir, "wflo.yaml"), "WFLO_DATA_DIR="+filepath.Join(b.dir, "data"), "WFLO_DATABASE="+database)
	p.workerEnv = append(p.workerEnv, "WFLO_TASK_QUEUE="+b.queue, "WFLO_OWNER="+b.queue, "WFLO_LISTEN=127.0.0.1:0", "WFLO_LOG_LEVEL=debug",
		"WFLO_CACHE_TTL=1h", "WFLO_REDIS_URL="+p.redis.url, "OTEL_EXPORTER_OTLP_ENDPOINT="+p.spans.url, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20"+collector,
		"SLACK_BOT_TOKEN="+slackToken, "GATEWAY_CI="+gatewayKey)
	t.Cleanup(func() { removeAll(t, b.queue) })
	b.workerProgram = start(t, b.env(append(p.workerEnv, p.env...)...), bin.worker)
	b.workerAPI = b.workerProgram.find(t, `worker started.*(http://127\.0\.0\.1:\d+)`)
	b.consoleProgram = start(t, p.consoleSide(), bin.wflo, "console", "--log-level", "debug")
	b.consoleProgram.find(t, `Console (http://127\.0\.0\.1:\d+)`)
	return p
}

func (p *planted) consoleSide() []string {
	return p.bureau.env(append(p.env, "SLACK_SIGNING_SECRET="+slackSecret, "LDAP_PASSWORD="+ldapPassword, "OIDC_CLIENT_SECRET="+oidcSecret)...)
}

// channels starts those who get notices, beside Slack.
func (p *planted) channels(t *testing.T) {
	t.Helper()
	p.smtp = newPostOffice(t, p.dir, "wflo", p.canary("smtp-password"))
	routing := p.secrets.plant("PagerDuty key", "canary0pagerduty"+hex.EncodeToString([]byte(rand.Text()))[:16])
	p.pager = notifytest.NewPagerDuty(t, routing)
	sms := p.canary("twilio-token")
	p.twilio = notifytest.NewTwilio(t, "AC"+strings.Repeat("0", 32), "SK"+strings.Repeat("0", 32), sms)
	now, old := p.canary("webhook-secret"), p.canary("webhook-secret-before")
	p.hook = newHook(t, "/"+p.canary("webhook-path"), []byte(now), []byte(old))
	standard := func(key string) string { return "whsec_" + base64.StdEncoding.EncodeToString([]byte(key)) }
	password := filepath.Join(p.dir, "smtp-password")
	p.write(t, "smtp-password", p.smtp.password+"\n")
	p.workerEnv = append(p.workerEnv, "SMTP_FILE="+password, "PAGERDUTY_KEY="+routing, "TWILIO_SECRET="+sms,
		"TICKETS_URL="+p.hook.url, "TICKETS_SECRET="+standard(now), "TICKETS_SECRET_OLD="+standard(old))
}

// models starts a vendor of each kind, with a key of its own, and makes the secrets
// of programs.
func (p *planted) models(t *testing.T) {
	t.Helper()
	p.vendors = map[string]*scripted.Server{}
	for _, v := range []struct{ kind, model, key, base string }{
		{scripted.OpenAI, modelName, "OPENAI_API_KEY", "OPENAI_BASE_URL"},
		{scripted.Anthropic, "claude-haiku-4-5", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"},
		{scripted.Google, "gemini-2.5-flash", "GEMINI_API_KEY", "GEMINI_BASE_URL"},
		{scripted.Cohere, "command-a-03-2025", "CO_API_KEY", "CO_API_URL"},
	} {
		key := p.canary(v.kind + "-key")
		s, err := scripted.New(scripted.Config{Script: digests, APIKey: key})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		p.vendors[v.model] = s
		p.workerEnv = append(p.workerEnv, v.key+"="+key, v.base+"="+s.BaseURL(v.kind))
	}
	p.programs = map[string]string{"DEPLOY": p.canary("sandbox-variable"), "FILED": p.canary("sandbox-file")}
	files := filepath.Join(p.dir, "secrets")
	if err := os.Mkdir(files, 0o700); err != nil {
		t.Fatal(err)
	}
	p.write(t, "secrets/filed", p.programs["FILED"])
	p.workerEnv = append(p.workerEnv, "WFLO_SECRETS_DIR="+files, "WFLO_SECRET_deploy="+p.programs["DEPLOY"])
}

// digests is a model that has a program say what the digests of its secrets are.
func digests(t scripted.Turn) scripted.Answer {
	if strings.HasPrefix(t.Messages[0].Text, "digests ") {
		return once(t, wflo.ToolShell, map[string]string{"command": `printf %s "$DEPLOY" | sha256sum; printf %s "$FILED" | sha256sum`})
	}
	return scripted.Echo(t)
}

// database makes one that only a password opens, and gives the URL that workers have.
func (p *planted) database(t *testing.T) string {
	t.Helper()
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.admin, p.password = server.Database(t), p.canary("database-password")
	u, err := url.Parse(p.admin)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	role := "canary_" + strings.ToLower(rand.Text()[:8])
	p.sql(t, p.admin, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'; ALTER DATABASE %q OWNER TO %s", role, p.password, name, role))
	if os.Getenv(pgtest.EnvURL) == "" { // it is ours, and trusts everybody
		rules := fmt.Sprintf("local all %s scram-sha-256\nlocal all all trust\n", role)
		if err := os.WriteFile(strings.TrimSpace(p.sql(t, p.admin, "SHOW hba_file")), []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		p.sql(t, p.admin, "SELECT pg_reload_conf()")
	}
	of := func(password string) string {
		own, q := *u, u.Query()
		own.User = url.UserPassword(role, password)
		q.Del("user")
		own.RawQuery = q.Encode()
		return own.String()
	}
	await(t, "a database that asks for the password", func() bool {
		out, err := exec.Command("psql", "-X", "-c", "SELECT 1", of("wrong")).CombinedOutput()
		return err != nil && strings.Contains(string(out), "password authentication failed")
	})
	return of(p.password)
}

func (p *planted) sql(t *testing.T, database, statement string) string {
	t.Helper()
	out, err := exec.Command("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", statement, database).CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v: %s", err, out)
	}
	return string(out)
}

// configure writes the files of both programs.
func (p *planted) configure(t *testing.T, directory, issuer string) {
	t.Helper()
	path := func(name string) string { return filepath.Join(p.dir, name) }
	keygen := func(name string) string {
		public := strings.TrimSpace(start(t, environment(p.dir), bin.wflo, "keygen", path(name)).wait(t).find(t, `([A-Za-z0-9+/]{43}=)`))
		p.secrets.plantKey(t, name, path(name))
		return public
	}
	public := keygen("console.key")
	keygen("notary.key")
	seal := make([]byte, 32)
	_, _ = rand.Read(seal) // never fails
	p.secrets["OpenID Connect seal"] = forms(seal)
	p.write(t, "seal", base64.StdEncoding.EncodeToString(seal))
	p.write(t, "policies.yaml", bureauPolicies)
	local := "allow_http: true, allow_networks: [127.0.0.0/8]"
	p.write(t, "wflo.yaml", strings.NewReplacer(
		"<PUBLIC>", public, "<DIR>", p.dir, "<SLACK_API>", p.slack.URL+"/api/", "<SMTP_PORT>", p.smtp.port, "<SMTP_CA>", p.smtp.ca, "<LOCAL>", local,
		"<PAGER>", p.pager.URL, "<TWILIO_API>", p.twilio.URL, "<CONSOLE>", p.url, "<LISTEN>", strings.TrimPrefix(p.url, "http://"),
		"<DIRECTORY>", directory, "<ISSUER>", issuer, "<REPLIES>", p.replies.URL, "<SLACK_CHANNEL>", slackChannel, "<SLACK_TEAM>", slackTeam, "<SLACK_USER>", slackUser,
		"<ACCOUNT>", "AC"+strings.Repeat("0", 32), "<KEYSID>", "SK"+strings.Repeat("0", 32),
	).Replace(plantedConfig))
}

// plantedConfig has a field for every secret that docs/wflo.example.yaml has one for.
const plantedConfig = `approvals:
  keys: {console: "<PUBLIC>"}
  notify: ["slack://ops", "email://ops", "pagerduty://oncall", "webhook://tickets", "sms://oncall"]
policies: {file: "<DIR>/policies.yaml"}
audit: {checkpoints: "<DIR>/checkpoints", key: "<DIR>/notary.key"}
gateway:
  keys:
    - {name: ci, env: GATEWAY_CI, team: build}
channels:
  slack://ops: {token: {env: SLACK_BOT_TOKEN}, channel: <SLACK_CHANNEL>, api: "<SLACK_API>", <LOCAL>}
  email://ops:
    host: 127.0.0.1
    port: <SMTP_PORT>
    security: tls
    ca: "<SMTP_CA>"
    user: wflo
    password: {file: "<DIR>/smtp-password"}
    from: wflo <wflo@example.com>
    allow_networks: [127.0.0.0/8]
    to: [{address: ann@example.com, subject: ann}]
  pagerduty://oncall: {routing_key: {env: PAGERDUTY_KEY}, url: "<PAGER>/v2/enqueue", <LOCAL>}
  webhook://tickets: {url: {env: TICKETS_URL}, secrets: [{env: TICKETS_SECRET}, {env: TICKETS_SECRET_OLD}], <LOCAL>}
  sms://oncall:
    account_sid: <ACCOUNT>
    key_sid: <KEYSID>
    secret: {env: TWILIO_SECRET}
    from: "+4930123456"
    to: ["+4915112345678"]
    api: "<TWILIO_API>"
    allow_http: true
    allow_networks: [127.0.0.0/8]
console:
  url: <CONSOLE>
  listen: <LISTEN>
  key: "<DIR>/console.key"
  ldap:
    url: <DIRECTORY>
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
      issuer: <ISSUER>
      client_id: wflo
      client_secret: {env: OIDC_CLIENT_SECRET}
      seal: {file: "<DIR>/seal"}
      scopes: [profile, email]
      claims: {subject: preferred_username, groups: groups}
      userinfo: true
      mapping: {fold_case: true, allow: ["*"], group_roles: {finance: [approver]}}
  slack:
    signing_secret: {env: SLACK_SIGNING_SECRET}
    team: <SLACK_TEAM>
    api: "<REPLIES>/"
    allow_http: true
    allow_networks: [127.0.0.0/8]
    users: {<SLACK_USER>: {subject: ann, groups: [finance], roles: [approver]}}
`

// vault is a Redis that wants a password.
type vault struct{ url, address, password, file string }

func newVault(t *testing.T, password string) *vault {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("%v: install the package redis-server", err)
	}
	dir, address := t.TempDir(), freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{url: "redis://:" + password + "@" + address + "/0", address: address, password: password, file: filepath.Join(dir, "all.rdb")}
	server := start(t, environment(dir), program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--requirepass", password, "--dir", dir, "--dbfilename", "all.rdb", "--rdbcompression", "no")
	awaitPort(t, "Redis", address, server)
	return v
}

// say sends lines, and gives what is answered to the last.
func (v *vault) say(t *testing.T, lines ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", v.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers, last := bufio.NewReader(conn), ""
	for _, line := range lines {
		if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if last, err = answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	return last
}
