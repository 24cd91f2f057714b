package faultpoint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A point that is not on the list is one that no driver breaks, and one on the list that
// is not in the source is one that a driver waits for in vain.
func TestPointsAreThoseOfTheSource(t *testing.T) {
	there := map[string]bool{}
	for _, folder := range []string{"internal", "plugin", "sandbox", "activities", "workflows", "worker", "console", "recovery", "pricing", "policy"} {
		err := filepath.WalkDir(filepath.Join("..", "..", folder), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(src), "faultpoint") && !strings.Contains(path, "faultpoint") {
				return err
			}
			return hits(path, src, there)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range Points() {
		if !there[p.Name] {
			t.Errorf("the point %s is on the list and not in the source", p.Name)
		}
		delete(there, p.Name)
	}
	for name := range there {
		t.Errorf("the point %s is in the source and not on the list", name)
	}
}

// hits collects the names in calls of Hit, around and alone.
func hits(path string, src []byte, into map[string]bool) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, src, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 || !slices.Contains([]string{"faultpoint.Hit", "around", "alone"}, called(call.Fun)) {
			return true
		}
		name := text(call.Args[0])
		for _, suffix := range []string{":before", ":after"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if name != "*" { // within around itself
			into[name] = true
		}
		return true
	})
	return nil
}

// called is the name of the function that is called.
func called(f ast.Expr) string {
	switch f := f.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// text is a string expression, with a star for what is not written there.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return s
		}
	case *ast.BinaryExpr:
		return text(e.X) + text(e.Y)
	}
	return "*"
}
