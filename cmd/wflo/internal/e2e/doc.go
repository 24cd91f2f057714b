// Package e2e tests whole programs the way people start them: the binary
// `wflo`, the worker programs, Temporal's own command line, a real container
// engine, and models that are scripted but reached over HTTP. It kills what must
// survive being killed, and then compares the books of all sides.
//
// There is nothing to import. The tests are behind the build tag integration:
//
//	make test-integration
//	go test -trimpath -tags integration ./cmd/wflo/internal/e2e
//
// The second line uses bin/wflo as it is, or the file that WFLO_BIN names; it
// builds what is missing.
package e2e
