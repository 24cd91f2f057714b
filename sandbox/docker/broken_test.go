package docker

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// broken is the real engine, except that a test hears of requests before they
// are made and after, and may put an error in their place.
type broken struct {
	engine

	mu            sync.Mutex
	before, after func(call string) error
	warnings      []string
}

// tampered makes a Runner whose engine a test can break, and the engine.
func tampered(t testing.TB, change func(*Config)) (*Runner, *broken) {
	t.Helper()
	c := configure(t, change).withDefaults()
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	e := &broken{engine: cli}
	r, err := newRunner(c, e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, r, c.Owner) })
	if _, err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	settle(r)
	return r, e
}

// tamper has the functions called from now on; nil does nothing.
func (b *broken) tamper(before, after func(call string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before, b.after = before, after
}

func (b *broken) hear(f func(string) error, call string) error {
	if f == nil {
		return nil
	}
	return f(call)
}

// around makes a request between before and after.
func (b *broken) around(call string, request func() error) error {
	b.mu.Lock()
	before, after := b.before, b.after
	b.mu.Unlock()
	if err := b.hear(before, call); err != nil {
		return err
	}
	err := request()
	if instead := b.hear(after, call); instead != nil {
		return instead
	}
	return err
}

func (b *broken) ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, p *v1.Platform, name string) (resp container.CreateResponse, err error) {
	err = b.around("create", func() (err error) {
		resp, err = b.engine.ContainerCreate(ctx, c, h, n, p, name)
		return err
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	resp.Warnings = append(resp.Warnings, b.warnings...)
	return resp, err
}

func (b *broken) ContainerAttach(ctx context.Context, id string, o container.AttachOptions) (resp types.HijackedResponse, err error) {
	err = b.around("attach", func() (err error) {
		resp, err = b.engine.ContainerAttach(ctx, id, o)
		return err
	})
	if err != nil && resp.Conn != nil {
		resp.Close()
	}
	return resp, err
}

func (b *broken) ContainerStart(ctx context.Context, id string, o container.StartOptions) error {
	return b.around("start", func() error { return b.engine.ContainerStart(ctx, id, o) })
}

func (b *broken) ContainerInspect(ctx context.Context, id string) (resp container.InspectResponse, err error) {
	err = b.around("inspect", func() (err error) {
		resp, err = b.engine.ContainerInspect(ctx, id)
		return err
	})
	return resp, err
}

func (b *broken) ContainerKill(ctx context.Context, id, signal string) error {
	return b.around("kill", func() error { return b.engine.ContainerKill(ctx, id, signal) })
}

func (b *broken) VolumeCreate(ctx context.Context, o volume.CreateOptions) (v volume.Volume, err error) {
	err = b.around("volume", func() (err error) {
		v, err = b.engine.VolumeCreate(ctx, o)
		return err
	})
	return v, err
}

func (b *broken) VolumeInspect(ctx context.Context, name string) (v volume.Volume, err error) {
	err = b.around("look", func() (err error) {
		v, err = b.engine.VolumeInspect(ctx, name)
		return err
	})
	return v, err
}

var errEngine = errors.New("the engine says no")

// on gives an error for one kind of request.
func on(call string, err error) func(string) error {
	return func(got string) error {
		if got == call {
			return err
		}
		return nil
	}
}

// TestBrokenEngine breaks each request that an execution makes, before the
// engine hears of it and after it has done it. The end of the test looks whether anything is
// left.
func TestBrokenEngine(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"create", "attach", "start", "volume", "look"} {
		for when, tamper := range map[string]func(*broken, error){
			"before": func(b *broken, err error) { b.tamper(on(call, err), nil) },
			"after":  func(b *broken, err error) { b.tamper(nil, on(call, err)) },
		} {
			for place, box := range map[string]string{"one-shot": "", "box": "b"} {
				t.Run(call+" "+when+" "+place, func(t *testing.T) {
					r, e := tampered(t, nil)
					spec := shell("true")
					if spec.Box = box; box != "" {
						closing(t, r, box)
					} else {
						spec.Key = "k" // a lease is a volume too
					}
					tamper(e, errEngine)
					res, err := r.Run(t.Context(), spec, nil)
					e.tamper(nil, nil)
					if needed := call != "look" || box != ""; needed != errors.Is(err, errEngine) || !needed && !res.OK() {
						t.Errorf("Run = %s, %v, want an error: %v", res.Outcome, err, needed)
					}
					settle(r)
					if live := len(r.live); live != 0 {
						t.Errorf("%d sandboxes are still known", live)
					}
					// The engine is well again, and so is the Runner.
					must(t, r, spec)
				})
			}
		}
	}
}

// TestWarning holds that an engine that says that it would ignore a limit runs
// nothing.
func TestWarning(t *testing.T) {
	t.Parallel()
	r, e := tampered(t, nil)
	e.warnings = []string{"Your kernel does not support memory limit capabilities. Limitation discarded."}
	_, err := r.Run(t.Context(), shell("true"), nil)
	coded(t, err, wflo.CodeSandboxUnavailable)
	e.warnings = harmless
	must(t, r, shell("true"))
}

// TestNotTheirs holds that a volume of another owner is never used.
func TestNotTheirs(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	cli := dial(t)
	name := r.named(kindMarker, "theirs")
	if _, err := cli.VolumeCreate(t.Context(), volume.CreateOptions{Name: name, Labels: map[string]string{labelOwner: "somebody", labelVolume: "x", labelUID: "7"}}); err != nil {
		t.Fatal(err)
	}
	spec := shell("true")
	spec.Box = "theirs"
	if _, err := r.Run(t.Context(), spec, nil); err == nil {
		t.Error("a workspace that is somebody else's is used")
	}
	if err := cli.VolumeRemove(t.Context(), name, false); err != nil {
		t.Error(err)
	}
}

// TestLost holds that a sandbox that goes away under its program is an error of
// the machinery, and never a result.
func TestLost(t *testing.T) {
	t.Parallel()
	for name, inspect := range map[string]error{"gone": nil, "and nobody knows why": errEngine} {
		t.Run(name, func(t *testing.T) {
			r, e := tampered(t, nil)
			spec := shell("echo begun; sleep 1000")
			spec.Key = "k"
			watch, begun := listen("begun")
			ended := start(t.Context(), r, spec, watch)
			<-begun
			e.tamper(on("inspect", inspect), nil)
			if err := r.Kill(t.Context(), byKey(t, r, "k").ID); err != nil {
				t.Fatal(err)
			}
			got := <-ended
			coded(t, got.err, wflo.CodeSandboxLost)
			if sandbox.OutcomeOf(got.res, got.err) != sandbox.Lost {
				t.Errorf("outcome %s", sandbox.OutcomeOf(got.res, got.err))
			}
			e.tamper(nil, nil)
		})
	}
}

// wire is a proxy in front of the engine that can be cut.
type wire struct {
	t        testing.TB
	listener net.Listener
	engine   string
	wg       sync.WaitGroup

	mu     sync.Mutex
	down   bool
	mute   string // the answer to a request that begins so is lost
	ends   map[net.Conn]struct{}
	missed map[net.Conn]chan struct{} // by connection to the engine, closed when it has answered
}

// newWire gives a wire to the engine and the address of its other end.
func newWire(t testing.TB) (*wire, string) {
	t.Helper()
	engine := "/var/run/docker.sock"
	if host := dial(t).DaemonHost(); strings.HasPrefix(host, "unix://") {
		engine = strings.TrimPrefix(host, "unix://")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, listener: l, engine: engine, ends: map[net.Conn]struct{}{}, missed: map[net.Conn]chan struct{}{}}
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		w.cut()
		_ = l.Close()
		w.wg.Wait()
	})
	return w, "unix://" + path
}

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		e, err := net.Dial("unix", w.engine)
		if err != nil {
			_ = c.Close()
			continue
		}
		w.mu.Lock()
		if w.down {
			_, _ = c.Close(), e.Close()
		} else {
			w.ends[c], w.ends[e] = struct{}{}, struct{}{}
			w.wg.Go(func() { w.forward(e, c) })
			w.wg.Go(func() { w.back(c, e) })
		}
		w.mu.Unlock()
	}
}

