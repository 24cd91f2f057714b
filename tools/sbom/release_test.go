package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// bill is a bill of materials of this very test program, by the tool itself.
func bill(t *testing.T, path string) {
	t.Helper()
	text, err := ownBill()
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, text)
}

var ownBill = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "tool", "cyclonedx-gomod", "bin", "-json", "-noserial", "-notimestamp", "-std", "-output-version", "1.6", "-version", "v1.2.3", self).Output()
	return string(out), err
})

// released is a release with a bill of materials and an archive.
func released(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bill(t, filepath.Join(dir, "wflo.cdx.json"))
	put(t, filepath.Join(dir, "wflo.tar.gz"), "archive")
	b := build{version: "v1.2.3", commit: strings.Repeat("a", 40), builder: "https://example.com/builder", targets: "linux/amd64", programs: "wflo"}
	if err := b.write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRelease(t *testing.T) {
	dir := released(t)
	if err := check(dir); err != nil {
		t.Fatal(err)
	}
	// coreutils and in-toto's own library read what we wrote.
	sums := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", sumsFile)
	sums.Dir = dir
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, provenanceFile))
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(text, &s); err != nil {
		t.Fatalf("in-toto reads it as: %v", err)
	}
	if err := s.Validate(); err != nil {
		t.Errorf("in-toto: %v", err)
	}
	again := t.TempDir()
	for _, name := range []string{"wflo.cdx.json", "wflo.tar.gz"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(again, name), string(data))
	}
	b := build{version: "v1.2.3", commit: strings.Repeat("a", 40), builder: "https://example.com/builder", targets: "linux/amd64", programs: "wflo"}
	if err := b.write(again); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(filepath.Join(again, provenanceFile)); err != nil || string(second) != string(text) {
		t.Errorf("the same files have another statement: %v", err)
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(dir string)
		want  string
	}{
		{"a changed file", func(dir string) { put(t, filepath.Join(dir, "wflo.tar.gz"), "another") }, "was changed"},
		{"one more file", func(dir string) { put(t, filepath.Join(dir, "more.tar.gz"), "more") }, "is not in SHA256SUMS"},
		{"a file less", func(dir string) { remove(t, filepath.Join(dir, "wflo.tar.gz")) }, "lists 2 files"},
		{"no sums", func(dir string) { remove(t, filepath.Join(dir, sumsFile)) }, "read sums"},
		{"a name with a path", func(dir string) { replace(t, filepath.Join(dir, sumsFile), "wflo.tar.gz", "../wflo.tar.gz") }, "none of sha256sum"},
		{"no statement", func(dir string) { remove(t, filepath.Join(dir, provenanceFile)) }, "read statement"},
		{"a statement about other files", func(dir string) { replace(t, filepath.Join(dir, provenanceFile), "wflo.tar.gz", "wflo.zip") }, "about another"},
		{"a statement of another kind", func(dir string) {
			replace(t, filepath.Join(dir, provenanceFile), "slsa.dev/provenance/v1", "slsa.dev/provenance/v0.1")
		}, "about https"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := released(t)
			c.spoil(dir)
			if err := check(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestBills(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.cdx.json")
	bill(t, path)
	if err := checkBill(path); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"bomFormat": "CycloneDX"`, `"bomFormat": "SPDX"`, "is not a bill"},
		{`"name": "std"`, `"name": "none"`, "which Go"},
		{"pkg:golang/github.com/", "pkg:npm/x", "package URL"},
	} {
		other := filepath.Join(t.TempDir(), "b.cdx.json")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put(t, other, string(text))
		replace(t, other, c.from, c.to)
		if err := checkBill(other); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.to, err, c.want)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), from) {
		t.Fatalf("%s has no %q: %v", path, from, err)
	}
	put(t, path, strings.ReplaceAll(string(text), from, to))
}
