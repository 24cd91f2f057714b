package scaffold

import (
	"errors"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// The project builds against this tree, and its own tests pass, without a network.
func TestProjectWorks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "invoices")
	source := FindSource(".")
	if source == "" {
		t.Fatal("this test does not run in the source tree")
	}
	files, err := Write(Config{Dir: dir, Module: "example.com/invoices", Source: source})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 9 {
		t.Errorf("wrote %v", files)
	}
	for _, line := range []string{"go build ./...", "go vet ./...", "go test ./..."} {
		words := strings.Fields(line)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=off", "GOFLAGS=-trimpath")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "__") {
			t.Errorf("%s has a placeholder", path)
		}
		if strings.HasSuffix(path, ".go") {
			if formatted, err := format.Source(text); err != nil || string(formatted) != string(text) {
				t.Errorf("%s is not as gofmt has it: %v", path, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// What cannot be written is refused, and what is there stays.
func TestRefusals(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "x")
	for name, c := range map[string]Config{
		"full":          {Dir: full, Name: "a", Version: "v1.0.0"},
		"no directory":  {Version: "v1.0.0"},
		"odd name":      {Dir: empty, Name: "Invoices!", Version: "v1.0.0"},
		"odd module":    {Dir: empty, Module: "a//b", Version: "v1.0.0"},
		"no version":    {Dir: empty},
		"no source":     {Dir: empty, Source: full},
		"code in names": {Dir: empty, Name: `x";os.Exit(1)//`, Version: "v1.0.0"},
	} {
		if _, err := Write(c); !errors.Is(err, wflo.CodeInvalid.Sentinel()) || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(empty); err == nil {
		t.Error("a refused project left something behind")
	}
	if entries, err := os.ReadDir(full); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

// Of a release, go.mod names the version, and no path of a machine.
func TestReleased(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if _, err := Write(Config{Dir: dir, Version: "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || !strings.Contains(string(mod), "require "+Library+" v1.2.3\n") || strings.Contains(string(mod), "replace") {
		t.Errorf("%v\n%s", err, mod)
	}
}
