package quickstart_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeShowsThisCode keeps the README's agent and its test what is compiled
// here: a snippet that does not work is worse than none.
func TestReadmeShowsThisCode(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, name := range map[string]string{"quickstart.go": "func Answer(", "quickstart_test.go": "func TestAnswer("} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, code, ok := strings.Cut(string(source), name)
		code, _, closed := strings.Cut(code, "\n}\n")
		if !ok || !closed {
			t.Fatalf("%s has no %s", file, name)
		}
		if !strings.Contains(string(readme), name+code+"\n}\n") {
			t.Errorf("README.md does not show %s as it is in %s", name, file)
		}
	}
}
