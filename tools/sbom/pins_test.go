package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

const root = "../.."

// TestWorkflows has the workflows be valid, by a linter that knows GitHub's syntax, and
// pin every action by its commit: a tag can be moved to other code.
func TestWorkflows(t *testing.T) {
	files := glob(t, ".github/workflows/*.yml")
	linter, err := actionlint.NewLinter(&bytes.Buffer{}, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := linter.LintFiles(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		t.Errorf("%s:%d: %s", e.Filepath, e.Line, e.Message)
	}
	uses := regexp.MustCompile(`(?m)^\s*(?:- )?uses: (.*)$`)
	for _, path := range files {
		for _, m := range uses.FindAllStringSubmatch(text(t, path), -1) {
			if !pinned.MatchString(m[1]) {
				t.Errorf("%s: %s is not pinned by a commit with its version beside it", path, m[1])
			}
		}
		if !strings.Contains(text(t, path), "\npermissions: {contents: read}\n") {
			t.Errorf("%s: the token may do more than read where no job says so", path)
		}
	}
}

var pinned = regexp.MustCompile(`^[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)

// floating is what gives something else tomorrow.
var floating = regexp.MustCompile(`@(?:latest|main|master|HEAD)\b|:latest\b|curl [^|\n]*\|\s*(?:ba)?sh|npx -y`)

// TestNothingFloats looks for versions that change by themselves in what builds, tests and
// releases us.
func TestNothingFloats(t *testing.T) {
	var files []string
	for _, pattern := range []string{"Makefile", ".ci/*", ".github/workflows/*.yml", "deploy/*.sh", "deploy/*/*.sh", "deploy/*/Dockerfile", "tools/*.sh", "docker-compose*.yml"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 10 {
		t.Fatalf("only %d files: %v", len(files), files)
	}
	for _, path := range files {
		for i, line := range strings.Split(text(t, path), "\n") {
			if code, _, _ := strings.Cut(line, "# "); floating.MatchString(code) {
				t.Errorf("%s:%d: %s", path, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// TestPinsAreUnderstood plants what the two tests above must find.
func TestPinsAreUnderstood(t *testing.T) {
	for line, want := range map[string]bool{
		"actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2": true,
		"actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd":          false,
		"actions/checkout@v6":                 false,
		"actions/checkout@de0fac2 # v6.0.2":   false,
		"docker://alpine:3.20":                false,
		"./.github/actions/own@main # v1.0.0": false,
	} {
		if pinned.MatchString(line) != want {
			t.Errorf("pinned %q is %v", line, !want)
		}
	}
	for line, want := range map[string]bool{
		"go install example.com/tool@latest":       true,
		"curl -sSf https://example.com/i.sh | sh":  true,
		"FROM alpine:latest":                       true,
		"uses: a/b@main":                           true,
		"go get example.com/tool@v1.2.3":           false,
		"curl -sSfo file https://example.com/file": false,
		"git diff main":                            false,
	} {
		if floating.MatchString(line) != want {
			t.Errorf("floating %q is %v", line, !want)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files
}

func text(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
