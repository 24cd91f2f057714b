package docker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestPoolOnce holds that a sandbox that waited is used once and never again,
// and that no two share a user.
func TestPoolOnce(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size = 2 })
	seen, users := map[string]bool{}, map[string]bool{}
	for i := range 4 {
		res := must(t, r, shell("id -u; ls /workspace /tmp; touch /workspace/mark /tmp/mark"))
		if lines := strings.Fields(res.Stdout); len(lines) != 3 {
			t.Errorf("a program finds %q, want its user and two empty directories", res.Stdout)
		} else if users[lines[0]] {
			t.Errorf("user %s again", lines[0])
		} else {
			users[lines[0]] = true
		}
		if seen[res.Sandbox] {
			t.Errorf("sandbox %s again", res.Sandbox)
		}
		if seen[res.Sandbox] = true; i > 0 && !res.Warm {
			t.Errorf("execution %d: warm %v", i, res.Warm)
		}
		until(t, "the pool", r.pool.stocked)
	}
}

// TestPoolKinds holds that an execution gets a sandbox of its own limits.
func TestPoolKinds(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size = 1 })
	small, large := shell("ulimit -n"), shell("ulimit -n")
	small.Limits.Open, large.Limits.Open = 64, 128
	for i, c := range []struct {
		spec sandbox.Spec
		want string
	}{{small, "64\n"}, {large, "128\n"}, {small, "64\n"}, {large, "128\n"}} {
		if res := must(t, r, c.spec); res.Stdout != c.want || res.Warm != (i > 1) {
			t.Errorf("execution %d: %q, warm %v, want %q", i, res.Stdout, res.Warm, c.want)
		}
		until(t, "the pool", r.pool.stocked)
	}
}

// TestPoolNoticesDeath holds that a sandbox that was removed while it waited is
// not handed out.
func TestPoolNoticesDeath(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size = 1 })
	must(t, r, shell("true"))
	until(t, "the pool", r.pool.stocked)
	r.pool.fills.Wait()
	cli, dead := dial(t), map[string]bool{}
	for _, s := range waiting(r) {
		if err := cli.ContainerRemove(t.Context(), s.id, container.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		<-s.over
		dead[s.id] = true
	}
	if res := must(t, r, shell("true")); dead[res.Sandbox] || res.Warm {
		t.Errorf("got %s, warm %v", res.Sandbox, res.Warm)
	}
}

// TestPoolAge holds that what has waited for too long is replaced, when it would
// be taken and when somebody looks.
func TestPoolAge(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size, c.Pool.MaxAge = 1, time.Hour })
	must(t, r, shell("true"))
	age := func() map[string]bool {
		until(t, "the pool", r.pool.stocked)
		r.pool.fills.Wait()
		old := map[string]bool{}
		for _, s := range waiting(r) {
			r.pool.mu.Lock()
			s.born = s.born.Add(-2 * time.Hour)
			r.pool.mu.Unlock()
			old[s.id] = true
		}
		return old
	}
	old := age()
	if res := must(t, r, shell("true")); old[res.Sandbox] || res.Warm {
		t.Errorf("got %s, warm %v, want a new one", res.Sandbox, res.Warm)
	}
	old = age()
	r.pool.tend()
	until(t, "the pool", r.pool.stocked)
	for _, s := range waiting(r) {
		if old[s.id] {
			t.Errorf("%s still waits", s.id)
		}
	}
}

// TestPoolMost holds that the whole pool has a bound, and that kinds that nobody
// uses make room.
func TestPoolMost(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size, c.Pool.Max = 2, 3 })
	for i := range int64(3) {
		spec := shell("true")
		spec.Limits.Open = 100 + i
		must(t, r, spec)
		r.pool.mu.Lock()
		n := 0
		for _, sh := range r.pool.shelf {
			n += len(sh.idle) + sh.filling
		}
		r.pool.mu.Unlock()
		if n > 3 {
			t.Errorf("%d sandboxes wait or will", n)
		}
	}
	r.pool.fills.Wait()
	if n := len(waiting(r)); n != 3 {
		t.Errorf("%d sandboxes wait, want 3", n)
	}
}

// TestPoolForgets holds that a pool remembers so many kinds, and drops the one
// that was not used for longest with what waits of it.
func TestPoolForgets(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size, c.Pool.Max = 1, 1 })
	oldest := shell("true")
	must(t, r, oldest)
	r.pool.fills.Wait()
	for i := range int64(maxKinds) {
		r.pool.take(template{pids: i + 1}) // no room, so none is started
	}
	r.pool.mu.Lock()
	n := len(r.pool.shelf)
	r.pool.mu.Unlock()
	if n != maxKinds || len(waiting(r)) != 0 {
		t.Errorf("%d kinds are remembered, %d sandboxes wait", n, len(waiting(r)))
	}
}

// TestPoolAfterFailure holds that an engine that cannot start sandboxes is not
// asked all the time, but executions go on asking.
func TestPoolAfterFailure(t *testing.T) {
	t.Parallel()
	r, e := tampered(t, func(c *Config) { c.Pool.Size = 1 })
	e.tamper(on("start", errEngine), nil)
	for range 3 {
		if _, err := r.Run(t.Context(), shell("true"), nil); !errors.Is(err, errEngine) {
			t.Errorf("Run: %v", err)
		}
		r.pool.fills.Wait()
	}
	e.tamper(nil, nil)
	must(t, r, shell("true"))
	r.pool.fills.Wait()
	if n := len(waiting(r)); n != 0 {
		t.Errorf("%d sandboxes were started right after a failure", n)
	}
	r.pool.mu.Lock()
	for _, sh := range r.pool.shelf {
		sh.failed = sh.failed.Add(-time.Hour)
	}
	r.pool.mu.Unlock()
	must(t, r, shell("true"))
	until(t, "the pool", r.pool.stocked)
	if res := must(t, r, shell("true")); !res.Warm {
		t.Error("the pool is not used again")
	}
}

// TestShutdownDrains holds that nothing that waits or is about to outlives the
// Runner; open looks.
func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size = 3 })
	must(t, r, shell("true"))
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if s := r.pool.take(template{}); s != nil {
		t.Error("a pool that was drained gives a sandbox")
	}
	if err := r.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown again: %v", err)
	}
}
