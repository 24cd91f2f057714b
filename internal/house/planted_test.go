package house

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plants holds, for every source rule, one file that breaks it and one near miss
// that does not.
var plants = map[string]struct{ bad, good plant }{
	"file length": {
		bad:  plant{"policy/rules.go", "package policy\n" + strings.Repeat("//\n", maxFileLines)},
		good: plant{"policy/rules.go", "package policy\n" + strings.Repeat("//\n", maxFileLines-1)},
	},
	"function length": {
		bad: plant{"policy/rules.go", "package policy\nfunc f() {\n" + strings.Repeat("\tg()\n", maxFunctionLines) + "}\n"},
		// A table is read, not followed.
		good: plant{"policy/rules.go", "package policy\nvar x = 1\nfunc f() []int {\n\treturn []int{\n" + strings.Repeat("\t\t1,\n", maxFunctionLines) + "\t}\n}\n"},
	},
	"main length": {
		bad:  plant{"worker/main.go", "package main\nfunc main() {\n" + strings.Repeat("\tg()\n", maxMainLines) + "}\n"},
		good: plant{"worker/main.go", "package main\nfunc run() {\n" + strings.Repeat("\tg()\n", maxMainLines) + "}\n"},
	},
	"package name": {
		bad:  plant{"internal/utils/x.go", "package utils\n"},
		good: plant{"internal/postgres/x.go", "package postgres\n"},
	},
	"exported doc": {
		bad:  plant{"policy/rules.go", "package policy\nfunc Judge() {}\n"},
		good: plant{"policy/rules.go", "package policy\n// The verdicts.\nconst (\n\tAllow = 1\n)\n// T is a t.\ntype T struct{}\nfunc (T) String() string { return \"\" }\ntype u struct{}\nfunc (u) Do() {}\n"},
	},
	"workflow context": {
		bad:  plant{"activities/x.go", "package activities\nimport wf \"go.temporal.io/sdk/workflow\"\nvar f = func(ctx wf.Context) { g(); g() }\n"},
		good: plant{"plugin/x.go", "package plugin\nimport \"go.temporal.io/sdk/workflow\"\nfunc f(ctx workflow.Context) error { return g(ctx) }\n"},
	},
	"no skips": {
		bad:  plant{"policy/x_test.go", "package policy\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Skip(\"no docker\") }\n"},
		good: plant{"policy/x_test.go", "package policy\nimport \"testing\"\nfunc TestX(t *testing.T) { dec.Skip() }\n"},
	},
	"no sleeps": {
		bad:  plant{"policy/x_test.go", "package policy\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"},
		good: plant{"policy/x.go", "package policy\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"},
	},
	"fuzz corpus": {
		bad:  plant{"policy/x_test.go", "package policy\nimport \"testing\"\nfunc FuzzNothing(f *testing.F) {}\n"},
		good: plant{"x_test.go", "package wflo\nimport \"testing\"\nfunc FuzzCanonical(f *testing.F) {}\n"},
	},
	"libraries": {
		bad:  plant{"plugin/x.go", "package plugin\nimport _ \"github.com/jackc/pgx/v5/pgxpool\"\n"},
		good: plant{"internal/postgres/x.go", "package postgres\nimport _ \"github.com/jackc/pgx/v5/pgxpool\"\n"},
	},
}

type plant struct{ path, text string }

