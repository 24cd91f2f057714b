package docker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"

	"github.com/docker/docker/api/types/container"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a Runner of an owner of its own on the real engine, and checks in
// the end that nothing is left behind.
func open(t testing.TB, change func(*Config)) *Runner {
	t.Helper()
	c := Config{Owner: "test-" + rand.Text(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Pool: Pool{Size: -1}}
	if change != nil {
		change(&c)
	}
	r, err := New(context.Background(), c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	if _, err := r.Check(context.Background()); err != nil {
		t.Fatalf("these tests need a container engine: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := r.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		clean(t, r)
	})
	return r
}

// clean fails the test for what is left, and removes it.
func clean(t testing.TB, r *Runner) {
	t.Helper()
	ctx := context.Background()
	containers, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: byLabel(r.config.Owner)})
	if err != nil || len(containers) > 0 {
		t.Errorf("containers left: %v, %v", containers, err)
	}
	for _, c := range containers {
		_ = r.remove(ctx, c.ID) // the test has failed already
	}
	volumes, err := r.volumes(ctx, "")
	if err != nil {
		t.Error(err)
	}
	for _, v := range volumes {
		t.Errorf("volume left: %v", v.Labels)
		_ = r.engine.VolumeRemove(ctx, v.Name, true)
	}
	if err := r.engine.Close(); err != nil {
		t.Error(err)
	}
}

func TestRunner(t *testing.T) {
	sandboxtest.Test(t, func(t *testing.T) sandbox.Runner { return open(t, nil) })
}
