package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
)

// reader turns nodes into values. Unlike most readers it goes on after a mistake:
// whoever wrote the file wants to know all of them.
type reader struct {
	name     string
	lines    []string
	problems Problems
	// rule is the policy that is being read.
	rule string
	// fields are where fields of rules stand, and conditions the nodes of conditions.
	fields     map[string]Position
	conditions map[string]ast.Node
	// failed are the rules with mistakes in them.
	failed map[string]bool
}

// star stands for a * that is not quoted while YAML is parsed, which would take it
// for an alias. It is a private character of the same length in characters.
const star = "\ue000"

func newReader(name string, source []byte) *reader {
	return &reader{name: name, lines: strings.Split(string(source), "\n"), fields: map[string]Position{}, conditions: map[string]ast.Node{}, failed: map[string]bool{}}
}

// bad notes a mistake at a node.
func (r *reader) bad(n ast.Node, hint, format string, args ...any) {
	r.badAt(r.place(n), hint, false, fmt.Sprintf(format, args...))
}

// hidden is bad without the value, which could be a secret.
func (r *reader) hidden(n ast.Node, hint, format string, args ...any) {
	r.badAt(r.place(n), hint, true, fmt.Sprintf(format, args...))
}

func (r *reader) badAt(at Position, hint string, hide bool, message string) {
	r.problems = append(r.problems, &Problem{Position: at, Rule: r.rule, Message: message, Hint: hint, Excerpt: r.excerpt(at, hide)})
}

func (r *reader) excerpt(at Position, hide bool) string {
	if at.Line < 1 || at.Line > len(r.lines) {
		return ""
	}
	line := r.lines[at.Line-1]
	upTo := len(line)
	if hide {
		// The name of the field may be shown, and nothing behind it.
		upTo = utf8.RuneCountInString(line[:max(0, strings.Index(line, ":")+1)])
		if upTo == 0 {
			upTo = at.Column - 1
		}
	}
	return excerpt(line, at.Line, at.Column, upTo)
}

// place is where a node begins: a mapping's own token is its first colon.
func (r *reader) place(n ast.Node) Position {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 && !m.IsFlowStyle {
			return r.place(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return r.place(m.Key)
	}
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			return Position{r.name, t.Position.Line, t.Position.Column}
		}
	}
	return Position{r.name, 1, 1}
}

// fieldReader reads the value of one field.
type fieldReader struct {
	name string
	read func(n ast.Node)
}

// mapping reads the fields of n; at is told where each stands.
func (r *reader) mapping(n ast.Node, what string, at func(name string, p Position), fields ...fieldReader) {
	for _, v := range r.pairs(n, what) {
		key := keyOf(v)
		i := slices.IndexFunc(fields, func(f fieldReader) bool { return f.name == key })
		if i < 0 {
			names := make([]string, len(fields))
			for j, f := range fields {
				names[j] = f.name
			}
			r.hidden(v.Key, nearest(key, names, "use "), "unknown field %q of %s", cut(key, 60), what)
			continue
		}
		if at != nil {
			at(key, r.place(v.Value))
		}
		fields[i].read(v.Value)
	}
}

func keyOf(v *ast.MappingValueNode) string {
	if s, ok := v.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return v.Key.GetToken().Value
}

// pairs are the keys and values of a mapping whose keys are text.
func (r *reader) pairs(n ast.Node, what string) []*ast.MappingValueNode {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.bad(n, "write fields as NAME: VALUE", "%s is %s", what, nodeKind(n))
		return nil
	}
	seen := map[string]int{}
	return slices.DeleteFunc(slices.Clone(values), func(v *ast.MappingValueNode) bool {
		if _, ok := v.Key.(*ast.StringNode); !ok {
			r.hidden(v.Key, "write fields as NAME: VALUE", "a field of %s has a name that is not text", what)
			return true
		}
		key := keyOf(v)
		if before, twice := seen[key]; twice {
			r.hidden(v.Key, "", "%s is set again, after line %d", cut(key, 60), before)
			return true
		}
		seen[key] = r.place(v.Key).Line
		return false
	})
}

// list gives the values of a sequence.
func (r *reader) list(n ast.Node, what string) []ast.Node {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.bad(n, "write a list: one value per line, each after a dash", "%s is %s", what, nodeKind(n))
		return nil
	}
	return s.Values
}

