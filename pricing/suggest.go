package pricing

import (
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// unknown is the error for a model without a row, with the nearest names.
func (b *Book) unknown(provider, model string) error {
	asked := clip(model)
	if provider != "" && !strings.HasPrefix(model, provider+"/") {
		asked = clip(provider) + "/" + asked
	}
	hint := addRow
	if near := b.nearest(asked); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, ", ") + "? Otherwise " + addRow
	}
	return wflo.Errorf(wflo.CodeUnknownModel, hint, "model %q has no price", asked)
}

// nearest gives up to three names of the book that look like the one asked for,
// the nearest first. It runs only on the way to an error.
func (b *Book) nearest(asked string) []string {
	type candidate struct {
		text     string
		distance int
	}
	// A third of the letters may be wrong, and nothing shorter than that.
	most := max(2, len(asked)/3)
	var found []candidate
	for n := range b.names {
		if n.model == anyModel {
			continue
		}
		full := n.provider + "/" + n.model
		d := distance(asked, full)
		if !strings.Contains(asked, "/") {
			d = distance(asked, n.model)
		}
		if d <= most {
			found = append(found, candidate{full, d})
		}
	}
	slices.SortFunc(found, func(a, c candidate) int {
		if a.distance != c.distance {
			return a.distance - c.distance
		}
		return strings.Compare(a.text, c.text)
	})
	var out []string
	for _, c := range found[:min(3, len(found))] {
		out = append(out, c.text)
	}
	return out
}

// distance is the number of bytes to insert, delete or replace to turn a into b
// (Levenshtein).
func distance(a, b string) int {
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		diagonal := above[0]
		above[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = above[j+1]
			above[j+1] = min(cost, diagonal+1, above[j]+1)
		}
	}
	return above[len(b)]
}
