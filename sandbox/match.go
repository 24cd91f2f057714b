package sandbox

import (
	"fmt"
	"path"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// MaxArtifacts is how many patterns a specification may list, and how many
// files they may bring.
const MaxArtifacts = 1000

// Match says whether a name of the workspace matches a pattern: as path.Match
// does, part by part between slashes, and a part "**" stands for any number of
// parts, none included. Names that begin with a dot match like others.
func Match(pattern, name string) (bool, error) {
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func matchParts(pattern, name []string) (bool, error) {
	// star remembers the last "**", so that a pattern with many of them takes
	// time in proportion to pattern times name and no more.
	p, n, star, retry := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			star, retry = p, n
			p++
			continue
		case p < len(pattern):
			ok, err := path.Match(pattern[p], name[n])
			if err != nil {
				return false, err
			}
			if ok {
				p, n = p+1, n+1
				continue
			}
		}
		if star < 0 {
			return false, nil
		}
		retry++
		p, n = star+1, retry
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern), nil
}

func validatePatterns(patterns []string) error {
	if len(patterns) > MaxArtifacts {
		return wflo.Invalid("spec.artifacts", fmt.Sprintf("are %d", len(patterns)), fmt.Sprintf("list at most %d patterns", MaxArtifacts))
	}
	for i, p := range patterns {
		field, bad := fmt.Sprintf("spec.artifacts[%d]", i), ""
		switch {
		case p == "" || len(p) > MaxName || strings.HasPrefix(p, "/") || !plain(p):
			bad = "is not a relative pattern"
		case path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
			bad = "is not clean"
		}
		for _, part := range strings.Split(p, "/") {
			if _, err := path.Match(part, ""); err != nil {
				bad = "has an open bracket"
			}
		}
		if bad != "" {
			return wflo.Invalid(field, fmt.Sprintf("%.80q %s", p, bad), "use a pattern such as out/*.csv or **/*.png below the workspace")
		}
	}
	return nil
}
