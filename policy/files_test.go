package policy_test

import (
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/policy"
)

// TestDeepFiles holds that a file cannot take the process down by its nesting: a
// stack that overflows cannot be recovered from.
func TestDeepFiles(t *testing.T) {
	for _, part := range []string{"- ", "? ", "!!a ", "&a ", "- - ? ", "[", "{a: ", "[{", "* ", "a: "} {
		for _, before := range []string{"default: allow\npolicies: ", "default: allow\npolicies:\n"} {
			source := before + strings.Repeat(part, (250<<10)/len(part))
			if _, err := policy.Load("p.yaml", []byte(source)); err == nil {
				t.Errorf("%q many times after %q loads", part, before)
			}
		}
	}
}

// TestLineEnds shows that a file saved on Windows is the same file.
func TestLineEnds(t *testing.T) {
	if a, b := load(t, full), load(t, strings.ReplaceAll(full, "\n", "\r\n")); a.Hash() != b.Hash() {
		t.Errorf("the hash is another one:\n%s\n%s", a.Source(), b.Source())
	}
}
