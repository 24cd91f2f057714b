package pgtables

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

// TestSequencesGoBackWithTheTransaction is about what PostgreSQL does not do by itself:
// setval alone would stay when the rows do not.
func TestSequencesGoBackWithTheTransaction(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a SELECT FROM generate_series(1, 5)", "a")
	p := w.save(nil)
	w.exec("INSERT INTO a SELECT FROM generate_series(1, 5)")
	m, err := w.keeper.load(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	broken := wflo.Errorf(wflo.CodeConflict, "", "it breaks here")
	position := "SELECT last_value || ' ' || is_called FROM a_id_seq"
	err = w.keeper.in(t.Context(), w.keeper.sets["shop"], restoring, func(ctx context.Context, s *session) error {
		order, now, err := s.ready(ctx, m)
		if err != nil {
			return err
		}
		if _, err := w.keeper.replace(ctx, s, m, order, newSumKey()); err != nil {
			return err
		}
		if err := s.settle(ctx, m, now); err != nil {
			return err
		}
		var inside string
		if err := s.conn.QueryRow(ctx, "SELECT last_value || ' ' || is_called FROM public.a_id_seq").Scan(&inside); err != nil || inside != "5 true" {
			t.Errorf("inside of the transaction the sequence is at %q: %v", inside, err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("the transaction gave %v", err)
	}
	if got := w.rows(position); got[0] != "10 true" {
		t.Errorf("after the rollback the sequence is at %s", got[0])
	}
	w.restore(p)
	if got := w.rows(position); got[0] != "5 true" {
		t.Errorf("after the restore the sequence is at %s", got[0])
	}
}

func TestSequencesOfOthersOnlyGoForward(t *testing.T) {
	w := newWorld(t, `CREATE SEQUENCE up; CREATE SEQUENCE down INCREMENT -1;
		CREATE TABLE a (id int DEFAULT nextval('up'), n int DEFAULT nextval('down')); CREATE TABLE other (id int DEFAULT nextval('up'), n int DEFAULT nextval('down'));
		INSERT INTO a SELECT FROM generate_series(1, 5)`, "a")
	before := w.all("a")
	p := w.save(nil)
	w.exec("INSERT INTO other SELECT FROM generate_series(1, 3)")
	w.restore(p)
	want := []string{"8 true", "-8 true"}
	at := func() []string {
		return append(w.rows("SELECT last_value || ' ' || is_called FROM up"), w.rows("SELECT last_value || ' ' || is_called FROM down")...)
	}
	if d := cmp.Diff(want, at()); d != "" {
		t.Errorf("numbers that another table has are given again (-want +got):\n%s", d)
	}
	w.exec("TRUNCATE a, other; ALTER SEQUENCE up RESTART; ALTER SEQUENCE down RESTART")
	w.restore(p)
	w.same("after the restore", before, w.all("a"))
}

// TestRestoresAtTheSameTime is what a retry that overtakes its first attempt does.
func TestRestoresAtTheSameTime(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id serial PRIMARY KEY, v text); CREATE TABLE b (id int REFERENCES a); INSERT INTO a SELECT FROM generate_series(1, 500); INSERT INTO b SELECT generate_series(1, 500)", "b", "a")
	before := w.all("a", "b")
	p := w.save(nil)
	w.exec("DELETE FROM b WHERE id > 5; INSERT INTO a (v) VALUES ('new')")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := w.keeper.Restore(t.Context(), w.in, p); err != nil {
				t.Errorf("Restore: %v", err)
			}
			if _, _, err := w.keeper.Save(t.Context(), w.in, &p); err != nil {
				t.Errorf("Save: %v", err)
			}
		})
	}
	wg.Wait()
	w.same("after all of them", before, w.all("a", "b"))
}
