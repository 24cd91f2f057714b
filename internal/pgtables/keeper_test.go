package pgtables

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
)

var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	err := shortenWalks()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if server, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// shortenWalks lets the random walks be few, because each makes dozens of connections,
// and fewer where the race detector makes them slow, unless the flag of rapid says how
// many.
func shortenWalks() error {
	const checks = "rapid.checks"
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == checks })
	switch {
	case given:
		return nil
	case raced:
		return flag.Set(checks, "10")
	}
	return flag.Set(checks, "25")
}

// memory is a blob store whose blobs tests can spoil.
type memory struct {
	mu    sync.Mutex
	blobs map[string][]byte
	onGet func(key string)
}

func newMemory() *memory { return &memory{blobs: map[string][]byte{}} }

func (m *memory) Put(_ context.Context, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	key := hex.EncodeToString(sum[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[key] = append([]byte(nil), data...)
	return key, nil
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[key]
	if m.onGet != nil {
		m.onGet(key)
	}
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", key, fs.ErrNotExist)
	}
	return data, nil
}

// world is a database with a set of tables, of which there may be snapshots.
type world struct {
	t      testing.TB
	url    string
	conn   *pgx.Conn
	blobs  *memory
	keeper *Keeper
	in     activities.PartRequest
}

func newWorld(t testing.TB, schema string, tables ...string) *world {
	t.Helper()
	var all []Table
	for _, name := range tables {
		all = append(all, Table{Name: name})
	}
	return newWorldOf(t, schema, Set{Tables: all})
}

func newWorldOf(t testing.TB, schema string, set Set) *world {
	t.Helper()
	w := &world{t: t, url: server.Database(t), blobs: newMemory(), in: activities.PartRequest{Name: "shop", Key: "restore-1"}}
	w.conn = connect(t, w.url)
	w.exec(schema)
	w.configure(set, Config{})
	return w
}

func (w *world) configure(set Set, c Config) {
	w.t.Helper()
	if set.URL == "" {
		set.URL = w.url
	}
	c.Sets, c.Blobs = map[string]Set{"shop": set}, w.blobs
	k, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.keeper = k
}

func connect(t testing.TB, address string) *pgx.Conn {
	t.Helper()
	conf, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	conf.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (w *world) exec(sql string) {
	w.t.Helper()
	if _, err := w.conn.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// rows reads what a query gives, as text.
func (w *world) rows(sql string) []string {
	w.t.Helper()
	rows, err := w.conn.Query(w.t.Context(), sql)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return all
}

// all reads tables whole, in an order of their text, and sequences.
func (w *world) all(tables ...string) map[string][]string {
	w.t.Helper()
	all := map[string][]string{}
	for _, name := range tables {
		all[name] = w.rows("SELECT whole_row::text FROM " + name + " whole_row ORDER BY 1")
	}
	for _, name := range w.rows("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S' ORDER BY 1") {
		all[name] = w.rows("SELECT last_value || ' ' || is_called FROM " + name)
	}
	return all
}

func (w *world) save(before *wflo.SnapshotPart) wflo.SnapshotPart {
	w.t.Helper()
	p, ok, err := w.keeper.Save(w.t.Context(), w.in, before)
	if err != nil || !ok {
		w.t.Fatalf("Save: %v, %v", ok, err)
	}
	return p
}

func (w *world) restore(p wflo.SnapshotPart) {
	w.t.Helper()
	if err := w.keeper.Check(w.t.Context(), w.in, p); err != nil {
		w.t.Fatalf("Check: %v", err)
	}
	if err := w.keeper.Restore(w.t.Context(), w.in, p); err != nil {
		w.t.Fatalf("Restore: %v", err)
	}
}

// refuses wants Restore, and Check where early is set, to fail with a code and words,
// and the tables to stay as they are.
func (w *world) refuses(p wflo.SnapshotPart, early bool, code wflo.Code, words []string, tables ...string) {
	w.t.Helper()
	before := w.all(tables...)
	errs := map[string]error{"Restore": w.keeper.Restore(w.t.Context(), w.in, p)}
	if early {
		errs["Check"] = w.keeper.Check(w.t.Context(), w.in, p)
	}
	for what, err := range errs {
		if err == nil {
			w.t.Errorf("%s went through", what)
			continue
		}
		if wflo.CodeOf(err) != code {
			w.t.Errorf("%s: code %q of %v, want %q", what, wflo.CodeOf(err), err, code)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				w.t.Errorf("%s: %q lacks %q", what, err, word)
			}
		}
	}
	w.same("after a refusal", before, w.all(tables...))
}

func (w *world) same(what string, want, got map[string][]string) {
	w.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

const everyType = `CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'Ünder'); CREATE TYPE pair AS (a int, "B b" text);
	CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100); CREATE TYPE floats AS RANGE (subtype = float8);
	CREATE TABLE every (id bigint PRIMARY KEY, n numeric, m numeric(12,3), f4 real, f8 double precision, b boolean, t text, v varchar(20), c char(5),
		by bytea, d date, ts timestamp, tz timestamptz, ti time, tt timetz, iv interval, u uuid, j json, jb jsonb, x xml, ia int[], ta text[][], mo mood, ma mood[], p pair, pa pair[],
		pc percent, fr floats, ir int4multirange, ip inet, ci cidr, ma8 macaddr, pt point, bo box, bi bit(3), vb varbit, ts1 tsvector, money money, rc regclass, oidc oid, nm name, ch "char")`

const everyRow = `INSERT INTO every VALUES
	(1, 'NaN', -0.001, 'NaN', '-Infinity', true, E'tab\there\nnewline\r\\ back \\. \\N é 日本 🙂', 'v', 'ab', '\x00ff5c0a', 'infinity', '-infinity', 'infinity', '24:00:00', '23:59:59.999999+15:59', '1 mon -2 days 03:04:05.6', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" :  1.10, "a": null}', '{"b": [1, "\u00e9"]}', '<a>&lt;</a>', '{1,NULL,3}', '{{"a,b","NULL"},{"{}","\""}}', 'it''s ok', '{sad,Ünder}', '(1,"x, ""y""")', '{"(1,)","(,\"\")"}', 99.99, '[1.1,2.2)', '{[1,3),[7,)}', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', '(1.1,-2)', '(1,1),(0,0)', B'101', B'', 'a:1 b:2', '$-1,234.56', 'pg_class', 4294967295, 'na me', 'x'),
	(2, 'Infinity', 123456789.123, 3.4028235e38, 0.1, false, '', '', '', '', '0044-03-15 BC', '294276-12-31 23:59:59.999999', '4713-01-01 00:00:00+00 BC', '00:00', '00:00-15:59', '-178000000 years', NULL, 'null', 'null', NULL, '{}', '{}', NULL, '{}', '(,)', '{}', 0, 'empty', '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(3, 1e-40, NULL, 1.1754944e-38, 5e-324, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`

func TestEveryTypeComesBack(t *testing.T) {
	w := newWorld(t, everyType+";"+everyRow, "every")
	// What a role sets for itself must not change what is kept.
	w.exec(`ALTER DATABASE ` + w.rows("SELECT current_database()")[0] + ` SET DateStyle = 'German'`)
	w.exec(`ALTER DATABASE ` + w.rows("SELECT current_database()")[0] + ` SET extra_float_digits = -5`)
	w.exec(`ALTER DATABASE ` + w.rows("SELECT current_database()")[0] + ` SET bytea_output = 'escape'`)
	before := w.all("every")
	p := w.save(nil)
	if p.Kind != wflo.PartTables || p.Name != "shop" || p.Count != 3 || p.Bytes == 0 || p.Stored == 0 {
		t.Errorf("the part is %+v", p)
	}
	w.exec("UPDATE every SET n = 0, t = 'other'; DELETE FROM every WHERE id = 2; INSERT INTO every (id) VALUES (9)")
	w.restore(p)
	w.same("after the restore", before, w.all("every"))
	w.restore(p)
	w.same("after a second one", before, w.all("every"))
	w.exec("INSERT INTO every (id, n) VALUES (10, 1)")
	w.restore(p)
	if again := w.save(&p); again.Stored != 0 || again.SHA256 != p.SHA256 || again.Blobs[0] != p.Blobs[0] {
		t.Errorf("an unchanged table stores %d bytes, as %+v, before %+v", again.Stored, again, p)
	}
}

func TestNamesGeneratedAndIdentityComeBack(t *testing.T) {
	w := newWorld(t, `CREATE SCHEMA "My ""S"; CREATE TABLE "My ""S"."Ta.ble" ("I d" int GENERATED ALWAYS AS IDENTITY, "select" text, "Q""q" int,
		twice int GENERATED ALWAYS AS ("Q""q" * 2) STORED, PRIMARY KEY ("select", "I d"));
		CREATE TABLE plain (id serial, other int GENERATED BY DEFAULT AS IDENTITY, note text); CREATE SEQUENCE apart START 100 INCREMENT -5 MINVALUE -1000 MAXVALUE 100;
		CREATE TABLE uses (id int DEFAULT nextval('apart'), v text);
		INSERT INTO "My ""S"."Ta.ble" ("select", "Q""q") VALUES ('a', 1), ('B', 2), ('b', NULL);
		INSERT INTO plain (note) VALUES ('one'), ('two'), ('two'); INSERT INTO uses (v) VALUES ('x')`,
		`"My ""S"."Ta.ble"`, "PLAIN", "public.uses")
	tables := []string{`"My ""S"."Ta.ble"`, "plain", "uses"}
	before := w.all(tables...)
	p := w.save(nil)
	w.exec(`DELETE FROM plain; INSERT INTO plain (note) SELECT 'more' FROM generate_series(1, 50); INSERT INTO uses (v) VALUES ('y');
		UPDATE "My ""S"."Ta.ble" SET "Q""q" = 7; INSERT INTO "My ""S"."Ta.ble" ("select") VALUES ('new')`)
	w.restore(p)
	w.same("after the restore", before, w.all(tables...))
	w.exec("INSERT INTO plain (note) VALUES ('next'); INSERT INTO uses (v) VALUES ('next')")
	if got := w.rows("SELECT id || ' ' || other FROM plain WHERE note = 'next'"); got[0] != "4 4" {
		t.Errorf("the next numbers are %s", got)
	}
	if got := w.rows("SELECT id::text FROM uses WHERE v = 'next'"); got[0] != "95" {
		t.Errorf("the next number of the sequence is %s", got)
	}
}

func TestEmptyPartitionedAndInherited(t *testing.T) {
	w := newWorld(t, `CREATE TABLE nothing (id int PRIMARY KEY);
		CREATE TABLE parts (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
		CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a'); CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
		CREATE TABLE child (id int, region text, FOREIGN KEY (id, region) REFERENCES parts);
		CREATE TABLE base (id int); CREATE TABLE derived () INHERITS (base);
		INSERT INTO parts VALUES (1, 'a'), (2, 'b'), (3, 'a'); INSERT INTO child VALUES (1, 'a'); INSERT INTO base VALUES (1); INSERT INTO derived VALUES (2)`,
		"nothing", "parts", "child", "base")
	tables := []string{"nothing", "parts", "parts_a", "parts_rest", "child", "base", "derived"}
	before := w.all(tables...)
	p := w.save(nil)
	if p.Count != 5 {
		t.Errorf("it has %d rows", p.Count)
	}
	w.exec("INSERT INTO nothing VALUES (1); DELETE FROM child; DELETE FROM parts WHERE id = 1; UPDATE parts SET region = 'z' WHERE id = 3; UPDATE ONLY base SET id = 8")
	w.restore(p)
	w.same("after the restore", before, w.all(tables...))
	w.configure(Set{Tables: []Table{{Name: "parts"}, {Name: "parts_a"}}}, Config{})
	if _, _, err := w.keeper.Save(t.Context(), w.in, nil); !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), "public.parts_a is a partition") {
		t.Errorf("a partition beside its table: %v", err)
	}
}

func TestConditionsKeepOtherRows(t *testing.T) {
	w := newWorldOf(t, `CREATE TABLE orders (id serial PRIMARY KEY, tenant int, note text UNIQUE);
		INSERT INTO orders (tenant, note) VALUES (1, 'a'), (2, 'b'), (1, 'c'), (NULL, 'd')`,
		Set{Tables: []Table{{Name: "orders", Where: "tenant = 1 -- those of one"}}})
	p := w.save(nil)
	w.exec("DELETE FROM orders WHERE id = 1; UPDATE orders SET note = 'x' WHERE id = 2; UPDATE orders SET note = 'y' WHERE id = 4; INSERT INTO orders (tenant, note) VALUES (1, 'new'), (2, 'other')")
	w.restore(p)
	want := []string{"(1,1,a)", "(2,2,x)", "(3,1,c)", "(4,,y)", "(6,2,other)"}
	if d := cmp.Diff(want, w.rows("SELECT x::text FROM orders x ORDER BY id")); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if got := w.rows("SELECT last_value::text FROM orders_id_seq"); got[0] != "6" {
		t.Errorf("the sequence went back to %s, where row 6 is kept", got)
	}
	// A row that is not kept has the unique value of one that comes back.
	w.exec("UPDATE orders SET note = 'gone' WHERE id = 1; UPDATE orders SET note = 'a' WHERE id = 2")
	w.refuses(p, false, wflo.CodeConflict, []string{"public.orders", "unique", "orders_note_key"}, "orders")
}

func TestErrorsHaveNoSecret(t *testing.T) {
	const secret = "hunter2-very-secret"
	w := newWorld(t, "CREATE TABLE a (id int PRIMARY KEY, v text)", "a")
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{
		"a role that is not there": "postgres://nobody-here:" + secret + "@/" + strings.TrimPrefix(u.Path, "/") + "?host=" + url.QueryEscape(u.Query().Get("host")),
		"no server":                "postgres://me:" + secret + "@127.0.0.1:1/x",
	} {
		w.configure(Set{URL: address, Tables: []Table{{Name: "a"}}}, Config{})
		_, _, err := w.keeper.Save(t.Context(), w.in, nil)
		if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "nobody-here") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{Blobs: w.blobs, Sets: map[string]Set{"x": {URL: "postgres://me:" + secret + "@[", Tables: []Table{{Name: "a"}}}}}); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a URL that cannot be read: %v", err)
	}
	// What the server says quotes the value.
	w.configure(Set{Tables: []Table{{Name: "a", Where: "v::int = 1"}}}, Config{})
	w.exec("INSERT INTO a VALUES (1, '" + secret + "')")
	_, _, err = w.keeper.Save(t.Context(), w.in, nil)
	if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "public.a") {
		t.Errorf("a value that cannot be read: %v", err)
	}
}
