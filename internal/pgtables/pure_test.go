package pgtables

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

func TestNames(t *testing.T) {
	for in, want := range map[string][]string{
		"orders": {"orders"}, "Sales.Orders": {"sales", "orders"}, `"Sales"."Or""ders.x"`: {"Sales", `Or"ders.x`},
		`a$1."B"`: {"a$1", "B"}, "Ünder": {"Ünder"}, `x"y"`: nil, "": nil, "a.": nil, ".a": nil, "a.b.c": nil, `"a`: nil, `""`: nil, "1a": nil,
		"a b": nil, "a;b": nil, "a--": nil, " a": nil, `"a" `: nil, strings.Repeat("x", 64): nil, "\"\x00\"": nil, "\"\xff\"": nil, "a'": nil, "a(": nil,
	} {
		got, err := splitName(in)
		if (err == nil) != (want != nil) || err == nil && !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := func() Config {
		return Config{Blobs: newMemory(), Sets: map[string]Set{"x": {URL: "postgres://u@h/d", Tables: []Table{{Name: "a"}}}}}
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(c *Config){
		"tables.blobs":         func(c *Config) { c.Blobs = nil },
		"tables.timeout":       func(c *Config) { c.LockTimeout = -1 },
		"tables.limits":        func(c *Config) { c.Limits.RowBytes = maxRowBytes + 1 },
		"tables.sets":          func(c *Config) { c.Sets[""] = c.Sets["x"] },
		"tables.sets.y.url":    func(c *Config) { c.Sets["y"] = Set{Tables: []Table{{Name: "a"}}} },
		"tables.sets.y.tables": func(c *Config) { c.Sets["y"] = Set{URL: "postgres://u@h/d"} },
		"tables.sets.x.tables": func(c *Config) {
			c.Sets["x"] = Set{URL: "postgres://u@h/d", Tables: []Table{{Name: "a"}, {Name: `"a"`}}}
		},
	} {
		c := good()
		change(&c)
		if _, err := New(c); wflo.CodeOf(err) != wflo.CodeInvalid || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestOrder(t *testing.T) {
	tables := []table{{Schema: "s", Name: "a"}, {Schema: "s", Name: "b"}, {Schema: "s", Name: "c"}}
	plain := func(from, to int) link { return link{name: fmt.Sprint(from, to), from: from, to: to, action: "a"} }
	wait := func(from, to int) link { l := plain(from, to); l.deferrable = true; return l }
	act := func(from, to int) link { l := wait(from, to); l.action = "c"; return l }
	for _, c := range []struct {
		links []link
		want  []int
	}{
		{nil, []int{0, 1, 2}},
		{[]link{plain(2, 1), plain(1, 0)}, []int{2, 1, 0}},
		{[]link{plain(0, 0), plain(-1, 0), act(1, 1)}, []int{0, 1, 2}},
		{[]link{wait(0, 1), plain(1, 0), plain(2, 0)}, []int{2, 1, 0}},
		{[]link{wait(1, 0)}, []int{1, 0, 2}},
		{[]link{act(0, 1), plain(1, 0)}, nil},
		{[]link{plain(0, 1), plain(1, 2), plain(2, 0)}, nil},
	} {
		got, err := order(tables, c.links)
		if (err == nil) != (c.want != nil) || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v", c.links, got, err)
		}
	}
}

// chunksOf cuts rows, written in pieces of random sizes.
func chunksOf(t *testing.T, rows []string, seed uint64) (all []string) {
	t.Helper()
	c := counting(Limits{}.withDefaults(), nil)
	c.cut = func(raw []byte, n int64) ([]byte, error) {
		if int64(bytes.Count(raw, newline)) != n {
			t.Errorf("a chunk of %d rows has %d", n, bytes.Count(raw, newline))
		}
		all = append(all, string(raw))
		return raw, nil
	}
	r := rand.New(rand.NewPCG(seed, 1))
	data := strings.Join(rows, "\n") + "\n"
	for len(data) > 0 {
		n := min(len(data), 1+r.IntN(200_000))
		if _, err := c.Write([]byte(data[:n])); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if err := c.finish(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestChunksEndWhereRowsSayIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var rows []string
	for i := range 200_000 {
		rows = append(rows, fmt.Sprintf("%d\t%x\t%s", i, r.Uint64(), strings.Repeat("v", r.IntN(100))))
	}
	before := chunksOf(t, rows, 1)
	if again := chunksOf(t, rows, 2); !slices.Equal(before, again) {
		t.Error("chunks depend on how rows arrive")
	}
	if got := strings.Join(before, ""); got != strings.Join(rows, "\n")+"\n" {
		t.Error("the chunks are not the rows")
	}
	mean := len(strings.Join(rows, "\n")) / len(before)
	for i, c := range before {
		if len(c) > maxChunk+1000 || len(c) < minChunk && i < len(before)-1 {
			t.Errorf("chunk %d has %d bytes", i, len(c))
		}
	}
	if mean < minChunk || mean > 2*(minChunk+meanChunk) {
		t.Errorf("the mean is %d bytes", mean)
	}
	// An insertion, a deletion and a change each cost the chunk that they are in, and
	// at most the next ones until the rows say the same end again.
	changed := slices.Insert(slices.Clone(rows), 1000, "new row")
	changed = slices.Delete(changed, 90_000, 90_001)
	changed[150_000] = "150000\tchanged"
	known := map[string]bool{}
	for _, c := range before {
		known[c] = true
	}
	fresh := 0
	for _, c := range chunksOf(t, changed, 3) {
		if !known[c] {
			fresh++
		}
	}
	if fresh == 0 || fresh > 6 {
		t.Errorf("%d of %d chunks are new", fresh, len(before))
	}
}

// TestDifferIsRight compares with a difference of sets.
func TestDifferIsRight(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var was, is []string
		var want [3]int64 // added, removed, changed
		for i := range r.IntN(60) {
			row := fmt.Sprintf("%04d\t%d", i, r.IntN(2))
			switch r.IntN(5) {
			case 0:
				is = append(is, row)
				want[0]++
			case 1:
				was = append(was, row)
				want[1]++
			case 2:
				was, is = append(was, row), append(is, row+"x")
				want[2]++
			default:
				was, is = append(was, row), append(is, row)
			}
		}
		df := newDiffer(&table{Columns: []column{{Name: "k"}, {Name: "v"}}, Key: []string{"k"}})
		feed(r, df, was, is)
		if got := [3]int64{df.added, df.removed, df.changed}; got != want {
			t.Fatalf("%v to %v: %v, want %v", was, is, got, want)
		}
	}
}

// feed interleaves two streams at random.
func feed(r *rand.Rand, df *differ, was, is []string) {
	for len(was) > 0 || len(is) > 0 {
		if len(is) == 0 || len(was) > 0 && r.IntN(2) == 0 {
			df.left([]byte(was[0]))
			was = was[1:]
		} else {
			df.right([]byte(is[0]))
			is = is[1:]
		}
	}
	df.flush()
}

func TestDifferCountsRowsThatAreTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var was, is []string
		var added, removed int64
		for i := range r.IntN(10) {
			n, m := r.IntN(5), r.IntN(5)
			for range n {
				was = append(was, fmt.Sprint(i))
			}
			for range m {
				is = append(is, fmt.Sprint(i))
			}
			added, removed = added+int64(max(m-n, 0)), removed+int64(max(n-m, 0))
		}
		df := newDiffer(&table{Columns: []column{{Name: "k"}}})
		feed(r, df, was, is)
		if df.added != added || df.removed != removed || df.changed != 0 {
			t.Fatalf("%v to %v: %d added, %d removed, %d changed", was, is, df.added, df.removed, df.changed)
		}
	}
}

func TestDifferIsBounded(t *testing.T) {
	df := newDiffer(&table{Columns: []column{{Name: "k"}}})
	for i := range 2 * maxPending {
		df.left(fmt.Append(nil, i))
		df.right(fmt.Append(nil, "x", i))
	}
	if !df.over || len(df.was.rows) > maxPending+1 || len(df.is.rows) > maxPending+1 {
		t.Errorf("over %v, with %d and %d rows pending", df.over, len(df.was.rows), len(df.is.rows))
	}
	var d wflo.PartDiff
	df.report(&table{Schema: "s", Name: "T", Rows: 5}, &table{Rows: 7}, &d)
	want := []wflo.PartChange{{Name: `s."T"`, Op: "changed", Before: 5, After: 7, Detail: "more than 262144 rows in a row are others"}}
	if diff := cmp.Diff(want, d.Changes); diff != "" {
		t.Error(diff)
	}
}

func someManifest() *manifest {
	hash := strings.Repeat("ab", 32)
	m := &manifest{Format: format, Server: 150018, Types: []typeDef{{Name: "public.mood", Def: "enum 'a'"}},
		Tables: []table{
			{Schema: "public", Name: "a", Columns: []column{{Name: "id", Type: "integer", NotNull: true, Identity: "a"}, {Name: "g", Type: "integer", Generated: "s (id * 2)"}}, Key: []string{"id"},
				Constraints: []constraint{{Name: "a_pkey", Def: "PRIMARY KEY (id)"}}, Rows: 3, Bytes: 6, Chunks: []chunk{{Key: hash, SHA256: hash, Size: 10, Raw: 4, Rows: 2}, {Key: hash, SHA256: hash, Size: 9, Raw: 2, Rows: 1}}},
			{Schema: "public", Name: "b", Where: "true", Columns: []column{{Name: "t", Type: "text", Text: true}}},
		},
		Sequences: []sequence{{Schema: "public", Name: "s", Last: 7, Called: true}},
	}
	for i := range m.Tables {
		m.Tables[i].SHA256 = m.Tables[i].hashChunks()
	}
	return m
}

func TestManifestsAreReadStrictly(t *testing.T) {
	data, err := someManifest().encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := m.encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("%s, %v", again, err)
	}
	for what, change := range map[string]func(m *manifest){
		"another format":         func(m *manifest) { m.Format = format + 1 },
		"no format":              func(m *manifest) { m.Format = 0 },
		"no table":               func(m *manifest) { m.Tables = nil },
		"no name":                func(m *manifest) { m.Tables[0].Name = "" },
		"no hash":                func(m *manifest) { m.Tables[0].SHA256 = "abc" },
		"a sum":                  func(m *manifest) { m.Tables[1].Sum = m.Tables[1].SHA256 },
		"no sum of before":       func(m *manifest) { m.Format = chunkFormat - 1 },
		"another chunk":          func(m *manifest) { m.Tables[0].Chunks[1].SHA256 = strings.Repeat("cd", 32) },
		"chunks the other way":   func(m *manifest) { slices.Reverse(m.Tables[0].Chunks) },
		"another split of rows":  func(m *manifest) { m.Tables[0].Chunks[0].Rows--; m.Tables[0].Chunks[1].Rows++ },
		"another order":          func(m *manifest) { m.Tables[0].Name = "c" },
		"a table twice":          func(m *manifest) { m.Tables[0].Name = "b" },
		"a column twice":         func(m *manifest) { m.Tables[0].Columns[1].Name = "id" },
		"a key that is none":     func(m *manifest) { m.Tables[0].Key[0] = "x" },
		"only generated columns": func(m *manifest) { m.Tables[0].Columns[0].Generated = "s 1" },
		"a chunk without hash":   func(m *manifest) { m.Tables[0].Chunks[0].SHA256 = "" },
		"a path as key":          func(m *manifest) { m.Tables[0].Chunks[0].Key = "../../etc/passwd" },
		"a chunk too large":      func(m *manifest) { m.Tables[0].Chunks[0].Raw = maxRaw + 1 },
		"a negative chunk":       func(m *manifest) { m.Tables[0].Chunks[0].Raw = -4 },
		"more rows":              func(m *manifest) { m.Tables[0].Rows++ },
		"more bytes":             func(m *manifest) { m.Tables[0].Bytes++ },
		"a sequence without":     func(m *manifest) { m.Sequences[0].Name = "" },
	} {
		bad := someManifest()
		change(bad)
		b, err := bad.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(b); err == nil {
			t.Errorf("%s was read", what)
		}
	}
	for _, b := range []string{"", "null", "{}", string(data) + " ", string(data) + string(data), strings.Replace(string(data), `{"format"`, `{"more":1,"format"`, 1), strings.Replace(string(data), "public", `p\u0075blic`, 1)} {
		if _, err := parseManifest([]byte(b)); err == nil {
			t.Errorf("%.80q was read", b)
		}
	}
}

func FuzzManifest(f *testing.F) {
	data, err := someManifest().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":1,"server":1,"tables":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is read and written as %q: %v", b, again, err)
		}
		if _, err := m.digest(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a", "A.b", `"x""y".z`, `a.b.c`, `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := splitName(s)
		if err != nil {
			return
		}
		again, err := splitName(parts.Sanitize())
		if err != nil || !slices.Equal(again, parts) {
			t.Errorf("%q is %q, which is read as %q: %v", s, parts, again, err)
		}
	})
}
