//go:build !unix

package telemetry

import "os"

// toggles gives a channel on which nothing comes: this system has no such signal.
func toggles() (signals <-chan os.Signal, release func()) { return nil, func() {} }
