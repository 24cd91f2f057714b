package secrets

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

var _ sandbox.Secrets = (*Store)(nil)

// value is what no error may hold.
const value = "hunter2-correct-horse"

func environ(pairs ...string) func() []string { return func() []string { return pairs } }

func put(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSecret(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	put(t, outside, "shadow", value, 0o600)
	put(t, dir, "plain", value, 0o600)
	put(t, dir, "line", value+"\n", 0o444)
	put(t, dir, "windows", value+"\r\n", 0o600)
	put(t, dir, "lines", value+"\n\n", 0o600)
	put(t, dir, "both", "file", 0o600)
	put(t, dir, "empty", "\n", 0o600)
	put(t, dir, "nul", value+"\x00", 0o600)
	put(t, dir, "long", strings.Repeat("x", MaxValue+1), 0o600)
	put(t, dir, "longest", strings.Repeat("x", MaxValue)+"\n", 0o600)
	put(t, dir, "anybody", value, 0o606)
	// As Kubernetes mounts a secret: name -> ..data/name, ..data -> ..v1.
	if err := os.Mkdir(filepath.Join(dir, "..v1"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "..v1"), "mounted", value, 0o644)
	for link, to := range map[string]string{"..data": "..v1", "mounted": "..data/mounted", "escape": filepath.Join(outside, "shadow"), "up": "../" + filepath.Base(outside) + "/shadow"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir, Environ: environ("WFLO_SECRET_token="+value, "WFLO_SECRET_both=variable", "WFLO_SECRET_none=", "AWS_SECRET_ACCESS_KEY="+value, "WFLO_SECRET_eq=a=b=c")})
	for name, want := range map[string]string{
		"plain": value, "line": value, "windows": value, "lines": value + "\n", "both": "file", "mounted": value, "token": value, "eq": "a=b=c",
		"longest": strings.Repeat("x", MaxValue),
	} {
		if got, err := s.Secret(t.Context(), name); err != nil || string(got) != want {
			t.Errorf("Secret(%q) has %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	for name, want := range map[string]wflo.Code{
		"nobody": wflo.CodeMissingKey, "none": wflo.CodeMissingKey, "empty": wflo.CodeMissingKey, "AWS_SECRET_ACCESS_KEY": wflo.CodeMissingKey,
		"nul": wflo.CodeInvalid, "long": wflo.CodeInvalid, "anybody": wflo.CodeInvalid, "pipe": wflo.CodeInvalid,
		"escape": wflo.CodeMissingKey, "up": wflo.CodeMissingKey,
		"": wflo.CodeInvalid, "..": wflo.CodeInvalid, "../x": wflo.CodeInvalid, "a/b": wflo.CodeInvalid, ".hidden": wflo.CodeInvalid,
		"..v1": wflo.CodeInvalid, "a\x00": wflo.CodeInvalid, strings.Repeat("a", 129): wflo.CodeInvalid,
	} {
		got, err := s.Secret(t.Context(), name)
		if wflo.CodeOf(err) != want || wflo.HintOf(err) == "" || got != nil {
			t.Errorf("Secret(%q) has %d bytes, %v; want %s with a hint", name, len(got), err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the value is in the error: %v", err)
		}
	}
	names, err := s.Names()
	want := []string{"anybody", "both", "empty", "eq", "escape", "line", "lines", "long", "longest", "mounted", "none", "nul", "pipe", "plain", "token", "up", "windows"}
	if diff := cmp.Diff(want, names); diff != "" || err != nil {
		t.Errorf("Names: %v, (-want +got):\n%s", err, diff)
	}
}

// TestReplacedWhileRunning is how secrets are rotated.
func TestReplacedWhileRunning(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Environ: environ()})
	for _, want := range []string{"one", "two"} {
		put(t, dir, "key", want, 0o600)
		if got, err := s.Secret(t.Context(), "key"); err != nil || string(got) != want {
			t.Errorf("Secret = %q, %v; want %q", got, err, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no directory": {Dir: filepath.Join(t.TempDir(), "missing"), Environ: environ()},
		"no name":      {Environ: environ("WFLO_SECRET_=" + value)},
		"odd name":     {Environ: environ("WFLO_SECRET_a/b=" + value)},
	} {
		_, err := New(c)
		if !errors.Is(err, wflo.ErrInvalid) || wflo.HintOf(err) == "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: New = %v", name, err)
		}
	}
	t.Setenv("WFLO_SECRET_from_here", value)
	s := open(t, Config{})
	if got, err := s.Secret(t.Context(), "from_here"); err != nil || string(got) != value {
		t.Errorf("the process's own environment: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Secret(ctx, "from_here"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
