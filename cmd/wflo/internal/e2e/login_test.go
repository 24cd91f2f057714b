//go:build integration

package e2e

import (
	"bufio"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The holder of a key logs in, and somebody with a key for another group sees that
// they are not asked.
func (b *bureau) testAPIKey(t *testing.T) {
	id, g := b.atGate(t, "apikey", "ops")
	other := b.visitor(t)
	if status, page := other.page(http.MethodPost, "/login/key", url.Values{"key": {b.key(t, "cid", "marketing")}}); status != http.StatusOK {
		t.Fatalf("log in: %d %s", status, page)
	}
	if _, page := other.page(http.MethodGet, "/gates/"+g.Nonce, nil); strings.Contains(page, `value="approve"`) {
		t.Errorf("somebody who is not asked may approve: %s", page)
	}
	ann := b.visitor(t)
	if status, page := ann.page(http.MethodPost, "/login/key", url.Values{"key": {"wflo_0000000000000000_wrong"}}); status == http.StatusOK || strings.Contains(page, "Log out") {
		t.Errorf("a wrong key: %d %s", status, page)
	}
	if status, page := ann.page(http.MethodPost, "/login/key", url.Values{"key": {b.key(t, "ann", "finance")}, "back": {"/inbox"}}); status != http.StatusOK || !strings.Contains(page, "/gates/"+g.Nonce) {
		t.Fatalf("log in: %d %s", status, page)
	}
	if status, page := ann.decide(g, "approve"); status != http.StatusOK || !strings.Contains(page, "approved") {
		t.Errorf("approve: %d %s", status, page)
	}
	b.wantDone(t, id, "ann", "apikey")
}

// A directory knows ann and her groups. An empty password, which many directories
// take for nobody in particular, opens nothing.
func (b *bureau) testLDAP(t *testing.T) {
	id, g := b.atGate(t, "ldap", "ops")
	ann := b.visitor(t)
	for _, password := range []string{"", "wrong"} {
		if status, page := ann.page(http.MethodPost, "/login/password", url.Values{"name": {"ann"}, "password": {password}}); status == http.StatusOK || strings.Contains(page, "Log out") {
			t.Errorf("password %q: %d %s", password, status, page)
		}
	}
	if status, page := ann.page(http.MethodPost, "/login/password", url.Values{"name": {"ann"}, "password": {annPassword}}); status != http.StatusOK {
		t.Fatalf("log in: %d %s", status, page)
	}
	if status, page := ann.decide(g, "approve"); status != http.StatusOK || !strings.Contains(page, "approved") {
		t.Errorf("approve: %d %s", status, page)
	}
	b.wantDone(t, id, "ann", "ldap")
}

// A provider sends ann back with her groups.
func (b *bureau) testOpenIDConnect(t *testing.T) {
	id, g := b.atGate(t, "oidc", "ops")
	ann := b.visitor(t)
	resp, err := ann.Get(b.url + "/login/via/company?back=" + url.QueryEscape("/gates/"+g.Nonce))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	at := resp.Request.URL
	request := at.Query().Get("authRequestID")
	if request == "" {
		t.Fatalf("no form of the provider at %s: %s", at, resp.Status)
	}
	form := url.Values{"id": {request}, "username": {"ann"}, "password": {"ann-password"}}
	if status, page := ann.page(http.MethodPost, at.Scheme+"://"+at.Host+"/login/username", form); status != http.StatusOK || !strings.Contains(page, g.Digest) {
		t.Fatalf("log in: %d %s", status, page)
	}
	if status, page := ann.decide(g, "approve"); status != http.StatusOK || !strings.Contains(page, "approved") {
		t.Errorf("approve: %d %s", status, page)
	}
	b.wantDone(t, id, "ann", "oidc")
}

// proxySecret is what a proxy in front of a console adds to every request.
const proxySecret = "canary-secret-of-the-proxy-4711-x"

// throughProxy adds what a proxy says of who sends a request.
type throughProxy http.Header

func (p throughProxy) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range p {
		r.Header[name] = values
	}
	return http.DefaultTransport.RoundTrip(r)
}

