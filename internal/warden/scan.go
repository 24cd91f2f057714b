//go:build linux

package warden

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxCounted is how many entries a scan looks at to say how many there are, where
// that is more than it may have.
const maxCounted = 4_000_000

// scan is one Scan under way. It keeps nothing of what it has told.
type scan struct {
	limits  frame.ScanMsg
	trail   *trail
	out     *treeWriter
	dirs    []string // still to look into
	entries int
	content int64
	deepest int
	left    int  // sockets and pipes
	over    bool // there is more than the limits: it only counts
}

// errDevice refuses a tree.
var errDevice = errors.New("is a device, and those are not saved")

func (w *warden) scan(m frame.ScanMsg, window *window) {
	t, err := openTrail(w.o.Workspace)
	if err != nil {
		w.refuseTree("failed", err)
		return
	}
	defer t.close()
	s := &scan{limits: m, trail: t, out: newTreeWriter(w, window), dirs: []string{"."}}
	err = s.run()
	switch {
	case errors.Is(err, errDevice):
		w.refuseTree("device", err)
		return
	case err != nil:
		w.refuseTree("failed", err)
		return
	}
	limits := sandbox.TreeLimits{Entries: m.Entries, Bytes: m.Bytes, Depth: m.Depth}
	if err := limits.Exceeded(s.entries, s.content, s.deepest, s.entries > maxCounted || s.deepest > m.Depth); err != nil {
		w.refuseTree("large", err)
		return
	}
	if err := s.out.flush(); err == nil {
		_ = w.out.SendTo(frame.TreeEnd, frame.TreeStream, frame.ScannedMsg{Left: s.left})
	}
}

func (s *scan) run() error {
	for len(s.dirs) > 0 && s.entries <= maxCounted {
		dir := s.dirs[len(s.dirs)-1]
		s.dirs = s.dirs[:len(s.dirs)-1]
		fd, err := s.trail.openAgain(dir)
		if vanished(err) {
			continue
		}
		if err == nil {
			err = s.list(fd, dir)
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", dir, err)
		}
	}
	return nil
}

// list tells the entries of a directory, and closes it.
func (s *scan) list(fd int, dir string) error {
	const batch = 1024
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	for {
		names, err := d.Readdirnames(batch)
		for _, name := range names {
			if err := s.entry(fd, dir, name); err != nil {
				return err
			}
		}
		if err != nil || len(names) == 0 || s.entries > maxCounted {
			return nil //nolint:nilerr // io.EOF, or a directory that was removed while it was read
		}
	}
}

// entry tells one.
func (s *scan) entry(fd int, dir, name string) error {
	var st unix.Stat_t
	switch err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case vanished(err):
		return nil
	case err != nil:
		return fmt.Errorf("%.200q: %w", name, err)
	}
	full := name
	if dir != "." {
		full = dir + "/" + name
	}
	n := nodeOf(full, &st)
	levels := strings.Count(full, "/") + 1
	s.deepest = max(s.deepest, levels)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		// One level more than allowed is enough to say so.
		if levels <= s.limits.Depth {
			s.dirs = append(s.dirs, full)
		}
	case unix.S_IFREG:
		s.content += min(n.Room, n.Size)
	case unix.S_IFLNK:
		target, err := readLink(fd, name)
		if vanished(err) || errors.Is(err, unix.EINVAL) {
			return nil // it is something else by now
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		n.Target = target
	case unix.S_IFSOCK, unix.S_IFIFO:
		s.left++
		return nil
	default:
		return fmt.Errorf("%.200q %w", name, errDevice)
	}
	s.entries++
	s.over = s.over || s.entries > s.limits.Entries || s.content > s.limits.Bytes || s.deepest > s.limits.Depth
	if s.over {
		return nil
	}
	return s.out.add(&frame.TreeRecord{Op: frame.OpNode, Node: n})
}

// nodeOf puts what a file system says into our words.
func nodeOf(name string, st *unix.Stat_t) frame.Node {
	const block = 512
	n := frame.Node{
		Mode: st.Mode & 0o7777, Room: st.Blocks * block, Name: []byte(name),
		MTime: frame.Moment{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}, CTime: frame.Moment{Sec: st.Ctim.Sec, Nsec: st.Ctim.Nsec},
		Dev: st.Dev, Ino: st.Ino, Links: uint64(st.Nlink), //nolint:unconvert // another size on other machines
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.Kind = sandbox.TreeDir
	case unix.S_IFREG:
		n.Kind, n.Size = sandbox.TreeFile, st.Size
	case unix.S_IFLNK:
		n.Kind = sandbox.TreeSymlink
	}
	return n
}

func readLink(dir int, name string) ([]byte, error) {
	b := make([]byte, unix.PathMax)
	n, err := retry(func() (int, error) { return unix.Readlinkat(dir, name, b) })
	if err != nil {
		return nil, err
	}
	return b[:n:n], nil
}
