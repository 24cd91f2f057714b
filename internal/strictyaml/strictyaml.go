// Package strictyaml is what our readers of YAML files share: they take the parsed
// nodes of a file and not a decoder's guesses, so that what is wrong has a line, a
// column and a suggestion, and a field that is misspelt is not a field that is unset.
//
// [Pairs], [List], [Text], [Integer], [Bool], [Duration] and [Money] read one node and
// give a [Fault] where it is something else. A reader decides by itself whether it goes
// on after one, and how much of the line it may show. [Nearest] is the field that was
// probably meant. Nothing here reads files, and nothing is shown that a reader does not
// pass on.
package strictyaml

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
)

// maxName bounds names and values in messages, in characters.
const maxName = 60

// Fault is what is wrong with a node.
type Fault struct {
	Node ast.Node
	// Message is one line, Hint what to do about it; it may be empty.
	Message, Hint string
	// Name says that the fault is in the name of a field, so that nobody knows whether
	// the value beside it is a secret.
	Name bool
}

func fault(n ast.Node, hint, format string, args ...any) *Fault {
	return &Fault{Node: n, Hint: hint, Message: fmt.Sprintf(format, args...)}
}

// Place is the line and the column, from 1, at which a node begins: a mapping's own
// token is its first colon.
func Place(n ast.Node) (line, column int) {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 && !m.IsFlowStyle {
			return Place(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return Place(m.Key)
	}
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			return t.Position.Line, t.Position.Column
		}
	}
	return 1, 1
}

// Kind says in words what a node is.
func Kind(n ast.Node) string {
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
	case ast.LiteralType:
		return "a block of lines"
	}
	return strings.ToLower(n.Type().String()) + ", which this file cannot use"
}

// Key is the name of a field.
func Key(v *ast.MappingValueNode) string {
	if s, ok := v.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return v.Key.GetToken().Value
}

// Pairs are the fields of a mapping that have a name of their own, and what is wrong
// with the others, in the order of the file. what is how messages call the mapping.
func Pairs(n ast.Node, what string) (good []*ast.MappingValueNode, faults []*Fault) {
	const hint = "write fields as NAME: VALUE"
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, []*Fault{fault(n, hint, "%s is %s", what, Kind(n))}
	}
	seen := map[string]int{}
	for _, v := range values {
		key := Key(v)
		before, twice := seen[key]
		switch _, text := v.Key.(*ast.StringNode); {
		case !text:
			faults = append(faults, &Fault{Node: v.Key, Message: "a field of " + what + " has a name that is not text", Hint: hint, Name: true})
		case twice:
			faults = append(faults, &Fault{Node: v.Key, Message: fmt.Sprintf("%s is set again, after line %d", Cut(key, maxName), before), Name: true})
		default:
			seen[key], _ = Place(v.Key)
			good = append(good, v)
		}
	}
	return good, faults
}

// List gives the values of a sequence.
func List(n ast.Node, what string) ([]ast.Node, *Fault) {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values, nil
	}
	return nil, fault(n, "write a list: one value per line, each after a dash", "%s is %s", what, Kind(n))
}

// Text reads text on one line.
func Text(n ast.Node, what string) (string, *Fault) {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value, nil
	}
	hint := ""
	switch n.Type() {
	case ast.IntegerType, ast.FloatType, ast.BoolType:
		hint = "write it in quotes"
	}
	return "", fault(n, hint, "%s is %s, want text", what, Kind(n))
}

// Bool reads true or false.
func Bool(n ast.Node, what string) (bool, *Fault) {
	if b, ok := n.(*ast.BoolNode); ok {
		return b.Value, nil
	}
	return false, fault(n, "write true or false", "%s is %s", what, Kind(n))
}

// Integer reads a whole number from least to most.
func Integer(n ast.Node, what string, least, most int64) (int64, *Fault) {
	if i, ok := n.(*ast.IntegerNode); ok {
		v, fits := int64(0), false
		switch given := i.Value.(type) {
		case uint64:
			v = int64(given) //nolint:gosec // what does not fit is below zero
			fits = v >= 0
		case int64:
			v, fits = given, true
		}
		if fits && v >= least && v <= most {
			return v, nil
		}
	}
	return 0, fault(n, "", "%s is %s, want a whole number", what, Kind(n))
}

// Duration reads the text of a node as a duration above zero.
func Duration(n ast.Node, what, text string) (time.Duration, *Fault) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fault(n, "use a duration such as 90s, 10m or 24h", "%s is %q", what, Cut(text, maxName))
	}
	return d, nil
}

// Money reads an amount of dollars above zero. read gives the node's text; it is not
// asked about a number, which YAML rounds.
func Money(n ast.Node, what string, read func() (string, *Fault)) (wflo.Money, *Fault) {
	if t := n.Type(); t == ast.IntegerType || t == ast.FloatType {
		return 0, fault(n, `write it in quotes, such as "5.00": numbers of YAML are rounded`, "%s is a number", what)
	}
	text, f := read()
	if f != nil {
		return 0, f
	}
	m, err := wflo.ParseMoney(text)
	if err != nil || m <= 0 {
		return 0, fault(n, `give dollars above zero, such as "5.00"`, "%s is %q", what, Cut(text, maxName))
	}
	return m, nil
}

// Mark shows a line of the file under a message, with a mark below its column at,
// which begins with 0. The line is as the reader lets it be seen.
func Mark(number int, shown string, at int) string {
	margin := fmt.Sprintf("%5d | ", number)
	return fmt.Sprintf("\n%s%s\n%s| %s^", margin, shown, strings.Repeat(" ", len(margin)-2), strings.Repeat(" ", max(at, 0)))
}

// Plain has no characters that a terminal acts on or that are not seen.
func Plain(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// Cut is a text of at most so many characters and no control characters, for messages.
func Cut(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return Plain(s)
}
