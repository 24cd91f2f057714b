package sandboxtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// heartbeat is what the neighbour runs: it reads its file, takes a little of
// everything that the kernel counts per user or for the whole host, and says how
// that went. It listens where attackers may look for it. A call that is
// refused for good is no ailment; one that fails for want of something is.
const heartbeat = `
import ctypes, errno, fcntl, hashlib, os, select, signal, socket, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def call(number, *args):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(number), *args)
    if r == -1 and ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS, errno.EACCES):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r

def watches():
    fd = libc.inotify_init1(0)
    if fd < 0: raise OSError(ctypes.get_errno(), "inotify")
    if libc.inotify_add_watch(fd, b"/tmp", 2) < 0: raise OSError(ctypes.get_errno(), "inotify watch")
    os.close(fd)

def pipes():
    r, w = os.pipe()
    fcntl.fcntl(w, 1031, 1 << 18)
    os.close(r); os.close(w)

def signals():
    pid = os.getpid()
    if libc.sigqueue(pid, signal.SIGRTMIN, None) != 0: raise OSError(ctypes.get_errno(), "sigqueue")
    signal.sigtimedwait([signal.SIGRTMIN], 0)

def timers():
    t = ctypes.c_int(0)
    if call(222, ctypes.c_long(1), None, ctypes.byref(t)) == 0: call(226, ctypes.c_long(t.value))

def asynchronous():
    c = ctypes.c_ulong(0)
    if call(206, ctypes.c_long(8), ctypes.byref(c)) == 0: call(207, c)

def passing():
    a, b = socket.socketpair()
    socket.send_fds(a, [b"x"], [0])
    for fd in socket.recv_fds(b, 1, 1)[1]: os.close(fd)
    a.close(); b.close()

def children():
    p = os.fork()
    if p == 0: os._exit(0)
    os.waitpid(p, 0)

def threads():
    t = threading.Thread(target=int); t.start(); t.join()

def files():
    with open("/tmp/beat", "wb") as f: f.write(bytes(4096))
    with open("/workspace/scratch", "wb") as f: f.write(bytes(4096))

def memory():
    bytearray(4 << 20)

def polling():
    e = select.epoll(); r, w = os.pipe(); e.register(r); e.close(); os.close(r); os.close(w)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
listeners = [socket.create_server(("127.0.0.1", 4567))]
s = socket.socket(socket.AF_UNIX); s.bind("\0" + os.environ["MARK"]); s.listen(); listeners.append(s)
n = 0
while True:
    n += 1
    with open("/workspace/mine", "rb") as f: digest = hashlib.sha256(f.read()).hexdigest()
    ails = []
    for take in watches, pipes, signals, timers, asynchronous, passing, children, threads, files, memory, polling:
        try: take()
        except Exception as e: ails.append(take.__name__ + ": " + str(e))
    if select.select(listeners, [], [], 0)[0]: ails.append("somebody called")
    print(n, digest, "; ".join(ails) or "well", flush=True)
    time.sleep(0.1)
`

// neighbour is a program that minds its own business in a box of its own.
type neighbour struct {
	r       sandbox.Runner
	box     string
	mark    string // in its environment, its abstract socket and its file
	content []byte
	digest  string
	cancel  context.CancelFunc
	done    chan struct{} // it has ended, as res and err say
	res     sandbox.Result
	err     error

	mu    sync.Mutex
	line  []byte
	beats int
	ails  []string
	beat  chan struct{} // closed and made anew with every beat
}

