package cli

import (
	"bytes"
	"crypto/ed25519"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

var signerOfVotes = ed25519.NewKeyFromSeed([]byte("a key of the console, 32 bytes.."))

// archive is a trail in a file, with its checkpoints and the keys that an auditor has,
// and the real API over it.
type archive struct {
	f                         *fakeTemporal
	dir, db, marks, keys, key string
}

func newArchive(t *testing.T) *archive {
	t.Helper()
	dir := t.TempDir()
	o := &archive{f: withRun(), dir: dir, db: filepath.Join(dir, "wflo.db"), marks: filepath.Join(dir, "marks"), keys: filepath.Join(dir, "keys.json")}
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{Path: o.db})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	records := ledger.Records()
	var events []wflo.AuditEvent
	for n := range 3 {
		events = append(events, approvedRefund(t, fmt.Sprintf("order-%d", n), "")...)
	}
	if err := records.Append(t.Context(), append(events, approvedRefund(t, "acme-order", "acme")...)...); err != nil {
		t.Fatal(err)
	}
	o.sign(t, records)
	logger := slog.New(slog.DiscardHandler)
	server := httptest.NewServer(console.NewHandler(console.Config{
		Client: o.f, Ledger: ledger, Metrics: http.NotFoundHandler(), Logger: logger, Insecure: true,
		Desk: &desk.Desk{Client: o.f, Records: records, Logger: logger},
	}))
	t.Cleanup(server.Close)
	o.f.api = server.URL
	return o
}

// sign makes a checkpoint for each chain, and writes down what an auditor knows.
func (o *archive) sign(t *testing.T, heads audit.Heads) {
	t.Helper()
	signer, err := approver.Create(filepath.Join(o.dir, "notary.key"))
	if err != nil {
		t.Fatal(err)
	}
	o.key = signer.Public()
	c := audit.Checkpointer{Audit: heads, Store: &audit.Directory{Path: o.marks}, Records: 1,
		Sign: func(c wflo.Checkpoint) wflo.Checkpoint { return c.Sign(signer.Name, signer.Private) }}
	if n, err := c.Round(t.Context()); err != nil || n != 2 {
		t.Fatalf("%d checkpoints: %v", n, err)
	}
	o.write(t, o.keys, auditKeys{Terms: votersTerms(), CheckpointKeys: map[string]string{"notary": o.key}})
}

func votersTerms() wflo.Terms {
	return wflo.Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(signerOfVotes.Public().(ed25519.PublicKey))}}
}

func (o *archive) write(t *testing.T, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// approvedRefund is what is recorded of a refund that one person approves and an
// activity pays.
func approvedRefund(t *testing.T, id, org string) (events []wflo.AuditEvent) {
	t.Helper()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	run := wflo.Run{Namespace: "default", WorkflowID: id, FirstRunID: "run-" + id, User: "ann", Org: org}
	opened := run.Ask("refunds", wflo.Approval{
		Gate: "refunds", Action: "Refund " + id, Payload: json.RawMessage(`{"amount":"12.00"}`), Activity: "Refund", Approvers: []string{"bob"}, FourEyes: true,
	}, at).Seal("nonce-" + id)
	vote := opened.Decide(wflo.VerdictApprove, "bob")
	vote.ID, vote.At, vote.Reason = "vote-"+id, at.Add(time.Minute), "checked"
	vote = vote.Sign("console", signerOfVotes)
	closed, err := opened.Apply(vote, votersTerms(), vote.At)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := wflo.CanonicalSHA256(opened.Approval.Payload)
	if err != nil {
		t.Fatal(err)
	}
	add := func(kind wflo.AuditType, actor string, data any) {
		text, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, wflo.AuditEvent{
			ID: fmt.Sprint(id, len(events)), Chain: opened.AuditChain(), At: at.Add(time.Duration(len(events)) * time.Minute), Type: kind, Actor: actor,
			Namespace: "default", WorkflowID: id, FirstRunID: run.FirstRunID, Gate: "refunds", Data: text,
		})
	}
	add(wflo.AuditGateOpened, "worker", wflo.AuditGate{Gate: opened})
	add(wflo.AuditGateDecided, "bob", wflo.AuditDecision{Gate: opened.Nonce, Digest: opened.Digest, Decision: vote})
	add(wflo.AuditGrantUsed, "worker", wflo.AuditUse{Gate: opened.Nonce, Digest: closed.Digest, PayloadSHA256: sum, RanSHA256: sum, Activity: "Refund", Effect: "effect"})
	add(wflo.AuditGateClosed, "bob", wflo.AuditGate{Gate: closed})
	add(wflo.AuditPolicyRuled, "policy dear", wflo.Ruling{Bundle: "b", Facts: "f", Effect: wflo.EffectAudit, Matches: []wflo.Match{{Rule: "dear", Effect: wflo.EffectAudit, Inputs: map[string]string{"cost": "6.20"}}}})
	return events
}

