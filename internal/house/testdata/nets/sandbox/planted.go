// Package sandbox runs nothing, and yet knows Docker.
package sandbox

import _ "github.com/docker/docker/client" // want depguard

// Spec is what to run.
type Spec struct{ Image string }
