// Package policybench measures policies beside other engines: the same condition,
// as often as there are rules, on facts that match none of them, which is what
// nearly every call is and what takes longest.
//
// Run it here with
//
//	GOWORK=off go test -bench . -benchmem
//
// Each engine gets what its documentation recommends for speed: everything is
// compiled once, and the input is made ready before the clock runs.
package policybench
