package pgtables

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func TestForeignKeysInsideOfTheSet(t *testing.T) {
	// Names sort against the order of references.
	w := newWorld(t, `CREATE TABLE z_customers (id int PRIMARY KEY, best int);
		CREATE TABLE m_orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES z_customers ON DELETE RESTRICT);
		CREATE TABLE a_lines (id int PRIMARY KEY, ordered int REFERENCES m_orders ON DELETE CASCADE, of int REFERENCES a_lines);
		ALTER TABLE z_customers ADD CONSTRAINT best_fk FOREIGN KEY (best) REFERENCES m_orders DEFERRABLE;
		CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE RESTRICT);
		INSERT INTO z_customers VALUES (1, NULL), (2, NULL); INSERT INTO m_orders VALUES (10, 1), (20, 2); UPDATE z_customers SET best = id * 10;
		INSERT INTO a_lines VALUES (5, 10, NULL), (1, 20, 5), (2, NULL, 2); INSERT INTO tree VALUES (1, NULL), (3, 1), (2, 3)`,
		"a_lines", "m_orders", "z_customers", "tree")
	tables := []string{"a_lines", "m_orders", "z_customers", "tree"}
	before := w.all(tables...)
	p := w.save(nil)
	w.exec(`UPDATE z_customers SET best = NULL; DELETE FROM a_lines; DELETE FROM m_orders WHERE id = 10; INSERT INTO z_customers VALUES (3, 20); DELETE FROM tree WHERE id = 2`)
	w.restore(p)
	w.same("after the restore", before, w.all(tables...))
}

func TestCirclesThatCannotBeDeferredAreRefused(t *testing.T) {
	w := newWorld(t, `CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
		ALTER TABLE a ADD CONSTRAINT a_to_b FOREIGN KEY (b) REFERENCES b; CREATE TABLE c (id int PRIMARY KEY REFERENCES a)`, "a", "b", "c")
	p := w.save(nil)
	w.refuses(p, true, wflo.CodeConflict, []string{"circle", "a_to_b of public.a", "b_a_fkey of public.b"}, "a", "b", "c")
}

func TestRowsOutsideOfTheSetAreNeverTouched(t *testing.T) {
	for action, would := range map[string]string{
		"ON DELETE CASCADE": "delete them", "ON DELETE SET NULL": "empty them", "ON DELETE SET DEFAULT": "change them",
		"ON DELETE RESTRICT": "break the constraint", "": "break the constraint", "ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED": "delete them",
	} {
		t.Run("action "+action, func(t *testing.T) {
			w := newWorld(t, `CREATE TABLE customers (id int PRIMARY KEY); CREATE SCHEMA other;
				CREATE TABLE other."Orders" (id int PRIMARY KEY, c int DEFAULT 1 CONSTRAINT belongs REFERENCES customers `+action+`);
				INSERT INTO customers VALUES (1), (2)`, "customers")
			before := w.all("customers")
			p := w.save(nil)
			w.exec(`INSERT INTO customers VALUES (3); INSERT INTO other."Orders" VALUES (1, NULL)`)
			w.restore(p) // nothing refers to a row
			w.same("after the restore", before, w.all("customers"))
			w.exec(`INSERT INTO other."Orders" VALUES (2, 2)`)
			w.refuses(p, true, wflo.CodeConflict, []string{`other."Orders"`, "public.customers", "belongs", would}, "customers", `other."Orders"`)
		})
	}
}

func TestRowsOutsideWaitWhereTheConstraintDoes(t *testing.T) {
	w := newWorld(t, `CREATE TABLE customers (id int PRIMARY KEY);
		CREATE TABLE orders (id int PRIMARY KEY, c int CONSTRAINT belongs REFERENCES customers DEFERRABLE);
		INSERT INTO customers VALUES (1), (2); INSERT INTO orders VALUES (1, 2)`, "customers")
	before := w.all("customers", "orders")
	p := w.save(nil)
	w.exec("DELETE FROM customers WHERE id = 1")
	w.restore(p)
	w.same("after the restore", before, w.all("customers", "orders"))
	w.exec("INSERT INTO customers VALUES (3); INSERT INTO orders VALUES (2, 3)")
	w.refuses(p, false, wflo.CodeConflict, []string{"refers to one that is not there", "belongs of public.orders"}, "customers", "orders")
}