func (o *archive) ask(t *testing.T, line ...string) result {
	t.Helper()
	return invoke(t, o.f, append([]string{"audit"}, line...)...)
}

// tampered is a copy of the file that somebody with the right to write it changed.
func (o *archive) tampered(t *testing.T, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	run := func(file string, statements ...string) {
		db, err := sql.Open("sqlite", "file:"+file)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	run(o.db, "VACUUM INTO '"+path+"'")
	run(path, append([]string{"DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"}, statements...)...)
	return path
}

// Whatever is done to the file ends with the exit code for it, and a trail that
// nobody touched with 0, however it is read.
func TestAuditVerify(t *testing.T) {
	o := newArchive(t)
	known := []string{"--keys", o.keys, "--checkpoints", o.marks}
	verify := func(line ...string) result { t.Helper(); return o.ask(t, append([]string{"verify"}, line...)...) }
	fine := []string{"chain acme: records 1 to 5, covered by checkpoints up to 5\n", "chain main: records 1 to 15, covered by checkpoints up to 15\n", "20 records, 2 checkpoints, 4 actions on approvals\nok\n"}
	verify(slices.Concat(known, []string{"--database", o.db})...).want(t, ExitOK, fine, nil)
	verify(known...).want(t, ExitOK, fine, nil) // by the API
	verify("--keys", o.keys, "--checkpoints", o.marks, "--chain", "acme").want(t, ExitOK, []string{"5 records, 1 checkpoint, 1 action on approvals\nok\n"}, nil)

	for name, tc := range map[string]struct {
		statements []string
		code       int
		says       string
	}{
		"an edited record":     {[]string{`UPDATE audit SET data = replace(data, '12.00', '1200.00') WHERE chain = 'main' AND seq = 1`}, ExitTampered, "chain main record 1: tampered"},
		"another actor":        {[]string{`UPDATE audit SET event = replace(event, '"bob"', '"eve"') WHERE chain = 'main' AND seq = 2`}, ExitTampered, "chain main record 2: tampered"},
		"the last three gone":  {[]string{`DELETE FROM audit WHERE chain = 'main' AND seq > 12`}, ExitTampered, "truncated: the chain ends at record 12"},
		"one in the middle":    {[]string{`DELETE FROM audit WHERE chain = 'main' AND seq = 7`}, ExitTampered, "record 7: gap: records 7 to 7 are missing"},
		"the first one gone":   {[]string{`DELETE FROM audit WHERE chain = 'main' AND seq = 1`}, ExitTampered, "record 1: gap"},
		"two that swap places": {[]string{`UPDATE audit SET seq = 99 WHERE chain = 'main' AND seq = 4`, `UPDATE audit SET seq = 4 WHERE chain = 'main' AND seq = 5`, `UPDATE audit SET seq = 5 WHERE chain = 'main' AND seq = 99`}, ExitTampered, "record 4: tampered"},
		"a chain gone":         {[]string{`DELETE FROM audit WHERE chain = 'acme'`}, ExitTampered, "chain acme record 1: truncated"},
		"everything gone":      {[]string{`DELETE FROM audit`}, ExitTampered, "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			verify(slices.Concat(known, []string{"--database", o.tampered(t, tc.statements...)})...).want(t, tc.code, []string{tc.says, "\ntampered\n"}, nil)
		})
	}

	verify("--database", o.db).want(t, ExitIncomplete, []string{"no_keys", "unanchored", "\nincomplete\n"}, nil)
	verify("--database", o.db, "--keys", o.keys).want(t, ExitIncomplete, []string{"unanchored: no checkpoint covers the chain"}, nil)
	verify("--database", o.db, "--keys", o.keys, "--checkpoints", o.marks+"nope").want(t, ExitError, nil, []string{"is not a directory"})
	verify("--database", o.db+"nope").want(t, ExitError, nil, []string{"no such file"})
	verify("--database", o.keys).want(t, ExitError, nil, []string{"wflo:"})
	verify("--own-keys").want(t, ExitUsage, nil, []string{"--own-keys is for --file"})

	var v struct {
		Verdict string
		audit.Report
	}
	r := verify(slices.Concat(known, []string{"-o", "json"})...)
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || v.Verdict != "ok" || v.Records != 20 {
		t.Errorf("%v: %s", err, r.out)
	}
}

