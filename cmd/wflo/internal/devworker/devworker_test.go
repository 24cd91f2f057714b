package devworker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
	"github.com/wflo-ai/wflo-go/plugin"
)

// Two that may run at the same time never share an owner: each would remove the
// other's sandboxes. The same one, started again, must find its own.
func TestOwner(t *testing.T) {
	here := t.TempDir()
	t.Chdir(here)
	if err := os.MkdirAll(filepath.Join("a", "wflo"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", "link"); err != nil {
		t.Fatal(err)
	}
	kept := func(dir, address string) string {
		return owner(dev.Info{DataDir: dir, HostPort: address, Namespace: "default"})
	}
	passing := func(dir, address string) string {
		return owner(dev.Info{DataDir: dir, HostPort: address, Namespace: "default", Ephemeral: true})
	}
	base := kept(filepath.Join(here, "a", "wflo"), "127.0.0.1:1")
	for name, other := range map[string]string{
		"another port": kept(filepath.Join(here, "a", "wflo"), "127.0.0.1:2"), "relative": kept("a/wflo", "127.0.0.1:1"), "linked": kept("link/wflo", "127.0.0.1:1"),
	} {
		if other != base {
			t.Errorf("%s: another owner", name)
		}
	}
	seen := map[string]string{base: "base"}
	for name, other := range map[string]string{
		"another directory of the same name": kept(filepath.Join(here, "b", "wflo"), "127.0.0.1:1"),
		"in memory":                          passing(filepath.Join(here, "a", "wflo"), "127.0.0.1:1"),
		"in memory, another port":            passing(filepath.Join(here, "a", "wflo"), "127.0.0.1:2"),
	} {
		if twin, ok := seen[other]; ok {
			t.Errorf("%s: the owner of %s", name, twin)
		}
		seen[other] = name
	}
}

const configured = `budgets:
  - {scope: team, name: build, limit: "1.00"}
routes:
  - {model: cheap, to: [gpt-5.4-mini]}
cache: {ttl: 10m}
gateway:
  keys:
    - {name: ci, env: CI_KEY, team: build}
approvals:
  four_eyes: true
  signed_only: true
  allow_unsigned: true
  timeout: 2h
  notify: ["webhook://tickets"]
  keys: {boss: 7ntqKtnVDoYbwP6W4t9p7zBR0eWFzAZW+E9vfXu/0kI=}
  signers: [{name: ann, public: 7ntqKtnVDoYbwP6W4t9p7zBR0eWFzAZW+E9vfXu/0kI=, subject: ann}]
  groups: {ops: [ann]}
policies: {file: policies.yaml, emergency: emergency.yaml}
audit: {checkpoints: /mnt/elsewhere, key: /etc/wflo/checkpoints.key}
channels:
  webhook://tickets: {url: {env: TICKETS_URL}, secrets: [{env: TICKETS_SECRET}]}
console: {key: /etc/wflo/console.key}
`

// The environment configures `wflo dev`, except for what names an installation:
// with the ledger or the owner of another one, its alerts would be handed over
// here and its sandboxes removed.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wflo.yaml")
	if err := os.WriteFile(path, []byte(configured), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := approver.Ensure(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"WFLO_CONFIG": path, "CI_KEY": "gw-0123456789abcdef", "WFLO_MAX_TOKENS": "77", "WFLO_OWNER": "production", "WFLO_DATA_DIR": "/var/lib/wflo",
		"TICKETS_URL": "https://tickets.example.com/", "TICKETS_SECRET": "whsec_" + strings.Repeat("A", 32),
		"WFLO_DATABASE": "postgres://wflo@db/wflo", "WFLO_APPROVER_KEYS": "boss=" + key.Public(), "WFLO_ALLOW_UNSIGNED": "false",
	} {
		t.Setenv(name, value)
	}
	info := dev.Info{DataDir: dir, Namespace: "default", Approver: key, Configured: true}
	c, err := configuration(info)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Budgets) != 1 || len(c.Routes) != 1 || c.CacheTTL == 0 || len(c.GatewayKeys) != 1 || c.MaxTokens != 77 {
		t.Errorf("the environment does not count: %+v", c)
	}
	_, boss := c.Approvals.Keys["boss"]
	if c.DataDir != dir || c.Database != "" || c.Owner != owner(info) || boss || len(c.Approvals.Keys) != 1 || !c.Approvals.AllowUnsigned {
		t.Errorf("another installation's: %+v", c)
	}
	if !c.ApprovalDefaults.FourEyes || c.ApprovalDefaults.Timeout != 2*time.Hour || len(c.Channels) != 1 || c.PolicyFile != "policies.yaml" || c.EmergencyFile != "emergency.yaml" {
		t.Errorf("what holds at gates is not tried here: %+v", c)
	}
	if len(c.Approvals.Signers) != 0 || len(c.Approvals.Groups) != 1 || c.Checkpoints != (plugin.Checkpoints{}) {
		t.Errorf("another installation's approvers or checkpoints: %+v, %+v", c.Approvals, c.Checkpoints)
	}
	info.Ephemeral = true
	if c, err = configuration(info); err != nil || c.Database != "memory" {
		t.Errorf("in memory: %q, %v", c.Database, err)
	}
	info.Configured = false // as for wflo demo
	if c, err = configuration(info); err != nil || len(c.Budgets) != 0 || c.CacheTTL != 0 || len(c.GatewayKeys) != 0 || c.MaxTokens != 0 {
		t.Errorf("the environment counts: %+v, %v", c, err)
	}
	t.Setenv("WFLO_CONFIG", filepath.Join(dir, "not-there.yaml"))
	info.Configured = true
	if _, err := configuration(info); wflo.HintOf(err) == "" {
		t.Errorf("a file that is not there gave %v", err)
	}
}
