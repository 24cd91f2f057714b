//go:build nets

package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// These tests run the linters of `make check`, with the settings of the
// repository, over testdata/nets: a small house that breaks rules on purpose.

func TestPlantedLint(t *testing.T) {
	out := runNet(t, "golangci-lint", "run", "--config", filepath.Join(root(t), ".golangci.yml"),
		"--output.json.path=stdout", "--show-stats=false", "./...")
	var result struct {
		Issues []struct {
			FromLinter string
			Text       string
			Pos        struct {
				Filename string
				Line     int
			}
		}
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	wanted := wantedIssues(t)
	for _, issue := range result.Issues {
		name, ok := strings.CutPrefix(filepath.ToSlash(issue.Pos.Filename), "internal/house/testdata/nets/")
		if !ok {
			t.Fatalf("unexpected file %s", issue.Pos.Filename)
		}
		key := fmt.Sprintf("%s:%d %s", name, issue.Pos.Line, issue.FromLinter)
		if _, ok := wanted[key]; !ok {
			t.Errorf("%s: %s: nothing is planted there", key, issue.Text)
		}
		wanted[key] = true
	}
	for key, caught := range wanted {
		if !caught {
			t.Errorf("%s: planted and not caught: this net is down", key)
		}
	}
}

var wantComment = regexp.MustCompile(`// want (.+)$`)

// wantedIssues reads "file:line linter" from the comments of the planted files.
func wantedIssues(t *testing.T) map[string]bool {
	t.Helper()
	wanted := map[string]bool{}
	files, err := filepath.Glob("testdata/nets/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "testdata/nets/wflo.go") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(filepath.ToSlash(file), "testdata/nets/")
		for i, line := range strings.Split(string(text), "\n") {
			if want := wantComment.FindStringSubmatch(line); want != nil {
				for _, linter := range strings.Fields(want[1]) {
					wanted[fmt.Sprintf("%s:%d %s", name, i+1, linter)] = false
				}
			}
		}
	}
	if len(wanted) < 20 {
		t.Fatalf("only %d violations are planted", len(wanted))
	}
	return wanted
}

var nonDeterministic = regexp.MustCompile(`workflows\.(\w+) is non-deterministic, reason: (calls non-deterministic function \S+|iterates over map)`)

func TestPlantedNonDeterminism(t *testing.T) {
	out := runNet(t, "workflowcheck", "-config", filepath.Join(root(t), "workflowcheck.config.yaml"), "./workflows")
	var got []string
	for _, line := range strings.Split(string(out), "\n") {
		if !strings.HasPrefix(line, " ") {
			if m := nonDeterministic.FindStringSubmatch(line); m != nil {
				got = append(got, m[1]+": "+m[2])
			}
		}
	}
	for _, want := range []string{
		"Deep: calls non-deterministic function " + modulePath + "/workflows.deeper",
		"Order: iterates over map",
		"Random: calls non-deterministic function github.com/google/uuid.NewString",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s: planted and not caught: this net is down\ngot %q", want, got)
		}
	}
	if clean := slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "Clean") }); clean {
		t.Errorf("clean workflow code was reported: %q", got)
	}
}

// runNet runs a linter of ./bin over the planted house. It must find something.
func runNet(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	bin := filepath.Join(root(t), "bin", name)
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v; build it with: make bin/%s", err, name)
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = filepath.Join("testdata", "nets")
	// The planted house stands alone, and its libraries are stand-ins on disk.
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=off")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%s found nothing (%v)\n%s", name, err, stderr.String())
	}
	// workflowcheck reports on stderr.
	return append(stdout.Bytes(), bytes.TrimSpace(stderr.Bytes())...)
}
