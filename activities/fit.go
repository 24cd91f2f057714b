package activities

import (
	"slices"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// fit takes artifacts out of a result until its JSON has at most limit bytes,
// largest first, and names them as missed: a program that ran must not count as
// failed because of what it left behind. What is too large without artifacts
// stays so.
func fit(res sandbox.Result, limit int) sandbox.Result {
	size, err := jsonSize(res)
	if err != nil || size <= limit || len(res.Artifacts) == 0 {
		return res
	}
	res.Artifacts, res.ArtifactsMissed = slices.Clone(res.Artifacts), slices.Clone(res.ArtifactsMissed)
	if len(res.ArtifactsMissed) == 0 {
		size += len(`,"artifacts_missed":[]`)
	}
	for size > limit && len(res.Artifacts) > 0 {
		largest := 0
		for i, a := range res.Artifacts {
			if len(a.Data) > len(res.Artifacts[largest].Data) {
				largest = i
			}
		}
		a := res.Artifacts[largest]
		// Of plain structs and strings; they can be encoded like the whole.
		whole, _ := jsonSize(a)
		name, _ := jsonSize(a.Name)
		size -= whole - name
		res.Artifacts = slices.Delete(res.Artifacts, largest, largest+1)
		res.ArtifactsMissed = append(res.ArtifactsMissed, a.Name)
	}
	slices.Sort(res.ArtifactsMissed)
	return res
}
