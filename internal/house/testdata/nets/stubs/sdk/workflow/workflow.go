// Package workflow stands in for the SDK's, so that the nets can be tried without it.
package workflow

// Context is the type by which the nets know workflow code.
type Context interface{ Done() bool }
