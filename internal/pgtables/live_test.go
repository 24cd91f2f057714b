package pgtables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

func TestWritersMeanwhileDoNotTearASet(t *testing.T) {
	w := newWorld(t, `CREATE TABLE "left" (id int PRIMARY KEY, n int); CREATE TABLE "right" (id int PRIMARY KEY, n int);
		INSERT INTO "left" SELECT i, 100 FROM generate_series(1, 2000) i; INSERT INTO "right" SELECT i, 100 FROM generate_series(1, 2000) i`, `"left"`, `"right"`)
	ctx, stop := context.WithCancel(t.Context())
	moved := make(chan int)
	var wg sync.WaitGroup
	for n := range 3 {
		conn := connect(t, w.url)
		wg.Go(func() { move(ctx, t, conn, 600*n, moved) })
	}
	var parts []wflo.SnapshotPart
	for range 5 {
		for range 20 { // so that writers are at work
			<-moved
		}
		parts = append(parts, w.saveAmong(moved))
	}
	stop()
	wg.Wait()
	if parts[0].SHA256 == parts[4].SHA256 {
		t.Error("nobody wrote meanwhile")
	}
	for _, p := range parts {
		w.restore(p)
		if got := w.rows(`SELECT (sum(n))::text FROM (SELECT n FROM "left" UNION ALL SELECT n FROM "right") x`); got[0] != "400000" {
			t.Errorf("the sum is %s", got[0])
		}
	}
}

// move takes from one table and gives to the other until the context ends, and says so
// after each transaction.
func move(ctx context.Context, t *testing.T, conn *pgx.Conn, from int, moved chan<- int) {
	for i := 0; ctx.Err() == nil; i++ {
		id := from + i%600 + 1
		_, err := conn.Exec(context.Background(), fmt.Sprintf(`BEGIN; UPDATE "left" SET n = n - 1 WHERE id = %d; UPDATE "right" SET n = n + 1 WHERE id = %[1]d; COMMIT`, id))
		if err != nil {
			t.Errorf("move: %v", err)
		}
		select {
		case moved <- i:
		case <-ctx.Done():
		}
	}
}

// saveAmong saves while others write.
func (w *world) saveAmong(moved <-chan int) wflo.SnapshotPart {
	done := make(chan wflo.SnapshotPart, 1)
	go func() {
		p, _, err := w.keeper.Save(w.t.Context(), w.in, nil)
		if err != nil {
			w.t.Errorf("Save: %v", err)
		}
		done <- p
	}()
	for {
		select {
		case <-moved:
		case p := <-done:
			return p
		}
	}
}

