//go:build apiserver

package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramsTakeIt has the real program read each configuration file that the chart
// makes, and know each of its own commands that the chart calls. It needs bin/wflo.
func TestProgramsTakeIt(t *testing.T) {
	wflo, err := filepath.Abs("../../bin/wflo")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets(t) {
		all := render(t, set)
		dir := t.TempDir()
		for _, o := range all {
			if o.id() != "ConfigMap wflo-config" {
				continue
			}
			text, _, _ := nestedText(o, "data", "wflo.yaml")
			// Only the place of the policies is another one here.
			text = strings.ReplaceAll(text, "/etc/wflo/", dir+"/")
			write(t, filepath.Join(dir, "wflo.yaml"), []byte(text))
			policies, _, _ := nestedText(o, "data", "policies.yaml")
			write(t, filepath.Join(dir, "policies.yaml"), []byte(policies))
		}
		cmd := exec.CommandContext(t.Context(), wflo, "doctor", "--check", "config,policies", "--output", "json")
		cmd.Env = append(os.Environ(), "WFLO_CONFIG="+filepath.Join(dir, "wflo.yaml"), "WFLO_DATA_DIR="+dir, "WFLO_BLOB_KEYS=a:"+strings.Repeat("A", 43)+"=")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), `"ok"`) {
			t.Errorf("%s: %v\n%s", set, err, out)
		}
		for id, pod := range pods(t, all) {
			for _, c := range containers(pod.Spec) {
				line := append(append([]string{}, c.Command...), c.Args...)
				if id == sandboxHosts || len(line) == 0 || line[0] != "/usr/local/bin/wflo" {
					continue
				}
				if out, err := exec.CommandContext(t.Context(), wflo, append(line[1:], "--help")...).CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v: %v\n%s", set, id, line, err, out)
				}
			}
		}
	}
}
