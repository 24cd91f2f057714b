package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"

	"golang.org/x/tools/imports"
)

// split cuts the generated source into files that can be read: the methods, what they take
// from the query, the types of stories, the words of package wflo, and the other types.
func split(code string) (map[string][]byte, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "api.go", code, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read what was generated: %w", err)
	}
	offset := func(p token.Pos) int { return fset.Position(p).Offset }
	var head bytes.Buffer
	parts := map[string]*bytes.Buffer{}
	for _, decl := range file.Decls {
		from, to := decl.Pos(), decl.End()
		name := ""
		switch d := decl.(type) {
		case *ast.FuncDecl:
			from, name = begin(d.Doc, from), "api.gen.go"
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				head.WriteString(code[:offset(to)] + "\n")
				continue
			}
			from, name = begin(d.Doc, from), fileOf(d)
		}
		if parts[name] == nil {
			parts[name] = &bytes.Buffer{}
			parts[name].Write(head.Bytes())
		}
		parts[name].WriteString("\n" + code[offset(from):offset(to)] + "\n")
	}
	out := map[string][]byte{}
	for name, part := range parts {
		// Each gets all imports; those that it has no use for are dropped.
		if out[name], err = imports.Process(name, part.Bytes(), nil); err != nil {
			return nil, fmt.Errorf("format %s: %w", name, err)
		}
	}
	return out, nil
}

func begin(doc *ast.CommentGroup, from token.Pos) token.Pos {
	if doc != nil {
		return doc.Pos()
	}
	return from
}

func fileOf(d *ast.GenDecl) string {
	spec, ok := d.Specs[0].(*ast.TypeSpec)
	switch {
	case !ok:
		return "types.gen.go"
	case spec.Assign.IsValid():
		return "words.gen.go"
	case strings.HasSuffix(spec.Name.Name, "Params"):
		return "params.gen.go"
	case strings.HasPrefix(spec.Name.Name, "Story"):
		return "story.gen.go"
	}
	return "types.gen.go"
}
