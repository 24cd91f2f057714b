package pgtables

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
)

// gauge is a blob store on disk that watches the heap whenever it is used.
type gauge struct {
	activities.Blobs
	most atomic.Int64
}

func newGauge(t testing.TB) *gauge {
	t.Helper()
	store, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &gauge{Blobs: store}
}

// look reads how many bytes are in objects, those that nobody needs any more included.
func (g *gauge) look() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	n := int64(s[0].Value.Uint64())
	for {
		most := g.most.Load()
		if n <= most || g.most.CompareAndSwap(most, n) {
			return n
		}
	}
}

func (g *gauge) Put(ctx context.Context, data []byte) (string, error) {
	g.look()
	return g.Blobs.Put(ctx, data)
}

func (g *gauge) Get(ctx context.Context, key string) ([]byte, error) {
	data, err := g.Blobs.Get(ctx, key)
	g.look()
	return data, err
}

// million is a table of a million rows of some 130 bytes.
const million = `CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, at timestamptz NOT NULL, total numeric(12,2), note text);
	INSERT INTO orders SELECT i, i % 5000, timestamptz '2026-01-01 00:00:00Z' + i * interval '1 second', (i * 37 % 100000) / 100.0, md5(i::text) || md5((i * 7)::text)
	FROM generate_series(1, 1000000) i; ANALYZE orders`

func (w *world) use(blobs activities.Blobs) {
	w.t.Helper()
	k, err := New(Config{Blobs: blobs, Sets: map[string]Set{"shop": {URL: w.url, Tables: []Table{{Name: "orders"}}}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.keeper = k
}

const ordersHash = "SELECT count(*) || ' ' || sum(hashtextextended(orders::text, 0)) FROM orders"

// TestAMillionRowsInBoundedMemory fails when any of the operations holds a part of the
// table that grows with it. What counts as used is sampled at every blob, and the
// collector runs often, so the bound is about what is in use and not about its habits.
func TestAMillionRowsInBoundedMemory(t *testing.T) {
	const bound = 48 << 20
	w := newWorld(t, million, "orders")
	g := newGauge(t)
	w.use(g)
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	began := g.look()
	held := func(what string) {
		t.Helper()
		used := g.most.Load() - began
		t.Logf("%s: %d MiB at most", what, used>>20)
		if used > bound {
			t.Errorf("%s holds %d bytes, more than %d", what, used, bound)
		}
		g.most.Store(0)
	}
	before := w.rows(ordersHash)
	p := w.save(nil)
	held("the save")
	if p.Count != 1_000_000 || p.Bytes < 3*bound/2 {
		t.Fatalf("the table is too small to tell: %d rows, %d bytes", p.Count, p.Bytes)
	}
	w.exec("UPDATE orders SET note = 'changed' WHERE id BETWEEN 500000 AND 500009; DELETE FROM orders WHERE id = 999999")
	q := w.save(&p)
	held("a save after few changes")
	t.Logf("%d bytes of rows are stored as %d, and after few changes %d more", p.Bytes, p.Stored, q.Stored)
	if q.Stored*20 > p.Stored {
		t.Errorf("few changes store %d bytes, the table %d", q.Stored, p.Stored)
	}
	d, err := w.keeper.Diff(t.Context(), w.in, p, nil)
	if err != nil || len(d.Changes) != 1 || d.Changes[0].Detail != "1 removed, 10 changed" {
		t.Errorf("%+v, %v", d, err)
	}
	held("a comparison")
	w.exec("DELETE FROM orders WHERE id % 3 = 0")
	w.restore(p)
	held("the restore")
	if got := w.rows(ordersHash); got[0] != before[0] {
		t.Errorf("the rows are %s, which were %s", got, before)
	}
	if again := w.save(&p); again.Stored != 0 {
		t.Errorf("the same rows store %d bytes more", again.Stored)
	}
}

// BenchmarkMillionRows times a save and a restore beside what people do otherwise, one
// after the other: COPY to a file and pg_dump, and DELETE with COPY from that file.
func BenchmarkMillionRows(b *testing.B) {
	w := newWorld(b, million+"; CHECKPOINT", "orders")
	plain := connect(b, w.url)
	// The best of all, because whatever else the machine does only ever adds.
	var took [6]time.Duration
	timed := func(n int, do func()) {
		began := time.Now()
		do()
		if d := time.Since(began); took[n] == 0 || d < took[n] {
			took[n] = d
		}
	}
	var p wflo.SnapshotPart
	for b.Loop() {
		w.use(newGauge(b))
		name := filepath.Join(b.TempDir(), "orders")
		timed(0, func() { copyToFile(b, plain.PgConn(), name) })
		timed(1, func() { dump(b, w.url, name+".sql") })
		timed(2, func() { p = w.save(nil) })
		timed(3, func() { w.save(&p) })
		vacuum := "VACUUM orders; CHECKPOINT"
		w.execEach(vacuum)
		timed(4, func() { copyFromFile(b, plain.PgConn(), name) })
		w.execEach(vacuum)
		timed(5, func() {
			if err := w.keeper.Restore(b.Context(), w.in, p); err != nil {
				b.Fatal(err)
			}
		})
		w.execEach(vacuum)
	}
	for i, what := range []string{"copy-out-s", "pg_dump-s", "save-s", "save-again-s", "delete-copy-in-s", "restore-s"} {
		b.ReportMetric(took[i].Seconds(), what)
	}
	b.ReportMetric(took[2].Seconds()/took[0].Seconds(), "save/copy")
	b.ReportMetric(took[2].Seconds()/took[1].Seconds(), "save/pg_dump")
	b.ReportMetric(took[5].Seconds()/took[4].Seconds(), "restore/copy")
	b.ReportMetric(float64(p.Stored)/float64(p.Bytes), "stored/raw")
}

// dump runs the pg_dump of the server's own version.
func dump(b *testing.B, address, name string) {
	b.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if err != nil || len(found) == 0 {
		found = []string{"pg_dump"}
	}
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), found[len(found)-1], "-t", "orders", "-f", name, u.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("pg_dump: %v: %s", err, out)
	}
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}
