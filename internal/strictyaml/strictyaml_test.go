package strictyaml

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// parse gives the value of the file's only field, or the whole file.
func parse(t *testing.T, source string) ast.Node {
	t.Helper()
	file, err := parser.ParseBytes([]byte(source), 0)
	if err != nil {
		t.Fatal(err)
	}
	n := file.Docs[0].Body
	if pair, ok := n.(*ast.MappingNode); ok && len(pair.Values) == 1 && pair.Values[0].Key.String() == "v" {
		return pair.Values[0].Value
	}
	return n
}

// say is a fault with its place.
func say(f *Fault) string {
	if f == nil {
		return ""
	}
	line, column := Place(f.Node)
	text := fmt.Sprintf("%d:%d: %s (%s)", line, column, f.Message, f.Hint)
	if f.Name {
		text += " name"
	}
	return text
}

// Each kind of value is read, and every other one is a fault with its place.
func TestValues(t *testing.T) {
	text := func(n ast.Node) (any, *Fault) { return Text(n, "x") }
	integer := func(n ast.Node) (any, *Fault) { return Integer(n, "x", -5, 5) }
	widest := func(n ast.Node) (any, *Fault) { return Integer(n, "x", math.MinInt64, math.MaxInt64) }
	boolean := func(n ast.Node) (any, *Fault) { return Bool(n, "x") }
	list := func(n ast.Node) (any, *Fault) {
		all, f := List(n, "x")
		return len(all), f
	}
	duration := func(n ast.Node) (any, *Fault) {
		s, f := Text(n, "x")
		if f != nil {
			return nil, f
		}
		return Duration(n, "x", s)
	}
	money := func(n ast.Node) (any, *Fault) {
		return Money(n, "x", func() (string, *Fault) { return Text(n, "x") })
	}
	for _, tt := range []struct {
		source string
		read   func(ast.Node) (any, *Fault)
		want   string // the value, or the fault
	}{
		{"v: abc", text, "abc"},
		{"v: 'true'", text, "true"},
		{"v: true", text, "1:4: x is true or false, want text (write it in quotes)"},
		{"v: 3", text, "1:4: x is a number, want text (write it in quotes)"},
		{"v: |\n  abc\n", text, "1:4: x is a block of lines, want text ()"},
		{"v: [a]", text, "1:4: x is a list, want text ()"},
		{"v:\n  a: 1\n  b: 2", text, "2:3: x is a mapping, want text ()"},
		{"v: -5", integer, "-5"},
		{"v: 6", integer, "1:4: x is a number, want a whole number ()"},
		{"v: 1.5", integer, "1:4: x is a number, want a whole number ()"},
		{"v: 9223372036854775807", widest, "9223372036854775807"},
		{"v: 9223372036854775808", widest, "1:4: x is a number, want a whole number ()"},
		{"v: -9223372036854775808", widest, "-9223372036854775808"},
		{"v: yes", boolean, "1:4: x is text (write true or false)"},
		{"v: false", boolean, "false"},
		{"v: [a, b]", list, "2"},
		{"v: a", list, "1:4: x is text (write a list: one value per line, each after a dash)"},
		{"v: 90s", duration, "1m30s"},
		{"v: 0s", duration, `1:4: x is "0s" (use a duration such as 90s, 10m or 24h)`},
		{"v: 10", duration, "1:4: x is a number, want text (write it in quotes)"},
		{`v: "5.00"`, money, "$5.00"},
		{"v: 5.00", money, `1:4: x is a number (write it in quotes, such as "5.00": numbers of YAML are rounded)`},
		{`v: "-1"`, money, `1:4: x is "-1" (give dollars above zero, such as "5.00")`},
		{"v: [1]", money, "1:4: x is a list, want text ()"},
	} {
		v, f := tt.read(parse(t, tt.source))
		got := say(f)
		if f == nil {
			got = fmt.Sprint(v)
		}
		if got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.source, got, tt.want)
		}
	}
}

// Fields with a name of their own are kept, and all others are told of in their order.
func TestPairs(t *testing.T) {
	for source, want := range map[string]string{
		"a: 1\nb: 2\n":                    "a b",
		"a: 1\nb: 2\n'c': 3\n":            "a b c",
		"a: 1\n3: x\na: 2\nb: 1\na: 4\n":  "a b | 2:1: a field of it has a name that is not text (write fields as NAME: VALUE) name | 3:1: a is set again, after line 1 () name | 5:1: a is set again, after line 1 () name",
		"- a\n":                           "| 1:1: it is a list (write fields as NAME: VALUE)",
		"{a: 1, b: {c: 2}}":               "a b",
		strings.Repeat("x", 70) + ": 1\n": strings.Repeat("x", 70),
	} {
		file, err := parser.ParseBytes([]byte(source), parser.Mode(0), parser.AllowDuplicateMapKey())
		if err != nil {
			t.Fatal(err)
		}
		good, faults := Pairs(file.Docs[0].Body, "it")
		var got []string
		for _, v := range good {
			got = append(got, Key(v))
		}
		for _, f := range faults {
			got = append(got, "|", say(f))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q: got %s, want %s", source, text, want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"", "timeout", "approvers", "to", "on"}
	for name, want := range map[string]string{
		"timout": "timeout", "TimeOut": "timeout", "aprovers": "approvers", "aproverz": "approvers", "apruverz": "", "tp": "to", "xy": "", "": "", "budget": "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// What is shown of a file cannot act on a terminal.
func TestShown(t *testing.T) {
	if got := Cut("a\x1b[2Jb\u202ec\xffdefgh", 8); got != "a [2Jb c…" {
		t.Errorf("got %q", got)
	}
	if got, want := Mark(7, "on: x", 4), "\n    7 | on: x\n      |     ^"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