// A vote that nobody known signed is a breach, and a checkpoint that nobody known
// signed is a forgery.
func TestAuditVerifyKeys(t *testing.T) {
	o := newArchive(t)
	other := filepath.Join(t.TempDir(), "other.json")
	foreign := base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed([]byte("a key of somebody else, 32 byte.")).Public().(ed25519.PublicKey))
	o.write(t, other, auditKeys{Terms: wflo.Terms{Keys: map[string]string{"console": foreign}}, CheckpointKeys: map[string]string{"notary": o.key}})
	o.ask(t, "verify", "--keys", other, "--checkpoints", o.marks).want(t, ExitBreach, []string{"forged_vote", "\npolicy breach\n"}, nil)
	o.write(t, other, auditKeys{Terms: votersTerms()})
	o.ask(t, "verify", "--keys", other, "--checkpoints", o.marks, "--checkpoint-key", o.key).want(t, ExitOK, []string{"\nok\n"}, nil)
	o.ask(t, "verify", "--keys", other, "--checkpoints", o.marks, "--checkpoint-key", "notary="+o.key).want(t, ExitOK, []string{"\nok\n"}, nil)
	o.ask(t, "verify", "--keys", other, "--checkpoints", o.marks, "--checkpoint-key", foreign).want(t, ExitTampered, []string{"forged_checkpoint"}, nil)
	o.ask(t, "verify", "--checkpoint-key", "secret").want(t, ExitUsage, nil, []string{"--checkpoint-key is not"})

	conf := filepath.Join(o.dir, "worker.yaml")
	text := fmt.Sprintf("approvals:\n  keys: {console: %s}\naudit: {checkpoints: %s, key: %s}\n", votersTerms().Keys["console"], o.marks, filepath.Join(o.dir, "notary.key"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.ask(t, "verify", "--keys", conf).want(t, ExitOK, []string{"\nok\n"}, nil)

	// Whoever has the file adds a checkpoint of their own.
	path := filepath.Join(o.marks, "chain-main.jsonl")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(data, []byte(`"seq":15`), []byte(`"seq":14`), 1)
	if err := os.WriteFile(path, append(data, forged...), 0o600); err != nil {
		t.Fatal(err)
	}
	o.ask(t, "verify", "--keys", o.keys, "--checkpoints", o.marks).want(t, ExitTampered, []string{"chain main record 14: forged_checkpoint"}, nil)
}

// An export is verified without a database, and what is done to it shows.
func TestAuditExport(t *testing.T) {
	o := newArchive(t)
	path := filepath.Join(t.TempDir(), "trail.jsonl")
	o.ask(t, "export", path, "--database", o.db, "--keys", o.keys, "--checkpoints", o.marks).want(t, ExitOK, nil, []string{"exported 20 records"})
	o.ask(t, "export", path).want(t, ExitError, nil, []string{"file exists", "hint: choose a file"})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if about, err := os.Stat(path); err != nil || about.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", about.Mode(), err)
	}
	o.ask(t, "verify", "--file", path, "--keys", o.keys).want(t, ExitOK, []string{"20 records, 2 checkpoints", "\nok\n"}, nil)
	o.ask(t, "verify", "--file", path, "--own-keys").want(t, ExitOK, []string{"\nok\n"}, []string{"warning: verified with the export's own keys"})
	o.ask(t, "verify", "--file", path).want(t, ExitIncomplete, []string{"no_keys"}, nil)

	lines := strings.SplitAfter(string(data), "\n")
	for name, text := range map[string]string{
		"a record is changed":   strings.Replace(string(data), "checked", "chekced", 1),
		"a record is left out":  strings.Join(slices.Concat(lines[:9], lines[10:]), ""),
		"the end is cut off":    strings.Join(lines[:len(lines)-3], ""),
		"two records change":    strings.Join(slices.Concat(lines[:9], lines[10:11], lines[9:10], lines[11:]), ""),
		"a checkpoint is moved": strings.Replace(string(data), `"seq":15,"hash"`, `"seq":16,"hash"`, 1),
	} {
		spoilt := file(t, "spoilt.jsonl", text)
		if r := o.ask(t, "verify", "--file", spoilt, "--keys", o.keys); r.code != ExitTampered {
			t.Errorf("%s: exit code %d\n%s%s", name, r.code, r.out, r.errOut)
		}
	}
	o.ask(t, "verify", "--file", o.keys).want(t, ExitError, nil, []string{"line 1 of the export"})
	r := o.ask(t, "export", "-", "--chain", "acme")
	r.want(t, ExitOK, []string{`"wflo_audit":1`}, []string{"there are no checkpoints in it", "exported 5 records"})
}