// A program of a user's own serves the console to whom a proxy names, and to nobody who
// only says that a proxy did.
func (b *bureau) testTrustedProxy(t *testing.T) {
	url, p := b.startProxied(t)
	b.keys = append(b.keys, proxySecret) // to be looked for in the end
	id, g := b.atGate(t, "proxy", "ops")
	someone := func(headers http.Header) *visitor {
		v := b.visitor(t)
		v.base, v.Transport = url, throughProxy(headers)
		return v
	}
	for name, headers := range map[string]http.Header{
		"nobody":         {},
		"without secret": {"X-Forwarded-User": {"ann"}, "X-Forwarded-Groups": {"finance"}},
		"wrong secret":   {"X-Forwarded-User": {"ann"}, "X-Forwarded-Groups": {"finance"}, "X-Proxy-Secret": {"guess"}},
	} {
		if status, page := someone(headers).page(http.MethodGet, "/gates/"+g.Nonce, nil); strings.Contains(page, g.Digest) || !strings.Contains(page, "Log in") {
			t.Errorf("%s: %d %s", name, status, page)
		}
		if status, body := someone(headers).page(http.MethodGet, "/api/v1/whoami", nil); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	said := func(user, groups string) http.Header {
		return http.Header{"X-Forwarded-User": {user}, "X-Forwarded-Groups": {groups}, "X-Proxy-Secret": {proxySecret}}
	}
	if status, page := someone(said("vic", "staff")).page(http.MethodGet, "/gates/"+g.Nonce, nil); status != http.StatusOK || strings.Contains(page, `value="approve"`) {
		t.Errorf("somebody who may look: %d %s", status, page)
	}
	if status, page := someone(said("ann", "finance")).decide(g, "approve"); status != http.StatusOK || !strings.Contains(page, "approved") {
		t.Errorf("approve: %d %s", status, page)
	}
	b.wantDone(t, id, "ann", "proxy")
	if log := p.said(); strings.Contains(log, proxySecret) || !strings.Contains(log, "the proxy's secret is wrong") {
		t.Errorf("the log of the console behind the proxy: %s", log)
	}
}

// startProxied builds and starts the example with the bureau's file and database, beside
// the bureau's own console, and gives its address and the program.
func (b *bureau) startProxied(t *testing.T) (url string, p *program) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "console")
	build := exec.Command("go", "build", "-C", "../../../..", "-trimpath", "-o", path, "./examples/trustedproxy/console")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v: %s", err, out)
	}
	file, err := os.ReadFile(filepath.Join(b.dir, "wflo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(b.url, "http://")
	b.write(t, "proxied.yaml", strings.Replace(string(file), "listen: "+at, "listen: 127.0.0.1:0", 1))
	p = start(t, append(b.consoleEnv(), "WFLO_CONFIG="+filepath.Join(b.dir, "proxied.yaml"), "PROXY_SECRET="+proxySecret), path)
	return p.find(t, `Console (http://127\.0\.0\.1:\d+)`), p
}

// startProvider builds and starts the program of tools/oidc, which ends with its
// standard input, and gives its issuer.
func startProvider(t *testing.T, callback string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "oidc")
	build := exec.Command("go", "build", "-C", "../../../../tools/oidc", "-o", path, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build tools/oidc: %v: %s", err, out)
	}
	cmd := exec.Command(path, callback)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("tools/oidc says no issuer: %v", err)
	}
	return strings.TrimSpace(line)
}

// slapdConfig is a directory in which the console's account may read and people may
// only log in.
const slapdConfig = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
allow bind_anon_dn bind_anon_cred
pidfile DIR/pid
database mdb
suffix "dc=example,dc=com"
directory DIR/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,dc=example,dc=com" read by * none
`

const slapdPeople = `dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=reader,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: ` + ldapPassword + `

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: uid=ann,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: ann
cn: Ann Arbor
sn: Arbor
userPassword: ` + annPassword + `

dn: uid=dummy,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: dummy
cn: Dummy
sn: Dummy
userPassword: nobody knows

dn: cn=finance,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: finance
member: uid=ann,ou=people,dc=example,dc=com
`

// startDirectory starts OpenLDAP's server with ann in it, and gives its URL.
func startDirectory(t *testing.T) string {
	t.Helper()
	const slapd, slapadd = "/usr/sbin/slapd", "/usr/sbin/slapadd"
	if !exists(slapd) {
		t.Fatal("slapd is missing; run deploy/setup.sh tests")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "slapd.conf")
	for name, text := range map[string]string{"slapd.conf": strings.ReplaceAll(slapdConfig, "DIR", dir), "people.ldif": slapdPeople} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(slapadd, "-f", conf, "-l", filepath.Join(dir, "people.ldif")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v: %s", err, out)
	}
	address := freeAddress(t)
	p := start(t, environment(dir), slapd, "-f", conf, "-h", "ldap://"+address+"/", "-d", "0")
	awaitPort(t, "slapd", address, p)
	return "ldap://" + address
}
