// Package secrets is where a worker finds the secrets that programs in sandboxes
// may be given: environment variables WFLO_SECRET_<NAME>, and the files of one
// directory. [New] makes a [Store], whose Secret method is that of
// sandbox.Secrets.
//
// A workflow that may name a secret may use it, so the store holds only what an
// operator put where nothing else is: it reads no other variable and no file
// outside the directory. It refuses names that could be a path, values that
// cannot be a variable's, and files that anybody on the host may write. Values
// are in no error, and the package logs nothing.
package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Prefix is what the names of variables begin with.
const Prefix = "WFLO_SECRET_"

// MaxValue is the longest value, in bytes: the kernel takes no longer variable.
const MaxValue = 128<<10 - 256

// Config says where secrets are. The zero value reads variables only.
type Config struct {
	// Dir holds one file per secret, named like it. A file stands above the
	// variable of the same name, and is read anew each time, so that a secret
	// can be replaced while the worker runs. Empty means no files.
	Dir string
	// Environ is the environment, as NAME=VALUE; nil means os.Environ.
	Environ func() []string
}

// Store finds secrets. Its methods may be called at the same time.
type Store struct {
	root *os.Root
	vars map[string]string
}

// New reads the variables and opens the directory. A directory that cannot be
// opened and a variable whose name is none are an *wflo.Error with CodeInvalid.
func New(c Config) (*Store, error) {
	environ := c.Environ
	if environ == nil {
		environ = os.Environ
	}
	s := &Store{vars: map[string]string{}}
	for _, pair := range environ() {
		name, value, _ := strings.Cut(pair, "=")
		if name, ok := strings.CutPrefix(name, Prefix); ok {
			if err := validName(name); err != nil {
				return nil, wflo.Invalid(fmt.Sprintf("variable %.80q", Prefix+name), "names no secret", "use letters, digits, _, - and ., beginning with a letter or digit")
			}
			s.vars[name] = value
		}
	}
	if c.Dir == "" {
		return s, nil
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "set WFLO_SECRETS_DIR to a directory that the worker may read", "open secrets: %w", err)
	}
	s.root = root
	return s, nil
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// validName keeps out what could be a path or hide in a listing.
func validName(name string) error {
	if !namePattern.MatchString(name) {
		return wflo.Invalid(fmt.Sprintf("secret %.80q", name), "has no valid name", "use at most 128 letters, digits, _, - and ., beginning with a letter or digit")
	}
	return nil
}

// Secret gives the value of a secret. A name without a value is an *wflo.Error
// with CodeMissingKey, a name that is none and a value that cannot be used with
// CodeInvalid.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := validName(name); err != nil {
		return nil, err
	}
	value, err := s.file(name)
	if errors.Is(err, fs.ErrNotExist) {
		text, ok := s.vars[name]
		if !ok || text == "" {
			return nil, wflo.Errorf(wflo.CodeMissingKey, "set "+Prefix+name+", or put it into the file "+name+" of WFLO_SECRETS_DIR, where the worker runs",
				"secret %s is not configured on this worker", name)
		}
		return check(name, []byte(text))
	}
	if err != nil {
		return nil, err
	}
	return check(name, value)
}

// file reads a secret from the directory, without the line end that editors and
// echo leave. Links are followed within the directory, because that is how
// orchestrators replace files.
func (s *Store) file(name string) ([]byte, error) {
	if s.root == nil {
		return nil, fs.ErrNotExist
	}
	// A named pipe would hold up whoever opens it.
	about, err := s.root.Stat(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	if !about.Mode().IsRegular() || about.Mode().Perm()&0o002 != 0 {
		return nil, wflo.Invalid("file of secret "+name, "is not a regular file that only some may write", "make it one: chmod o-w")
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	defer f.Close()
	value, err := io.ReadAll(io.LimitReader(f, MaxValue+3))
	if err != nil {
		return nil, unreadable(name, err)
	}
	value = bytes.TrimSuffix(value, []byte("\n"))
	return bytes.TrimSuffix(value, []byte("\r")), nil
}

func unreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return wflo.Errorf(wflo.CodeMissingKey, "let the worker read the file "+name+" of WFLO_SECRETS_DIR", "secret %s cannot be read: %w", name, err)
}

func check(name string, value []byte) ([]byte, error) {
	switch {
	case len(value) == 0:
		return nil, wflo.Errorf(wflo.CodeMissingKey, "give it a value", "secret %s is empty", name)
	case len(value) > MaxValue:
		return nil, wflo.Invalid("secret "+name, fmt.Sprintf("has more than %d bytes", MaxValue), "keep what is long elsewhere, and a key to it here")
	case bytes.IndexByte(value, 0) >= 0:
		return nil, wflo.Invalid("secret "+name, "holds a NUL byte, which no variable can", "encode it, for instance as base64")
	}
	return value, nil
}

// Names lists the secrets that have a value, in order, for an operator.
func (s *Store) Names() ([]string, error) {
	var all []string
	for name := range s.vars {
		all = append(all, name)
	}
	if s.root != nil {
		entries, err := fs.ReadDir(s.root.FS(), ".")
		if err != nil {
			return nil, fmt.Errorf("list secrets: %w", err)
		}
		for _, e := range entries {
			if validName(e.Name()) == nil && !e.IsDir() {
				all = append(all, e.Name())
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Close releases the directory.
func (s *Store) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}
