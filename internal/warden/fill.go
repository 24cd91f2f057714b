//go:build linux

package warden

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// filler makes a tree in an empty workspace, out of records that come in order:
// what holds others before them, modes and times of directories at the end. It
// never follows a link and never replaces anything. The first error stays; what
// comes after it is swallowed.
type filler struct {
	root  string
	in    *inflow
	torn  atomic.Pointer[error] // why a part of it is lost
	trail *trail
	file  *filling
	err   error
}

// filling is a file on its way.
type filling struct {
	dir, fd int
	node    frame.Node
	base    string
	left    []sandbox.Extent // what is to come
}

func newFiller(root string) *filler {
	return &filler{root: root, in: newInflow(frame.TreeWindow)}
}

// runFill makes the tree and says what became of it.
func (w *warden) runFill(f *filler) {
	f.err = f.open()
	_ = f.in.run(f, func(n int) { w.send(frame.Window, frame.TreeStream, frame.WindowMsg{Bytes: n}) })
	if torn := f.torn.Load(); torn != nil {
		f.fail(*torn)
	}
	if f.file != nil {
		f.fail(errProtocol)
	}
	if f.trail != nil {
		f.trail.close()
	}
	w.flush() // the windows come first
	if f.err != nil {
		_ = w.out.SendTo(frame.Refused, frame.TreeStream, refusal(f.err))
		return
	}
	_ = w.out.Write(frame.Done, frame.TreeStream, nil)
}

// open refuses a workspace that has anything in it.
func (f *filler) open() error {
	d, err := os.Open(f.root)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(1)
	_ = d.Close()
	if len(names) > 0 {
		return fmt.Errorf("the workspace is not empty: it has %.80q", names[0])
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	f.trail, err = openTrail(f.root)
	return err
}

// Write takes the records of one frame. It never fails: what is wrong is told at
// the end.
func (f *filler) Write(p []byte) (int, error) {
	if f.err == nil {
		if err := f.takeAll(p); err != nil {
			f.fail(err)
		}
	}
	return len(p), nil
}

func (f *filler) takeAll(p []byte) error {
	for records := frame.NewTreeReader(p); ; {
		rec, ok, err := records.Next()
		if err != nil || !ok {
			return err
		}
		if err := f.take(&rec); err != nil {
			name := rec.Node.Name
			if f.file != nil {
				name = f.file.node.Name
			}
			return fmt.Errorf("%.200q: %w", name, err)
		}
	}
}

func (f *filler) fail(err error) {
	if f.err == nil {
		f.err = err
	}
	if f.file != nil {
		_ = unix.Close(f.file.fd)
		f.file = nil
	}
}

func (f *filler) take(rec *frame.TreeRecord) error {
	switch rec.Op {
	case frame.OpData:
		return f.data(rec.Data)
	case frame.OpEnd:
		return f.end()
	case frame.OpFile, frame.OpMake, frame.OpSet:
		if f.file != nil {
			return errProtocol
		}
		if err := sandbox.CheckTreeName(rec.Node.Name); err != nil {
			return err
		}
		dir, base := split(string(rec.Node.Name))
		at, err := f.trail.open(dir)
		if err != nil {
			return err
		}
		switch rec.Op {
		case frame.OpFile:
			return f.begin(at, base, rec.Node)
		case frame.OpMake:
			return f.make(at, base, rec.Node)
		}
		return set(at, base, rec.Node)
	}
	return errProtocol
}

// begin makes a file. Its last mode is given at once where that is enough.
func (f *filler) begin(dir int, base string, n frame.Node) error {
	if n.Kind != sandbox.TreeFile {
		return errProtocol
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, n.Mode&0o755)
	})
	if err != nil {
		return err
	}
	left := n.Extents
	if left == nil && n.Size > 0 {
		left = []sandbox.Extent{{Length: n.Size}}
	}
	n.Name = append([]byte(nil), n.Name...) // the frame's is used again
	f.file = &filling{dir: dir, fd: fd, node: n, base: base, left: left}
	if n.Extents == nil {
		return nil
	}
	if last := len(left) - 1; last >= 0 && left[last].Offset+left[last].Length > n.Size {
		return errors.New("has data after its end")
	}
	return unix.Ftruncate(fd, n.Size)
}

func (f *filler) data(p []byte) error {
	if f.file == nil {
		return errProtocol
	}
	for len(p) > 0 {
		if len(f.file.left) == 0 {
			return errors.New("has more data than it said")
		}
		x := &f.file.left[0]
		part := p[:min(int64(len(p)), x.Length)]
		n, err := retry(func() (int, error) { return unix.Pwrite(f.file.fd, part, x.Offset) })
		if err != nil {
			return err
		}
		p = p[n:]
		x.Offset, x.Length = x.Offset+int64(n), x.Length-int64(n)
		if x.Length == 0 {
			f.file.left = f.file.left[1:]
		}
	}
	return nil
}

func (f *filler) end() error {
	in := f.file
	switch {
	case in == nil:
		return errProtocol
	case len(in.left) > 0:
		return errors.New("has less data than it said")
	}
	if in.node.Mode&^0o755 != 0 {
		if err := unix.Fchmod(in.fd, in.node.Mode); err != nil {
			return err
		}
	}
	if err := touch(in.dir, in.base, in.node.MTime); err != nil {
		return err
	}
	f.file = nil
	return unix.Close(in.fd)
}

// make makes what has no content.
func (f *filler) make(dir int, base string, n frame.Node) error {
	switch n.Kind {
	case sandbox.TreeDir:
		return unix.Mkdirat(dir, base, 0o700)
	case sandbox.TreeSymlink:
		if err := unix.Symlinkat(string(n.Target), dir, base); err != nil {
			return err
		}
		return touch(dir, base, n.MTime)
	case sandbox.TreeLink:
		return f.link(dir, base, n)
	}
	return errProtocol
}

// link gives a regular file that is there another name.
func (f *filler) link(dir int, base string, n frame.Node) error {
	if err := sandbox.CheckTreeName(n.Target); err != nil {
		return fmt.Errorf("to %.80q: %w", n.Target, err)
	}
	folder, name := split(string(n.Target))
	at := f.trail.top
	if folder != "." {
		fd, err := openBeneath(at, folder, openDir)
		if err != nil {
			return fmt.Errorf("to %.80q: %w", n.Target, err)
		}
		defer func() { _ = unix.Close(fd) }()
		at = fd
	}
	var st unix.Stat_t
	switch err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err != nil:
		return fmt.Errorf("to %.80q: %w", n.Target, err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("to %.80q: %w", n.Target, errIrregular)
	}
	return unix.Linkat(at, name, dir, base, 0)
}

// set gives a directory its mode and time. Nothing is made in it any more.
func set(dir int, base string, n frame.Node) error {
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT != unix.S_IFDIR || n.Kind != sandbox.TreeDir:
		return unix.ENOTDIR
	}
	// Nobody else is here who could put a link into its place.
	if err := unix.Fchmodat(dir, base, n.Mode, 0); err != nil {
		return err
	}
	return touch(dir, base, n.MTime)
}

// touch sets when something changed last.
func touch(dir int, base string, m frame.Moment) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: m.Sec, Nsec: m.Nsec}}
	return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
}