func TestRowsBesideTheConditionAreNeverTouched(t *testing.T) {
	w := newWorldOf(t, `CREATE TABLE orders (id int PRIMARY KEY, tenant int);
		CREATE TABLE lines (id int PRIMARY KEY, tenant int, o int CONSTRAINT belongs REFERENCES orders ON DELETE CASCADE);
		INSERT INTO orders VALUES (1, 1), (2, 2); INSERT INTO lines VALUES (1, 1, 1), (2, 2, 2)`,
		Set{Tables: []Table{{Name: "orders", Where: "tenant = 1"}, {Name: "lines", Where: "tenant = 1"}}})
	before := w.all("orders", "lines")
	p := w.save(nil)
	w.exec("DELETE FROM lines WHERE id = 1")
	w.restore(p)
	w.same("after the restore", before, w.all("orders", "lines"))
	w.exec("INSERT INTO lines VALUES (3, NULL, 1)")
	w.refuses(p, true, wflo.CodeConflict, []string{"public.lines", "not kept", "delete them"}, "orders", "lines")
}

func TestTriggersFireUnlessTheSetSaysOtherwise(t *testing.T) {
	const schema = `CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE trail (what text);
		INSERT INTO a VALUES (1, 'one'), (2, 'two');
		CREATE SCHEMA hidden; CREATE FUNCTION hidden.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO trail VALUES (TG_OP); RETURN NULL; END $$;
		CREATE TRIGGER noting AFTER INSERT OR DELETE ON a FOR EACH STATEMENT EXECUTE FUNCTION hidden.note()`
	const stamping = `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := 'stamped'; RETURN NEW; END $$;
		CREATE TRIGGER stamping BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION stamp()`
	w := newWorld(t, schema, "a")
	before := w.all("a")
	p := w.save(nil)
	w.exec("DELETE FROM a; DELETE FROM trail")
	w.restore(p)
	w.same("after the restore", before, w.all("a"))
	if got := strings.Join(w.rows("SELECT what FROM trail ORDER BY what"), " "); got != "DELETE INSERT" {
		t.Errorf("the trigger noted %q", got)
	}
	w.exec(stamping)
	w.exec("DELETE FROM trail")
	w.refuses(p, false, wflo.CodeConflict, []string{"public.a", "a trigger changes them", "skip_triggers"}, "a", "trail")
	w.exec(`CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no: %', NEW.v; END $$`)
	w.refuses(p, false, wflo.CodeConflict, []string{"public.a", "refused by a trigger"}, "a", "trail")
	w.exec(`CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`)
	w.refuses(p, false, wflo.CodeConflict, []string{"public.a", "0 came back"}, "a", "trail")

	w.exec("ALTER TABLE a ENABLE ALWAYS TRIGGER stamping; UPDATE a SET v = 'x'; CREATE TRIGGER resting BEFORE DELETE ON a EXECUTE FUNCTION hidden.note(); ALTER TABLE a DISABLE TRIGGER resting")
	const states = "SELECT tgname || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
	was := strings.Join(w.rows(states), ", ")
	w.configure(Set{Tables: []Table{{Name: "a"}}, SkipTriggers: true}, Config{})
	w.restore(p)
	w.same("without triggers", before, w.all("a"))
	if got := w.rows("SELECT what FROM trail"); len(got) != 0 {
		t.Errorf("triggers fired: %v", got)
	}
	if got := strings.Join(w.rows(states), ", "); got != was || !strings.Contains(got, "stamping A") || !strings.Contains(got, "resting D") {
		t.Errorf("the triggers are %s, which were %s", got, was)
	}
}

