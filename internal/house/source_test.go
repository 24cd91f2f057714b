package house

import (
	"fmt"
	"go/ast"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The budget for reading: what fits on a few screens can be reviewed.
const (
	maxFileLines     = 800
	maxFunctionLines = 80
	p90FunctionLines = 45
	maxMainLines     = 15
)

// sourceRules are the rules that one file can break by itself. Each has its
// planted violation in planted_test.go.
var sourceRules = []struct {
	name   string
	reason string
	check  func(source) []finding
}{
	{"file length", "one god file per feature is how readable projects end; split it by idea before it gets there", fileLength},
	{"function length", "the tail is what separates code that people enjoy from code that they fear; give the parts names (tests and table data do not count)", functionLength},
	{"main length", "main is a few lines around run(ctx) error: wiring and decisions that sit in main cannot be tested", mainLength},
	{"package name", "a name that says nothing collects everything; name the package for what it talks about", packageName},
	{"exported doc", "an exported name is a promise, and the promise is its comment: units, shapes, errors", exportedDoc},
	{"workflow context", "the path tells whether code may touch the world: code that takes a workflow.Context is deterministic and lives in workflows, wflotest, internal/step or examples, where workflowcheck looks", workflowContext},
	{"no skips", "a missing part is a failure with a hint, never a skip: a skipped test is green and proves nothing", noSkips},
	{"no sleeps", "a sleep is too long on a fast machine and too short on a slow one; wait for the event, or use synctest or the test environment's clock", noSleeps},
	{"fuzz corpus", "inputs that a fuzzer found worth keeping are tried at every run of the tests, and are where the next search begins: docs/security.md says how to search", fuzzCorpus},
	{"libraries", "each library is spoken to in one place, so that it can be replaced, audited and kept out of workflow code", libraries},
}

func TestSources(t *testing.T) {
	all := goSources(t)
	for _, rule := range sourceRules {
		t.Run(rule.name, func(t *testing.T) {
			var found []finding
			for _, s := range all {
				found = append(found, rule.check(s)...)
			}
			report(t, rule.reason, found)
		})
	}
}

func fuzzCorpus(s source) (found []finding) {
	for _, fn := range functions(s) {
		name := fn.Name.Name
		if !strings.HasPrefix(name, "Fuzz") || !strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		dir := path.Join(s.dir(), "testdata/fuzz", name)
		if kept, _ := filepath.Glob(filepath.Join("..", "..", dir, "*")); len(kept) == 0 { // the pattern is right
			found = append(found, finding{s.at(fn.Pos()), "nothing in " + dir})
		}
	}
	return found
}

func fileLength(s source) []finding {
	if n := s.fset.File(s.file.FileStart).LineCount(); n > maxFileLines {
		return []finding{{s.path, fmt.Sprintf("%d lines, %d is the most", n, maxFileLines)}}
	}
	return nil
}

func functionLength(s source) []finding {
	if s.isTest() {
		return nil
	}
	var found []finding
	for _, fn := range functions(s) {
		if n := linesOfCode(s, fn); n > maxFunctionLines {
			found = append(found, finding{s.at(fn.Pos()), fmt.Sprintf("%s has %d lines, %d is the most", fn.Name.Name, n, maxFunctionLines)})
		}
	}
	return found
}

func functions(s source) []*ast.FuncDecl {
	var all []*ast.FuncDecl
	for _, decl := range s.file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
			all = append(all, fn)
		}
	}
	return all
}

// linesOfCode counts the lines of fn without those inside table data: composite
// literals that hold no function.
func linesOfCode(s source, fn *ast.FuncDecl) int {
	n := s.line(fn.End()) - s.line(fn.Pos()) + 1
	ast.Inspect(fn.Body, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if !ok || holdsFunction(lit) {
			return true
		}
		if inside := s.line(lit.Rbrace) - s.line(lit.Lbrace) - 1; inside > 0 {
			n -= inside
		}
		return false
	})
	return n
}

func holdsFunction(lit *ast.CompositeLit) bool {
	found := false
	ast.Inspect(lit, func(node ast.Node) bool {
		if _, ok := node.(*ast.FuncLit); ok {
			found = true
		}
		return !found
	})
	return found
}

func mainLength(s source) []finding {
	if s.file.Name.Name != "main" || s.isTest() {
		return nil
	}
	for _, fn := range functions(s) {
		if fn.Name.Name != "main" || fn.Recv != nil {
			continue
		}
		if n := s.line(fn.End()) - s.line(fn.Pos()) + 1; n > maxMainLines {
			return []finding{{s.at(fn.Pos()), fmt.Sprintf("main has %d lines, %d is the most", n, maxMainLines)}}
		}
	}
	return nil
}

var emptyNames = []string{
	"util", "utils", "common", "shared", "core", "base", "types", "model", "models", "service", "services",
	"manager", "managers", "helper", "helpers", "engine", "handler", "handlers", "lib", "misc", "interfaces",
}

func packageName(s source) []finding {
	name := strings.TrimSuffix(s.file.Name.Name, "_test")
	for _, word := range []string{name, path.Base(s.dir())} {
		if slices.Contains(emptyNames, word) {
			return []finding{{s.at(s.file.Name.Pos()), fmt.Sprintf("package or folder %q", word)}}
		}
	}
	return nil
}

// wellKnown are methods whose meaning the language or the standard library fixes.
var wellKnown = []string{"Error", "Unwrap", "Is", "As", "String", "MarshalJSON", "UnmarshalJSON", "Len", "Less", "Swap", "Read", "Write", "Close", "ServeHTTP"}

