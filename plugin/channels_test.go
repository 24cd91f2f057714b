package plugin

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

const everything = "../docs/wflo.example.yaml"

// exampleSecrets are where docs/wflo.example.yaml says that they are. The one that is
// in a file there is moved.
func exampleFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(everything)
	if err != nil {
		t.Fatal(err)
	}
	path := configFile(t, strings.Replace(string(text), "{file: /run/secrets/smtp}", "{env: SMTP_PASSWORD}", 1))
	for name, value := range map[string]string{
		"WFLO_CI_KEY": "0123456789abcdef", "SLACK_BOT_TOKEN": "xoxb-canary", "SMTP_PASSWORD": "canary-smtp", "PAGERDUTY_ROUTING_KEY": strings.Repeat("a", 32),
		"TICKETS_URL": "https://tickets.example.com/", "TICKETS_SECRET": "whsec_" + strings.Repeat("A", 32), "TICKETS_SECRET_OLD": "whsec_" + strings.Repeat("B", 32),
		"TWILIO_SECRET": "canary-twilio", "WFLO_APPROVER_KEYS": "", "WFLO_POLICIES": "", "WFLO_EMERGENCY_POLICIES": "", "WFLO_ALLOW_UNSIGNED": "",
	} {
		t.Setenv(name, value)
	}
	return path
}

func TestFromFileGoverns(t *testing.T) {
	path := exampleFile(t)
	c, err := FromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantDefaults := activities.ApprovalDefaults{
		FourEyes: true, ReasonRequired: true, SignedOnly: true, Notify: []string{"slack://ops-channel"}, Timeout: 4 * time.Hour, Expiry: 30 * time.Minute,
	}
	if diff := cmp.Diff(wantDefaults, c.ApprovalDefaults); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if len(c.Approvals.Keys) != 1 || len(c.Approvals.Signers) != 1 || len(c.Approvals.Groups["senior-ops"]) != 3 || c.Approvals.AllowUnsigned {
		t.Errorf("terms %+v", c.Approvals)
	}
	if c.PolicyFile != "/etc/wflo/policies.yaml" || c.EmergencyFile != "/etc/wflo/emergency.yaml" {
		t.Errorf("policies %q and %q", c.PolicyFile, c.EmergencyFile)
	}
	if want := (Checkpoints{Dir: "/mnt/elsewhere/wflo-checkpoints", KeyFile: "/etc/wflo/checkpoints.key"}); c.Checkpoints != want {
		t.Errorf("checkpoints %+v", c.Checkpoints)
	}
	if diff := cmp.Diff(map[string]string{"slack://ops-channel": "email://ops"}, c.ChannelFallback); diff != "" || len(c.Channels) != 5 {
		t.Errorf("%d channels, fallback (-want +got):\n%s", len(c.Channels), diff)
	}

	t.Setenv("WFLO_POLICIES", "mine.yaml")
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("WFLO_APPROVER_KEYS", "boss="+base64.StdEncoding.EncodeToString(pub))
	c, err = FromFile(path)
	if err != nil || c.PolicyFile != "mine.yaml" || len(c.Approvals.Keys) != 1 || c.Approvals.Keys["boss"] == "" {
		t.Errorf("the environment does not count: %q, %v, %v", c.PolicyFile, c.Approvals.Keys, err)
	}
	t.Setenv("SLACK_BOT_TOKEN", "")
	if _, err := FromFile(path); wflo.CodeOf(err) != wflo.CodeMissingKey || !strings.Contains(err.Error(), "slack://ops-channel") {
		t.Errorf("a token that is not there: %v", err)
	}
}

// TestEveryChannelOpens: what the file describes is made by New, too, with the
// worker's logger.
func TestEveryChannelOpens(t *testing.T) {
	c, err := FromFile(exampleFile(t))
	if err != nil {
		t.Fatal(err)
	}
	newPlugin(t, func(own *Config) { own.Channels, own.ChannelFallback = c.Channels, c.ChannelFallback })
}

// place is a channel that keeps what it gets.
type place struct {
	mu   sync.Mutex
	got  []wflo.NoticeRecord
	fail error
}

func (p *place) Deliver(_ context.Context, n wflo.NoticeRecord) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, n)
	return "", p.fail
}

func notice(id, channel string) wflo.Notice {
	return wflo.Notice{ID: id, Channel: channel, Kind: wflo.NoticeTest, Thread: id, Title: "hello", At: time.Now()}
}

