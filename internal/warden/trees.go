//go:build linux

package warden

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// trees is what there is of the workspace's way out and in as a whole. It is under
// warden.mu.
type trees struct {
	out  *window // of what goes out; nil before the first Scan
	fill *filler // what comes in; nil without
}

// fail ends what comes in: a part of it is lost.
func (t *trees) fail(err error) {
	if t.fill != nil {
		t.fill.torn.CompareAndSwap(nil, &err)
		t.fill.in.end()
		t.fill = nil
	}
}

// grant lets more go out.
func (t *trees) grant(f frame.Frame) {
	var m frame.WindowMsg
	if f.Type == frame.Window && t.out != nil && f.Decode(&m) == nil {
		t.out.add(m.Bytes)
	}
}

// handleTree takes frames of trees. They are for a sandbox without a job: what a
// program does to its files is no part of a tree that nobody waits for.
func (w *warden) handleTree(f frame.Frame) {
	if w.job.in(running) || w.job.in(receiving) {
		w.refuse(f.Stream, "protocol", "a job is running")
		return
	}
	switch f.Type {
	case frame.Scan:
		var m frame.ScanMsg
		if err := f.Decode(&m); err != nil || m.Entries <= 0 || m.Bytes <= 0 || m.Depth <= 0 {
			w.refuse(f.Stream, "protocol", "Scan needs limits")
			return
		}
		out := newWindow(frame.TreeWindow)
		w.trees.out = out
		w.request(func() { w.scan(m, out) })
	case frame.Want:
		out, wanted := w.trees.out, bytes.Clone(f.Data)
		if out == nil {
			w.refuse(f.Stream, "protocol", "Want comes after Scan")
			return
		}
		w.request(func() { w.gather(wanted, out) })
	case frame.Fill:
		w.trees.fail(errProtocol)
		fl := newFiller(w.o.Workspace)
		w.trees.fill = fl
		w.request(func() { w.runFill(fl) })
	case frame.Tree:
		if fl := w.trees.fill; fl != nil && !fl.in.put(f.Data) {
			w.trees.fail(errors.New("the worker sent more than its window"))
		}
	case frame.TreeEnd:
		if fl := w.trees.fill; fl != nil {
			w.trees.fill = nil
			fl.in.end()
		}
	}
}

// refuseTree is refuse for requests that are answered in order.
func (w *warden) refuseTree(code string, err error) {
	_ = w.out.SendTo(frame.Refused, frame.TreeStream, frame.RefusedMsg{Code: code, Message: err.Error()})
}

// trail opens directories of a tree one after the other, without following links.
// Those that their owner may not read or enter, which is also PID 1, it makes
// passable while it is in them, and then as they were.
type trail struct {
	top    int
	name   string // the directory that is open; empty is none
	fd     int
	locked []lock
}

// lock is a directory that was made passable, and its mode before.
type lock struct {
	fd   int
	mode uint32
}

// passable is the mode that a directory has meanwhile.
func passable(mode uint32) uint32 { return mode&0o7777 | 0o700 }

// put gives a directory its mode again, if it still has the one that it was given.
func (l lock) put() {
	var st unix.Stat_t
	if unix.Fstat(l.fd, &st) == nil && st.Mode&0o7777 == passable(l.mode) {
		_ = unix.Fchmod(l.fd, l.mode)
	}
	_ = unix.Close(l.fd)
}

func openTrail(root string) (*trail, error) {
	top, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	return &trail{top: top}, nil
}

// open gives a directory by its clean relative name, "." for the top. It stays
// open until the next call.
func (t *trail) open(name string) (int, error) {
	if t.name == name {
		return t.fd, nil
	}
	t.leave()
	if name == "." {
		t.name, t.fd = name, t.top
		return t.top, nil
	}
	dir := t.top
	for part := range strings.SplitSeq(name, "/") {
		next, err := t.enter(dir, part)
		if dir != t.top {
			_ = unix.Close(dir)
		}
		if err != nil {
			t.leave()
			return -1, err
		}
		dir = next
	}
	t.name, t.fd = name, dir
	return dir, nil
}

// openAgain is open with a descriptor that the caller closes.
func (t *trail) openAgain(name string) (int, error) {
	fd, err := t.open(name)
	if err != nil {
		return -1, err
	}
	return retry(func() (int, error) {
		return unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
}

// enter opens a directory in another.
func (t *trail) enter(dir int, name string) (int, error) {
	fd, err := openDir(dir, name)
	if !errors.Is(err, unix.EACCES) {
		return fd, err
	}
	var st unix.Stat_t
	if serr := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); serr != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return -1, err
	}
	// A link that takes its place meanwhile leads to files of the program at worst.
	if cerr := unix.Fchmodat(dir, name, passable(st.Mode), 0); cerr != nil {
		return -1, err
	}
	if fd, err = openDir(dir, name); err != nil {
		return -1, err
	}
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		_ = unix.Fchmod(fd, st.Mode&0o7777)
		_ = unix.Close(fd)
		return -1, err
	}
	t.locked = append(t.locked, lock{fd: kept, mode: st.Mode & 0o7777})
	return fd, nil
}

// leave closes the directory that is open, and locks what was locked.
func (t *trail) leave() {
	if t.name != "" && t.fd != t.top {
		_ = unix.Close(t.fd)
	}
	t.name = ""
	for i := len(t.locked) - 1; i >= 0; i-- {
		t.locked[i].put()
	}
	t.locked = t.locked[:0]
}

func (t *trail) close() {
	t.leave()
	_ = unix.Close(t.top)
}

// vanished says that a name does not stand for what it did.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// treeWriter puts records into frames within the window.
type treeWriter struct {
	w      *warden
	window *window
	buf    []byte
	sent   int64 // frames
}

func newTreeWriter(w *warden, window *window) *treeWriter {
	return &treeWriter{w: w, window: window, buf: make([]byte, 0, frame.MaxTree)}
}

var errWindowClosed = errors.New("nobody takes the tree")

// flush sends what there is.
func (t *treeWriter) flush() error {
	if len(t.buf) == 0 {
		return nil
	}
	if !t.window.spend(len(t.buf)) {
		return errWindowClosed
	}
	err := t.w.out.Write(frame.Tree, frame.TreeStream, t.buf)
	t.buf = t.buf[:0]
	t.sent++
	return err
}

// room makes sure that n bytes fit into the frame.
func (t *treeWriter) room(n int) error {
	if len(t.buf)+n <= cap(t.buf) {
		return nil
	}
	return t.flush()
}

// add appends a record, which is no longer than a frame.
func (t *treeWriter) add(r *frame.TreeRecord) error {
	if err := t.room(r.Room()); err != nil {
		return err
	}
	t.buf = r.AppendTo(t.buf)
	return nil
}

// split gives the directory and the last part of a name.
func split(name string) (dir, base string) { return path.Dir(name), path.Base(name) }
