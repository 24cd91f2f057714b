package plugin

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

func TestDeploymentFromEnv(t *testing.T) {
	version := worker.WorkerDeploymentVersion{DeploymentName: "agents", BuildID: "1.2"}
	for name, tt := range map[string]struct {
		name, build, behaviour string
		want                   worker.DeploymentOptions
		wrong                  bool
	}{
		"none":           {},
		"pinned":         {name: "agents", build: "1.2", want: worker.DeploymentOptions{UseVersioning: true, Version: version, DefaultVersioningBehavior: workflow.VersioningBehaviorPinned}},
		"said so":        {name: "agents", build: "1.2", behaviour: "pinned", want: worker.DeploymentOptions{UseVersioning: true, Version: version, DefaultVersioningBehavior: workflow.VersioningBehaviorPinned}},
		"upgrading":      {name: "agents", build: "1.2", behaviour: "auto-upgrade", want: worker.DeploymentOptions{UseVersioning: true, Version: version, DefaultVersioningBehavior: workflow.VersioningBehaviorAutoUpgrade}},
		"no build":       {name: "agents", wrong: true},
		"no name":        {build: "1.2", wrong: true},
		"only behaviour": {behaviour: "pinned", wrong: true},
		"a dot":          {name: "a.b", build: "1", wrong: true},
		"odd behaviour":  {name: "agents", build: "1", behaviour: "sometimes", wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TEMPORAL_DEPLOYMENT_NAME", tt.name)
			t.Setenv("TEMPORAL_WORKER_BUILD_ID", tt.build)
			t.Setenv("WFLO_VERSIONING", tt.behaviour)
			got, err := DeploymentFromEnv()
			if tt.wrong != errors.Is(err, wflo.ErrInvalid) || !tt.wrong && err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestHostsFromEnv: hosts are written down in one variable, their certificates found by
// their names.
func TestHostsFromEnv(t *testing.T) {
	for name, tt := range map[string]struct {
		hosts, keep string
		wrong       bool
	}{
		"two":       {hosts: "a=unix:///run/a.sock, b=unix:///run/b.sock", keep: "snapshots"},
		"no name":   {hosts: "=unix:///run/a.sock", wrong: true},
		"no socket": {hosts: "a", wrong: true},
		"odd":       {hosts: "a=unix:///run/a.sock", keep: "never", wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WFLO_SANDBOX_HOSTS", tt.hosts)
			t.Setenv("WFLO_SANDBOX_KEEP", tt.keep)
			t.Setenv("WFLO_SANDBOX_HOST_GONE", "5s")
			c := Config{}
			err := sandboxFromEnv(&c)
			if tt.wrong != errors.Is(err, wflo.ErrInvalid) || !tt.wrong && (err != nil || len(c.Docker.Hosts) != 2 || !c.Docker.KeepLess || c.Docker.HostGone == 0) {
				t.Errorf("%+v, %v", c.Docker, err)
			}
		})
	}
}

// TestHostsRefused: a worker does not start with hosts that cannot be meant.
func TestHostsRefused(t *testing.T) {
	for name, hosts := range map[string]string{
		"twice":       "a=unix:///run/a.sock,a=unix:///run/b.sock",
		"without TLS": "a=unix:///run/a.sock,b=tcp://10.0.0.1:2375",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WFLO_SANDBOX_HOSTS", hosts)
			c := Config{DataDir: t.TempDir(), Database: "memory", NoSearchAttributes: true}
			if err := sandboxFromEnv(&c); err != nil {
				t.Fatal(err)
			}
			p, err := New(c)
			if err == nil {
				p.Close()
			}
			if !errors.Is(err, wflo.ErrInvalid) {
				t.Error(err)
			}
		})
	}
}
