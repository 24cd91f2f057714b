package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// A trail is read beside a worker that writes it and after that has gone, and what
// cannot be one is refused without a trace.
func TestOpenTrail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wflo.db")
	if _, err := OpenTrail(t.Context(), path); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("no file: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("looking for a file made it")
	}
	ledger, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	event := wflo.AuditEvent{ID: "1", Chain: "main", Type: wflo.AuditLogin}
	if err := ledger.Records().Append(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	read := func(when string) {
		trail, err := OpenTrail(t.Context(), path)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer trail.Close()
		heads, err := trail.AuditHeads(t.Context())
		if err != nil || len(heads) != 1 || heads[0].Seq != 1 {
			t.Errorf("%s: %v, %v", when, heads, err)
		}
		if _, err := trail.from.read.ExecContext(t.Context(), "DELETE FROM grants"); err == nil {
			t.Errorf("%s: the file takes changes", when)
		}
	}
	read("beside the worker")
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	read("after the worker")

	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("not a database, and longer than the header of one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTrail(t.Context(), text); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a text: %v", err)
	}
}
