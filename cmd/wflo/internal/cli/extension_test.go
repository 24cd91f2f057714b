package cli

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What Temporal's command passes on is understood, under that name only.
func TestFromTemporal(t *testing.T) {
	for _, tc := range []struct {
		program, line, want string
		env                 map[string]string
	}{
		{"/usr/bin/wflo", "-n x list", "-n x list", nil},
		{"temporal-wflo", "list --limit 3", "list --limit 3", nil},
		{"/opt/temporal-wflo", "-n prod --address=a:7233 -o json list -n 5", "--namespace prod --address a:7233 --output json list -n 5", nil},
		{"temporal-wflo.exe", "--color never --time-format iso --log-level info tail", "--color never tail", nil},
		{"temporal-wflo", "--color always list", "--color always list", nil},
		{"temporal-wflo", "--tls --api-key k --tls-ca-path=ca.pem --grpc-meta my-key=v list", "list",
			map[string]string{"TEMPORAL_TLS": "true", "TEMPORAL_API_KEY": "k", "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "ca.pem", "TEMPORAL_GRPC_META_MY_KEY": "v"}},
		{"temporal-wflo", "--nonsense list", "--nonsense list", nil},
		{"temporal-wflo", "--help", "--help", nil},
	} {
		env := map[string]string{}
		got, err := FromTemporal(tc.program, strings.Fields(tc.line), func(name, value string) error { env[name] = value; return nil })
		if err != nil || strings.Join(got, " ") != tc.want || !maps.Equal(env, tc.env) {
			t.Errorf("%s %s: %q, %v, %v", tc.program, tc.line, got, env, err)
		}
	}
	for _, line := range []string{"--codec-endpoint http://x list", "--address", "--grpc-meta odd list"} {
		if _, err := FromTemporal("temporal-wflo", strings.Fields(line), func(string, string) error { return nil }); exitCode(err) != ExitUsage {
			t.Errorf("%s: %v", line, err)
		}
	}
	failing := func(string, string) error { return fmt.Errorf("no room") }
	if _, err := FromTemporal("temporal-wflo", []string{"--api-key", "k"}, failing); err == nil {
		t.Error("a key was lost without a word")
	}
}

// Every global flag of the temporal command that is built here is known.
func TestTemporalFlagsAreKnown(t *testing.T) {
	out, err := exec.Command(filepath.Join("..", "..", "..", "..", "bin", "temporal"), "workflow", "list", "--help").Output()
	if err != nil {
		t.Fatalf("run bin/temporal (build it with make bin/temporal): %v", err)
	}
	_, global, ok := strings.Cut(string(out), "Global Flags:")
	flags := regexp.MustCompile(`(?m)^ +(?:-(\w), )?--([a-z-]+)`).FindAllStringSubmatch(global, -1)
	if !ok || len(flags) < 20 {
		t.Fatalf("%d flags in\n%s", len(flags), out)
	}
	for _, f := range flags {
		for _, name := range f[1:] {
			if _, known := temporalFlags[name]; !known && name != "" {
				t.Errorf("--%s is not known", name)
			}
		}
	}
}