// TestNotices: a worker delivers to its own channels, stands in for one that refuses,
// and makes a dead letter of what goes to a name that nobody configured.
func TestNotices(t *testing.T) {
	good, bad := &place{}, &place{fail: fmt.Errorf("the address is wrong: %w", ErrChannelRefused)}
	p := newPlugin(t, func(c *Config) {
		c.Channels = map[string]Channel{"test://good": good, "test://bad": bad}
		c.ChannelFallback = map[string]string{"test://bad": "test://good"}
	})
	ctx, records := t.Context(), p.Records()
	if err := records.Enqueue(ctx, notice("1", "test://good"), notice("2", "test://bad"), notice("3", "test://nowhere")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is for the one that stands in
		if err := p.notices.Round(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(good.got) != 2 || len(bad.got) != 1 || !strings.Contains(good.got[1].Text, "test://bad") {
		t.Errorf("delivered %+v and %+v", good.got, bad.got)
	}
	dead, err := records.ListNotices(ctx, wflo.NoticeDead, 10)
	if err != nil || len(dead) != 2 {
		t.Fatalf("%d dead letters, %v; want the refused one and the one to nowhere", len(dead), err)
	}
	trail, err := records.ReadAudit(ctx, wflo.AuditQuery{Type: wflo.AuditNoticeDead})
	if err != nil || len(trail) != 2 {
		t.Errorf("%d records of dead letters, %v", len(trail), err)
	}
	// Later is told from never.
	bad.fail = RetryAfter(time.Hour, errors.New("busy"))
	if err := records.Enqueue(ctx, notice("4", "test://bad")); err != nil {
		t.Fatal(err)
	}
	if err := p.notices.Round(ctx); err != nil {
		t.Fatal(err)
	}
	waits, err := records.ListNotices(ctx, wflo.NoticePending, 10)
	if err != nil || len(waits) != 1 || waits[0].Due.Before(time.Now().Add(50*time.Minute)) {
		t.Errorf("waiting: %+v, %v", waits, err)
	}
}

func TestChannelsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"nothing": func(c *Config) { c.Channels = map[string]Channel{"test://a": nil} },
		"fallback of nobody": func(c *Config) {
			c.Channels, c.ChannelFallback = map[string]Channel{"test://a": &place{}}, map[string]string{"test://b": "test://a"}
		},
		"half of a checkpoint":  func(c *Config) { c.Checkpoints.Dir = "here" },
		"a negative interval":   func(c *Config) { c.NoticesEvery = -1 },
		"a key that is no key":  func(c *Config) { c.Checkpoints = Checkpoints{Dir: c.DataDir, KeyFile: everything} },
		"policies of two kinds": func(c *Config) { c.PolicyFile = filepath.Join(c.DataDir, "none.yaml") },
	} {
		cfg := Config{DataDir: t.TempDir(), Database: "memory", Providers: []Provider{}, Logger: slog.New(slog.DiscardHandler)}
		change(&cfg)
		p, err := New(cfg)
		if err == nil {
			p.Close()
		}
		if wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnknownChannelsAreTold: a worker that knows its policies says at the start which
// notices will not arrive, once per name.
func TestUnknownChannelsAreTold(t *testing.T) {
	var log bytes.Buffer
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	text := `default: allow
policies:
  - name: refunds
    when: cost > 1
    do:
      - require_approval: {approvers: [ann], notify: ["test://gone", "test://there"]}
`
	if err := os.WriteFile(policies, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	newPlugin(t, func(c *Config) {
		c.PolicyFile, c.Logger = policies, slog.New(slog.NewTextHandler(&log, nil))
		c.Channels = map[string]Channel{"test://there": &place{}}
		c.ApprovalDefaults.Notify = []string{"test://default", "test://there"}
	})
	said := log.String()
	for _, want := range []string{`channel=test://gone named_by="policy refunds"`, "channel=test://default named_by=approvals.notify"} {
		if strings.Count(said, want) != 1 {
			t.Errorf("lacks %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "channel=test://there") {
		t.Errorf("a channel that is there is told of:\n%s", said)
	}
}

func TestCheckpoints(t *testing.T) {
	dir := t.TempDir()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "auditor.key")
	kept := filepath.Join(dir, "checkpoints")
	elsewhere := newPlugin(t, func(c *Config) { c.Checkpoints = Checkpoints{Dir: kept, KeyFile: file} })
	if elsewhere.checkpoints != nil {
		t.Error("checkpoints are made without a key")
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPlugin(t, func(c *Config) { c.Checkpoints = Checkpoints{Dir: kept, KeyFile: file} })
	if err := p.Records().Append(t.Context(), wflo.AuditEvent{ID: "1", Chain: "main", At: time.Now(), Type: wflo.AuditLogin}); err != nil {
		t.Fatal(err)
	}
	if err := p.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := (&audit.Directory{Path: kept}).List(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%d checkpoints, %v", len(all), err)
	}
	public, _ := key.Public().(ed25519.PublicKey)
	if err := all[0].Verify(map[string]string{"auditor": base64.StdEncoding.EncodeToString(public)}); err != nil || all[0].Seq != 1 {
		t.Errorf("checkpoint %+v: %v", all[0], err)
	}
}