func TestAuditList(t *testing.T) {
	o := newArchive(t)
	o.ask(t, "list", "--run", "order-1").want(t, ExitOK, []string{"approval.requested", "Refund order-1", "approve: checked", "approved", "audit: dear"}, nil)
	o.ask(t, "list", "--type", "approval.decided", "--database", o.db).want(t, ExitOK, []string{"bob", "approve: checked"}, nil)
	o.ask(t, "list", "--run", "nobody").want(t, ExitOK, nil, []string{"no records"})
	o.ask(t, "list", "--limit", "6000").want(t, ExitUsage, nil, []string{"--limit is 6000"})
	o.ask(t, "list", "--schema", "x").want(t, ExitUsage, nil, []string{"--schema is for PostgreSQL"})
	for _, line := range [][]string{{"list", "-o", "jsonl"}, {"list", "--chain", "main", "--limit", "6000", "-o", "jsonl"}, {"list", "--from", "2026-03-04T12:02:00Z", "--to", "2026-03-04T12:03:00Z", "-o", "jsonl"}} {
		r := o.ask(t, line...)
		want := map[int]int{3: 20, 7: 15}[len(line)]
		if line[1] == "--from" {
			want = 4
		}
		if n := strings.Count(r.out, "\n"); r.code != ExitOK || n != want {
			t.Errorf("%v: %d lines, want %d\n%s", line, n, want, r.errOut)
		}
	}
	invoke(t, o.f, "policy", "explain", "--run", "order-1").want(t, ExitOK, []string{"effect    audit", "rule dear (audit)", "where cost is 6.20"}, nil)
	invoke(t, o.f, "policy", "explain", "--run", "order-1", "--step", "other").want(t, ExitOK, nil, []string{"no ruling on order-1 is on record"})
}
