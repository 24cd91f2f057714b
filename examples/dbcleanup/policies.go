package dbcleanup

import (
	_ "embed"

	"github.com/wflo-ai/wflo-go/policy"
)

//go:embed policies.yaml
var policies []byte

// Policies are those of policies.yaml. A worker in production names the file in its
// configuration, so that it can be changed without a new program.
func Policies() (*policy.Set, error) { return policy.Load("policies.yaml", policies) }
