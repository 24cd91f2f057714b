package sandboxtest

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Secrets are what the Runner under test looks secrets up in: names to values.
type Secrets map[string]string

// The names of the secrets that the suites use.
const (
	secretToken = "sandboxtest-token" // one line of letters and digits
	secretKey   = "sandboxtest-key"   // several lines, such as a private key has
)

// NewSecrets makes the secrets that the suites ask for, with new values.
func NewSecrets() Secrets {
	lines := make([]string, 5)
	for i := range lines {
		lines[i] = rand.Text() + rand.Text()
	}
	return Secrets{secretToken: "tok_" + rand.Text(), secretKey: "-----BEGIN KEY-----\n" + strings.Join(lines, "\n") + "\n-----END KEY-----\n"}
}

// Secret gives a value. An unknown name has CodeMissingKey.
func (s Secrets) Secret(_ context.Context, name string) ([]byte, error) {
	value, ok := s[name]
	if !ok {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "use one of "+strings.Join(slices.Sorted(maps.Keys(s)), ", "), "there is no secret %q", name)
	}
	return []byte(value), nil
}
