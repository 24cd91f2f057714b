package govern

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
)

// wfloSays runs the command line against the server, and gives its exit code and
// what it said, data first.
func wfloSays(t *testing.T, line ...string) (int, string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code := cli.Main(context.WithoutCancel(t.Context()), cli.Deps{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut},
		append(line, "--address", server.HostPort(), "--namespace", server.Namespace()))
	return code, out.String() + errOut.String()
}

func wantSaid(t *testing.T, code int, parts []string, line ...string) string {
	t.Helper()
	got, said := wfloSays(t, line...)
	for _, part := range parts {
		if !strings.Contains(said, part) {
			t.Errorf("wflo %v lacks %q", line[:2], part)
			got = -1
		}
	}
	if got != code {
		t.Fatalf("wflo %v: exit code %d, want %d\n%s", line, got, code, said)
	}
	return said
}

// TestTheTrailOfARunIsVerified: two approve, one by update and one by signal, and the
// trail agrees with Temporal's history. A vote that the history does not have, and
// one that the trail does not have, are found.
func TestTheTrailOfARunIsVerified(t *testing.T) {
	dir := t.TempDir()
	set, err := policy.Load("p.yaml", []byte("default: allow\npolicies:\n  - name: watch\n    when: args[\"0\"] == 'seven'\n    on: [activity]\n    do: [{audit: info}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, n := guardedWorld(t, func(c *plugin.Config) { c.DataDir, c.Database, c.Policies = dir, "", set })
	run := w.start(wflo.Run{User: "eve"}, guardedWorkflow, order{Approval: deletion("seven", func(a *wflo.Approval) { a.Quorum = 2 })})
	g := w.gate(run, 1)
	w.must(run, n.approve(g, "ann"))
	w.mustNot(run, n.approve(g, "eve"), "not")
	w.signal(run, wflo.SignalDecide, n.approve(g, "mallory")) // is refused, and no vote
	w.signal(run, wflo.SignalDecide, n.approve(g, "ben"))
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	db, marks := filepath.Join(dir, "wflo.db"), filepath.Join(dir, "marks")
	signer, err := approver.Create(filepath.Join(dir, "notary.key"))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(c wflo.Checkpoint) wflo.Checkpoint { return c.Sign(signer.Name, signer.Private) }
	c := audit.Checkpointer{Audit: w.guard.Records(), Store: &audit.Directory{Path: marks}, Records: 1, Sign: sign}
	if _, err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "keys.json")
	known, err := json.Marshal(map[string]any{"terms": n.terms, "checkpoint_keys": map[string]string{signer.Name: signer.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, known, 0o600); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, cli.ExitOK, []string{"1 action on approvals, 0 runs without a history\nok\n"},
		"audit", "verify", "--database", db, "--keys", keys, "--checkpoints", marks, "--temporal")

	trail, err := sqlite.OpenTrail(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	more := slices.Collect(values(t, audit.Records(t.Context(), trail, "")))
	forged := more[len(more)-1].AuditEvent
	d := n.approve(g, "mallory")
	forged.ID, forged.Type = "forged", wflo.AuditGateDecided
	if forged.Data, err = json.Marshal(wflo.AuditDecision{Gate: g.Nonce, Digest: g.Digest, Decision: d}); err != nil {
		t.Fatal(err)
	}
	resealed := filepath.Join(dir, "more.jsonl")
	export(t, resealed, sign, n.terms, append(events(more), forged))
	wantSaid(t, cli.ExitTampered, []string{"not_in_history"}, "audit", "verify", "--file", resealed, "--keys", keys, "--temporal")

	resealed = filepath.Join(dir, "less.jsonl")
	export(t, resealed, sign, n.terms, slices.DeleteFunc(events(more), func(e wflo.AuditEvent) bool {
		return e.Type == wflo.AuditGateDecided && e.Actor == "ben"
	}))
	wantSaid(t, cli.ExitIncomplete, []string{"unrecorded: the history of " + run.GetID() + " accepted a decision of \"ben\""},
		"audit", "verify", "--file", resealed, "--keys", keys, "--temporal")

	wantSaid(t, cli.ExitOK, []string{"rule watch (audit)", "where args.0 is seven"}, "policy", "explain", "--run", run.GetID(), "--database", db)
	wantSaid(t, cli.ExitOK, []string{"policies: activity", "effect    allow", "rule watch (audit)"}, "policy", "explain", "--run", run.GetID(), "--history")
	stricter := filepath.Join(dir, "stricter.yaml")
	if err := os.WriteFile(stricter, bytes.Replace(set.Source(), []byte(`{"audit":"info"}`), []byte(`{"halt":{"reason":"no"}}`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	before := filepath.Join(dir, "before.yaml")
	if err := os.WriteFile(before, set.Source(), 0o600); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, cli.ExitOK, []string{"effect: audit, now halt", "1 of 2 judged would have come out differently, 1 of them stricter"},
		"policy", "simulate", stricter, "--against", before, "--run", run.GetID())
}

func values(t *testing.T, records iter.Seq2[wflo.AuditRecord, error]) iter.Seq[wflo.AuditRecord] {
	return func(yield func(wflo.AuditRecord) bool) {
		for r, err := range records {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(r) {
				return
			}
		}
	}
}

func events(records []wflo.AuditRecord) (all []wflo.AuditEvent) {
	for _, r := range records {
		all = append(all, r.AuditEvent)
	}
	return all
}

// export writes events as a trail that is right in itself, with a checkpoint: what
// somebody can do who holds the notary's key.
func export(t *testing.T, path string, sign func(wflo.Checkpoint) wflo.Checkpoint, terms wflo.Terms, all []wflo.AuditEvent) {
	t.Helper()
	var records []wflo.AuditRecord
	var last wflo.AuditRecord
	for _, e := range all {
		var err error
		if last, err = audit.Seal(last, e); err != nil {
			t.Fatal(err)
		}
		records = append(records, last)
	}
	mark := sign(wflo.Checkpoint{Chain: last.Chain, Seq: last.Seq, Hash: last.Hash, At: time.Now()})
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := audit.Export(io.Writer(f), audit.Header{Terms: terms, Checkpoints: []wflo.Checkpoint{mark}}, func(yield func(wflo.AuditRecord, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}