// forward brings requests to the engine.
func (w *wire) forward(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		if w.mute != "" && strings.HasPrefix(string(buf[:n]), w.mute) {
			w.missed[to] = make(chan struct{})
		}
		w.mu.Unlock()
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			if half, ok := to.(*net.UnixConn); ok {
				_ = half.CloseWrite()
			}
			return
		}
	}
}

// back brings answers, and hangs up instead of the one that shall be lost.
func (w *wire) back(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		missed := w.missed[from]
		w.mu.Unlock()
		if missed != nil {
			close(missed)
			break
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ends, to)
	delete(w.ends, from)
}

// cut ends all connections, and new ones at once, until mended.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for c := range w.ends {
		_ = c.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// TestEngineDies cuts the connection to the engine under a program, then runs
// the same key again.
func TestEngineDies(t *testing.T) {
	t.Parallel()
	w, host := newWire(t)
	r := open(t, func(c *Config) { c.Host, c.EngineTimeout = host, 20*time.Second })
	box := closing(t, r, "cut")
	watch, begun := listen("begun")
	ended := start(t.Context(), r, patient(box, "k"), watch)
	<-begun
	w.cut()
	got := <-ended
	coded(t, got.err, wflo.CodeSandboxLost)
	_, err := r.Run(t.Context(), shell("true"), nil)
	coded(t, err, wflo.CodeSandboxUnavailable)
	w.mend()
	settle(r)
	// The sandbox went on, or not: the execution ends well either way.
	watch, begun = listen("begun")
	again := start(t.Context(), r, patient(box, "k"), watch)
	<-begun
	goOn(t, r, box)
	if got := <-again; got.err != nil || !got.res.OK() {
		t.Errorf("the same key again: %s, %v", got.res.Outcome, got.err)
	}
}
