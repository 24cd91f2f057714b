package docker

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// hung is a proxy in front of the engine that can be told to bring nothing any more, as
// of an engine that hangs until it is restarted: its connections stay open and nothing
// comes.
type hung struct {
	sync.RWMutex // locked while nothing comes
	listener     net.Listener
	wg           sync.WaitGroup
	mu           sync.Mutex
	ends         []net.Conn
}

func newHung(t testing.TB) (*hung, string) {
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
	h := &hung{listener: l}
	h.wg.Go(func() { h.accept(engine) })
	t.Cleanup(func() {
		_ = l.Close()
		h.mu.Lock()
		for _, c := range h.ends {
			_ = c.Close()
		}
		h.mu.Unlock()
		h.wg.Wait()
	})
	return h, "unix://" + path
}

func (h *hung) accept(engine string) {
	for {
		near, err := h.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", engine)
		if err != nil {
			_ = near.Close()
			continue
		}
		h.mu.Lock()
		h.ends = append(h.ends, near, far)
		h.mu.Unlock()
		h.wg.Go(func() { h.bring(far, near) })
		h.wg.Go(func() {
			h.bring(near, far)
			_, _ = near.Close(), far.Close()
		})
	}
}

func (h *hung) bring(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if !h.TryRLock() {
			h.RLock() // until the engine is another one, which never hears of this
			_, _ = to.Close(), from.Close()
			h.RUnlock()
			return
		}
		_, werr := to.Write(buf[:n])
		h.RUnlock()
		if werr != nil || err != nil {
			if half, ok := to.(*net.UnixConn); ok && errors.Is(err, io.EOF) {
				_ = half.CloseWrite()
			}
			return
		}
	}
}

// TestEngineHangs asks an engine for everything while it does not answer: each call ends
// by itself, and says whose fault it is. Then the engine answers again.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	h, host := newHung(t)
	r := open(t, func(c *Config) { c.Host, c.EngineTimeout = host, 5*time.Second })
	box := closing(t, r, "hung")
	spec := shell("echo kept > f; echo begun; sleep 1000")
	spec.Box, spec.Key, spec.Limits.Timeout = box, "k", time.Second
	must(t, r, func() sandbox.Spec { s := shell("echo kept > f"); s.Box = box; return s }())
	settle(r)
	h.Lock()
	ctx := context.Background() // without an end of its own
	calls := map[string]func() error{
		"run":       func() error { _, err := r.Run(ctx, spec, nil); return err },
		"one-shot":  func() error { _, err := r.Run(ctx, shell("true"), nil); return err },
		"read":      func() error { _, err := r.ReadFile(ctx, box, "f", 100); return err },
		"write":     func() error { return r.WriteFiles(ctx, box, []wflo.File{{Name: "g"}}) },
		"boxes":     func() error { _, err := r.Boxes(ctx); return err },
		"list":      func() error { _, err := r.List(ctx); return err },
		"ping":      func() error { return r.Ping(ctx) },
		"defences":  func() error { _, err := r.Defences(ctx); return err },
		"kill":      func() error { return r.Kill(ctx, "nobody") },
		"stats":     func() error { _, err := r.Stats(ctx, "nobody"); return err },
		"collect":   func() error { _, err := r.Collect(ctx, true); return err },
		"close box": func() error { return r.Close(ctx, box+"-other") },
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			if err := call(); err == nil {
				t.Errorf("%s: an engine that says nothing gave no error", name)
			} else if code := wflo.CodeOf(err); code != wflo.CodeSandboxUnavailable && code != wflo.CodeSandboxLost {
				t.Errorf("%s: error %v of code %q", name, err, code)
			}
		})
	}
	wg.Wait()
	h.Unlock()
	settle(r)
	if data, err := r.ReadFile(t.Context(), box, "f", 100); err != nil || string(data) != "kept\n" {
		t.Errorf("when the engine answers again, the workspace has %q, %v", data, err)
	}
	must(t, r, shell("true"))
}

// TestImageIsMissing holds that an image that is not there is an error with what to do,
// and is not looked for anywhere else.
func TestImageIsMissing(t *testing.T) {
	t.Parallel()
	const none = "wflo-test-nothing:none"
	r, err := New(t.Context(), configure(t, func(c *Config) { c.Image = none }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, r, r.config.Owner) })
	for name, call := range map[string]func() error{
		"check": func() error { _, err := r.Check(t.Context()); return err },
		"run":   func() error { _, err := r.Run(t.Context(), shell("true"), nil); return err },
	} {
		err := call()
		coded(t, err, wflo.CodeSandboxUnavailable)
		if err == nil || !strings.Contains(err.Error(), none) || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", name, err, wflo.HintOf(err))
		}
	}
}

// TestWorkerIsStopped stops a worker while its program runs, has another one take over,
// and lets the first one go on: it is told that the execution is not its own any more,
// and the program ran once.
func TestWorkerIsStopped(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "stopped")
	w := hire(t, orders{Owner: r.config.Owner, Spec: patient(box, "k"), Pool: -1})
	w.says("begun")
	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	watch, begun := listen("begun")
	second := start(t.Context(), r, patient(box, "k"), watch)
	<-begun
	goOn(t, r, box)
	won := <-second
	if won.err != nil || !won.res.OK() || !won.res.Adopted || won.res.Stdout != "begun\nover\n" {
		t.Errorf("the worker that took over got %+v, %v, want the whole output, adopted", won.res, won.err)
	}
	if err := w.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var said string
	for w.lines.Scan() {
		if said = w.lines.Text(); strings.HasPrefix(said, "ended:") {
			break
		}
	}
	if !strings.HasPrefix(said, "ended:") || strings.Contains(said, "succeeded") {
		t.Errorf("the worker that was stopped said %q, want that its execution is another's", said)
	}
	ranOnce(t, r, box)
}
