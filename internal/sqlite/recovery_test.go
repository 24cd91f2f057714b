package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func TestRecoveryInFile(t *testing.T) {
	t.Parallel()
	storetest.TestRecovery(t, func(t *testing.T) activities.Recovery {
		return mustOpen(t, Config{Path: newFile(t)}).Recovery()
	})
}

func TestRecoveryInMemory(t *testing.T) {
	t.Parallel()
	storetest.TestRecovery(t, func(t *testing.T) activities.Recovery { return mustOpen(t, Config{}).Recovery() })
}

// TestSnapshotsAreVerified: who has the file can change a manifest, and it is not used
// then, neither alone nor in a list. It can be dropped.
func TestSnapshotsAreVerified(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"another cost":      "UPDATE snapshots SET manifest = replace(manifest, '\"spent\":', '\"spent\":1') WHERE id = 'a'",
		"another tenant":    "UPDATE snapshots SET manifest = replace(manifest, 'acme', 'evil') WHERE id = 'a'",
		"another's":         "UPDATE snapshots SET (manifest, digest) = (SELECT manifest, digest FROM snapshots WHERE id = 'b') WHERE id = 'a'",
		"an unknown member": "UPDATE snapshots SET manifest = replace(manifest, '\"id\":', '\"aa\":1,\"id\":') WHERE id = 'a'",
		"no JSON":           "UPDATE snapshots SET manifest = 'x' WHERE id = 'a'",
		"another digest":    "UPDATE snapshots SET digest = 'x' WHERE id = 'a'",
	} {
		t.Run(name, func(t *testing.T) {
			l := mustOpen(t, Config{})
			r, ctx := l.Recovery(), t.Context()
			for _, id := range []string{"a", "b"} {
				s := wflo.Snapshot{ID: id, Kind: wflo.SnapshotManual, Run: wflo.Run{WorkflowID: "w", Org: "acme"}, Spent: 7}
				if err := s.Seal(); err != nil {
					t.Fatal(err)
				}
				if _, err := r.SaveSnapshot(ctx, s); err != nil {
					t.Fatal(err)
				}
			}
			done, err := l.write.Exec(change)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := done.RowsAffected(); n != 1 || err != nil {
				t.Fatalf("changed %d rows, %v", n, err)
			}
			if _, err := r.Snapshot(ctx, "a"); wflo.CodeOf(err) != wflo.CodeConflict || wflo.HintOf(err) == "" {
				t.Errorf("read gave %v", err)
			}
			if _, err := r.ListSnapshots(ctx, activities.SnapshotQuery{}); wflo.CodeOf(err) != wflo.CodeConflict {
				t.Errorf("list gave %v", err)
			}
			if err := r.DropSnapshots(ctx, "a"); err != nil {
				t.Error(err)
			}
			if _, err := r.Snapshot(ctx, "b"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRecoverySurvives: what was written down is there after the file was closed and
// opened again.
func TestRecoverySurvives(t *testing.T) {
	t.Parallel()
	path, run := filepath.Join(t.TempDir(), "ledger.db"), wflo.Run{WorkflowID: "w", FirstRunID: "f"}
	for round := range 2 {
		l := mustOpenFile(t, path)
		r, ctx := l.Recovery(), t.Context()
		if round == 0 {
			storetest.NoteOne(t, r, run, "u")
			if err := r.BeginEffect(ctx, "u"); err != nil {
				t.Error(err)
			}
		}
		if c, err := r.Compensation(ctx, "u"); err != nil || !c.Begun || c.Run.ID() != run.ID() {
			t.Errorf("it is %+v, %v", c, err)
		}
		closeLedger(t, l)
	}
}

func BenchmarkNoteCompensations(b *testing.B) {
	for _, callers := range []int{1, 16} {
		b.Run(storetest.Callers(callers), func(b *testing.B) {
			storetest.BenchmarkNoteCompensations(b, mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")}).Recovery(), plainInserts(b), callers)
		})
	}
}

func BenchmarkBeginEffect(b *testing.B) {
	for _, callers := range []int{1, 16} {
		b.Run(storetest.Callers(callers), func(b *testing.B) {
			storetest.BenchmarkBeginEffect(b, mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")}).Recovery(), plainInserts(b), callers)
		})
	}
}
