package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// modulePath is the root module. Folders below are written relative to it, with
// "." for the root package.
const modulePath = "github.com/wflo-ai/wflo-go"

// finding is one place where a rule is broken.
type finding struct {
	where string // path:line, or a package, relative to the root
	what  string
}

// report fails the test with every finding and the one reason behind them.
func report(t *testing.T, reason string, found []finding) {
	t.Helper()
	if len(found) == 0 {
		return
	}
	var b strings.Builder
	for _, f := range found {
		b.WriteString("\n  " + f.where + ": " + f.what)
	}
	t.Errorf("%s\nwhy the rule: %s", b.String(), reason)
}

// source is one parsed Go file.
type source struct {
	path string // slash-separated, relative to the root
	fset *token.FileSet
	file *ast.File
}

func (s source) dir() string { return path.Dir(s.path) }

func (s source) at(p token.Pos) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(p).Line)
}

func (s source) line(p token.Pos) int { return s.fset.Position(p).Line }

// isTest is true for test files, and for files of conformance suites that hold
// test bodies: those import testing.
func (s source) isTest() bool {
	return strings.HasSuffix(s.path, "_test.go") || slices.Contains(s.imports(), "testing")
}

// forTests is true for all of that and for the rest of packages that exist to be
// called from tests: those are named so.
func (s source) forTests() bool { return s.isTest() || strings.HasSuffix(s.dir(), "test") }

func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// importName is the name under which the file knows the package at importPath,
// or "" when it does not import it.
func (s source) importName(importPath string) string {
	for _, spec := range s.file.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err != nil || p != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

func parse(name, text string) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return source{path: name, fset: fset, file: file}, err
}

var rootDir = sync.OnceValues(func() (string, error) { return filepath.Abs("../..") })

func root(t *testing.T) string {
	t.Helper()
	dir, err := rootDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the root of the repository should be at %s: %v", dir, err)
	}
	return dir
}

// notOurs are folders that hold no source of this repository.
var notOurs = []string{"bin", "tmp", "vendor", "node_modules"}

// walkTree calls visit with every regular file that belongs to the repository.
func walkTree(dir string, visit func(rel string, d fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && rel != ".ci" && rel != ".github"
			if hidden || slices.Contains(notOurs, rel) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return visit(rel, d)
	})
}

// goSources parses every Go file of every module in the repository, tests and
// all build tags included, except generated files and test data.
func goSources(t *testing.T) []source {
	t.Helper()
	dir := root(t)
	var all []source
	err := walkTree(dir, func(rel string, _ fs.DirEntry) error {
		if !strings.HasSuffix(rel, ".go") || slices.Contains(strings.Split(rel, "/"), "testdata") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(dir, rel))
		if err != nil {
			return err
		}
		s, err := parse(rel, string(text))
		if err != nil {
			return err
		}
		if !ast.IsGenerated(s.file) {
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files found under %s", len(all), dir)
	}
	return all
}