func TestDiffCountsRows(t *testing.T) {
	w := newWorld(t, `CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (v text); CREATE TABLE c (id int PRIMARY KEY);
		INSERT INTO a SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 3000) i; INSERT INTO b VALUES ('x'), ('x'), ('y'); INSERT INTO c VALUES (1)`, "a", "b", "c")
	diff := func(from wflo.SnapshotPart, to *wflo.SnapshotPart) wflo.PartDiff {
		t.Helper()
		d, err := w.keeper.Diff(t.Context(), w.in, from, to)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	p := w.save(nil)
	if d := diff(p, nil); len(d.Changes) != 0 || d.Problem != "" || d.Kind != wflo.PartTables || d.Name != "shop" {
		t.Errorf("nothing changed: %+v", d)
	}
	w.exec(`UPDATE a SET v = 'other' WHERE id IN (7, 1500); DELETE FROM a WHERE id BETWEEN 100 AND 109; INSERT INTO a VALUES (0, ''), (9000, 'x'), (-5, NULL);
		DELETE FROM b WHERE v = 'y'; INSERT INTO b VALUES ('x'), ('z')`)
	want := []wflo.PartChange{
		{Name: "public.a", Op: "changed", Before: 3000, After: 2993, Detail: "3 added, 10 removed, 2 changed"},
		{Name: "public.b", Op: "changed", Before: 3, After: 4, Detail: "2 added, 1 removed"},
	}
	if d := cmp.Diff(want, diff(p, nil).Changes); d != "" {
		t.Errorf("to now (-want +got):\n%s", d)
	}
	q := w.save(&p)
	if q.Stored == 0 || q.Stored >= p.Stored {
		t.Errorf("few changed rows store %d bytes of %d", q.Stored, p.Stored)
	}
	reads := 0
	w.blobs.onGet = func(string) { reads++ }
	if d := cmp.Diff(want, diff(p, &q).Changes); d != "" {
		t.Errorf("to the other (-want +got):\n%s", d)
	}
	w.blobs.onGet = nil
	refs, err := w.keeper.Refs(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(refs) < 10 {
		t.Errorf("too few blobs to tell: %d", len(refs))
	}
	if reads >= 2*len(refs) {
		t.Errorf("%d blobs were read of two times %d: chunks in both are not left out", reads, len(refs))
	}
	w.exec("DROP TABLE c")
	if _, err := w.keeper.Diff(t.Context(), w.in, p, nil); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("without a table: %v", err)
	}
}

var randomTables = []string{"a", "b", "c"}

// TestRandomRestores compares with what an ordinary query gave when the snapshot was
// taken, over random changes of tables that refer to each other.
func TestRandomRestores(t *testing.T) {
	w := newWorld(t, `CREATE TABLE a (id serial PRIMARY KEY, up int REFERENCES a ON DELETE CASCADE, v text);
		CREATE TABLE b (id serial, k text, a int REFERENCES a ON DELETE SET NULL, v bytea, PRIMARY KEY (k, id)); CREATE TABLE c (v jsonb, n numeric)`, "c", "a", "b")
	text := rapid.String().Filter(func(s string) bool { return !strings.ContainsRune(s, 0) })
	id := rapid.IntRange(1, 40)
	rapid.Check(t, func(r *rapid.T) {
		w.exec("TRUNCATE a, b, c")
		h := &history{world: w}
		r.Repeat(map[string]func(*rapid.T){
			"insert a": func(r *rapid.T) {
				h.do(r, "INSERT INTO a (up, v) VALUES ((SELECT id FROM a ORDER BY id LIMIT 1 OFFSET $1), $2)", id.Draw(r, "up"), text.Draw(r, "v"))
			},
			"insert b": func(r *rapid.T) {
				h.do(r, "INSERT INTO b (k, a, v) VALUES ($1, (SELECT max(id) FROM a), $2)", text.Draw(r, "k"), rapid.SliceOf(rapid.Byte()).Draw(r, "v"))
			},
			"insert c": func(r *rapid.T) {
				h.do(r, "INSERT INTO c VALUES (to_jsonb($1::text), $2::float8::numeric)", text.Draw(r, "v"), rapid.Float64Range(-1e9, 1e9).Draw(r, "n"))
			},
			"update a": func(r *rapid.T) {
				h.do(r, "UPDATE a SET v = $1 WHERE id % $2 = 0", text.Draw(r, "v"), id.Draw(r, "mod"))
			},
			"delete a": func(r *rapid.T) { h.do(r, "DELETE FROM a WHERE id % $1 = 0", id.Draw(r, "mod")) },
			"delete b": func(r *rapid.T) { h.do(r, "DELETE FROM b WHERE id % $1 = 0", id.Draw(r, "mod")) },
			"save":     h.take,
			"restore":  h.goBack,
		})
	})
}

// history is the snapshots that were taken, with what the tables had then.
type history struct {
	*world
	parts []wflo.SnapshotPart
	had   []map[string][]string
}

func (h *history) do(r *rapid.T, sql string, args ...any) {
	if _, err := h.conn.Exec(h.t.Context(), sql, args...); err != nil {
		r.Fatalf("%s: %v", sql, err)
	}
}

func (h *history) take(r *rapid.T) {
	var before *wflo.SnapshotPart
	if n := len(h.parts); n > 0 {
		before = &h.parts[n-1]
	}
	p, _, err := h.keeper.Save(h.t.Context(), h.in, before)
	if err != nil {
		r.Fatalf("Save: %v", err)
	}
	h.parts, h.had = append(h.parts, p), append(h.had, h.all(randomTables...))
}

func (h *history) goBack(r *rapid.T) {
	if len(h.parts) == 0 {
		return
	}
	i := rapid.IntRange(0, len(h.parts)-1).Draw(r, "snapshot")
	d, err := h.keeper.Diff(h.t.Context(), h.in, h.parts[i], nil)
	if err != nil || d.Problem != "" {
		r.Fatalf("Diff: %+v, %v", d, err)
	}
	if want := differing(h.had[i], h.all(randomTables...)); !slices.Equal(changedTables(d), want) {
		r.Fatalf("Diff names %v, not %v", changedTables(d), want)
	}
	if err := h.keeper.Restore(h.t.Context(), h.in, h.parts[i]); err != nil {
		r.Fatalf("Restore: %v", err)
	}
	if d := cmp.Diff(h.had[i], h.all(randomTables...)); d != "" {
		r.Fatalf("after the restore (-want +got):\n%s", d)
	}
}

func changedTables(d wflo.PartDiff) (names []string) {
	for _, c := range d.Changes {
		names = append(names, strings.TrimPrefix(c.Name, "public."))
	}
	return names
}

func differing(a, b map[string][]string) (names []string) {
	for _, name := range randomTables {
		if !slices.Equal(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}
