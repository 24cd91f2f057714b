package pgtables

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

const kept = "CREATE TABLE kept (id int PRIMARY KEY, at timestamptz NOT NULL, note text); " +
	"INSERT INTO kept SELECT i, timestamptz '2026-01-01 00:00:00Z' + i * interval '1 hour', repeat('note ', i % 5) || i FROM generate_series(1, 50) i"

// TestSnapshotOfTheFirstFormat reads what was stored when tables had another hash:
// snapshots outlive the program that made them.
func TestSnapshotOfTheFirstFormat(t *testing.T) {
	w := newWorld(t, kept, "kept")
	var p wflo.SnapshotPart
	err := filepath.WalkDir("testdata/first", func(path string, d fs.DirEntry, err error) error {
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
