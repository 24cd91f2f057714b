// Package scaffold writes a new project: an agent with a budget, a sandboxed tool, an
// approval gate and an undo, its test, a worker and a starter. [Write] is all of it.
package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

//go:embed project
var project embed.FS

// Library is the module that projects are built on.
const Library = "github.com/wflo-ai/wflo-go"

// suffix keeps the files of projects out of this module's own build.
const suffix = ".txt"

// Config says what is written.
type Config struct {
	// Dir is the directory of the project, which must not have anything in it. Required.
	Dir string
	// Name is the project's, and the name of its task queue: letters, digits, dots and
	// hyphens. Empty means the last part of Dir.
	Name string
	// Module is its module path; empty means Name.
	Module string
	// Source is the source tree of wflo that the project is built against, which go.mod
	// then names in a replace directive; empty means a released version.
	Source string
	// Version is that released version, such as v1.2.3. Required without Source.
	Version string
}

var (
	nameForm   = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,62}$`)
	moduleForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._~/-]*$`)
)

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, wflo.Invalid("name", "is empty", "such as: wflo init invoices")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, fmt.Errorf("directory of the project: %w", err)
	}
	c.Dir = dir
	if c.Name == "" {
		c.Name = strings.ToLower(filepath.Base(dir))
	}
	if !nameForm.MatchString(c.Name) {
		return c, wflo.Invalid("name", fmt.Sprintf("is %q", c.Name), "use small letters, digits, dots and hyphens, beginning with a letter")
	}
	if c.Module == "" {
		c.Module = c.Name
	}
	if !moduleForm.MatchString(c.Module) || strings.Contains(c.Module, "//") || strings.HasSuffix(c.Module, "/") {
		return c, wflo.Invalid("--module", fmt.Sprintf("is %q", c.Module), "such as example.com/you/invoices")
	}
	return c, nil
}

// Write makes the project and gives the files that it wrote, relative to the directory.
// A directory that has something in it is refused, and stays as it is.
func Write(c Config) ([]string, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(c.Dir)
	switch {
	case err == nil && len(entries) > 0:
		return nil, wflo.Errorf(wflo.CodeInvalid, "name another directory, or remove what is in it", "%s is not empty", c.Dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("directory of the project: %w", err)
	}
	mod, sum, err := c.goMod()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"go.mod": mod}
	if sum != nil {
		files["go.sum"] = sum
	}
	words := strings.NewReplacer("__NAME__", c.Name, "__MODULE__", c.Module)
	names := []string{}
	err = fs.WalkDir(project, "project", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := project.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, "project/"), suffix)
		if name == "gitignore" {
			name = ".gitignore"
		}
		files[name] = []byte(words.Replace(string(text)))
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the scaffold: %w", err)
	}
	for name, text := range files {
		if err := writeFile(filepath.Join(c.Dir, filepath.FromSlash(name)), text); err != nil {
			return nil, err
		}
	}
	return append([]string{"go.mod"}, names...), nil
}

func writeFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // source code is for others to read
		return fmt.Errorf("make the project: %w", err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil { //nolint:gosec // source code is for others to read
		return fmt.Errorf("make the project: %w", err)
	}
	return nil
}

// goMod is the project's go.mod, and its go.sum where that is known. Against a source
// tree, it takes over what that tree requires, with its sums, so that nothing has to be
// asked of a network; against a released version, `go mod tidy` fills it in.
func (c Config) goMod() (mod, sum []byte, err error) {
	if c.Source == "" {
		if c.Version == "" {
			return nil, nil, wflo.Errorf(wflo.CodeInvalid, "name its source tree with --source DIR", "this wflo was not built from a release")
		}
		return fmt.Appendf(nil, "module %s\n\ngo 1.26.0\n\nrequire %s %s\n", c.Module, Library, c.Version), nil, nil
	}
	source, err := filepath.Abs(c.Source)
	if err != nil {
		return nil, nil, fmt.Errorf("source tree: %w", err)
	}
	its, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil || !isLibrary(its) {
		return nil, nil, wflo.Errorf(wflo.CodeInvalid, "name the directory that has its go.mod", "%s is not the source tree of %s", source, Library)
	}
	if sum, err = os.ReadFile(filepath.Join(source, "go.sum")); err != nil {
		return nil, nil, fmt.Errorf("source tree: %w", err)
	}
	_, rest, _ := strings.Cut(string(its), "\n")
	text := "module " + c.Module + "\n" + rest +
		"\nrequire " + Library + " v0.0.0\n\nreplace " + Library + " => " + quoted(source) + "\n"
	return []byte(text), sum, nil
}

// quoted is a path as go.mod takes it.
func quoted(path string) string {
	if strings.ContainsAny(path, " \"'`()[]{},") {
		return fmt.Sprintf("%q", path)
	}
	return path
}

func isLibrary(mod []byte) bool {
	line, _, _ := strings.Cut(string(mod), "\n")
	return strings.TrimSpace(line) == "module "+Library
}

// FindSource gives the source tree of wflo that a directory is in; empty for none.
func FindSource(dir string) string {
	dir, err := filepath.Abs(dir)
	for err == nil {
		if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && isLibrary(mod) {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return ""
}
