//go:build !linux

package warden

import (
	"fmt"
	"os"
)

// Main says that there are no sandboxes here.
func Main([]string) int { return Run(Options{}) }

// Run says that there are no sandboxes here, and returns 1.
func Run(Options) int {
	fmt.Fprintln(os.Stderr, "wflo-runner: runs inside Linux containers only; built from", source)
	return 1
}
