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
	"github.com/wflo-ai/wflo-go/internal/strictyaml"
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

// refuse notes a fault.
func (r *reader) refuse(f *strictyaml.Fault) {
	if f.Name {
		r.hidden(f.Node, f.Hint, "%s", f.Message)
		return
	}
	r.bad(f.Node, f.Hint, "%s", f.Message)
}

func (r *reader) place(n ast.Node) Position {
	line, column := strictyaml.Place(n)
	return Position{r.name, line, column}
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

func keyOf(v *ast.MappingValueNode) string { return strictyaml.Key(v) }

// pairs are the keys and values of a mapping whose keys are text.
func (r *reader) pairs(n ast.Node, what string) []*ast.MappingValueNode {
	good, faults := strictyaml.Pairs(n, what)
	for _, f := range faults {
		r.refuse(f)
	}
	return good
}

// list gives the values of a sequence.
func (r *reader) list(n ast.Node, what string) []ast.Node {
	values, f := strictyaml.List(n, what)
	if f != nil {
		r.refuse(f)
	}
	return values
}

// text reads text, a block of lines included.
func (r *reader) text(n ast.Node, what string, into *string) {
	keep(r, into, func() (string, *strictyaml.Fault) { return textOf(n, what) })
}

func textOf(n ast.Node, what string) (string, *strictyaml.Fault) {
	s, f := "", (*strictyaml.Fault)(nil)
	if block, ok := n.(*ast.LiteralNode); ok {
		s = block.Value.Value
	} else {
		s, f = strictyaml.Text(n, what)
	}
	return strings.ReplaceAll(s, star, "*"), f
}

// keep writes what was read, or notes why it cannot be.
func keep[T any](r *reader, into *T, read func() (T, *strictyaml.Fault)) {
	v, f := read()
	if f != nil {
		r.refuse(f)
		return
	}
	*into = v
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
	keep(r, into, func() (bool, *strictyaml.Fault) { return strictyaml.Bool(n, what) })
}

func (r *reader) integer(n ast.Node, what string, into *int) {
	keep(r, into, func() (int, *strictyaml.Fault) {
		v, f := strictyaml.Integer(n, what, -1<<31, 1<<31)
		return int(v), f
	})
}

func (r *reader) duration(n ast.Node, what string, into *time.Duration) {
	keep(r, into, func() (time.Duration, *strictyaml.Fault) {
		s, f := textOf(n, what)
		if f != nil {
			return 0, f
		}
		return strictyaml.Duration(n, what, s)
	})
}

func (r *reader) money(n ast.Node, what string, into *wflo.Money) {
	keep(r, into, func() (wflo.Money, *strictyaml.Fault) {
		return strictyaml.Money(n, what, func() (string, *strictyaml.Fault) { return textOf(n, what) })
	})
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

func nodeKind(n ast.Node) string { return strictyaml.Kind(n) }
