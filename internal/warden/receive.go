//go:build linux

package warden

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// What one request may bring: what a specification may, and a script.
const (
	maxFiles     = sandbox.MaxFileCount + 16
	maxFileBytes = sandbox.MaxFiles + 2*sandbox.MaxSource
)

// receiver puts files into place as they arrive. The first error stays; what
// comes after it is swallowed. A program may be at work in the same folders: the
// receiver never follows a link of it.
type receiver struct {
	places map[string]string // FileMsg.Where to folder
	count  int
	bytes  int64
	file   *incoming
	err    error
}

// incoming is a file on its way. It has another name until it is whole.
type incoming struct {
	dir, fd    int
	name, temp string // in dir
	size, got  int64
}

var errProtocol = errors.New("frames came in the wrong order")

func (r *receiver) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.abort()
}

// abort forgets the file that is under way.
func (r *receiver) abort() {
	if r.file == nil {
		return
	}
	f := r.file
	r.file = nil
	_ = unix.Close(f.fd)
	_ = unix.Unlinkat(f.dir, f.temp, 0)
	_ = unix.Close(f.dir)
}

func (r *receiver) begin(m frame.FileMsg) {
	switch {
	case r.err != nil:
		return
	case r.file != nil:
		r.fail(errProtocol)
		return
	}
	if err := r.open(m); err != nil {
		r.fail(fmt.Errorf("file %.80q: %w", m.Name, err))
	}
}

func (r *receiver) open(m frame.FileMsg) error {
	if m.Where == "" {
		m.Where = frame.Workspace
	}
	place, ok := r.places[m.Where]
	switch {
	case !ok:
		return wflo.Invalid("where", fmt.Sprintf("is %.40q", m.Where), "use workspace or scratch")
	case m.Size < 0 || m.Size > maxFileBytes-r.bytes:
		return wflo.Invalid("size", fmt.Sprintf("is %d", m.Size), "bring fewer or smaller files")
	case r.count >= maxFiles:
		return wflo.Invalid("files", "are too many", "bring fewer, or pack them")
	}
	if err := sandbox.ValidateName(m.Name); err != nil {
		return err
	}
	r.count++
	r.bytes += m.Size
	dir, err := makeDirs(place, path.Dir(m.Name))
	if err != nil {
		return err
	}
	mode := m.Mode & 0o755
	if m.Mode == 0 {
		mode = 0o644
	}
	f := &incoming{dir: dir, name: path.Base(m.Name), temp: ".wflo-" + rand.Text(), size: m.Size}
	f.fd, err = unix.Openat(dir, f.temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		_ = unix.Close(dir)
		return err
	}
	r.file = f
	return nil
}

func (r *receiver) data(p []byte) {
	f := r.file
	switch {
	case r.err != nil:
		return
	case f == nil:
		r.fail(errProtocol)
		return
	case int64(len(p)) > f.size-f.got:
		r.fail(fmt.Errorf("file %.80q: has more than the %d bytes that it said", f.name, f.size))
		return
	}
	f.got += int64(len(p))
	for len(p) > 0 {
		n, err := retry(func() (int, error) { return unix.Write(f.fd, p) })
		if err != nil {
			r.fail(fmt.Errorf("file %.80q: %w", f.name, err))
			return
		}
		p = p[n:]
	}
}

func (r *receiver) end() {
	f := r.file
	switch {
	case r.err != nil:
		return
	case f == nil:
		r.fail(errProtocol)
		return
	case f.got != f.size:
		r.fail(fmt.Errorf("file %.80q: has %d bytes of %d", f.name, f.got, f.size))
		return
	}
	// A rename replaces a link instead of following it, and refuses a folder.
	if err := unix.Renameat(f.dir, f.temp, f.dir, f.name); err != nil {
		r.fail(fmt.Errorf("file %.80q: %w", f.name, err))
		return
	}
	r.file = nil
	_ = unix.Close(f.fd)
	_ = unix.Close(f.dir)
}

// finish says what became of all files.
func (r *receiver) finish() error {
	if r.err == nil && r.file != nil {
		r.fail(errProtocol)
	}
	return r.err
}

// makeDirs opens a folder below place and makes what is missing of it. Whatever
// is no folder on the way is removed.
func makeDirs(place, name string) (int, error) {
	dir, err := unix.Open(place, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil || name == "." {
		return dir, err
	}
	for part := range strings.SplitSeq(name, "/") {
		next, err := enter(dir, part)
		_ = unix.Close(dir)
		if err != nil {
			return -1, err
		}
		dir = next
	}
	return dir, nil
}

// enter opens a folder in another. A program that keeps putting something else
// there makes it give up.
func enter(dir int, name string) (fd int, err error) {
	const tries = 8
	for range tries {
		fd, err = openDir(dir, name)
		switch {
		case errors.Is(err, unix.ENOENT):
			if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
				return -1, err
			}
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
				return -1, err
			}
		default:
			return fd, err
		}
	}
	return -1, err
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// refusal puts an error of a receiver into words for the worker.
func refusal(err error) frame.RefusedMsg {
	m := frame.RefusedMsg{Code: "failed", Message: err.Error()}
	switch {
	case isFull(err):
		m.Code = "full"
	case errors.Is(err, errProtocol):
		m.Code = "protocol"
	case wflo.CodeOf(err) == wflo.CodeInvalid:
		m.Code = "invalid"
	}
	return m
}
