package policy_test

import (
	"errors"
	"testing"

	"github.com/wflo-ai/wflo-go/policy"
)

// FuzzReadFacts: a file of facts gives facts that can be judged, or mistakes with their
// places.
func FuzzReadFacts(f *testing.F) {
	set, err := policy.Load("p.yaml", []byte(full))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		"kind: activity\nactivity: Refund\nargs: [{n: 2}]\n", "[{kind: run}, {user: ann, tags: {a: b}}]", "- 1\n- null\n", "cost: 9223372036854775808\n",
		"a: &a [*a]\n", "? {a: b}\n: c\n", "\"\\ud800\": 1", "---\n---\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		all, err := policy.ReadFacts("facts.yaml", source)
		if err != nil {
			var problems policy.Problems
			if all != nil || !errors.As(err, &problems) || len(problems) == 0 {
				t.Errorf("%q gives %d facts and %v", source, len(all), err)
			}
			return
		}
		for _, facts := range all {
			set.Judge(facts)
		}
	})
}
