package docker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a Runner of an owner of its own on the real engine, and checks in
// the end that nothing is left behind.
func open(t testing.TB, change func(*Config)) *Runner {
	t.Helper()
	c := Config{Owner: "test-" + rand.Text(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
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
		containers, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: byLabel(c.Owner)})
		if err != nil || len(containers) > 0 {
			t.Errorf("containers left: %v, %v", containers, err)
		}
		volumes, err := r.engine.VolumeList(ctx, volume.ListOptions{Filters: byLabel(c.Owner)})
		if err != nil || len(volumes.Volumes) > 0 {
			t.Errorf("volumes left: %v, %v", volumes.Volumes, err)
		}
		for _, c := range containers {
			_ = r.remove(ctx, c.ID) // the test has failed already
		}
		for _, v := range volumes.Volumes {
			_ = r.engine.VolumeRemove(ctx, v.Name, true)
		}
		if err := r.Disconnect(); err != nil {
			t.Errorf("Disconnect: %v", err)
		}
	})
	return r
}

func TestRunner(t *testing.T) {
	sandboxtest.Test(t, func(t *testing.T) sandbox.Runner { return open(t, nil) })
}
