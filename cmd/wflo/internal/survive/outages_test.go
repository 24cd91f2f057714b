//go:build integration

package survive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
)

// engineDisk is how many bytes the engine's disk has, most of them for the image.
const engineDisk = 1 << 30

// sandboxImage is what deploy/setup.sh builds.
const sandboxImage = "wflo/sandbox:1"

// ownEngine starts a dockerd beside everybody's, with the image of sandboxes, so that it
// can be killed. Its network is one of its own, which no sandbox is in.
func ownEngine(t *testing.T) *restartable {
	t.Helper()
	dir, err := os.MkdirTemp("", "wflo-dockerd-") //nolint:usetesting // paths of sockets are short, and what is mounted goes first
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	// Its disk is one of its own, which can be filled.
	if err = os.Mkdir(path("data"), 0o711); err == nil { //nolint:gosec // as dockerd makes it
		err = syscall.Mount("wflo-test", path("data"), "tmpfs", 0, fmt.Sprint("size=", engineDisk))
	}
	if err != nil {
		t.Fatalf("make the disk of an engine, which takes root: %v", err)
	}
	if err := os.WriteFile(path("none.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := "unix://" + path("sock")
	r := &restartable{t: t, name: "dockerd", env: os.Environ(), argv: []string{
		"dockerd", "--data-root", path("data"), "--exec-root", path("exec"), "--pidfile", path("pid"), "-H", host, "--config-file", path("none.json"),
		"--bridge", clitest.Bridge(t), "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
	}, up: func() bool { return exec.Command("docker", "-H", host, "version").Run() == nil }} //nolint:gosec // the words are ours
	t.Cleanup(func() {
		r.now.Signal(syscall.SIGTERM)
		<-r.now.Ended()
		// What a killed daemon had mounted is mounted still.
		_ = exec.Command("sh", "-c", "awk '$2 ~ /^"+strings.ReplaceAll(dir, "/", `\/`)+"/ {print $2}' /proc/mounts | sort -r | xargs -r umount -l").Run() //nolint:gosec // the words are ours
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r.again()
	save, load := exec.Command("docker", "save", sandboxImage), exec.Command("docker", "-H", host, "load") //nolint:gosec // the words are ours
	image, err := save.StdoutPipe()
	if err == nil {
		load.Stdin = io.Reader(image)
		err = errors.Join(save.Start(), load.Run(), save.Wait())
	}
	if err != nil {
		t.Fatalf("give the engine the image %s: %v", sandboxImage, err)
	}
	return r
}

// last is the worker that was started last.
func (w *world) last() *clitest.Program {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.workers) == 0 {
		return nil
	}
	return w.workers[len(w.workers)-1]
}

// down kills a server and starts it again a while later.
func down(kill, again func()) {
	kill()
	<-time.After(3 * time.Second)
	again()
}

// outages are what happens to processes while agents work.
var outages = []struct {
	name string
	do   func(w *world, engine *restartable)
}{
	{"worker is killed", func(w *world, _ *restartable) { w.last().Kill() }},
	{"the kernel kills the worker because memory is short", func(w *world, _ *restartable) { shortOfMemory(w.t, w.last()) }},
	{"worker is asked to stop", func(w *world, _ *restartable) {
		p := w.last()
		p.Signal(syscall.SIGTERM)
		p.Want(w.t, 0)
	}},
	{"worker sleeps while another one takes over, and wakes up", func(w *world, _ *restartable) {
		p := w.last()
		p.Signal(syscall.SIGSTOP)
		w.worker(nil)
		<-time.After(25 * time.Second)
		p.Signal(syscall.SIGCONT)
	}},
	{"Temporal is killed", func(w *world, _ *restartable) { down(w.temporal.kill, w.temporal.again) }},
	{"PostgreSQL is killed", func(w *world, _ *restartable) { down(w.postmaster.Kill, w.postmaster.Again) }},
	{"Redis is killed", func(w *world, _ *restartable) { down(w.redis.kill, w.redis.again) }},
	{"MinIO is killed", func(w *world, _ *restartable) { down(w.minio.kill, w.minio.again) }},
	{"the container engine is killed", func(_ *world, engine *restartable) { down(engine.kill, engine.again) }},
}

// Each process is killed, stopped or asked to stop while a program of an agent runs and
// others wait, pay and undo.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	engine := ownEngine(t)
	w := newWorld(t, s)
	w.engine = engine.argv[8]
	w.env = append(w.env, "WFLO_SANDBOX_HOST="+w.engine)
	ctx, cancel := context.WithCancel(t.Context())
	var aside sync.WaitGroup
	aside.Go(func() { w.decide(ctx) })
	aside.Go(func() { w.keepAlive(ctx, nil) })
	await(t, "a worker", func() bool { api, _ := w.addresses(); return api != "" })
	for n, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			var ids []string
			for i, k := range kinds {
				ids = append(ids, w.start(order{Kind: k, Box: k == keeps, Long: 5, Calls: 1}, 2*(3*n+i)))
			}
			await(t, "a program that runs", func() bool {
				out, err := exec.Command("docker", "-H", w.engine, "ps", "-q", "--filter", "label=wflo.owner="+w.id).Output() //nolint:gosec // the words are ours
				return err == nil && len(out) > 0
			})
			o.do(w, engine)
			for i, id := range ids {
				w.ended(id, kinds[i])
			}
		})
	}
	t.Run("the engine's disk is full", func(t *testing.T) { w.diskIsFull(t, engine) })
	r := w.settles(w.patience, nil)
	t.Logf("\n%s", r)
	cancel()
	aside.Wait()
}

// diskIsFull has agents begin that run programs while the engine has no byte left. They
// wait for it, and go on when there is room.
func (w *world) diskIsFull(t *testing.T, engine *restartable) {
	path := filepath.Join(engine.argv[2], "filler")
	file, err := os.Create(path) //nolint:gosec // the test says where
	if err != nil {
		t.Fatal(err)
	}
	written, err := io.Copy(file, zeros{})
	if _ = file.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk took %d bytes and ended with %v", written, err)
	}
	var ids []string
	for i, k := range []kind{keeps, back} {
		ids = append(ids, w.start(order{Kind: k, Box: true, Calls: 1}, 1000+2*i))
	}
	worker := w.last()
	await(t, "what the engine says of its disk", func() bool { return strings.Contains(worker.Said(), "no space left on device") })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		w.ended(id, []kind{keeps, back}[i])
	}
}

// zeros has no end.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
