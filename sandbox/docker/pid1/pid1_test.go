package pid1

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// made are the folders whose Go files tools/pid1.sh compiles.
var made = []string{"cmd/wflo-runner", "internal/warden", "internal/frame", "sandbox"}

// sourceHash is what tools/pid1.sh writes into the binaries: the hash of a list
// of files and their hashes.
func sourceHash(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	var names []string
	for _, dir := range made {
		found, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %d files", dir, err, len(found))
		}
		for _, f := range found {
			if !strings.HasSuffix(f, "_test.go") {
				names = append(names, dir+"/"+filepath.Base(f))
			}
		}
	}
	slices.Sort(names)
	var list strings.Builder
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(content), name)
	}
	sum := sha256.Sum256([]byte(list.String()))
	return hex.EncodeToString(sum[:])
}

func TestBinariesAreNew(t *testing.T) {
	want := sourceHash(t)
	for _, arch := range []string{"amd64", "arm64"} {
		content, err := Binary(arch)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte(want)) {
			t.Errorf("the binary for %s was not built from these sources; run tools/pid1.sh", arch)
		}
		if !bytes.HasPrefix(content, []byte("\x7fELF")) {
			t.Errorf("the binary for %s is no program", arch)
		}
		if id := ID(arch); len(id) != 16 {
			t.Errorf("ID(%s) = %q, want 16 digits", arch, id)
		}
	}
	program := filepath.Join(t.TempDir(), "wflo-runner")
	content, err := Binary(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, content, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "-source").Output(); err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("wflo-runner -source printed %q, %v, want %s; run tools/pid1.sh", out, err, want)
	}
}

func TestArchitectures(t *testing.T) {
	if ID("x86_64") != ID("amd64") || ID("aarch64") != ID("arm64") || ID("amd64") == ID("arm64") {
		t.Error("an architecture's two names do not give the same binary, or two architectures do")
	}
	if content, err := Binary("riscv64"); err == nil || content != nil || ID("riscv64") != "" {
		t.Errorf("Binary(riscv64) = %d bytes, %v, want an error", len(content), err)
	}
}
