package devworker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
)

// Two that may run at the same time never share an owner: each would remove the
// other's sandboxes. The same one, started again, must find its own.
func TestOwner(t *testing.T) {
	here := t.TempDir()
	t.Chdir(here)
	if err := os.MkdirAll(filepath.Join("a", "wflo"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", "link"); err != nil {
		t.Fatal(err)
	}
	kept := func(dir, address string) string {
		return owner(dev.Info{DataDir: dir, HostPort: address, Namespace: "default"})
	}
	passing := func(dir, address string) string {
		return owner(dev.Info{DataDir: dir, HostPort: address, Namespace: "default", Ephemeral: true})
	}
	base := kept(filepath.Join(here, "a", "wflo"), "127.0.0.1:1")
	for name, other := range map[string]string{
		"another port": kept(filepath.Join(here, "a", "wflo"), "127.0.0.1:2"), "relative": kept("a/wflo", "127.0.0.1:1"), "linked": kept("link/wflo", "127.0.0.1:1"),
	} {
		if other != base {
			t.Errorf("%s: another owner", name)
		}
	}
	seen := map[string]string{base: "base"}
	for name, other := range map[string]string{
		"another directory of the same name": kept(filepath.Join(here, "b", "wflo"), "127.0.0.1:1"),
		"in memory":                          passing(filepath.Join(here, "a", "wflo"), "127.0.0.1:1"),
		"in memory, another port":            passing(filepath.Join(here, "a", "wflo"), "127.0.0.1:2"),
	} {
		if twin, ok := seen[other]; ok {
			t.Errorf("%s: the owner of %s", name, twin)
		}
		seen[other] = name
	}
}
