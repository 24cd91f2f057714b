// Command wflo-runner is PID 1 of a sandbox. Containers start it without
// arguments; -source prints what it was built from. See package
// internal/warden, which is all of it.
package main

import (
	"os"

	"github.com/wflo-ai/wflo-go/internal/warden"
)

func main() { os.Exit(warden.Main(os.Args[1:])) }
