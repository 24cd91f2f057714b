package pricing

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeExamples parses the rows that operators will copy.
func TestReadmeExamples(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range strings.Split(string(data), "```json\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if !strings.Contains(text, `"version"`) {
			text = fileOf(text)
		}
		if _, err := Parse(strings.NewReader(text)); err != nil {
			t.Errorf("example %d: %v", n, err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d examples, want 2", n)
	}
}
