package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// empty is a file with all tables and no rows.
var empty = sync.OnceValues(func() (data []byte, err error) {
	dir, err := os.MkdirTemp("", "wflo-sqlite")
	if err != nil {
		return nil, err
	}
	defer func() {
		if gone := os.RemoveAll(dir); err == nil {
			err = gone
		}
	}()
	path := filepath.Join(dir, "wflo.db")
	l, err := Open(context.Background(), Config{Path: path})
	if err != nil {
		return nil, err
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// newFile is a file of the test's own that was migrated before: each migration takes a
// while under the race detector, and hundreds of tests want a file.
func newFile(t testing.TB) string {
	t.Helper()
	data, err := empty()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wflo.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
