// Command generate writes the OpenAPI document of the HTTP API: to where it is built in,
// and to docs/openapi.json, for readers. What it says comes from three places, so that it
// cannot drift: the paths and roles from the console's table of routes, the shapes from
// its Go types, the words from their comments. [operations] adds what none of them knows:
// a sentence for each path, its parameters, and which types go in and out.
//
// It refuses to write a document in which a path of the API has no operation.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// targets are the files that hold the document, from the root of the module.
var targets = []string{"internal/openapi/openapi.json", "docs/openapi.json"}

func run() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	data, err := build(root)
	if err != nil {
		return err
	}
	for _, name := range targets {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o644); err != nil { //nolint:gosec // public, as all documentation
			return fmt.Errorf("write the document: %w", err)
		}
	}
	return nil
}

// moduleRoot is the folder of go.mod, above the one that go generate or go test run in.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("find the module: no go.mod above the working folder")
		}
		dir = up
	}
}
