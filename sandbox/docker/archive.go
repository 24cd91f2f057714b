package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

var _ sandbox.Archiver = (*Runner)(nil)

// errClosed ends what goes on in a box that is closed.
var errClosed = errors.New("the box was closed")

// hold makes executions of a box that come wait until release, and says how many
// there are. ctx ends when the box is closed.
func (r *Runner) hold(ctx context.Context, name string) (held context.Context, h *holding, err error) {
	x := &execution{r: r, spec: sandbox.Spec{Box: name}, stop: make(chan struct{}), ended: make(chan struct{})}
	h = &holding{x: x, busy: make(chan struct{})}
	h.b, err = r.enterAs(ctx, x, func(b *box) {
		h.others = len(b.running)
		b.busy = h.busy
	})
	if err != nil {
		return nil, nil, err
	}
	held, cancel := context.WithCancelCause(ctx)
	h.done = make(chan struct{})
	go func() {
		defer close(h.done)
		select {
		case <-x.stop:
			cancel(errClosed)
		case <-held.Done():
		}
	}()
	h.cancel = func() { cancel(nil) }
	return held, h, nil
}

// holding is a box whose executions wait.
type holding struct {
	b      *box
	x      *execution
	others int // executions that go on
	busy   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

func (h *holding) release() {
	h.cancel()
	<-h.done
	h.b.mu.Lock()
	delete(h.b.running, h.x)
	h.b.busy = nil
	h.b.mu.Unlock()
	close(h.busy)
	close(h.x.ended)
}

// What a sandbox for a whole workspace has: no program runs in it.
const (
	archiveMemory = sandbox.GiB // most of it for what the kernel has not written yet
	archiveCPUs   = 2
	archiveFile   = 64 * sandbox.GiB
)

// archiveTemplate is that of sandboxes in which PID 1 alone works.
func (r *Runner) archiveTemplate(about Engine) template {
	return template{
		image: about.image, runtime: r.config.Runtime, profile: sandbox.Strict,
		memory: archiveMemory, cpus: archiveCPUs, pids: 1, tmp: sandbox.MiB, file: archiveFile, files: 1024,
	}
}

// Save shows s the workspace of a box; see sandbox.Archiver. PID 1 of a sandbox
// reads it, with no more rights than the program has. Executions of other workers
// are not kept from beginning meanwhile. How many sockets and pipes were left out
// is logged.
func (r *Runner) Save(ctx context.Context, name string, limits sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	if err := sandbox.ValidateBox(name); err != nil {
		return false, false, err
	}
	if err := limits.Validate(); err != nil {
		return false, false, err
	}
	about, err := r.Check(ctx)
	if err != nil {
		return false, false, err
	}
	held, h, err := r.hold(ctx, name)
	if err != nil {
		return false, false, err
	}
	defer h.release()
	quiesced, ok, err = r.save(held, h, about, limits.WithDefaults(), s)
	return quiesced, ok, endedBy(held, "save the workspace", err)
}

// endedBy adds what was being done to an error, and why it had to end.
func endedBy(ctx context.Context, doing string, err error) error {
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil
	case wflo.CodeOf(err) != "" || cause == nil || errors.Is(err, cause):
	case errors.Is(cause, errClosed):
		err = fmt.Errorf("%w: %w", errClosed, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func (r *Runner) save(ctx context.Context, h *holding, about Engine, limits sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	name := h.x.spec.Box
	box, ok, err := r.toSave(ctx, h.b, name, about)
	if err != nil || !ok {
		return err == nil && h.others == 0, false, err
	}
	elsewhere, err := r.elsewhere(ctx, box.p.volume)
	if err != nil {
		r.release(box, name, true)
		return false, true, err
	}
	v := &saving{limits: limits, s: s}
	err = r.withTrees(ctx, box, func(ctx context.Context, c *treeConn) error {
		v.c = c
		return v.run(ctx)
	})
	if v.left > 0 {
		r.config.Logger.InfoContext(ctx, "sockets and pipes are not saved", "box", name, "count", v.left)
	}
	r.release(box, name, err != nil || box.t == r.archiveTemplate(about))
	return h.others == 0 && !elsewhere, true, err
}

// toSave gives a sandbox with a box's workspace: the one that waits, or a new one.
func (r *Runner) toSave(ctx context.Context, b *box, name string, about Engine) (s *session, ok bool, err error) {
	const tries = 4
	for range tries {
		p, ok, err := r.workspaceOf(ctx, name)
		if err != nil || !ok {
			return nil, false, err
		}
		if s := b.takeKept(); s != nil {
			if s.alive() && s.p.volume == p.volume {
				return s, true, nil
			}
			s.discard()
		}
		if s, err = r.launch(ctx, r.archiveTemplate(about), p, about.facts); err != nil {
			return nil, true, err
		}
		still, err := r.stillAt(ctx, s, name)
		if still {
			return s, true, nil
		}
		s.discard()
		if err != nil {
			return nil, true, err
		}
	}
	return nil, true, fmt.Errorf("the workspace of %q is replaced all the time", name)
}

// elsewhere says whether other workers have containers with a volume. What they do
// in them is not known here.
func (r *Runner) elsewhere(ctx context.Context, volume string) (bool, error) {
	list, err := r.containersWith(ctx, volume)
	if err != nil {
		return false, err
	}
	mine := map[string]bool{}
	r.mu.Lock()
	for s := range r.live {
		mine[s.id] = true
	}
	r.mu.Unlock()
	for _, c := range list {
		if c.State == container.StateRunning && !mine[c.ID] {
			return true, nil
		}
	}
	return false, nil
}

// withTrees has a conversation about a tree with a sandbox, until ctx ends or the
// sandbox does.
func (r *Runner) withTrees(ctx context.Context, s *session, talk func(ctx context.Context, c *treeConn) error) error {
	c := &treeConn{s: s, window: newWindowOf(frame.TreeWindow), arrived: make(chan struct{}, 1)}
	if err := s.begin(c); err != nil {
		return err
	}
	defer s.end()
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.over:
			cancel(wflo.Errorf(wflo.CodeSandboxLost, "try again", "sandbox %.12s ended: %w", s.id, s.fault()))
		case <-ctx.Done():
		}
		c.window.close()
	}()
	err := talk(ctx, c)
	if cause := context.Cause(ctx); err != nil && cause != nil && wflo.CodeOf(err) == "" {
		err = cause
	}
	cancel(nil)
	<-done
	return err
}

// treeConn is a conversation about a tree.
type treeConn struct {
	s       *session
	window  *window // of what this side sends
	arrived chan struct{}
	queue   treeQueue
}

// take queues a frame of a tree, as far as the window allows PID 1.
func (c *treeConn) take(f frame.Frame) {
	switch f.Type {
	case frame.Window:
		var m frame.WindowMsg
		if f.Stream == frame.TreeStream && f.Decode(&m) == nil {
			c.window.grant(m.Bytes)
		}
		return
	case frame.Tree, frame.TreeEnd, frame.Done, frame.Refused, frame.Taken:
	default:
		return
	}
	c.queue.put(f)
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// next gives the next frame. Its data is its own until given back.
func (c *treeConn) next(ctx context.Context) (frame.Frame, error) {
	for {
		f, ok, err := c.queue.get()
		if err != nil {
			return frame.Frame{}, err
		}
		if ok {
			return f, c.read(f)
		}
		select {
		case <-c.arrived:
		case <-ctx.Done():
			return frame.Frame{}, context.Cause(ctx)
		}
	}
}

// read turns the frames that end a conversation into errors.
func (c *treeConn) read(f frame.Frame) error {
	switch f.Type {
	case frame.Taken:
		return errStolen
	case frame.Refused:
		var m frame.RefusedMsg
		if err := f.Decode(&m); err != nil {
			return err
		}
		return treeRefused(m)
	}
	return nil
}

// treeRefused puts what PID 1 refuses into words for the caller.
func treeRefused(m frame.RefusedMsg) error {
	switch m.Code {
	case "large":
		// PID 1 says it as this side would.
		return &wflo.Error{Code: wflo.CodeInvalid, Message: m.Message}
	case "device":
		return wflo.Invalid("the workspace", "cannot be saved: "+m.Message, "remove it")
	case "full":
		return wflo.Invalid("the workspace", "has no room: "+m.Message, "free some of the host's disk")
	}
	return fmt.Errorf("PID 1 refused: %s: %s", m.Code, m.Message)
}

// grant lets PID 1 send as much as was taken, and takes the room back.
func (c *treeConn) grant(f frame.Frame) error {
	n := len(f.Data)
	if n == 0 {
		return nil
	}
	c.queue.back(f.Data)
	return c.s.w.SendTo(frame.Window, frame.TreeStream, frame.WindowMsg{Bytes: n})
}

// momentOf and timeOf translate points in time. What is outside of the years 1 to
// 9999, which text forms of time have, becomes the nearest one in them.
func momentOf(t time.Time) frame.Moment {
	return frame.Moment{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

func timeOf(m frame.Moment) time.Time {
	first, last := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	switch {
	case m.Sec < first.Unix():
		return first
	case m.Sec > last.Unix():
		return last
	}
	return time.Unix(m.Sec, m.Nsec).UTC()
}

// stampOf changes whenever a file does; see sandbox.TreeEntry.
func stampOf(n *frame.Node) string {
	return fmt.Sprintf("%x.%x.%x.%x", n.Dev, n.Ino, n.CTime.Sec, n.CTime.Nsec)
}

// entryOf puts a node into the caller's words.
func entryOf(n *frame.Node) sandbox.TreeEntry {
	return sandbox.TreeEntry{
		Name: bytes.Clone(n.Name), Kind: n.Kind, Mode: n.Mode, Size: n.Size, MTime: timeOf(n.MTime), Stamp: stampOf(n),
		Target: cloneSome(n.Target), Extents: n.Extents,
	}
}

// cloneSome is bytes.Clone that makes nothing of nothing.
func cloneSome(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	return bytes.Clone(p)
}
