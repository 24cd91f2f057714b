package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/strictyaml"
)

// reader turns nodes into values and says where one is wrong.
type reader struct {
	name  string
	lines []string
}

func newReader(name string, data []byte) *reader {
	return &reader{name: name, lines: strings.Split(string(data), "\n")}
}

// field is one field of a mapping and what reads it.
type field struct {
	name string
	read func(n ast.Node) error
}

// mapping reads the fields of n and gives the nodes of those that are set.
func (r *reader) mapping(n ast.Node, what string, fields ...field) (map[string]ast.Node, error) {
	values, err := r.pairs(n, what)
	if err != nil {
		return nil, err
	}
	set := map[string]ast.Node{}
	for _, v := range values {
		key := v.Key.GetToken().Value
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		if i < 0 {
			return nil, r.fail(v.Key, suggest(key, fields), "unknown field %q of %s", short(key), what)
		}
		if err := fields[i].read(v.Value); err != nil {
			return nil, err
		}
		set[key] = v.Value
	}
	return set, nil
}

// refuse is a fault as an error.
func (r *reader) refuse(f *strictyaml.Fault) error { return r.fail(f.Node, f.Hint, "%s", f.Message) }

// pairs are the keys and values of a mapping whose keys are text.
func (r *reader) pairs(n ast.Node, what string) ([]*ast.MappingValueNode, error) {
	values, faults := strictyaml.Pairs(n, what)
	if len(faults) > 0 {
		return nil, r.refuse(faults[0])
	}
	return values, nil
}

// list reads each value of a sequence.
func (r *reader) list(n ast.Node, what string, read func(n ast.Node) error) error {
	values, f := strictyaml.List(n, what)
	if f != nil {
		return r.refuse(f)
	}
	for _, v := range values {
		if err := read(v); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) text(n ast.Node, what string) (string, error) {
	s, f := strictyaml.Text(n, what)
	if f != nil {
		return "", r.refuse(f)
	}
	return s, nil
}

// textField is a field that keeps its text.
func (r *reader) textField(name string, into *string) field {
	return field{name, func(n ast.Node) (err error) { *into, err = r.text(n, name); return err }}
}

func (r *reader) texts(n ast.Node, what string) ([]string, error) {
	var out []string
	err := r.list(n, what, func(n ast.Node) error {
		s, err := r.text(n, "a value of "+what)
		out = append(out, s)
		return err
	})
	return out, err
}

func (r *reader) integer(n ast.Node, what string) (int64, error) {
	v, f := strictyaml.Integer(n, what, math.MinInt64, math.MaxInt64)
	if f != nil {
		return 0, r.refuse(f)
	}
	return v, nil
}

func (r *reader) duration(n ast.Node, what string) (time.Duration, error) {
	s, err := r.text(n, what)
	if err != nil {
		return 0, err
	}
	d, f := strictyaml.Duration(n, what, s)
	if f != nil {
		return 0, r.refuse(f)
	}
	return d, nil
}

func (r *reader) money(n ast.Node, what string) (wflo.Money, error) {
	m, f := strictyaml.Money(n, what, func() (string, *strictyaml.Fault) { return strictyaml.Text(n, what) })
	if f != nil {
		return 0, r.refuse(f)
	}
	return m, nil
}

func kind(n ast.Node) string { return strictyaml.Kind(n) }

func place(n ast.Node) (line, column int) { return strictyaml.Place(n) }

// fail is an error about a node.
func (r *reader) fail(n ast.Node, hint, format string, args ...any) error {
	line, column := place(n)
	return r.failAt(line, column, hint, format, args...)
}

func (r *reader) failAt(line, column int, hint, format string, args ...any) error {
	text := fmt.Sprintf("%s:%d:%d: %s", r.name, line, column, fmt.Sprintf(format, args...))
	if line >= 1 && line <= len(r.lines) {
		text += excerpt(r.lines[line-1], line, column)
	}
	return &wflo.Error{Code: wflo.CodeInvalid, Message: text, Hint: hint}
}

var (
	pair = regexp.MustCompile(`^([\s-]*)([A-Za-z_]+)(\s*:\s*)(.*)$`)
	// open are the fields whose values errors may show.
	open = []string{
		"scope", "name", "limit", "period", "time_zone", "thresholds", "on_exceeded", "model", "scopes", "max_input", "above", "to",
		"ttl", "estimates", "user", "team", "org", "agent",
	}
)

// excerpt shows a line with a mark below the column. The value of a field that
// could be a secret, or that nobody knows, is left out.
func excerpt(line string, number, column int) string {
	line = strings.TrimRight(line, "\r")
	cut := len(line)
	if m := pair.FindStringSubmatchIndex(line); m != nil {
		if value := line[m[8]:m[9]]; !slices.Contains(open, line[m[4]:m[5]]) || strings.ContainsAny(value, "{#&*!|>") {
			cut = m[8]
		}
	} else {
		cut = min(column-1, len(line))
	}
	shown := line[:max(cut, 0)]
	if strings.TrimSpace(line[len(shown):]) != "" {
		shown += "…"
	}
	if shown = plain(shown); len(shown) > 200 {
		shown = short(shown)
	}
	return strictyaml.Mark(number, shown, column-1)
}

// plain has no control characters, which a terminal would act on.
func plain(s string) string { return strictyaml.Plain(s) }

// short is a name or value for an error, in bounds.
func short(s string) string { return strictyaml.Cut(s, 60) }

// suggest is the hint for an unknown field: the one that was probably meant, or
// all that there are.
func suggest(key string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if best := strictyaml.Nearest(key, names); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "use " + strings.Join(names, ", ")
}