func exportedDoc(s source) []finding {
	inside := slices.Contains(strings.Split(s.dir(), "/"), "internal")
	if inside || s.file.Name.Name == "main" || strings.HasSuffix(s.path, "_test.go") {
		return nil
	}
	var found []finding
	missing := func(name *ast.Ident) {
		found = append(found, finding{s.at(name.Pos()), name.Name + " has no comment"})
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && (d.Recv == nil || !slices.Contains(wellKnown, d.Name.Name)) {
				missing(d.Name)
			}
		case *ast.GenDecl:
			for _, name := range undocumented(d) {
				missing(name)
			}
		}
	}
	return found
}

func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	exported := false
	ast.Inspect(fn.Recv.List[0].Type, func(node ast.Node) bool {
		if id, ok := node.(*ast.Ident); ok {
			exported = id.IsExported()
			return false
		}
		return true
	})
	return exported
}

// undocumented lists the exported names of a declaration that neither they nor
// their group explain.
func undocumented(d *ast.GenDecl) []*ast.Ident {
	var names []*ast.Ident
	for _, spec := range d.Specs {
		switch sp := spec.(type) {
		case *ast.TypeSpec:
			if sp.Name.IsExported() && d.Doc == nil && sp.Doc == nil {
				names = append(names, sp.Name)
			}
		case *ast.ValueSpec:
			if d.Doc != nil || sp.Doc != nil || sp.Comment != nil {
				continue
			}
			for _, name := range sp.Names {
				if name.IsExported() {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// deterministicFolders is where workflow code may be, and where make workflowcheck
// looks. internal/telemetry is among them because Temporal's tracing interceptor is
// one piece for both halves.
var deterministicFolders = []string{"workflows", "wflotest", "internal/step", "internal/telemetry", "examples"}

func workflowContext(s source) []finding {
	name := s.importName("go.temporal.io/sdk/workflow")
	if name == "" || s.isTest() || withinAny(s.dir(), deterministicFolders) {
		return nil
	}
	var found []finding
	ast.Inspect(s.file, func(node ast.Node) bool {
		// Registration needs a forward of one line, which decides nothing.
		if body := bodyOf(node); body != nil && len(body.List) == 1 {
			return false
		}
		fn, ok := node.(*ast.FuncType)
		if !ok || fn.Params == nil {
			return true
		}
		for _, param := range fn.Params.List {
			if isSelector(param.Type, name, "Context") {
				found = append(found, finding{s.at(fn.Pos()), "takes a workflow.Context"})
			}
		}
		return true
	})
	return found
}

func bodyOf(node ast.Node) *ast.BlockStmt {
	switch fn := node.(type) {
	case *ast.FuncDecl:
		return fn.Body
	case *ast.FuncLit:
		return fn.Body
	}
	return nil
}

func within(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

func withinAny(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(dir, f) })
}

func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == pkg
}

func noSkips(s source) []finding {
	pkg := s.importName("testing")
	if pkg == "" {
		return nil
	}
	// rapid's t.Skip discards an input and not a test, so only names that hold a
	// testing.T, B, F or TB count.
	handles := map[string]bool{}
	ast.Inspect(s.file, func(node ast.Node) bool {
		if field, ok := node.(*ast.Field); ok && isHandle(field.Type, pkg) {
			for _, name := range field.Names {
				handles[name.Name] = true
			}
		}
		return true
	})
	var found []finding
	for _, call := range calls(s.file) {
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			continue
		}
		id, ok := sel.X.(*ast.Ident)
		skip := ok && handles[id.Name] && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name)
		if skip || isSelector(sel, pkg, "Short") {
			found = append(found, finding{s.at(call.Pos()), "skips a test"})
		}
	}
	return found
}

func isHandle(e ast.Expr, pkg string) bool {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	return slices.ContainsFunc([]string{"T", "B", "F", "TB"}, func(name string) bool { return isSelector(e, pkg, name) })
}

func noSleeps(s source) []finding {
	name := s.importName("time")
	if name == "" || !s.forTests() {
		return nil
	}
	var found []finding
	for _, call := range calls(s.file) {
		if isSelector(call.Fun, name, "Sleep") {
			found = append(found, finding{s.at(call.Pos()), "sleeps in a test"})
		}
	}
	return found
}

func calls(node ast.Node) []*ast.CallExpr {
	var all []*ast.CallExpr
	ast.Inspect(node, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			all = append(all, call)
		}
		return true
	})
	return all
}

// TestPackageComments wants one comment per package, in any of its files.
func TestPackageComments(t *testing.T) {
	report(t, "the package comment is what a newcomer reads first: what it is, the two things they will call, what it refuses to do",
		packageComments(goSources(t)))
}

func packageComments(all []source) []finding {
	documented := map[string]bool{}
	for _, s := range all {
		if !strings.HasSuffix(s.path, "_test.go") {
			documented[s.dir()] = documented[s.dir()] || s.file.Doc != nil
		}
	}
	var found []finding
	for dir, ok := range documented {
		if !ok {
			found = append(found, finding{dir, "has no package comment"})
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.where, b.where) })
	return found
}

// TestFunctionLengths holds the shape of the whole, where functionLength holds
// the extremes.
func TestFunctionLengths(t *testing.T) {
	var lengths []int
	for _, s := range goSources(t) {
		if s.isTest() {
			continue
		}
		for _, fn := range functions(s) {
			lengths = append(lengths, linesOfCode(s, fn))
		}
	}
	if got := percentile90(lengths); got > p90FunctionLines {
		t.Errorf("nine of ten functions should have at most %d lines; the P90 of %d functions is %d\nwhy the rule: models that we admire lie between 23 and 45, projects that we do not at 55 and more",
			p90FunctionLines, len(lengths), got)
	}
}

func percentile90(lengths []int) int {
	if len(lengths) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(lengths))
	return sorted[(len(sorted)-1)*9/10]
}
