package plugin

import (
	"fmt"
	"os"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// secretVariables are the variables with secrets in them that may be in files instead,
// named by the variable with _FILE. Those that have a file of their own kind are not
// here: WFLO_PAYLOAD_KEYS_FILE, WFLO_TOKEN_FILE, AWS_SHARED_CREDENTIALS_FILE and PostgreSQL's PGPASSFILE.
func secretVariables() []string {
	return []string{
		"WFLO_DATABASE", "WFLO_REDIS_URL", "WFLO_BLOB_KEYS",
		"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "CO_API_KEY", "COHERE_API_KEY",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "TEMPORAL_API_KEY", "SENTRY_DSN",
	}
}

// SecretsFromFiles sets each variable whose secret is in a file, such as OPENAI_API_KEY
// from the file that OPENAI_API_KEY_FILE names, without space around it: for containers,
// whose variables everybody sees who may inspect them. [FromEnv] calls it. An empty file
// counts as a variable that is not set, so that one deployment can name files for
// providers that it has no key of. A file that cannot be read, and a variable that is set
// besides, are an *wflo.Error. Call it before goroutines read the environment.
func SecretsFromFiles() error {
	for _, name := range secretVariables() {
		path := os.Getenv(name + "_FILE")
		if path == "" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return wflo.Errorf(wflo.CodeMissingKey, "name a file that this user may read", "%s_FILE: %w", name, err)
		}
		secret, set := strings.TrimSpace(string(data)), os.Getenv(name)
		if secret == "" {
			continue
		}
		if set != "" && set != secret {
			return wflo.Invalid(name, "is set, and so is "+name+"_FILE, to another secret", "unset one of them")
		}
		if err := os.Setenv(name, secret); err != nil {
			return wflo.Errorf(wflo.CodeInvalid, "keep NUL bytes out of the file", "set %s from its file: %w", name, fmt.Errorf("not a value of a variable"))
		}
	}
	return nil
}
