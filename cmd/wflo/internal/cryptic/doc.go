// Package cryptic holds the tests of sealed payloads and of connections to Temporal over
// TLS, against a real server: what its database, its answers and the blobs show, what
// happens when a key is missing, what the Web UI and Temporal's command line show through
// the codec server, and how each program says what is wrong with its certificate.
package cryptic
