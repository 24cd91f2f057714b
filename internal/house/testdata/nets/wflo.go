// Package wflo is a house that breaks rules on purpose. A line that a linter must
// report says so after "want"; every other line must pass.
package wflo

import (
	"errors"
	"math/rand" // want depguard
	"os"
)

// ErrGone is a sentinel to compare with.
var ErrGone = errors.New("gone")

func init() { // want gochecknoinits
	os.Remove("x") // want errcheck
}

// Draw compares an error that may be wrapped.
func Draw(err error) int {
	if err == ErrGone { // want errorlint
		return 0
	}
	return rand.Int() // want gosec
}

// Swallow reports success for a failure.
func Swallow(name string) error {
	if _, err := os.Stat(name); err != nil {
		return nil // want nilerr
	}
	return nil
}

func unused() {} // want unused
