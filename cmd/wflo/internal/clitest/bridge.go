package clitest

import (
	"crypto/rand"
	"os/exec"
	"strings"
	"testing"
)

// Bridge is a network bridge for one more dockerd, until the test ends. Without any, or
// with none, a dockerd takes away the one that the machine's own engine has.
func Bridge(t testing.TB) string {
	t.Helper()
	name := "wflo" + strings.ToLower(rand.Text()[:8])                                                       // names have at most 15 bytes
	if out, err := exec.Command("ip", "link", "add", name, "type", "bridge").CombinedOutput(); err != nil { //nolint:gosec // the name is ours
		t.Fatalf("a bridge for a second engine needs root, and Debian's iproute2: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "link", "delete", name).CombinedOutput(); err != nil { //nolint:gosec // the name is ours
			t.Errorf("take the bridge away: %v: %s", err, out)
		}
	})
	return name
}
