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

	"github.com/wflo-ai/wflo-go/sandbox"
)

// workerOrders is the variable that makes a worker of the test's binary.
const workerOrders = "WFLO_DOCKER_TEST_WORKER"

// orders are what such a worker does: run a specification as an owner.
type orders struct {
	Owner string       `json:"owner"`
	Spec  sandbox.Spec `json:"spec"`
	Pool  int          `json:"pool"`
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
