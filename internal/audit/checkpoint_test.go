package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

func signMark(c wflo.Checkpoint) wflo.Checkpoint { return c.Sign("marks", markKey) }

func list(t *testing.T, d *audit.Directory) []wflo.Checkpoint {
	t.Helper()
	all, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDirectory(t *testing.T) {
	d := &audit.Directory{Path: filepath.Join(t.TempDir(), "a", "b")}
	if all := list(t, d); len(all) != 0 {
		t.Errorf("an empty directory has %+v", all)
	}
	var want []wflo.Checkpoint
	for _, chain := range []string{"../../etc/passwd", "Ünï/code", "main"} {
		for seq := range int64(2) {
			c := signMark(wflo.Checkpoint{Chain: chain, Seq: seq + 1, Hash: "h", At: noon})
			if err := d.Put(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			want = append(want, c)
		}
	}
	again := &audit.Directory{Path: d.Path}
	got := map[string][]wflo.Checkpoint{}
	for _, c := range list(t, again) {
		if err := c.Verify(markKeys); err != nil {
			t.Error(err)
		}
		got[c.Chain] = append(got[c.Chain], c)
	}
	for i := 0; i < len(want); i += 2 {
		if diff := cmp.Diff(want[i:i+2], got[want[i].Chain]); diff != "" {
			t.Errorf("checkpoints (-want +got):\n%s", diff)
		}
	}
	entries, err := os.ReadDir(d.Path)
	if err != nil || len(entries) != 3 {
		t.Errorf("the directory has %d files, %v; want one for each chain", len(entries), err)
	}
}

// TestDirectoryAfterACrash cuts a line off, as a power cut does: it is lost, and no
// other with it. A line that was changed is an error.
func TestDirectoryAfterACrash(t *testing.T) {
	d := &audit.Directory{Path: t.TempDir()}
	put := func(seq int64) {
		t.Helper()
		if err := d.Put(t.Context(), signMark(wflo.Checkpoint{Chain: "main", Seq: seq, Hash: "h", At: noon})); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	put(2)
	file := filepath.Join(d.Path, "chain-main.jsonl")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data[:len(data)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	put(3)
	var seqs []int64
	for _, c := range list(t, d) {
		seqs = append(seqs, c.Seq)
	}
	if diff := cmp.Diff([]int64{1, 3}, seqs); diff != "" {
		t.Errorf("checkpoints (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(file, []byte("{\"chain\": }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.List(t.Context()); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("a spoiled file gave %v", err)
	}
}

// heads is a trail that has come so far.
type heads map[string]int64

func (h heads) AuditHeads(context.Context) (all []wflo.AuditRecord, _ error) {
	for chain, seq := range h {
		all = append(all, wflo.AuditRecord{AuditEvent: wflo.AuditEvent{Chain: chain}, Seq: seq, Hash: strings.Repeat("a", int(seq))})
	}
	return all, nil
}

func TestCheckpointer(t *testing.T) {
	trail, now, dir := heads{"a": 1, "b": 5}, noon, t.TempDir()
	c := &audit.Checkpointer{Audit: trail, Store: &audit.Directory{Path: dir}, Sign: signMark, Now: func() time.Time { return now }}
	round := func(want int) {
		t.Helper()
		if made, err := c.Round(t.Context()); err != nil || made != want {
			t.Fatalf("round made %d, %v; want %d", made, err, want)
		}
	}
	round(2) // the first of each chain is due at once
	round(0)
	trail["a"] = 2
	round(0)
	now = now.Add(time.Minute)
	round(1)
	now = now.Add(time.Hour)
	round(0) // nothing new is nothing to sign
	trail["b"] = 69
	round(1)
	trail["a"] = 66
	round(1)
	// Another process goes on where this one was.
	c = &audit.Checkpointer{Audit: trail, Store: &audit.Directory{Path: dir}, Sign: signMark, Now: c.Now}
	round(0)
	trail["a"] = 67
	round(0)
	last := map[string]int64{}
	for _, mark := range list(t, &audit.Directory{Path: dir}) {
		if err := mark.Verify(markKeys); err != nil {
			t.Error(err)
		}
		last[mark.Chain] = mark.Seq
	}
	if diff := cmp.Diff(map[string]int64{"a": 66, "b": 69}, last); diff != "" {
		t.Errorf("checkpoints (-want +got):\n%s", diff)
	}
}

// TestCheckpointerDoesNotVouchForLosses: a chain that got shorter, or is gone, is
// not signed; the others are.
func TestCheckpointerDoesNotVouchForLosses(t *testing.T) {
	trail := heads{"a": 10, "b": 10, "c": 10}
	store := &audit.Directory{Path: t.TempDir()}
	c := &audit.Checkpointer{Audit: trail, Store: store, Sign: signMark, Now: func() time.Time { return noon }}
	if _, err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	trail["a"], trail["c"] = 9, 100
	delete(trail, "b")
	made, err := c.Round(t.Context())
	if made != 1 || wflo.CodeOf(err) != wflo.CodeConflict || !strings.Contains(err.Error(), "chain a") || !strings.Contains(err.Error(), "chain b") {
		t.Errorf("round made %d, %v", made, err)
	}
	if all := list(t, store); len(all) != 4 {
		t.Errorf("there are %d checkpoints, want 4", len(all))
	}
}

type brokenStore struct{ audit.Checkpoints }

func (brokenStore) List(context.Context) ([]wflo.Checkpoint, error) { return nil, nil }
func (brokenStore) Put(context.Context, wflo.Checkpoint) error      { return errors.New("no disk") }

func TestCheckpointerTriesAgain(t *testing.T) {
	c := &audit.Checkpointer{Audit: heads{"a": 1}, Store: brokenStore{}, Sign: signMark}
	for range 2 {
		if made, err := c.Round(t.Context()); made != 0 || err == nil {
			t.Errorf("round made %d, %v", made, err)
		}
	}
}

// TestTrailOfAStore goes the whole way: a store appends, checkpoints are kept in a
// second place, an export is verified without either, and then somebody changes the
// database.
func TestTrailOfAStore(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "wflo.db")
	l, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	records := l.Records()
	if err := records.Append(ctx, newStory(t).events(t)...); err != nil {
		t.Fatal(err)
	}
	for i := range 1100 { // more than are read at a time
		if err := records.Append(ctx, wflo.AuditEvent{ID: numbered(i), Chain: "other <&> chain", At: noon, Type: wflo.AuditLogin, Actor: "Zoë"}); err != nil {
			t.Fatal(err)
		}
	}
	store := &audit.Directory{Path: t.TempDir()}
	c := &audit.Checkpointer{Audit: records, Store: store, Sign: signMark}
	if made, err := c.Round(ctx); err != nil || made != 2 {
		t.Fatalf("round made %d, %v", made, err)
	}
	check := func(class audit.Class, want ...audit.Kind) {
		t.Helper()
		o := audit.Options{Checkpoints: list(t, store), CheckpointKeys: markKeys, Terms: auditor}
		report, err := audit.Verify(ctx, audit.Records(ctx, records, ""), o)
		if err != nil {
			t.Fatal(err)
		}
		wantKinds(t, report, class, want...)
	}
	check(audit.OK)
	report := verifyExport(t, exported(t, audit.Header{Terms: auditor, CheckpointKeys: markKeys, Checkpoints: list(t, store)}, audit.Records(ctx, records, "")))
	wantKinds(t, report, audit.OK)
	if report.Records != 1106 {
		t.Errorf("the export has %d records, want 1106", report.Records)
	}
	db := openRaw(t, path)
	db("DROP TRIGGER audit_no_delete", "DROP TRIGGER audit_no_update", "DELETE FROM audit WHERE chain = 'other <&> chain' AND seq > 1000")
	check(audit.Altered, audit.Truncated, audit.Unanchored)
	if _, err := c.Round(ctx); wflo.CodeOf(err) != wflo.CodeConflict {
		t.Errorf("the checkpointer vouches for it: %v", err)
	}
	db("UPDATE audit SET data = replace(data, '\"by\":\"bob\"', '\"by\":\"eve\"') WHERE chain = 'main'")
	check(audit.Altered, audit.Truncated, audit.Unanchored, audit.Tampered, audit.ForgedVote, audit.Quorum, audit.Unapproved)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
