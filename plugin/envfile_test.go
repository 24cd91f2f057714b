package plugin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
)

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Secrets of containers are in files, and an empty file is a key that nobody has.
func TestSecretsFromFiles(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "")
	t.Setenv("ANTHROPIC_API_KEY", "")
	t.Setenv("WFLO_REDIS_URL", "")
	t.Setenv("OPENAI_API_KEY_FILE", secretFile(t, " sk-of-a-file\n"))
	t.Setenv("ANTHROPIC_API_KEY_FILE", secretFile(t, "\n"))
	t.Setenv("WFLO_REDIS_URL_FILE", secretFile(t, "redis://:pw@cache:6379/0"))
	c, err := plugin.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if c.CacheURL != "redis://:pw@cache:6379/0" {
		t.Errorf("the cache is %q", c.CacheURL)
	}
	if got := os.Getenv("OPENAI_API_KEY"); got != "sk-of-a-file" {
		t.Errorf("OPENAI_API_KEY is %q", got)
	}
	var kinds []string
	for _, p := range plugin.ProvidersFromEnv() {
		kinds = append(kinds, p.Kind)
	}
	if len(kinds) != 1 || kinds[0] != plugin.KindOpenAI {
		t.Errorf("providers: %v, want the one that has a key", kinds)
	}
}

func TestSecretsFromFilesRefuse(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "")
	for name, c := range map[string]struct{ file, set, want string }{
		"no such file": {file: filepath.Join(t.TempDir(), "none"), want: "OPENAI_API_KEY_FILE"},
		"a directory":  {file: t.TempDir(), want: "OPENAI_API_KEY_FILE"},
		"two secrets":  {file: secretFile(t, "sk-canary-one"), set: "sk-canary-two", want: "another secret"},
		"a NUL byte":   {file: secretFile(t, "sk-canary\x00three"), want: "set OPENAI_API_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OPENAI_API_KEY", c.set)
			t.Setenv("OPENAI_API_KEY_FILE", c.file)
			_, err := plugin.FromEnv()
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
				t.Fatalf("got %v, want an error about %s without the secret", err, c.want)
			}
			if _, hint := wflo.Explain(err); hint == "" {
				t.Errorf("no hint in %v", err)
			}
		})
	}
}
