//go:build integration

package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// service is what docker compose makes of a service of the file.
type service struct {
	Image       string            `json:"image"`
	User        string            `json:"user"`
	ReadOnly    bool              `json:"read_only"`
	Privileged  bool              `json:"privileged"`
	CapDrop     []string          `json:"cap_drop"`
	CapAdd      []string          `json:"cap_add"`
	SecurityOpt []string          `json:"security_opt"`
	Restart     string            `json:"restart"`
	NetworkMode string            `json:"network_mode"`
	PID         string            `json:"pid"`
	Environment map[string]string `json:"environment"`
	Networks    map[string]any    `json:"networks"`
	HealthCheck *struct{ Test []string }
	Logging     struct{ Options map[string]string }
	Ports       []struct {
		HostIP    string `json:"host_ip"`
		Published string `json:"published"`
	}
	Volumes []struct {
		Type, Source, Target string
		ReadOnly             bool `json:"read_only"`
	}
	Deploy struct {
		Replicas  int
		Resources struct {
			Limits struct {
				CPUs   float64
				Memory string
				Pids   int
			}
		}
	}
}

// project reads docker-compose.yml as docker compose does, without the test's changes.
func project(t *testing.T, profile string) (services map[string]service, networks map[string]struct{ Internal bool }) {
	t.Helper()
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	c := &compose{t: t, root: root, env: append(os.Environ(), "WFLO_SECRETS="+t.TempDir())}
	out := c.must("bin/docker-compose", "--env-file", "/dev/null", "--profile", profile, "-f", "docker-compose.yml", "config", "--format", "json")
	var all struct {
		Services map[string]service
		Networks map[string]struct{ Internal bool }
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return all.Services, all.Networks
}

// jobs end; the others go on.
var jobs = []string{"migrate", "temporal-schema", "temporal-namespace"}

// TestComposeFile holds every service to the rules that the file promises.
func TestComposeFile(t *testing.T) {
	small, _ := project(t, "")
	if names := fmt.Sprint(keys(small)); names != "[console migrate postgres temporal temporal-namespace temporal-schema temporal-ui worker]" {
		t.Errorf("the small stack has %s", names)
	}
	full, networks := project(t, "full")
	if len(full) != len(small)+6 {
		t.Errorf("the full stack has %v", keys(full))
	}
	version := regexp.MustCompile(`:[^:/]*[0-9]`)
	for name, s := range full {
		t.Run(name, func(t *testing.T) {
			if !s.ReadOnly || s.Privileged || s.NetworkMode != "" || s.PID != "" || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("it may do more than it must: %+v", s)
			}
			if len(s.CapAdd) > 0 && name != "postgres" {
				t.Errorf("it has the capabilities %v", s.CapAdd)
			}
			if strings.HasPrefix(s.Image, "wflo/") && (s.User == "" || strings.HasPrefix(s.User, "0:")) {
				t.Errorf("it runs as %q", s.User)
			}
			if limits := s.Deploy.Resources.Limits; limits.CPUs == 0 || limits.Memory == "" || limits.Pids == 0 {
				t.Errorf("it has no bounds: %+v", limits)
			}
			if s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
				t.Error("its log grows without end")
			}
			if !strings.HasPrefix(s.Image, "wflo/") && !version.MatchString(s.Image) {
				t.Errorf("the image %s has no version", s.Image)
			}
			if want := map[bool]string{true: "no", false: "unless-stopped"}[slices.Contains(jobs, name)]; s.Restart != want {
				t.Errorf("restart is %q, want %s", s.Restart, want)
			}
			if s.HealthCheck == nil && !slices.Contains(append(jobs, "otelcol", "jaeger"), name) {
				t.Error("nobody asks how it is")
			}
			wantClosed(t, name, s, networks)
		})
	}
	if full["worker"].Deploy.Replicas != 2 {
		t.Errorf("%d workers", full["worker"].Deploy.Replicas)
	}
}

// wantClosed holds what leads into a service: ports, the engine, secrets.
func wantClosed(t *testing.T, name string, s service, networks map[string]struct{ Internal bool }) {
	for _, p := range s.Ports {
		if p.HostIP != "127.0.0.1" {
			t.Errorf("the port %s is open at %q", p.Published, p.HostIP)
		}
	}
	for _, v := range s.Volumes {
		if strings.Contains(v.Source, "docker.sock") && name != "worker" {
			t.Errorf("it has the engine: %+v", v)
		}
		if v.Type == "bind" && !v.ReadOnly && !strings.Contains(v.Source, "docker.sock") {
			t.Errorf("it may write to this machine: %+v", v)
		}
	}
	for variable, value := range s.Environment {
		secret := regexp.MustCompile(`(?i)password|secret|token|api_key`).MatchString(variable)
		if secret && value != "" && !strings.HasPrefix(value, "/run/secrets/") || strings.Contains(value, "://") && regexp.MustCompile(`://[^/@]*:[^/@]*@`).MatchString(value) {
			t.Errorf("%s holds a secret", variable)
		}
	}
	for n := range s.Networks {
		stores := slices.Contains([]string{"postgres", "redis", "minio", "temporal", "otelcol"}, name)
		if stores && !networks[n].Internal {
			t.Errorf("the network %s leads outside", n)
		}
	}
}

func keys[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// TestGrafana reads what Grafana is given, since no Grafana can be had here: each dashboard
// is there, and asks for a source that is.
func TestGrafana(t *testing.T) {
	root := filepath.Join("..", "..", "..", "..", "deploy")
	data, err := os.ReadFile(filepath.Join(root, "compose/grafana/provisioning/datasources/prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"type: prometheus", "url: http://prometheus:9090", "url: http://jaeger:16686", "datasourceUid: jaeger"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the sources lack %q", want)
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "grafana", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		var board struct{ Title, UID string }
		if err == nil {
			err = json.Unmarshal(data, &board)
		}
		if err != nil || board.Title == "" || board.UID == "" {
			t.Errorf("%s: %v %+v", f, err, board)
		}
	}
}
