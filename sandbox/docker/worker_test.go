package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// workerOrders is the variable that makes a worker of the test's binary.
const workerOrders = "WFLO_DOCKER_TEST_WORKER"

// orders are what such a worker does: run a specification as an owner.
type orders struct {
	Owner string       `json:"owner"`
	Spec  sandbox.Spec `json:"spec"`
	Pool  int          `json:"pool"`
	// Replace has the worker replace the workspace of Spec.Box instead, and never
	// come to the end of it.
	Replace bool `json:"replace,omitempty"`
}

// work says "ready" when it begins and what its program writes, line by line,
// then waits to be killed.
func work(text string) int {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Println("orders:", err)
		return 1
	}
	r, err := New(context.Background(), Config{Owner: o.Owner, Pool: Pool{Size: o.Pool}})
	if err != nil {
		fmt.Println("new:", err)
		return 1
	}
	settle(r) // a kill shall not leave the probe too
	fmt.Println("ready")
	if o.Replace {
		src := oneFile("never")
		src.Before = func(int) error {
			fmt.Println("half way")
			select {}
		}
		fmt.Println("replaced:", r.Replace(context.Background(), o.Spec.Box, "never", src))
	}
	res, err := r.Run(context.Background(), o.Spec, func(_ sandbox.Stream, p []byte) { _, _ = os.Stdout.Write(p) })
	fmt.Println("ended:", res.Outcome, res.Reason, err)
	select {}
}

// worker is a process that can be killed.
type worker struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines *bufio.Scanner
	once  sync.Once
}

func hire(t testing.TB, o orders) *worker {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{t: t, cmd: exec.Command(os.Args[0])}
	w.cmd.Env = append(os.Environ(), workerOrders+"="+string(text))
	w.cmd.Stderr = t.Output()
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.lines = bufio.NewScanner(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kill)
	return w
}

// says waits for a line.
func (w *worker) says(want string) {
	w.t.Helper()
	var all []string
	for w.lines.Scan() {
		if all = append(all, w.lines.Text()); w.lines.Text() == want {
			return
		}
	}
	w.t.Fatalf("the worker said %q and not %q", strings.Join(all, "\n"), want)
}

// kill kills the worker as the kernel does when memory is short.
func (w *worker) kill() {
	w.once.Do(func() {
		if err := w.cmd.Process.Kill(); err != nil {
			w.t.Error(err)
		}
		_ = w.cmd.Wait() // it says that it was killed
	})
}

// TestWorkersKilled kills workers at many points of an execution. What is left
// ends itself, and is then all that a sweep looks for.
func TestWorkersKilled(t *testing.T) {
	t.Parallel()
	cli := dial(t)
	owner := configure(t, nil).Owner
	for i, after := range []time.Duration{0, 2, 5, 10, 20, 40, 70, 100, 150, 200, 300} {
		spec := shell("sleep 1000")
		spec.Limits.Timeout = time.Second
		if i%2 == 0 {
			spec.Box, spec.Key = fmt.Sprint("killed-", i), fmt.Sprint(i)
		}
		w := hire(t, orders{Owner: owner, Spec: spec, Pool: 1})
		w.says("ready")
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		<-ctx.Done()
		cancel()
		w.kill()
	}
	// PID 1 keeps a result that somebody may still adopt for long; these have
	// nobody, so their boxes are closed as the sweep of dead runs does.
	r, err := New(t.Context(), configure(t, func(c *Config) { c.Owner = owner }))
	if err != nil {
		t.Fatal(err)
	}
	boxes, err := r.Boxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range boxes {
		if err := r.Close(t.Context(), box); err != nil {
			t.Error(err)
		}
	}
	until(t, "sandboxes of dead workers", func() bool { return running(t, cli, owner) == 0 })
	inv, err := r.inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone := map[string]bool{}
	for _, c := range inv.containers {
		if gone[c.ID] = true; c.State != "created" && c.State != "exited" {
			t.Errorf("a container is %s", c.State)
		}
		if err := cli.ContainerRemove(t.Context(), c.ID, container.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
	dead := deadVolumes(inv, gone, time.Now().Add(2*unclaimed))
	if len(dead) != len(inv.volumes) {
		t.Errorf("%d of %d volumes count as left behind", len(dead), len(inv.volumes))
	}
	for _, name := range dead {
		if err := cli.VolumeRemove(t.Context(), name, false); err != nil {
			t.Error(err)
		}
	}
	t.Logf("left behind, and found: %d boxes, %d containers, %d volumes", len(boxes), len(gone), len(dead))
	shut(t, r, owner)
}
