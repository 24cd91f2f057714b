// Package program tries `wflo mcp` as clients start it: the built program, over standard
// input and output and over HTTP, with the client of the protocol's own SDK, before a
// console that asks for keys. Its tests are behind the tag integration.
package program
