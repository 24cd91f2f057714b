package tree

import (
	"fmt"
	"path"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// exclusion are the patterns of Config.Exclude.
type exclusion []string

func newExclusion(patterns []string) (exclusion, error) {
	for i, p := range patterns {
		if _, err := path.Match(p, ""); err != nil || p == "" || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") {
			return nil, wflo.Invalid(fmt.Sprintf("workspace.exclude[%d]", i), fmt.Sprintf("is %q", p),
				"use a name or a path from the workspace, with *, ? or [a-z], such as node_modules or build/*.o")
		}
	}
	return patterns, nil
}

// matches says whether a pattern is for this name itself.
func (x exclusion) matches(name string) bool {
	for _, p := range x {
		what := name
		if !strings.Contains(p, "/") {
			what = path.Base(name)
		}
		if ok, err := path.Match(p, what); ok && err == nil {
			return true
		}
	}
	return false
}

// kept says which entries stay, and under which names: where a file is left out that
// has another name that is not, that name becomes the file's.
func (x exclusion) kept(entries []sandbox.TreeEntry) (nodes []node, from []int) {
	nodes, from = make([]node, 0, len(entries)), make([]int, 0, len(entries))
	out := map[string]int{}      // what is left out, to its place
	moved := map[string][]byte{} // files, to their new names
	for i := range entries {
		e, at := entries[i], i
		name := string(e.Name)
		if _, above := out[path.Dir(name)]; above || x.matches(name) {
			out[name] = i
			continue
		}
		if e.Kind == sandbox.TreeLink {
			if to, ok := moved[string(e.Target)]; ok {
				e.Target = to
			} else if file, ok := out[string(e.Target)]; ok {
				moved[string(e.Target)] = e.Name
				e, at = entries[file], file
				e.Name = entries[i].Name
			}
		}
		nodes, from = append(nodes, node{TreeEntry: e}), append(from, at)
	}
	return nodes, from
}

// without gives the nodes that no pattern leaves out.
func (x exclusion) without(nodes []node) []node {
	if len(x) == 0 {
		return nodes
	}
	var kept []node
	out := map[string]bool{}
	for i := range nodes {
		name := string(nodes[i].Name)
		if out[path.Dir(name)] || x.matches(name) {
			out[name] = true
			continue
		}
		kept = append(kept, nodes[i])
	}
	return kept
}
