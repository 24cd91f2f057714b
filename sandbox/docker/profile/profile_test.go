package profile

import (
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write seccomp.json anew from rules.go")

// TestSeccompIsRendered holds the file to the table that people review.
func TestSeccompIsRendered(t *testing.T) {
	want, err := render(groups)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("seccomp.json", want, 0o644); err != nil { //nolint:gosec // it is public
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(seccomp)); diff != "" {
		t.Errorf("seccomp.json is not what rules.go says; run go test ./sandbox/docker/profile -run TestSeccompIsRendered -update\n%s", diff)
	}
}

// TestGroups finds what a reviewer would overlook: a name that two groups
// decide differently, of which an engine would take either.
func TestGroups(t *testing.T) {
	conditional := map[string]bool{}
	for _, g := range groups {
		if g.reason == "" || len(g.names) == 0 || g.errno == eperm {
			t.Errorf("group %v has no reason, no names, or the default's answer", g.names)
		}
		if i := slices.IndexFunc(g.names, func(n string) bool {
			was, twice := conditional[n]
			return twice && (!was || g.args == nil)
		}); i >= 0 {
			t.Errorf("%s is decided twice", g.names[i])
		}
		if compact := slices.Compact(slices.Clone(g.names)); len(compact) != len(g.names) {
			t.Errorf("group %v names one twice", g.names)
		}
		for _, n := range g.names {
			conditional[n] = g.args != nil
		}
	}
}
