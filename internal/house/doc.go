// Package house holds the rules of this repository as tests, so that the walls
// drawn in docs/architecture.md stand by themselves and not by memory. It has no
// code that other packages could call: run it with `go test ./internal/house`.
//
// Every rule carries its reason and prints it when it is broken; change a rule
// only together with its reason and with docs/architecture.md. Every rule is also
// shown a violation that is planted for it, because a net that is never tried is
// a net that may be down. With the build tag nets the same is done for the
// linters that `make check` runs from ./bin.
package house
