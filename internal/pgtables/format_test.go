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

// TestSnapshotOfTheFirstFormat reads what was stored when chunks were compressed by
// zstd: snapshots outlive the program that made them.
func TestSnapshotOfTheFirstFormat(t *testing.T) {
	w := newWorld(t, kept, "kept")
	var p wflo.SnapshotPart
	err := filepath.WalkDir("testdata/zstd", func(path string, d fs.DirEntry, err error) error {
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

func TestBlobsOfRowsAreBounded(t *testing.T) {
	k, err := New(Config{Blobs: newMemory()})
	if err != nil {
		t.Fatal(err)
	}
	rows := []byte(strings.Repeat("1\ta row that comes again\n", 1000))
	blob := compress(rows, nil)
	if got, err := k.decompress(blob, make([]byte, 10), int64(len(rows))); err != nil || string(got) != string(rows) {
		t.Errorf("came back as %d bytes, %v", len(got), err)
	}
	for _, n := range []int{0, 1, len(rows) - 1, len(rows) + 1} {
		if _, err := k.decompress(blob, nil, int64(n)); err == nil {
			t.Errorf("gives %d bytes in the place of %d", len(rows), n)
		}
	}
	huge := []byte{markS2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}
	if _, err := k.decompress(huge, nil, maxRaw); err == nil || !strings.Contains(err.Error(), "4294967295 bytes, not") {
		t.Errorf("4 GiB in 7 bytes gave %v", err)
	}
	for _, b := range [][]byte{nil, {markS2}, {0x7f, 1, 2}, blob[:len(blob)/2]} {
		if _, err := k.decompress(b, nil, int64(len(rows))); err == nil {
			t.Errorf("%d bytes were read", len(b))
		}
	}
}