func (p plant) parse(t *testing.T) source {
	t.Helper()
	s, err := parse(p.path, p.text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPlantedSources(t *testing.T) {
	for _, rule := range sourceRules {
		t.Run(rule.name, func(t *testing.T) {
			p, ok := plants[rule.name]
			if !ok {
				t.Fatal("no violation is planted for this rule; add one to plants")
			}
			if found := rule.check(p.bad.parse(t)); len(found) != 1 {
				t.Errorf("the planted violation gave %v, want one finding", found)
			}
			if found := rule.check(p.good.parse(t)); len(found) != 0 {
				t.Errorf("the near miss gave %v, want none", found)
			}
		})
	}
}

func TestPlantedPackageComments(t *testing.T) {
	all := []source{
		plant{"a/a.go", "// Package a has one.\npackage a\n"}.parse(t),
		plant{"a/b.go", "package a\n"}.parse(t),
		plant{"b/b.go", "package b\n"}.parse(t),
		plant{"b/b_test.go", "// A test's comment does not count.\npackage b\n"}.parse(t),
	}
	if found := packageComments(all); len(found) != 1 || found[0].where != "b" {
		t.Errorf("got %v, want a finding for b", found)
	}
}

func TestPlantedDependency(t *testing.T) {
	s := plant{"plugin/x.go", "package plugin\nimport (\n\t_ \"fmt\"\n\t_ \"github.com/stretchr/testify/require\"\n\t_ \"go.temporal.io/sdk/client\"\n)\n"}.parse(t)
	used, unknown := directLibraries([]source{s})
	if len(unknown) != 1 || !strings.Contains(unknown[0].what, "testify") || !used["go.temporal.io/sdk"] {
		t.Errorf("used %v, unknown %v", used, unknown)
	}
}

func TestPlantedScriptSkips(t *testing.T) {
	script := "exec wflo doctor\n[!exec:docker] skip 'no docker'\n-- skip.txt --\nskip\n"
	if found := scriptSkips("x.txtar", script); len(found) != 1 {
		t.Errorf("got %v, want one finding", found)
	}
}

func TestPlantedMachinePaths(t *testing.T) {
	marks := machineMarks("/depot/sources/wflo")
	for text, want := range map[string]int{
		"cd /depot/sources/wflo/cmd":         2, // the checkout, and the folder above it
		"cp /depot/other/file .":             1,
		"/Use" + "rs/alex/notes":             1,
		"https://example.com/depot/manual":   0,
		"deploy/depot/values.yaml":           0,
		"/workspace/in.csv and /etc/ssl":     0,
		"mkdir -p ~/go/src /home/wflo/.wflo": 0,
	} {
		if found := machinePaths("x", text, marks); len(found) != want {
			t.Errorf("%q gave %v, want %d", text, found, want)
		}
	}
	if marks := machineMarks("/home/alex/wflo"); len(marks) != 1 {
		t.Errorf("a checkout under /home gave %v, want the checkout only", marks)
	}
}

func TestPercentile(t *testing.T) {
	if got := percentile90([]int{1, 2, 3, 4, 5, 6, 7, 8, 99, 100}); got != 99 {
		t.Errorf("got %d, want 99", got)
	}
}

// TestPlantedWalls lays files with forbidden imports over the real tree and runs
// the real rules.
func TestPlantedWalls(t *testing.T) {
	imports := map[string]string{
		".":             "go.temporal.io/sdk/client",
		"pricing":       modulePath + "/sandbox",
		"sandbox":       "github.com/docker/docker/client",
		"internal/step": "modernc.org/sqlite",
		"activities":    "github.com/jackc/pgx/v5",
		"workflows":     modulePath + "/pricing",
	}
	want := map[string][]string{
		".":             {"go.temporal.io/sdk/client"},
		"pricing":       {modulePath + "/sandbox"},
		"sandbox":       {"github.com/docker/docker/client"},
		"internal/step": {"modernc.org/sqlite"},
		"activities":    {"github.com/jackc/pgx/v5"},
		// Directly, and through what it may import.
		"workflows": {modulePath + "/pricing", "modernc.org/sqlite", "github.com/docker/docker/client"},
	}
	got := map[string]string{}
	for _, f := range brokenWalls(listPackages(t, overlay(t, imports))) {
		got[f.where] += f.what + "\n"
	}
	for folder, paths := range want {
		for _, p := range paths {
			if !strings.Contains(got[folder], "must not reach "+p+" ") {
				t.Errorf("%s importing %s was not caught; its findings: %q", folder, p, got[folder])
			}
		}
	}
}

// overlay writes a file for go list's -overlay that adds one import per folder.
func overlay(t *testing.T, imports map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for folder, importPath := range imports {
		name := filepath.Base(folder)
		if folder == "." {
			name = "wflo"
		}
		file := filepath.Join(dir, name+".go")
		if err := os.WriteFile(file, []byte("package "+name+"\n\nimport _ \""+importPath+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root(t), folder, "zz_planted.go")] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
