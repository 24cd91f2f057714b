package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The client must be that of the document, and one that is behind must be noticed.
func TestClientIsUpToDate(t *testing.T) {
	if err := run([]string{"-check", "../.."}); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, dir := range []string{"docs", "api/client"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	document := filepath.Join(root, "docs", "openapi.json")
	if err := os.WriteFile(document, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{root}); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-check", root}); err != nil {
		t.Errorf("what was just written is said to be behind: %v", err)
	}
	renamed := strings.Replace(string(data), `"operationId": "haltRun"`, `"operationId": "stopRun"`, 1)
	if renamed == string(data) {
		t.Fatal("the document has no haltRun")
	}
	if err := os.WriteFile(document, []byte(renamed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-check", root}); err == nil || !strings.Contains(err.Error(), "go generate ./api/client") {
		t.Errorf("a client that is behind: %v", err)
	}
}
