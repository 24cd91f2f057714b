//go:build race

package storetest

import "flag"

// The race detector makes a walk take some twenty times as long, and finds what
// it is there for in the races. The flag rapid.checks still says otherwise.
func init() {
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err) // the random walk has no such flag any more
	}
}
