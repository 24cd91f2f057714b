package docker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// TestMain is a worker too, for tests that kill one: see worker_test.go.
func TestMain(m *testing.M) {
	if orders := os.Getenv(workerOrders); orders != "" {
		os.Exit(work(orders))
	}
	goleak.VerifyTestMain(m)
}

// configure gives the configuration of a Runner of an owner of its own, without
// a pool.
func configure(t testing.TB, change func(*Config)) Config {
	c := Config{Owner: "test-" + rand.Text(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Pool: Pool{Size: -1}}
	if change != nil {
		change(&c)
	}
	return c
}

// open makes a Runner of an owner of its own on the real engine, and checks in
// the end that nothing is left behind.
func open(t testing.TB, change func(*Config)) *Runner {
	t.Helper()
	r, err := New(context.Background(), configure(t, change))
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	if _, err := r.Check(context.Background()); err != nil {
		t.Fatalf("these tests need a container engine: %v", err)
	}
	t.Cleanup(func() { shut(t, r, r.config.Owner) })
	return r
}

// shut ends a Runner and looks whether anything is left of its owner.
func shut(t testing.TB, r *Runner, owner string) {
	t.Helper()
	if err := r.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	clean(t, owner)
}

// dial connects to the engine past any Runner.
func dial(t testing.TB) *client.Client {
	t.Helper()
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cli.Close(); err != nil {
			t.Error(err)
		}
	})
	return cli
}

// clean fails the test for what is left, and removes it.
func clean(t testing.TB, owner string) {
	t.Helper()
	ctx := context.Background()
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	r := &Runner{engine: cli, config: Config{Owner: owner, EngineTimeout: time.Minute}}
	inv, err := r.inventory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range inv.containers {
		t.Errorf("container left: %s, %s, %v", c.State, c.Status, c.Labels)
		_ = r.remove(ctx, c.ID) // the test has failed already
	}
	for _, v := range inv.volumes {
		t.Errorf("volume left: %v", v.Labels)
		_ = cli.VolumeRemove(ctx, v.Name, true)
	}
}

// settle waits for what goes on in the background.
func settle(r *Runner) { r.wg.Wait() }

// until waits for a state that the engine or another process brings about.
func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for !reached() {
		if err := pause(ctx); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// must runs a program that has to succeed.
func must(t testing.TB, r *Runner, spec sandbox.Spec) sandbox.Result {
	t.Helper()
	res, err := r.Run(t.Context(), spec, nil)
	if err != nil || !res.OK() {
		t.Fatalf("Run: %v; %s with code %d %s: %s%s", err, res.Outcome, res.ExitCode, res.Reason, res.Stdout, res.Stderr)
	}
	return res
}

// closing closes a box after the test.
func closing(t testing.TB, r *Runner, box string) string {
	t.Cleanup(func() {
		if err := r.Close(context.Background(), box); err != nil {
			t.Errorf("Close(%s): %v", box, err)
		}
	})
	return box
}

func shell(script string) sandbox.Spec { return sandbox.Spec{Argv: []string{"sh", "-c", script}} }

// coded fails the test for an error of another code.
func coded(t testing.TB, err error, want wflo.Code) {
	t.Helper()
	if got := wflo.CodeOf(err); err == nil || got != want {
		t.Errorf("error %v of code %q, want %q", err, got, want)
	}
}

// running counts the containers of an owner that run.
func running(t testing.TB, cli *client.Client, owner string) int {
	t.Helper()
	all, err := cli.ContainerList(context.Background(), container.ListOptions{Filters: byLabel(owner)})
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestRunner(t *testing.T) {
	t.Parallel()
	secrets := sandboxtest.NewSecrets()
	sandboxtest.Test(t, func(t *testing.T) sandbox.Runner {
		return open(t, func(c *Config) { c.Secrets = secrets })
	}, sandboxtest.Options{Secrets: secrets})
}
