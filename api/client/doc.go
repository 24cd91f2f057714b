// Package client asks the HTTP API of a wflo worker or console: runs and their stories,
// approvals, money, recovery and logs, with typed requests and answers.
//
// [New] makes a [Client]; each operation of the API is one method, generated from the
// OpenAPI document, and documented with the role that it needs. [Client.Follow] gives the
// events of a run as they come, [Client.EachRun] lists runs over all pages, and
// [Client.Output] downloads what came out of a step. Every failure that the API tells is
// an *[Error].
//
// A key goes to the API's own address and nowhere else: over TLS, or within this machine.
// The client repeats nothing by itself; what may be repeated stands on the operation.
package client

//go:generate go -C ../../tools/apiclient run . ../..
