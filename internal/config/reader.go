package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
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

// pairs are the keys and values of a mapping whose keys are text.
func (r *reader) pairs(n ast.Node, what string) ([]*ast.MappingValueNode, error) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, r.fail(n, "write fields as NAME: VALUE", "%s is %s", what, kind(n))
	}
	seen := map[string]int{}
	for _, v := range values {
		if _, ok := v.Key.(*ast.StringNode); !ok {
			return nil, r.fail(v.Key, "write fields as NAME: VALUE", "a field of %s has a name that is not text", what)
		}
		key := v.Key.GetToken()
		if before, twice := seen[key.Value]; twice {
			return nil, r.fail(v.Key, "", "%s is set again, after line %d", short(key.Value), before)
		}
		seen[key.Value] = key.Position.Line
	}
	return values, nil
}

// list reads each value of a sequence.
func (r *reader) list(n ast.Node, what string, read func(n ast.Node) error) error {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		return r.fail(n, "write a list: one value per line, each after a dash", "%s is %s", what, kind(n))
	}
	for _, v := range s.Values {
		if err := read(v); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) text(n ast.Node, what string) (string, error) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		hint := ""
		switch n.Type() {
		case ast.IntegerType, ast.FloatType, ast.BoolType:
			hint = "write it in quotes"
		}
		return "", r.fail(n, hint, "%s is %s, want text", what, kind(n))
	}
	return s.Value, nil
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
	if i, ok := n.(*ast.IntegerNode); ok {
		switch v := i.Value.(type) {
		case uint64:
			if int64(v) >= 0 {
				return int64(v), nil
			}
		case int64:
			return v, nil
		}
	}
	return 0, r.fail(n, "", "%s is %s, want a whole number", what, kind(n))
}

func (r *reader) duration(n ast.Node, what string) (time.Duration, error) {
	s, err := r.text(n, what)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, r.fail(n, "use a duration such as 90s, 10m or 24h", "%s is %q", what, short(s))
	}
	return d, nil
}

func (r *reader) money(n ast.Node, what string) (wflo.Money, error) {
	if t := n.Type(); t == ast.IntegerType || t == ast.FloatType {
		return 0, r.fail(n, `write it in quotes, such as "5.00": numbers of YAML are rounded`, "%s is a number", what)
	}
	s, err := r.text(n, what)
	if err != nil {
		return 0, err
	}
	m, err := wflo.ParseMoney(s)
	if err != nil || m <= 0 {
		return 0, r.fail(n, `give dollars above zero, such as "5.00"`, "%s is %q", what, short(s))
	}
	return m, nil
}

// kind says in words what a node is.
func kind(n ast.Node) string {
	switch n.Type() {
	case ast.NullType:
		return "empty"
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return "a number"
	case ast.BoolType:
		return "true or false"
	case ast.StringType:
		return "text"
	case ast.AliasType, ast.AnchorType, ast.MergeKeyType, ast.TagType, ast.LiteralType:
		return strings.ToLower(n.Type().String()) + ", which this file cannot use"
	}
	return strings.ToLower(n.Type().String())
}

// place is where a node begins: a mapping's own token is its first colon.
func place(n ast.Node) (line, column int) {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 && !m.IsFlowStyle {
			return place(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return place(m.Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

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
	margin := fmt.Sprintf("%5d | ", number)
	return fmt.Sprintf("\n%s%s\n%s%s^", margin, shown, strings.Repeat(" ", len(margin)-2)+"| ", strings.Repeat(" ", max(column-1, 0)))
}

// plain has no control characters, which a terminal would act on.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// short is a name or value for an error, in bounds.
func short(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return s
}

// suggest is the hint for an unknown field: the one that was probably meant, or
// all that there are.
func suggest(key string, fields []field) string {
	best, least := "", 3
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
		if d := distance(strings.ToLower(key), f.name, least); d < least {
			best, least = f.name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "use " + strings.Join(names, ", ")
}

// distance counts the letters to insert, remove or replace between a and b, as
// far as it is below most: Levenshtein's distance.
func distance(a, b string, most int) int {
	if len(a) > len(b)+most || len(b) > len(a)+most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
