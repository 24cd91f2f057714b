package plugin

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/collect"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// Workers of two namespaces share a database: the collector of one leaves runs of the
// other alone, which Temporal does not know in its own.
func TestCollectorsKeepRunsOfOtherNamespaces(t *testing.T) {
	db, err := sqlite.Open(t.Context(), sqlite.Config{Logger: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() })
	for i, namespace := range []string{"here", "there"} {
		s := wflo.Snapshot{
			ID: []string{"snap-00000000000000000000", "snap-11111111111111111111"}[i], Name: "named", Kind: wflo.SnapshotManual,
			At: time.Now().Add(-48 * time.Hour), Run: wflo.Run{Namespace: namespace, WorkflowID: "w", FirstRunID: namespace},
		}
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Recovery().SaveSnapshot(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	notFound := func(context.Context, string) (bool, error) { return false, nil }
	c, err := collect.New(collect.Config{Recovery: db.Recovery(), Blobs: blobs, Policy: collect.Policy{MaxAge: time.Hour}, Open: openIn("here", notFound)})
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.Run(t.Context())
	if err != nil || len(report.Dropped) != 1 || report.Dropped[0] != "snap-00000000000000000000" || report.Kept[collect.KeptUnsure] != 1 {
		t.Errorf("%+v (%v)", report, err)
	}
}

// Sets of tables from a configuration file are saved and brought back, sealed, with the
// address where the file says that it is.
func TestTablesOfTheFile(t *testing.T) {
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	address := server.Database(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	if _, err := conn.Exec(t.Context(), "CREATE TABLE orders (id int PRIMARY KEY, tenant int); INSERT INTO orders VALUES (1, 7), (2, 8)"); err != nil {
		t.Fatal(err)
	}
	path := configFile(t, "snapshots:\n  keys: {env: TEST_KEYS}\n  tables:\n    shop: {url: {env: TEST_SHOP}, tables: [{name: public.orders, where: tenant = 7}]}\n")
	t.Setenv("TEST_KEYS", "k1:"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if _, err := FromFile(path); wflo.CodeOf(err) != wflo.CodeMissingKey || !strings.Contains(err.Error(), "TEST_SHOP") {
		t.Errorf("without an address: %v", err)
	}
	t.Setenv("TEST_SHOP", address)
	cfg, err := FromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DataDir, cfg.Database, cfg.Providers = t.TempDir(), "", []Provider{}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	keeper, in := p.parts.snapshot.Parts[wflo.PartTables], activities.PartRequest{Name: "shop", Key: "k"}
	part, ok, err := keeper.Save(t.Context(), in, nil)
	if err != nil || !ok || part.Count != 1 {
		t.Fatalf("%+v, %v, %v", part, ok, err)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM orders"); err != nil {
		t.Fatal(err)
	}
	if err := keeper.Restore(t.Context(), in, part); err != nil {
		t.Fatal(err)
	}
	var ids string
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(id::text, ',') FROM orders").Scan(&ids); err != nil || ids != "1" {
		t.Errorf("orders %q (%v)", ids, err)
	}
	if refs, err := p.retention.Parts[wflo.PartTables].Refs(t.Context(), part); err != nil || len(refs) != 2 {
		t.Errorf("the collector keeps %v (%v)", refs, err)
	}
}

// What is wrong with a set is known when the worker starts, and does not show its address.
func TestTableSetsThatCannotBe(t *testing.T) {
	for want, set := range map[string]TableSet{
		"is empty":       {URL: "postgres://ann:hunter2@db/shop"},
		"cannot be read": {URL: "postgres://ann:hunter2@db:port/shop", Tables: []Table{{Name: "a"}}},
		"twice":          {URL: "postgres://ann:hunter2@db/shop", Tables: []Table{{Name: "a"}, {Name: "A"}}},
	} {
		p, err := New(Config{DataDir: t.TempDir(), Database: "memory", Providers: []Provider{}, Snapshots: Snapshots{Tables: map[string]TableSet{"shop": set}}})
		if err == nil {
			p.Close()
		}
		if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "shop") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
