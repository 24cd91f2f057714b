package connect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wflo-ai/wflo-go"
)

// canary is an API key that must be in no error.
const canary = "tmprl_CANARY_3c1d"

func write(t *testing.T, path, text string, when time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

// clean has no settings but those that are given.
func clean(t *testing.T, set map[string]string) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "TEMPORAL_") {
			t.Setenv(name, "")
			// One that is set and empty turns TLS on; Setenv brings it back.
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("TEMPORAL_CONFIG_FILE", filepath.Join(t.TempDir(), "none.toml"))
	for name, v := range set {
		t.Setenv(name, v)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	profile := filepath.Join(dir, "temporal.toml")
	write(t, profile, "[profile.cloud]\naddress = \"eu.tmprl.cloud:7233\"\nnamespace = \"prod.a1\"\napi_key = \""+canary+"\"\n", time.Now())
	clean(t, map[string]string{"TEMPORAL_CONFIG_FILE": profile, "TEMPORAL_PROFILE": "cloud"})
	o, err := Load("")
	if err != nil || o.HostPort != "eu.tmprl.cloud:7233" || o.Namespace != "prod.a1" || o.ConnectionOptions.TLS == nil || o.Credentials == nil {
		t.Errorf("%+v %v", o, err)
	}
	clean(t, map[string]string{"TEMPORAL_ADDRESS": "here:1"})
	if o, err = Load(""); err != nil || o.HostPort != "here:1" || o.ConnectionOptions.TLS != nil || o.Credentials != nil {
		t.Errorf("%+v %v", o, err)
	}
	for name, set := range map[string]map[string]string{
		"a key without TLS":              {"TEMPORAL_API_KEY": canary, "TEMPORAL_TLS": "false"},
		"a key of a file without TLS":    {"TEMPORAL_API_KEY_FILE": filepath.Join(dir, "key"), "TEMPORAL_TLS": "false"},
		"a header without TLS":           {"TEMPORAL_GRPC_META_AUTHORIZATION": "Bearer " + canary},
		"no such file":                   {"TEMPORAL_API_KEY_FILE": filepath.Join(dir, "none")},
		"an empty file":                  {"TEMPORAL_API_KEY_FILE": filepath.Join(dir, "empty")},
		"half a client certificate":      {"TEMPORAL_TLS_CLIENT_CERT_PATH": filepath.Join(dir, "key")},
		"a certificate that is none":     {"TEMPORAL_TLS_CLIENT_CERT_PATH": filepath.Join(dir, "key"), "TEMPORAL_TLS_CLIENT_KEY_PATH": filepath.Join(dir, "key")},
		"a CA that is none":              {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": filepath.Join(dir, "key")},
		"a profile that is not there":    {"TEMPORAL_CONFIG_FILE": profile, "TEMPORAL_PROFILE": "nix"},
		"a key of a certificate as text": {"TEMPORAL_TLS_CLIENT_CERT_DATA": canary, "TEMPORAL_TLS_CLIENT_KEY_DATA": canary},
	} {
		write(t, filepath.Join(dir, "key"), canary, time.Now())
		write(t, filepath.Join(dir, "empty"), "\n", time.Now())
		clean(t, set)
		_, err := Load("")
		if wflo.CodeOf(err) == "" || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the key is in the error", name)
		}
	}
}

func TestKeyOfAFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	write(t, path, "first\n", time.Unix(1000, 0))
	f := &secretFile{path: path}
	want := func(what, want string) {
		t.Helper()
		if got, err := f.get(t.Context()); err != nil || got != want {
			t.Errorf("%s: %q %v", what, got, err)
		}
	}
	want("at first", "first")
	write(t, path, "", time.Unix(2000, 0))
	want("while it is replaced", "first")
	write(t, path, "second", time.Unix(3000, 0))
	want("afterwards", "second")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("when it is gone", "second")
}

// What has nothing to do with security comes back as it was.
func TestExplainLeavesTheRest(t *testing.T) {
	o := client.Options{HostPort: "127.0.0.1:1"}
	for _, err := range []error{serviceerror.NewNotFound("x"), serviceerror.NewUnavailable("nobody listens")} {
		if got := Explain(t.Context(), err, o); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	busy := serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "namespace rate limit exceeded")
	if got := Explain(t.Context(), fmt.Errorf("failed reaching server: %w", busy), o); wflo.HintOf(got) != HintBusy || !errors.Is(got, busy) {
		t.Errorf("a busy server became %v", got)
	}
	if Explain(t.Context(), nil, o) != nil {
		t.Error("an error of nothing")
	}
	for _, err := range []error{status.Error(codes.Unauthenticated, "who"), serviceerror.NewPermissionDenied("no", "")} {
		if got := Explain(t.Context(), err, o); wflo.CodeOf(got) != wflo.CodeMissingKey || wflo.HintOf(got) == "" {
			t.Errorf("%v became %v", err, got)
		}
	}
}
