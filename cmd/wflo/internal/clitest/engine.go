package clitest

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// RemoveLabelled removes the containers and volumes with a label, as in
// "wflo.owner=me", from the engine, and returns when none is left. What a killed
// program began may still come into being, and others may be removing the same, so
// only an empty list counts.
func RemoveLabelled(t testing.TB, label string) {
	t.Helper()
	var err error
	defer func() {
		if err != nil {
			t.Logf("remove what has the label %s: %v", label, err)
		}
	}()
	Await(t, "an engine without anything of "+label, func() bool {
		var containers, volumes int
		containers, err = removeFound(label, "ps -a -q", "rm -f -v")
		if err == nil {
			volumes, err = removeFound(label, "volume ls -q", "volume rm -f")
		}
		return err == nil && containers+volumes == 0
	})
}

// removeFound removes what a list of the engine shows, and returns how much that was.
func removeFound(label, list, remove string) (int, error) {
	found, err := docker(append(strings.Fields(list), "--filter", "label="+label)...)
	names := strings.Fields(found)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	_, err = docker(append(strings.Fields(remove), names...)...)
	return len(names), err
}

func docker(args ...string) (string, error) {
	out, err := exec.Command("docker", args...).CombinedOutput() //nolint:gosec // the words are the tests'
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
