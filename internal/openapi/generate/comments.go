package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// module is the import path of this module.
const module = "github.com/wflo-ai/wflo-go"

// words are the comments of types and their fields, which describe them in the document.
type words struct {
	root string
	// said is by "import path.Type" and "import path.Type.Field".
	said map[string]string
	read map[string]bool
	err  error
}

// of is what the code says about a type, or about a field of it; empty where it says
// nothing, or where the type is not ours.
func (w *words) of(t reflect.Type, field string) string {
	if t.PkgPath() != module && !strings.HasPrefix(t.PkgPath(), module+"/") {
		return ""
	}
	if !w.read[t.PkgPath()] {
		w.read[t.PkgPath()] = true
		w.readPackage(t.PkgPath())
	}
	key := t.PkgPath() + "." + t.Name()
	if field != "" {
		key += "." + field
	}
	return w.said[key]
}

func (w *words) readPackage(pkg string) {
	dir := filepath.Join(w.root, strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.err = fmt.Errorf("read the comments of %s: %w", pkg, err)
		return
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			w.err = fmt.Errorf("read the comments of %s: %w", pkg, err)
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if decl, ok := n.(*ast.GenDecl); ok && decl.Tok == token.TYPE {
				w.declared(pkg, decl)
			}
			return true
		})
	}
}

func (w *words) declared(pkg string, decl *ast.GenDecl) {
	for _, s := range decl.Specs {
		spec := s.(*ast.TypeSpec)
		key := pkg + "." + spec.Name.Name
		doc := spec.Doc
		if doc == nil {
			doc = decl.Doc
		}
		w.said[key] = sentence(doc.Text())
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range structure.Fields.List {
			about := f.Doc.Text()
			if about == "" {
				about = f.Comment.Text()
			}
			for _, name := range f.Names {
				w.said[key+"."+name.Name] = sentence(about)
			}
		}
	}
}

// sentence is a comment on one line.
func sentence(text string) string { return strings.Join(strings.Fields(text), " ") }
