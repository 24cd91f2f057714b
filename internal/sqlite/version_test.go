package sqlite

import "testing"

func TestSchemaVersion(t *testing.T) {
	l := mustOpen(t, Config{})
	have, known, err := l.SchemaVersion(t.Context())
	if err != nil || have == 0 || have != known {
		t.Fatalf("has %d, knows %d, %v", have, known, err)
	}
	// A newer program opens the file while this one has it.
	if _, err := l.write.ExecContext(t.Context(), "INSERT INTO migrations (version_id, is_applied) VALUES (?, 1)", known+1); err != nil {
		t.Fatal(err)
	}
	if have, again, err := l.SchemaVersion(t.Context()); err != nil || have != known+1 || again != known {
		t.Errorf("has %d, knows %d, %v", have, again, err)
	}
}
