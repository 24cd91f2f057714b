// Package activities is the half of wflo that touches the world: model calls,
// sandboxed execution, approval terms, files in the sandbox. Everything is
// written against interfaces that the package owns ([Provider], [Ledger],
// [Blobs], [Prices], sandbox.Runner); the drivers live in internal and are
// joined by package plugin. It never imports package workflows: the two halves
// meet by the names in internal/step.
//
// The activity half of the interceptor is here too ([NewInterceptor]): it reads
// the run from the header, meters paid calls, logs, counts and traces, and
// refuses results that are too large for history, for every activity of the
// worker and not only for ours.
package activities
