package pgtables

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

const kept = "CREATE TABLE kept (id int PRIMARY KEY, at timestamptz NOT NULL, note text); " +
	"INSERT INTO kept SELECT i, timestamptz '2026-01-01 00:00:00Z' + i * interval '1 hour', repeat('note ', i % 5) || i FROM generate_series(1, 50) i"

// TestSnapshotsOfBefore reads what was stored when tables had other hashes: snapshots
// outlive the program that made them.
func TestSnapshotsOfBefore(t *testing.T) {
	for _, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) { testSnapshotOf(t, "testdata/"+name) })
	}
}

func testSnapshotOf(t *testing.T, dir string) {
	w := newWorld(t, kept, "kept")
	var p wflo.SnapshotPart
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if d.Name() == "part.json" {
			return errors.Join(err, json.Unmarshal(data, &p))
		}
		key, putting := w.blobs.Put(t.Context(), data)
		if key != d.Name() {
			t.Errorf("%s is not what it was", path)
		}
		return errors.Join(err, putting)
	})
	if err != nil {
		t.Fatal(err)
	}
	now := w.save(&p)
	for name, after := range map[string]*wflo.SnapshotPart{"the same rows of today": &now, "what is there": nil} {
		if d, err := w.keeper.Diff(t.Context(), w.in, p, after); err != nil || len(d.Changes) != 0 {
			t.Errorf("%s differ: %+v, %v", name, d.Changes, err)
		}
	}
	before := w.all("kept")
	w.exec("UPDATE kept SET note = 'another' WHERE id % 2 = 0; DELETE FROM kept WHERE id > 40")
	w.restore(p)
	w.same("after the restore", before, w.all("kept"))
}

// TestSumsOfBeforeStillCount restores a manifest of before with chunks that are not those
// of its sum. Its hash does not cover the chunks.
func TestSumsOfBeforeStillCount(t *testing.T) {
	w := newWorld(t, kept, "kept")
	p := w.save(nil)
	m, err := w.keeper.load(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	m.Format, m.Tables[0].Sum = chunkFormat-1, strings.Repeat("0", 64)
	data, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.blobs.Put(t.Context(), withHash(data))
	if err != nil {
		t.Fatal(err)
	}
	p.Blobs = []string{key}
	if p.SHA256, err = m.digest(); err != nil {
		t.Fatal(err)
	}
	w.refuses(p, false, wflo.CodeConflict, []string{"would not have the rows of the snapshot"}, "kept")
}

// TestThePartFixesTheChunks gives a part the whole and valid manifest of other rows: the
// digest of a part, which is not in the blob store, covers what its chunks hold.
func TestThePartFixesTheChunks(t *testing.T) {
	w := newWorld(t, kept, "kept")
	p := w.save(nil)
	w.exec("UPDATE kept SET note = 'other' WHERE id = 7")
	other := w.save(&p)
	if other.SHA256 == p.SHA256 {
		t.Error("other rows have the same digest")
	}
	p.Blobs = other.Blobs
	w.refuses(p, true, wflo.CodeConflict, []string{"of another snapshot"}, "kept")
}
