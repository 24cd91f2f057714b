package postgres

import (
	"database/sql"
	"errors"
	"io/fs"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/wflo-ai/wflo-go"
)

// migratedTo makes the schema as a worker of before made it, and gives a connection to it.
func migratedTo(t *testing.T, url string, version int64) *sql.DB {
	t.Helper()
	conf, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	conf.RuntimeParams["search_path"] = DefaultSchema
	db := stdlib.OpenDB(*conf)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, "CREATE SCHEMA "+DefaultSchema)
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithTableName("migrations"),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	return db
}

// TestRollingUpgrade: a worker that was there before a migration goes on beside one that
// came with it, and neither pays what the other has paid.
func TestRollingUpgrade(t *testing.T) {
	url := server.Database(t)
	migratedTo(t, url, 8)
	conf, err := Config{URL: url}.parse()
	if err != nil {
		t.Fatal(err)
	}
	old, err := connect(t.Context(), conf, DefaultSchema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := old.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, run := t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "f"}
	if _, err := old.Reserve(ctx, wflo.Reservation{Key: "before", Attempt: 1, Amount: 30, Run: run}); err != nil {
		t.Fatal(err)
	}
	next := mustOpen(t, Config{URL: url})
	for name, l := range map[string]*Ledger{"old": old, "new": next} {
		key := wflo.EffectKey(name)
		if _, err := l.Reserve(ctx, wflo.Reservation{Key: key, Attempt: 1, Amount: 30, Run: run}); err != nil {
			t.Errorf("the %s one: %v", name, err)
		}
	}
	for key, l := range map[wflo.EffectKey]*Ledger{"before": old, "old": next, "new": old} {
		if err := l.Settle(ctx, wflo.Settlement{Key: key, Attempt: 1, Amount: 7}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	for name, l := range map[string]*Ledger{"old": old, "new": next} {
		h, err := l.Reserve(ctx, wflo.Reservation{Key: "before", Attempt: 2, Amount: 30, Run: run})
		if err != nil || h.State != wflo.HoldSettled {
			t.Errorf("the %s one pays again: %+v, %v", name, h, err)
		}
	}
}

// TestRollback: a program of before starts on a schema that a later one has only added
// to, and not on one from which that has taken something away.
func TestRollback(t *testing.T) {
	url := server.Database(t)
	l := mustOpen(t, Config{URL: url})
	change := func(statement string) {
		t.Helper()
		if _, err := l.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	change("INSERT INTO wflo.migrations (version_id, is_applied) SELECT max(version_id) + 1, true FROM wflo.migrations")
	mustOpen(t, Config{URL: url})
	for _, statement := range []string{
		"UPDATE wflo.schema_terms SET oldest = (SELECT max(version_id) FROM wflo.migrations)", "DELETE FROM wflo.schema_terms", "DROP TABLE wflo.schema_terms",
	} {
		change(statement)
		again, err := Open(t.Context(), Config{URL: url})
		if err == nil {
			err = errors.Join(errors.New("it was opened"), again.Close())
		}
		if !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", statement, err)
		}
	}
}
