package postgres

import "testing"

func TestSchemaVersion(t *testing.T) {
	l := mustOpen(t, Config{Schema: "elsewhere"})
	have, known, err := l.SchemaVersion(t.Context())
	if err != nil || have == 0 || have != known {
		t.Fatalf("has %d, knows %d, %v", have, known, err)
	}
	// A newer program migrates the database while this one works.
	if _, err := l.pool.Exec(t.Context(), "INSERT INTO elsewhere.migrations (version_id, is_applied) VALUES ($1, true)", known+1); err != nil {
		t.Fatal(err)
	}
	if have, again, err := l.SchemaVersion(t.Context()); err != nil || have != known+1 || again != known {
		t.Errorf("has %d, knows %d, %v", have, again, err)
	}
}
