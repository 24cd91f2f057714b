package approvals_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
)

// guides are the pages whose code must work.
var guides = []string{"docs/approvals.md", "README.md"}

const root = "../../"

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(root + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// blocks are the fenced blocks of a page in a language.
func blocks(page, language string) (out []string) {
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		out = append(out, block[1])
	}
	return out
}

// flat is code without what depends on where it stands.
func flat(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// TestGuidesShowThisCode: a snippet that is not compiled and tested is worse than none.
func TestGuidesShowThisCode(t *testing.T) {
	var code strings.Builder
	for _, file := range []string{
		"examples/approvals/approvals.go", "examples/approvals/approvals_test.go",
		"examples/quickstart/quickstart.go", "examples/quickstart/quickstart_test.go",
	} {
		code.WriteString(flat(read(t, file)))
	}
	for _, guide := range guides {
		shown := blocks(read(t, guide), "go")
		if len(shown) == 0 {
			t.Errorf("%s shows no code", guide)
		}
		for _, block := range shown {
			if !strings.Contains(code.String(), flat(block)) {
				t.Errorf("%s shows what is in no example:\n%s", guide, block)
			}
		}
	}
}

// TestGuidesShowFilesThatLoad loads policies and configurations as a worker would.
func TestGuidesShowFilesThatLoad(t *testing.T) {
	t.Setenv("SLACK_BOT_TOKEN", "xoxb-1-a-token-for-tests")
	for _, guide := range guides {
		shown := blocks(read(t, guide), "yaml")
		if len(shown) == 0 {
			t.Errorf("%s shows no file", guide)
		}
		for _, block := range shown {
			if strings.HasPrefix(block, "default:") {
				if _, err := policy.Load(guide, []byte(block)); err != nil {
					t.Errorf("%s: %v", guide, err)
				}
				continue
			}
			file := filepath.Join(t.TempDir(), "wflo.yaml")
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := plugin.FromFile(file); err != nil {
				t.Errorf("%s: %v\n%s", guide, err, block)
			}
		}
	}
}

// TestAttacksAreTested: every test that the guide names is there.
func TestAttacksAreTested(t *testing.T) {
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, name := range declared.FindAllSubmatch(source, -1) {
			there[string(name[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(read(t, "docs/approvals.md"), -1) {
		if named++; !there[name[1]] {
			t.Errorf("the guide names %s, which is not there", name[1])
		}
	}
	if named < 30 {
		t.Errorf("the guide names %d tests", named)
	}
}
