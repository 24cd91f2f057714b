package etl_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// flat is code without what depends on where it stands.
func flat(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// TestGuideShowsThisCode: a snippet that is not compiled and tested is worse than none.
func TestGuideShowsThisCode(t *testing.T) {
	guide, err := os.ReadFile("../../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("workflow.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(string(guide), -1)
	if len(blocks) == 0 {
		t.Error("the guide shows no code")
	}
	for _, b := range blocks {
		if !strings.Contains(flat(string(code)), flat(b[1])) {
			t.Errorf("the guide shows what is not in workflow.go:\n%s", b[1])
		}
	}
}
