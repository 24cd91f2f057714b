//go:build unix

package telemetry

import (
	"os"
	"os/signal"
	"syscall"
)

// toggles gives a channel of the signals that ask for another level.
func toggles() (signals <-chan os.Signal, release func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}
