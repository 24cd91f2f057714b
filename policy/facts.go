package policy

import (
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
)

// ReadFacts reads facts from a file, in YAML or JSON: one set of them, or a list.
// Names are those of conditions, amounts may be numbers, and a kind that is not said
// is a step. name is what errors call the file; all mistakes in it are a Problems.
func ReadFacts(name string, source []byte) (all []wflo.Facts, err error) {
	r := newReader(name, source)
	defer func() {
		if p := recover(); p != nil { // see Load
			all, err = nil, Problems{{Position: Position{File: name}, Message: name + " cannot be parsed", Hint: "write it as plain block YAML, or JSON"}}
		}
	}()
	root, err := r.parse(source)
	if err != nil {
		return nil, err
	}
	nodes := []ast.Node{root}
	if list, ok := root.(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	for _, n := range nodes {
		if !slices.Contains([]ast.NodeType{ast.MappingType, ast.MappingValueType}, n.Type()) {
			r.bad(n, "write names and values, such as kind: activity", "the facts are %s", nodeKind(n))
			continue
		}
		f := r.facts(n)
		if f.Kind == "" {
			f.Kind = wflo.FactsStep
		}
		all = append(all, f)
	}
	if len(r.problems) > 0 {
		r.problems.sort()
		return nil, r.problems
	}
	return all, nil
}
