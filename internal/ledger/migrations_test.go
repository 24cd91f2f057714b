package ledger

import (
	"testing"
	"testing/fstest"
)

func TestNewestMigration(t *testing.T) {
	files := fstest.MapFS{"m/00002_b.sql": {}, "m/00010_c.sql": {}, "m/00001_a.sql": {}}
	if n, err := NewestMigration(files, "m"); err != nil || n != 10 {
		t.Errorf("%d, %v", n, err)
	}
	files["m/README"] = &fstest.MapFile{}
	if n, err := NewestMigration(files, "m"); err == nil {
		t.Errorf("a file without a number: %d", n)
	}
	if _, err := NewestMigration(files, "none"); err == nil {
		t.Error("no folder")
	}
}
