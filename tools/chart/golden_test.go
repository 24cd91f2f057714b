package chart

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compares what each set of values gives, in few words, with what it gave
// before: objects, images, commands, variables and where they are from. Look at the
// difference, then write them anew with -update.
func TestGolden(t *testing.T) {
	for _, set := range sets(t) {
		path := filepath.Join("testdata/golden", set+".txt")
		got := inventory(t, render(t, set))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // for everybody to read
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
			t.Errorf("%s:\n%s", set, diff)
		}
	}
}

// inventory tells what was rendered, an object per line, with what its pods run.
func inventory(t *testing.T, all []object) string {
	t.Helper()
	templates := pods(t, all)
	var b strings.Builder
	for _, o := range all {
		fmt.Fprintln(&b, o.id())
		if o.GetKind() == "ConfigMap" && strings.HasSuffix(o.GetName(), "-config") {
			text, _, _ := nestedText(o, "data", "wflo.yaml")
			fmt.Fprintln(&b, "    "+strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "))
		}
		if o.GetKind() == "NetworkPolicy" {
			spec := into[networkingv1.NetworkPolicy](t, o).Spec
			fmt.Fprintf(&b, "    %d ways in, %d ways out\n", len(spec.Ingress), len(spec.Egress))
		}
		pod, runs := templates[o.id()]
		if !runs {
			continue
		}
		for _, c := range containers(pod.Spec) {
			fmt.Fprintf(&b, "    %s: %s %s\n", c.Name, c.Image, strings.Join(append(slices.Clone(c.Command), c.Args...), " "))
			for _, e := range c.Env {
				from := e.Value
				if e.ValueFrom != nil {
					from = "Secret " + e.ValueFrom.SecretKeyRef.Name + " " + e.ValueFrom.SecretKeyRef.Key
				}
				fmt.Fprintf(&b, "        %s = %s\n", e.Name, from)
			}
		}
	}
	return b.String()
}
