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
// parts, none included. Names that begin with a dot match like others. The error
// is path.ErrBadPattern; a pattern that [Spec.Validate] lets pass gives none.
func Match(pattern, name string) (bool, error) {
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"), path.Match)
}

// matchParts compares parts at most as often as pattern has parts times as often
// as name has: only the last "**" is ever tried again.
func matchParts(pattern, name []string, match func(pattern, name string) (bool, error)) (bool, error) {
	p, n, star, retry := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			star, retry = p, n
			p++
			continue
		case p < len(pattern):
			ok, err := match(pattern[p], name[n])
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
		case path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../"):
			bad = "is not clean"
		}
		for _, part := range strings.Split(p, "/") {
			if _, err := path.Match(part, ""); err != nil {
				bad = "has an open bracket or ends a part with a backslash"
			}
		}
		if bad != "" {
			return wflo.Invalid(field, fmt.Sprintf("%.80q %s", p, bad), "use a pattern such as out/*.csv or **/*.png below the workspace")
		}
	}
	return nil
}