func TestAnotherSchemaIsRefused(t *testing.T) {
	const schema = `CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN small AS int CHECK (VALUE < 10);
		CREATE TABLE x (id int PRIMARY KEY, n int, m mood, s small, t text, w int GENERATED ALWAYS AS (n + 1) STORED); CREATE TABLE y (id int UNIQUE)`
	for change, word := range map[string]string{
		"ALTER TABLE x ADD extra int":                                       "public.x has the new column extra",
		"ALTER TABLE x DROP t":                                              "public.x has no column t any more",
		"ALTER TABLE x ALTER t TYPE varchar(10)":                            "public.x has column t as character varying(10), which was text",
		`ALTER TABLE x ALTER t TYPE text COLLATE "C"`:                       `public.x has column t as text COLLATE`,
		"ALTER TABLE x ALTER n SET NOT NULL":                                "public.x has column n as integer NOT NULL, which was integer",
		"ALTER TABLE x ADD CONSTRAINT pos CHECK (n > 0)":                    "public.x has the new constraint pos (CHECK",
		"ALTER TABLE x DROP CONSTRAINT x_pkey":                              "public.x has no constraint x_pkey any more",
		"CREATE UNIQUE INDEX lower_t ON x (lower(t))":                       "public.x has the new constraint lower_t (CREATE UNIQUE INDEX",
		"ALTER TABLE x ADD CONSTRAINT fk FOREIGN KEY (n) REFERENCES y (id)": "public.x has the new constraint fk (FOREIGN KEY",
		"ALTER TYPE mood ADD VALUE 'b'":                                     "type public.mood is enum 'a', 'b', which was enum 'a'",
		"ALTER DOMAIN small ADD CHECK (VALUE > 0)":                          "type public.small is domain integer",
		"ALTER TABLE x DROP w; ALTER TABLE x ADD w int":                     "public.x has column w as integer, which was integer GENERATED",
		"ALTER TABLE x RENAME t TO u":                                       "public.x has no column t any more; table public.x has the new column u",
	} {
		t.Run(change, func(t *testing.T) {
			w := newWorld(t, schema, "x", "y")
			w.exec("INSERT INTO x (id, n) VALUES (1, 1); INSERT INTO y VALUES (1)")
			p := w.save(nil)
			w.exec(change)
			w.refuses(p, true, wflo.CodeConflict, []string{word}, "x", "y")
			d, err := w.keeper.Diff(t.Context(), w.in, p, nil)
			if err != nil || !strings.Contains(d.Problem, word) {
				t.Errorf("Diff: %+v, %v", d, err)
			}
		})
	}
	t.Run("what does not matter", func(t *testing.T) {
		w := newWorld(t, schema, "x", "y")
		p := w.save(nil)
		w.exec("CREATE INDEX ON x (n); ALTER TABLE x ALTER n SET DEFAULT 5; COMMENT ON TABLE x IS 'x'; ANALYZE x")
		w.restore(p)
	})
	t.Run("another configuration", func(t *testing.T) {
		w := newWorld(t, schema, "x", "y")
		p := w.save(nil)
		w.configure(Set{Tables: []Table{{Name: "x", Where: "n > 0"}}}, Config{})
		w.refuses(p, true, wflo.CodeConflict, []string{"public.x is kept under another condition", "public.y is not in the set any more"}, "x", "y")
	})
}