// settle starts the neighbour and waits until its heart beats.
func settle(t *testing.T, s *siege) *neighbour {
	t.Helper()
	mark := s.token + "-neighbour"
	n := &neighbour{
		r: s.r, mark: mark, content: bytes.Repeat([]byte(mark+"\n"), 1000),
		done: make(chan struct{}), beat: make(chan struct{}),
	}
	n.box = box(t, s.r, mark)
	sum := sha256.Sum256(n.content)
	n.digest = hex.EncodeToString(sum[:])
	spec := python(heartbeat)
	spec.Box, spec.Env = n.box, map[string]string{"MARK": mark}
	spec.Files = []wflo.File{{Name: "mine", Data: n.content}}
	spec.Limits = sandbox.Limits{Timeout: time.Hour, OutputTotal: sandbox.GiB}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	n.cancel = cancel
	go func() {
		defer close(n.done)
		n.res, n.err = s.r.Run(ctx, spec, n.watch)
	}()
	t.Cleanup(func() {
		cancel()
		<-n.done
	})
	for _, check := range []func(context.Context) error{n.alive, n.untouched} {
		if err := check(t.Context()); err != nil {
			t.Fatalf("before any attack: %v", err)
		}
	}
	return n
}

// watch reads heartbeats.
func (n *neighbour) watch(_ sandbox.Stream, p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.line = append(n.line, p...)
	for {
		line, rest, ok := bytes.Cut(n.line, []byte("\n"))
		if !ok {
			return
		}
		n.hear(string(line))
		n.line = rest
	}
}

func (n *neighbour) hear(line string) {
	n.beats++
	if want := fmt.Sprintf("%d %s well", n.beats, n.digest); line != want && len(n.ails) < 20 {
		n.ails = append(n.ails, line)
	}
	close(n.beat)
	n.beat = make(chan struct{})
}

// alive waits for two more beats, so that one of them began after the call, and
// gives what was wrong since the last call.
func (n *neighbour) alive(ctx context.Context) error {
	return n.since(ctx, n.heard()+2)
}

func (n *neighbour) heard() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.beats
}

// since waits until there were so many beats.
func (n *neighbour) since(ctx context.Context, until int) error {
	deadline := time.NewTimer(3 * patience)
	defer deadline.Stop()
	for {
		n.mu.Lock()
		beats, beat, ails := n.beats, n.beat, n.ails
		if beats >= until {
			n.ails = nil
		}
		n.mu.Unlock()
		switch {
		case beats >= until && len(ails) > 0:
			return fmt.Errorf("the neighbour suffers: %.1000q", ails)
		case beats >= until:
			return nil
		}
		select {
		case <-beat:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the neighbour: %w", ctx.Err())
		case <-n.done:
			if n.heard() >= until {
				continue
			}
			return fmt.Errorf("the neighbour is gone: %s, code %d, %.300q, %.300q, %w", n.res.Outcome, n.res.ExitCode, n.res.Stdout, n.res.Stderr, n.err)
		case <-deadline.C:
			return fmt.Errorf("the neighbour is silent after %d beats", beats)
		}
	}
}

// untouched reads the neighbour's files from outside.
func (n *neighbour) untouched(ctx context.Context) error {
	data, err := n.r.ReadFile(ctx, n.box, "mine", int64(len(n.content)))
	if err == nil && !bytes.Equal(data, n.content) {
		err = fmt.Errorf("%.80q", data)
	}
	if err != nil {
		return fmt.Errorf("the neighbour's file: %w", err)
	}
	return nil
}

// leave ends the neighbour; it has gone on without a fault until then.
func (n *neighbour) leave(t *testing.T) {
	t.Helper()
	n.cancel()
	<-n.done
	if n.err != nil || n.res.Outcome != sandbox.Cancelled {
		t.Errorf("the neighbour ended as %s, %v, want it cancelled by us", n.res.Outcome, n.err)
	}
	changed := slices.DeleteFunc(slices.Clone(n.res.Changed), func(c sandbox.Change) bool { return c.Name == "scratch" })
	if len(changed) > 0 || n.res.OOM || strings.TrimSpace(n.res.Stderr) != "" {
		t.Errorf("the neighbour changed %v, OOM %v, stderr %.500q", changed, n.res.OOM, n.res.Stderr)
	}
}
