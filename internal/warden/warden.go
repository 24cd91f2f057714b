//go:build linux

package warden

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// Main is the program: without arguments it is PID 1 and returns the exit code;
// -source prints what it was built from.
func Main(args []string) int {
	switch {
	case len(args) == 0:
		return Run(Options{})
	case len(args) == 1 && args[0] == "-source":
		fmt.Println(source)
		return 0
	}
	fmt.Fprintln(os.Stderr, "wflo-runner: takes no arguments, or -source")
	return 1
}

// Run serves the worker on the standard streams until it is told to quit, or the
// worker is silent for too long with nothing left to wait for, and returns the
// exit code. It changes the process that calls it for good.
func Run(o Options) int {
	h := harden()
	in, err := stream(0, "stdin")
	if err == nil {
		var out *os.File
		if out, err = stream(1, "stdout"); err == nil {
			return newWarden(o, h, in, out).serve()
		}
	}
	fmt.Fprintln(os.Stderr, "wflo-runner:", err)
	return 1
}

// warden holds the conversation with the worker.
type warden struct {
	o        Options
	family   *family
	cgroup   cgroup
	in       io.Reader
	out      *frame.Writer
	notes    chan note   // small frames, in order
	requests chan func() // what is answered in order and may take a while
	over     chan ending // why to end

	mu    sync.Mutex
	heard time.Time
	job   *job      // the latest; nil before the first
	put   *receiver // files under way outside of a job
	trees trees
}

type ending struct {
	code int
	err  error
}

// note is a frame without much in it, or bytes between frames, or a mark that is
// closed when everything before it has been written.
type note struct {
	t      frame.Type
	stream uint32
	data   []byte
	raw    bool
	mark   chan struct{}
}

// backlog is how many small frames may wait for a worker that does not read.
const backlog = 4096

func newWarden(o Options, h *host, in io.Reader, out io.Writer) *warden {
	o.Workspace = cmp.Or(o.Workspace, "/workspace")
	o.Scratch = cmp.Or(o.Scratch, frame.ScratchDir)
	o.Cgroup = cmp.Or(o.Cgroup, "/sys/fs/cgroup")
	o.Proxy = cmp.Or(o.Proxy, fmt.Sprintf("127.0.0.1:%d", frame.ProxyPort))
	o.Silence = cmp.Or(o.Silence, time.Minute)
	o.Keep = cmp.Or(o.Keep, 10*time.Minute)
	if o.Temp == nil {
		o.Temp = []string{"/tmp", "/dev/shm"}
	}
	return &warden{
		o: o, family: newFamily(h), cgroup: openCgroup(o.Cgroup), in: in, out: frame.NewWriter(out),
		notes: make(chan note, backlog), requests: make(chan func(), backlog), over: make(chan ending, 1),
		heard: time.Now(),
	}
}

// serve starts what lives as long as the process, and waits for the end.
func (w *warden) serve() int {
	go w.family.watch()
	go w.sendNotes()
	go func() {
		for answer := range w.requests {
			answer()
		}
	}()
	w.send(frame.Hello, 0, frame.HelloMsg{Version: frame.Version})
	go w.listen()
	patrol := time.NewTicker(w.o.Silence / 6)
	defer patrol.Stop()
	for {
		select {
		case e := <-w.over:
			w.family.kill()
			if e.err != nil {
				fmt.Fprintln(os.Stderr, "wflo-runner:", e.err)
			}
			return e.code
		case now := <-patrol.C:
			if w.forsaken(now) {
				w.end(0, nil)
			}
		}
	}
}

// end makes serve return. The first reason counts.
func (w *warden) end(code int, err error) {
	select {
	case w.over <- ending{code, err}:
	default:
	}
}

// forsaken says that nobody has spoken for long, and nothing is left to wait for:
// no job or result that somebody may still adopt.
func (w *warden) forsaken(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.heard) < w.o.Silence {
		return false
	}
	j := w.job
	if j == nil {
		return true
	}
	switch j.phase {
	case running:
		return j.msg.Key == "" // nobody can adopt it
	case ended:
		unread := j.msg.Key != "" && w.heard.Before(j.endedAt)
		return !unread || now.Sub(j.endedAt) >= w.o.Keep
	}
	return true
}

// listen reads frames until there are no more. The end of the stream is silence:
// whether anybody comes back is for forsaken to say.
func (w *warden) listen() {
	r := frame.NewReader(w.in)
	for {
		f, err := r.Read()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return
		case err != nil && !errors.Is(err, frame.ErrDamaged):
			w.end(1, err)
			return
		}
		w.mu.Lock()
		w.heard = time.Now()
		w.mu.Unlock()
		if err != nil {
			w.damaged()
			continue
		}
		w.handle(f)
	}
}

// send queues a message. A worker that lets so many wait that there is no more
// room has stopped working.
func (w *warden) send(t frame.Type, stream uint32, message any) {
	data, err := frame.Encode(message)
	if err != nil {
		w.end(1, err)
		return
	}
	w.note(note{t: t, stream: stream, data: data})
}

func (w *warden) note(n note) {
	select {
	case w.notes <- n:
	default:
		w.end(1, errors.New("the worker does not read its frames"))
	}
}

func (w *warden) sendNotes() {
	for n := range w.notes {
		switch {
		case n.mark != nil:
			close(n.mark)
		case n.raw:
			_ = w.out.Raw(n.data)
		default:
			_ = w.out.Write(n.t, n.stream, n.data)
		}
	}
}

// flush waits until all notes so far are written.
func (w *warden) flush() {
	mark := make(chan struct{})
	w.notes <- note{mark: mark}
	<-mark
}

func (w *warden) refuse(stream uint32, code, message string) {
	w.send(frame.Refused, stream, frame.RefusedMsg{Code: code, Message: message})
}