func TestLocksAreWaitedForSoLong(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)", "a")
	p := w.save(nil)
	w.configure(Set{Tables: []Table{{Name: "a"}}}, Config{LockTimeout: 50 * time.Millisecond})
	other := connect(t, w.url)
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "INSERT INTO a VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	err = w.keeper.Restore(t.Context(), w.in, p)
	if err == nil || wflo.CodeOf(err) != "" || !strings.Contains(err.Error(), "locking table public.a: another transaction holds a lock") {
		t.Errorf("under a lock: %v", err)
	}
	// Readers and dry runs do not wait for writers.
	if err := w.keeper.Check(t.Context(), w.in, p); err != nil {
		t.Errorf("Check: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.restore(p)
}

// asRole configures the set for a role of its own, with rights.
func asRole(w *world, set Set, rights string) string {
	w.t.Helper()
	role := "role_" + w.rows("SELECT current_database()")[0]
	w.exec("CREATE ROLE " + role + " LOGIN; " + strings.ReplaceAll(rights, "ROLE", role))
	w.t.Cleanup(func() {
		if _, err := w.conn.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			w.t.Error(err)
		}
	})
	u, err := url.Parse(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	q := u.Query()
	q.Set("user", role)
	u.User, u.RawQuery = nil, q.Encode()
	set.URL = u.String()
	w.configure(set, Config{})
	return role
}

func TestRights(t *testing.T) {
	set := Set{Tables: []Table{{Name: "public.a"}}}
	w := newWorldOf(t, "CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a VALUES (DEFAULT)", set)
	p := w.save(nil)
	before := w.all("a")
	role := asRole(w, set, "GRANT USAGE ON SCHEMA public TO ROLE")
	// The role is dropped with what it owns, so it must not own what the table needs.
	t.Cleanup(func() { _, _ = w.conn.Exec(context.Background(), "ALTER SEQUENCE a_id_seq OWNER TO CURRENT_USER") })
	if _, _, err := w.keeper.Save(t.Context(), w.in, nil); !errors.Is(err, wflo.ErrConflict) || !strings.Contains(err.Error(), "locking table public.a is not allowed to the role") {
		t.Errorf("without SELECT: %v", err)
	}
	w.exec("GRANT SELECT ON a, a_id_seq TO " + role)
	if again := w.save(nil); again.SHA256 != p.SHA256 {
		t.Errorf("another role saves %s, not %s", again.SHA256, p.SHA256)
	}
	w.refuses(p, false, wflo.CodeConflict, []string{"public.a", "not allowed to the role"}, "a")
	w.exec("GRANT INSERT, UPDATE, DELETE ON a TO " + role + "; INSERT INTO a VALUES (DEFAULT)")
	w.refuses(p, false, wflo.CodeConflict, []string{"sequence public.a_id_seq", "not allowed to the role"}, "a")
	w.exec("ALTER SEQUENCE a_id_seq OWNED BY NONE; ALTER SEQUENCE a_id_seq OWNER TO " + role + "; GRANT CREATE ON SCHEMA public TO " + role)
	w.restore(p)
	w.same("after the restore", before, w.all("a"))
	w.keeper.sets["shop"].skipTriggers = true
	w.refuses(p, true, wflo.CodeConflict, []string{"does not own table public.a"}, "a")
}

func TestHiddenRowsAreRefused(t *testing.T) {
	set := Set{Tables: []Table{{Name: "public.a"}}}
	w := newWorldOf(t, `CREATE TABLE a (id int PRIMARY KEY, who text); INSERT INTO a VALUES (1, 'x'), (2, 'y');
		ALTER TABLE a ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON a USING (who = 'x')`, set)
	p := w.save(nil)
	if p.Count != 2 {
		t.Errorf("the owner sees %d rows", p.Count)
	}
	asRole(w, set, "GRANT ALL ON a TO ROLE")
	if _, _, err := w.keeper.Save(t.Context(), w.in, nil); !errors.Is(err, wflo.ErrConflict) || !strings.Contains(err.Error(), "row-level security hides rows of table public.a") {
		t.Errorf("Save: %v", err)
	}
	w.refuses(p, true, wflo.CodeConflict, []string{"row-level security"}, "a")
}

func TestWhatIsNoTableIsRefused(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id int); CREATE VIEW v AS SELECT * FROM a; CREATE TABLE none ()", "a")
	for name, want := range map[string]string{"v": "is no table that can be kept", "missing": "table missing of set shop is not there", "none": "has no column to keep"} {
		w.configure(Set{Tables: []Table{{Name: name}}}, Config{})
		if _, _, err := w.keeper.Save(t.Context(), w.in, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.configure(Set{Tables: []Table{{Name: "a"}, {Name: "public.a"}}}, Config{})
	if _, _, err := w.keeper.Save(t.Context(), w.in, nil); !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), "has table public.a twice") {
		t.Errorf("one table by two names: %v", err)
	}
	w.in.Name = "unknown"
	if _, _, err := w.keeper.Save(t.Context(), w.in, nil); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a set that is not there: %v", err)
	}
}