// text reads text, a block of lines included.
func (r *reader) text(n ast.Node, what string, into *string) {
	switch s := n.(type) {
	case *ast.StringNode:
		*into = strings.ReplaceAll(s.Value, star, "*")
		return
	case *ast.LiteralNode:
		*into = strings.ReplaceAll(s.Value.Value, star, "*")
		return
	}
	hint := ""
	switch n.Type() {
	case ast.IntegerType, ast.FloatType, ast.BoolType:
		hint = "write it in quotes"
	}
	r.bad(n, hint, "%s is %s, want text", what, nodeKind(n))
}

// texts reads a list of texts, or one alone where that is allowed.
func (r *reader) texts(n ast.Node, what string, alone bool, into *[]string) {
	if _, ok := n.(*ast.StringNode); ok && alone {
		*into = []string{""}
		r.text(n, what, &(*into)[0])
		return
	}
	for _, v := range r.list(n, what) {
		var s string
		r.text(v, "a value of "+what, &s)
		*into = append(*into, s)
	}
}

func (r *reader) boolean(n ast.Node, what string, into *bool) {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		r.bad(n, "write true or false", "%s is %s", what, nodeKind(n))
		return
	}
	*into = b.Value
}

func (r *reader) integer(n ast.Node, what string, into *int) {
	if i, ok := n.(*ast.IntegerNode); ok {
		switch v := i.Value.(type) {
		case uint64:
			if v <= 1<<31 {
				*into = int(v)
				return
			}
		case int64:
			if v >= -(1 << 31) {
				*into = int(v)
				return
			}
		}
	}
	r.bad(n, "", "%s is %s, want a whole number", what, nodeKind(n))
}

func (r *reader) duration(n ast.Node, what string, into *time.Duration) {
	var s string
	before := len(r.problems)
	r.text(n, what, &s)
	if len(r.problems) > before {
		return
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		r.bad(n, "use a duration such as 90s, 10m or 24h", "%s is %q", what, cut(s, 60))
		return
	}
	*into = d
}

func (r *reader) money(n ast.Node, what string, into *wflo.Money) {
	if t := n.Type(); t == ast.IntegerType || t == ast.FloatType {
		r.bad(n, `write it in quotes, such as "5.00": numbers of YAML are rounded`, "%s is a number", what)
		return
	}
	var s string
	before := len(r.problems)
	r.text(n, what, &s)
	if len(r.problems) > before {
		return
	}
	m, err := wflo.ParseMoney(s)
	if err != nil || m <= 0 {
		r.bad(n, `give dollars above zero, such as "5.00"`, "%s is %q", what, cut(s, 60))
		return
	}
	*into = m
}

// json writes a node as JSON. Numbers stay as they are written. quoted says which
// paths hold amounts, whose numbers become text.
func (r *reader) json(n ast.Node, path string, quoted func(path string) bool) json.RawMessage {
	switch v := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		parts := []string{}
		for _, pair := range r.pairs(n, "a mapping") {
			key := keyOf(pair)
			name, below := marshal(key), key
			if path != "" {
				below = path + "." + key
			}
			parts = append(parts, string(name)+":"+string(r.json(pair.Value, below, quoted)))
		}
		return json.RawMessage("{" + strings.Join(parts, ",") + "}")
	case *ast.SequenceNode:
		parts := []string{}
		for _, item := range v.Values {
			parts = append(parts, string(r.json(item, path+"[]", quoted)))
		}
		return json.RawMessage("[" + strings.Join(parts, ",") + "]")
	case *ast.StringNode:
		return marshal(strings.ReplaceAll(v.Value, star, "*"))
	case *ast.LiteralNode:
		return marshal(v.Value.Value)
	case *ast.BoolNode:
		return marshal(v.Value)
	case *ast.NullNode:
		return json.RawMessage("null")
	case *ast.IntegerNode, *ast.FloatNode:
		literal := strings.ReplaceAll(n.GetToken().Value, "_", "")
		if !json.Valid([]byte(literal)) {
			r.bad(n, "write the number as JSON has it", "%q is not a number of JSON", cut(literal, 40))
			return json.RawMessage("null")
		}
		if quoted != nil && quoted(path) {
			return marshal(literal)
		}
		return json.RawMessage(literal)
	}
	r.bad(n, "write plain values", "a value is %s", nodeKind(n))
	return json.RawMessage("null")
}

func marshal(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null") // texts and bools cannot fail
	}
	return data
}

// nodeKind says in words what a node is.
func nodeKind(n ast.Node) string {
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
	case ast.StringType, ast.LiteralType:
		return "text"
	}
	return strings.ToLower(n.Type().String()) + ", which this file cannot use"
}
