package config

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

const somebody = "7ntqKtnVDoYbwP6W4t9p7zBR0eWFzAZW+E9vfXu/0kI="

func example(t *testing.T) File {
	t.Helper()
	f, err := Load(filepath.Join("..", "..", "docs", "wflo.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestExample: the example that users copy has every section, and each says what it
// seems to say.
func TestExample(t *testing.T) {
	f := example(t)
	wantApprovals := Approvals{
		Terms: wflo.Terms{
			Keys:          map[string]string{"console": somebody},
			Signers:       map[string]wflo.Signer{"ann-laptop": {Public: somebody, Subject: "ann", Groups: []string{"finance"}}},
			Groups:        map[string][]string{"senior-ops": {"ann", "bob", "eve"}},
			UnsignedGates: []string{"question-*"},
		},
		FourEyes: true, ReasonRequired: true, SignedOnly: true, RequiredActivities: []string{"bank.Pay"}, Notify: []string{"slack://ops-channel"}, Timeout: 4 * time.Hour, Expiry: 30 * time.Minute,
	}
	if diff := cmp.Diff(wantApprovals, f.Approvals); diff != "" {
		t.Errorf("approvals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Policies{File: "/etc/wflo/policies.yaml", Emergency: "/etc/wflo/emergency.yaml"}, f.Policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Audit{Checkpoints: "/mnt/elsewhere/wflo-checkpoints", Key: "/etc/wflo/checkpoints.key"}, f.Audit); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	c := f.Console
	wantPeople := map[string]wflo.Identity{
		"T0123456789/U0123456789": {Subject: "ann", Groups: []string{"finance"}, Roles: []wflo.AccessRole{wflo.RoleApprover}},
		"T9876543210/U0000000001": {Subject: "bob", Roles: []wflo.AccessRole{wflo.RoleApprover}, Org: "acme"},
	}
	if diff := cmp.Diff(wantPeople, c.Slack.People); diff != "" {
		t.Errorf("people (-want +got):\n%s", diff)
	}
	wantMapping := auth.Mapping{
		Rename: map[string]string{"corp-finance": "finance"}, Allow: []string{"senior-ops"},
		GroupRoles:   map[string][]wflo.AccessRole{"corp-finance": {wflo.RoleApprover}, "corp-admins": {wflo.RoleAdmin, wflo.RoleApprover}},
		DefaultRoles: []wflo.AccessRole{wflo.RoleViewer}, GroupOrgs: map[string]string{"corp-acme": "acme"}, AllOrgs: []string{"corp-admins"}, FoldCase: true,
	}
	if diff := cmp.Diff(wantMapping, c.OIDC[0].Config.Mapping); diff != "" {
		t.Errorf("mapping (-want +got):\n%s", diff)
	}
	if got := c.OIDC[0].Config.RedirectURL; got != "https://wflo.example.com/login/via/company/callback" {
		t.Errorf("redirect address %q", got)
	}
	if c.LDAP == nil || c.LDAP.Password.Env != "LDAP_PASSWORD" || c.LDAP.Config.BindPassword != "" || c.LDAP.Config.Groups.Depth != 2 || c.LDAP.Config.Conns != 4 {
		t.Errorf("ldap %+v", c.LDAP)
	}
	if c.Listen != "127.0.0.1:7244" || c.TLSKey != "/etc/wflo/tls.key" || c.Key != "/etc/wflo/console.key" || c.NoAPIKeys || c.Rate != 50 || c.Lifetime != 8*time.Hour || c.Idle != 30*time.Minute {
		t.Errorf("console %+v", c)
	}
	hook := f.Channels["webhook://tickets"]
	if hook.Webhook == nil || hook.Webhook.URL != "" || len(hook.Secrets["secrets"]) != 2 || !hook.Webhook.Outbound.AllowHTTP || hook.Webhook.Outbound.Timeout != 5*time.Second ||
		!cmp.Equal(hook.Webhook.Outbound.Allow, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
		t.Errorf("webhook %+v", hook)
	}
	if len(f.Channels) != 5 || f.Channels["slack://ops-channel"].Fallback != "email://ops" {
		t.Errorf("channels %+v", f.Channels)
	}
}

// TestOpen makes what the example describes out of secrets that are somewhere, and
// refuses where one is not.
func TestOpen(t *testing.T) {
	f := example(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("canary-smtp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Channels["email://ops"].Secrets["password"][0] = Secret{File: password}
	for name, value := range map[string]string{
		"SLACK_BOT_TOKEN": "xoxb-canary", "PAGERDUTY_ROUTING_KEY": strings.Repeat("a", 32), "TICKETS_URL": "https://tickets.example.com/canary",
		"TICKETS_SECRET": samples["secrets"], "TICKETS_SECRET_OLD": samples["secrets"], "TWILIO_SECRET": "canary-twilio",
		"OIDC_CLIENT_SECRET": "canary-oidc", "LDAP_PASSWORD": "canary-ldap",
	} {
		t.Setenv(name, value)
	}
	quiet := slog.New(slog.DiscardHandler)
	for name, c := range f.Channels {
		if got, err := c.Open("https://wflo.example.com", quiet); got == nil || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("SLACK_BOT_TOKEN", "")
	if _, err := f.Channels["slack://ops-channel"].Open("", quiet); wflo.CodeOf(err) != wflo.CodeMissingKey || !strings.Contains(err.Error(), "SLACK_BOT_TOKEN") {
		t.Errorf("without its token: %v", err)
	}
	t.Setenv("TICKETS_SECRET", "canary-that-is-no-secret-of-the-standard")
	if _, err := f.Channels["webhook://tickets"].Open("", quiet); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a secret of another form: %v", err)
	}

	provider := f.Console.OIDC[0]
	seal := filepath.Join(t.TempDir(), "seal")
	provider.Seal = Secret{File: seal}
	if _, err := provider.Open(quiet); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Errorf("without its seal: %v", err)
	}
	if err := os.WriteFile(seal, []byte(somebody), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Open(quiet); err != nil {
		t.Errorf("provider: %v", err)
	}
	directory := *f.Console.LDAP
	if _, err := directory.Open(quiet); err == nil || !strings.Contains(err.Error(), "ca") {
		t.Errorf("without its roots: %v", err)
	}
	directory.CA = ""
	if _, err := directory.Open(quiet); err != nil {
		t.Errorf("directory: %v", err)
	}
}

// TestGovernanceRefuses has a line per mistake: where it is found, what is said, and
// what to do. No error repeats a secret that stands in the file by mistake.
func TestGovernanceRefuses(t *testing.T) {
	const hook = "channels:\n  webhook://a:\n    url: {env: URL}\n    secrets: [{env: A}]\n"
	const console = "console:\n  url: https://wflo.example.com\n"
	tests := []struct{ name, text, where, what, hint string }{
		{"switch in words", "approvals:\n  four_eyes: yes please\n", "2:14", "four_eyes is text", "true or false"},
		{"timeout without a unit", "approvals:\n  timeout: \"5\"\n", "2:12", "timeout is", "90s"},
		{"channel without a scheme", "approvals:\n  notify: [ops]\n", "2:12", `channel "ops" has no scheme`, "slack://"},
		{"pattern", "approvals:\n  unsigned_gates: [\"[\"]\n", "2:20", "pattern", "low-*"},
		{"key cut short", "approvals:\n  keys: {console: 7ntqKtnV}\n", "2:19", "not an Ed25519", "keygen"},
		{"signer of nobody", "approvals:\n  signers:\n    - {name: a, public: " + somebody + "}\n", "3:7", "lacks one", "subject"},
		{"signer twice", "approvals:\n  signers:\n    - {name: a, public: " + somebody + ", subject: a}\n    - {name: a, public: " + somebody + ", subject: b}\n", "4:7", "declared again", "name of its own"},
		{"signer of a bad key", "approvals:\n  signers:\n    - {name: a, public: hunter2, subject: a}\n", "3:25", "not an Ed25519", "keygen"},
		{"group as text", "approvals:\n  groups: {ops: ann}\n", "2:17", "a group is text", "list"},
		{"unknown section of approvals", "approvals:\n  fourEyes: true\n", "2:3", `unknown field "fourEyes"`, "four_eyes"},
		{"policies as text", "policies: rules.yaml\n", "1:11", "policies is text", "NAME: VALUE"},
		{"checkpoints without a key", "audit:\n  checkpoints: /mnt\n", "2:3", "both", "which key"},

		{"unknown kind", "channels:\n  pigeon://roof: {}\n", "2:3", "no known kind", "slack, email"},
		{"no scheme", "channels:\n  ops: {}\n", "2:3", "no scheme", "SCHEME://NAME"},
		{"secret in the file", "channels:\n  slack://a:\n    token: hunter2\n    channel: C0123456789\n", "3:12", "token is text", "never holds a secret"},
		{"secret in the wrong field", "channels:\n  slack://a:\n    token: {env: T}\n    channel: hunter2\n", "4:14", "slack.channel is", "C0123456789"},
		{"secret as the name of a variable", "channels:\n  slack://a:\n    token: {env: hunter2}\n    channel: C0123456789\n", "3:18", "not the name of a variable", "never the secret"},
		{"two places", "channels:\n  slack://a:\n    token: {env: T, file: /t}\n    channel: C0123456789\n", "3:12", "twice", "one of env and file"},
		{"no token", "channels:\n  slack://a:\n    channel: C0123456789\n", "3:5", "slack.token is empty", "environment or a file"},
		{"network", hook + "    allow_networks: [\"10.1\"]\n", "5:22", "a network is", "10.1.0.0/16"},
		{"no recipients", "channels:\n  email://a:\n    host: mail.example.com\n    from: wflo@example.com\n", "3:5", "email.to has 0 recipients", "1 to"},
		{"recipient", "channels:\n  email://a:\n    host: mail.example.com\n    from: wflo@example.com\n    to:\n      - {address: hunter2 @}\n", "6:7", "not an address", "ops@example.com"},
		{"mail in plain text", "channels:\n  email://a:\n    host: mail.example.com\n    security: plain\n    from: wflo@example.com\n    to: [{address: a@example.com}]\n", "4:15", "email.security is plain", "starttls"},
		{"phones", "channels:\n  sms://a:\n    account_sid: AC00000000000000000000000000000000\n    secret: {env: S}\n    from: \"+4930123456\"\n    to: [\"911\"]\n", "6:9", "twilio.to", "+4930123456"},
		{"page over plain http", "channels:\n  pagerduty://a:\n    routing_key: {env: K}\n    url: http://pager.example.com/\n", "4:10", "pagerduty.url", "https"},
		{"fallback to nowhere", hook + "    fallback: email://gone\n", "3:5", "no other channel", "under channels"},
		{"fallback to itself", hook + "    fallback: webhook://a\n", "3:5", "no other channel", "under channels"},
		{"field of another kind", hook + "    channel: C0123456789\n", "5:5", `unknown field "channel"`, ""},
		{"port", "channels:\n  email://a:\n    port: 99999999999\n", "3:11", "out of bounds", "smaller"},

		{"address", "console:\n  url: wflo.example.com\n", "2:8", "not the address", "https://HOST"},
		{"address with a path", "console:\n  url: https://example.com/wflo\n", "2:8", "not the address", "https://HOST"},
		{"half of TLS", "console:\n  tls: {cert: a.pem}\n", "2:8", "both cert and key", "files"},
		{"provider without an address to return to", "console:\n  oidc:\n    - {name: a, issuer: \"https://id.example.com\", client_id: wflo}\n", "3:5", "console's url", "url of the console"},
		{"provider without a name", console + "  oidc:\n    - {issuer: \"https://id.example.com\", client_id: wflo}\n", "4:7", "no name", "small letters"},
		{"provider without TLS", console + "  oidc:\n    - name: a\n      issuer: http://id.example.com\n      client_id: wflo\n", "5:15", "without TLS", "https"},
		{"provider without a client", console + "  oidc:\n    - name: a\n      issuer: https://id.example.com\n", "4:7", "client_id", "register"},
		{"provider twice", console + "  oidc:\n    - {name: a, issuer: \"https://id.example.com\", client_id: wflo}\n    - {name: a, issuer: \"https://id.example.org\", client_id: wflo}\n", "5:7", "declared again", "name of its own"},
		{"no signature", console + "  oidc:\n    - name: a\n      issuer: https://id.example.com\n      client_id: wflo\n      algorithms: [none]\n", "7:19", "oidc: algorithms", "RS256"},
		{"tokens of browsers", console + "  oidc:\n    - name: a\n      issuer: https://id.example.com\n      client_id: wflo\n      audiences: [wflo]\n", "7:18", "oidc: audiences", "client of its own"},
		{"role", console + "  oidc:\n    - name: a\n      mapping: {default_roles: [root]}\n", "5:33", "a role is", "viewer"},
		{"folded twice", "console:\n  ldap:\n    mapping:\n      fold_case: true\n      rename: {A: b, a: c}\n", "5:15", "rename.a", "once"},
		{"directory without TLS", "console:\n  ldap:\n    url: ldap://ldap.example.com\n    base_dn: dc=example\n    user_filter: (uid={name})\n", "3:10", "without TLS", "ldaps"},
		{"filter for everybody", "console:\n  ldap:\n    url: ldaps://ldap.example.com\n    base_dn: dc=example\n    dummy_dn: dc=example\n    user_filter: (uid=ann)\n", "6:18", "user_filter", "{name}"},
		{"password in the file", "console:\n  ldap:\n    bind_password: hunter2\n", "3:20", "bind_password is text", "never holds a secret"},
		{"clicks of anybody", "console:\n  slack:\n    team: T1\n", "3:5", "no signing_secret", "signing secret"},
		{"user without a team", "console:\n  slack:\n    signing_secret: {env: S}\n    users: {U0123: {subject: a, roles: [approver]}}\n", "4:12", "no team", "TEAM/USER"},
		{"user by name", "console:\n  slack:\n    signing_secret: {env: S}\n    team: T1\n    users: {ann: {subject: a, roles: [approver]}}\n", "5:13", "no ID of Slack", "profile"},
		{"user without a role", "console:\n  slack:\n    signing_secret: {env: S}\n    team: T1\n    users:\n      U0123: {subject: a}\n", "6:14", "lacks one", "[approver]"},
		{"rate", "console:\n  rate: -1\n", "2:9", "rate is -1", "100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse("wflo.yaml", []byte(tt.text))
			if err == nil {
				t.Fatalf("gave %+v", got)
			}
			message, hint := wflo.Explain(err)
			if !strings.HasPrefix(message, "wflo.yaml:"+tt.where+": ") || !strings.Contains(message, tt.what) || !strings.Contains(hint, tt.hint) {
				t.Errorf("got %s\n(%s)\nwant %s with %q, and %q", message, hint, tt.where, tt.what, tt.hint)
			}
			if strings.Contains(message+hint, "hunter2") {
				t.Errorf("the secret is in the error: %s", message)
			}
		})
	}
}

func TestReadKey(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	good := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	dir := t.TempDir()
	path := filepath.Join(dir, "console.key")
	write := func(data []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(good, 0o600)
	if name, got, err := ReadKey(path); err != nil || name != "console" || !got.Equal(private) {
		t.Errorf("ReadKey gave %q, %v", name, err)
	}
	write(good, 0o644)
	if _, _, err := ReadKey(path); err == nil || !strings.Contains(err.Error(), "others") {
		t.Errorf("a key that others can read: %v", err)
	}
	write(good[:len(good)/2], 0o600)
	if _, _, err := ReadKey(path); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Errorf("half a key: %v", err)
	}
	if _, _, err := ReadKey(filepath.Join(dir, "none.key")); wflo.CodeOf(err) != wflo.CodeMissingKey || wflo.HintOf(err) == "" {
		t.Errorf("no key: %v", err)
	}
}

// TestKeyOfASecret has a group read a key only as Kubernetes lets it: root's file, for a
// process that is not root and in that group.
func TestKeyOfASecret(t *testing.T) {
	const pod = 65532
	us := process{user: pod, groups: []int{10, pod}}
	for _, tt := range []struct {
		name string
		mode os.FileMode
		of   owner
		us   process
		want bool
	}{
		{"its owner's alone", 0o600, owner{pod, pod, true}, us, true},
		{"a Secret with an fsGroup", 0o440, owner{0, pod, true}, us, true},
		{"root's, and root may write", 0o640, owner{0, pod, true}, us, true},
		{"a supplementary group", 0o440, owner{0, 10, true}, us, true},
		{"a group that is not ours", 0o440, owner{0, 11, true}, us, false},
		{"our own file, which the group reads", 0o440, owner{pod, pod, true}, us, false},
		{"somebody else's", 0o440, owner{1000, pod, true}, us, false},
		{"root reads root's", 0o440, owner{0, 0, true}, process{groups: []int{0}}, false},
		{"the group writes", 0o460, owner{0, pod, true}, us, false},
		{"the group may execute", 0o450, owner{0, pod, true}, us, false},
		{"everybody reads", 0o444, owner{0, pod, true}, us, false},
		{"everybody writes", 0o442, owner{0, pod, true}, us, false},
		{"no such bits here", 0o666, owner{}, us, true},
	} {
		if got := keptPrivate(tt.mode, tt.of, tt.us); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestOwnerOf reads owner and group from a real file.
func TestOwnerOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if of := ownerOf(info); of != (owner{os.Geteuid(), os.Getegid(), true}) {
		t.Errorf("a file of ours is %+v's", of)
	}
	if us := ourselves(); us.user != os.Geteuid() || !slices.Contains(us.groups, os.Getegid()) {
		t.Errorf("we are %+v", us)
	}
}