// killer ends the connection of the keeper when a blob is read for the nth time.
func (w *world) killAt(n int) *int {
	admin := connect(w.t, w.url)
	killed := 0
	w.blobs.onGet = func(string) {
		if n--; n != 0 {
			return
		}
		var count int
		if err := admin.QueryRow(context.Background(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'wflo'`).Scan(&count); err != nil {
			w.t.Errorf("kill: %v", err)
		}
		killed += count
	}
	return &killed
}

func TestAKillAnywhereLeavesTheRowsBefore(t *testing.T) {
	w := newWorld(t, `CREATE TABLE a (id serial PRIMARY KEY, v text); CREATE TABLE b (id serial PRIMARY KEY, a int REFERENCES a, v text);
		INSERT INTO a (v) SELECT repeat(md5(i::text), 100) FROM generate_series(1, 500) i;
		INSERT INTO b (a, v) SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 500) i`, "a", "b")
	p := w.save(nil)
	then := w.all("a", "b")
	w.exec("DELETE FROM b WHERE id % 2 = 0; UPDATE a SET v = 'now'; INSERT INTO a (v) VALUES ('more')")
	now := w.all("a", "b")
	refs, err := w.keeper.Refs(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	// The manifest and every chunk are read once before the transaction, and the chunks
	// once more in it.
	kills := 0
	for n := len(refs) + 1; n < 2*len(refs); n++ {
		killed := w.killAt(n)
		err := w.keeper.Restore(t.Context(), w.in, p)
		w.blobs.onGet = nil
		if err == nil || wflo.CodeOf(err) != "" || *killed != 1 {
			t.Errorf("killed %d at read %d: %v", *killed, n, err)
		}
		kills += *killed
		w.same("after a kill", now, w.all("a", "b"))
	}
	if kills < 4 {
		t.Errorf("the snapshot has too few chunks for this: %d", len(refs))
	}
	w.restore(p)
	w.same("after the restore", then, w.all("a", "b"))
}

func TestDamagedBlobsAreRefusedBeforeAnythingIsTouched(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT i, repeat(md5(i::text), 50) FROM generate_series(1, 1000) i", "a")
	p := w.save(nil)
	w.exec("DELETE FROM a WHERE id > 10")
	refs, err := w.keeper.Refs(t.Context(), p)
	if err != nil || len(refs) < 3 {
		t.Fatalf("refs %v, %v", refs, err)
	}
	// Not even a lock is asked for.
	locked := connect(t, w.url)
	if _, err := locked.Exec(t.Context(), "BEGIN; LOCK TABLE a IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	for _, key := range refs {
		whole := w.blobs.blobs[key]
		for how, data := range map[string][]byte{"shorter": whole[:len(whole)-1], "empty": {}, "changed": append([]byte{whole[0] ^ 1}, whole[1:]...), "missing": nil} {
			w.blobs.blobs[key] = data
			if data == nil {
				delete(w.blobs.blobs, key)
			}
			w.refuses(p, true, wflo.CodeConflict, []string{how2word[how]}, "a")
		}
		w.blobs.blobs[key] = whole
	}
	other := p
	other.SHA256 = strings.Repeat("0", 64)
	w.refuses(other, true, wflo.CodeConflict, []string{"of another snapshot"}, "a")
}

var how2word = map[string]string{"shorter": "damaged", "empty": "damaged", "changed": "damaged", "missing": "missing"}

func TestLimits(t *testing.T) {
	w := newWorld(t, "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT i, repeat('x', 10000) FROM generate_series(1, 100) i", "a")
	set := Set{Tables: []Table{{Name: "a"}}}
	for _, c := range []struct {
		limits Limits
		word   string
	}{{Limits{Rows: 99}, "more than 99 rows"}, {Limits{Bytes: 100_000}, "more than 100000 bytes"}, {Limits{RowBytes: 5000}, "a row is larger than"}, {Limits{RowBytes: 10_000}, "a row is larger than 10000 bytes"}} {
		w.configure(set, Config{Limits: c.limits})
		_, _, err := w.keeper.Save(t.Context(), w.in, nil)
		if !errors.Is(err, wflo.ErrPayloadTooLarge) || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), "public.a") {
			t.Errorf("%+v: %v", c.limits, err)
		}
	}
	w.configure(set, Config{Limits: Limits{Rows: 100, Bytes: 1_100_000, RowBytes: 10_010}})
	w.save(nil)
}
