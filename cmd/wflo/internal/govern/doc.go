// Package govern tests the plugin where it works: in a worker of a real Temporal
// server, which runs inside the test's process. What the SDK's test environment
// does not have is tried here: search attributes, resets, terminated runs, the
// payload store, continue-as-new with its headers, children that run at the same
// time. The package has no code that others could call.
//
// It also records the histories that package workflows replays (flag -update),
// and holds the benchmarks that `make bench` runs: what the plugin costs, how
// fast `wflo dev` starts, and what its server settings are worth. The benchmarks
// report and never fail for being slow, because the machine decides that too.
package govern
