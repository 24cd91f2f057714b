//go:build linux

package warden

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

const (
	// changeTries is how often a file is read that changes while it is read.
	changeTries = 6
	// tick is longer than the clock of file systems may stand still: a file that
	// changed less than that ago may change again without a trace.
	tick = 20 * time.Millisecond
	// leastRead is how much room is worth a read.
	leastRead = 16 << 10
)

// errRestless ends a file that changes all the time.
var errRestless = errors.New(frame.Restless)

// gathering answers one Want.
type gathering struct {
	trail *trail
	out   *treeWriter
}

func (w *warden) gather(wanted []byte, window *window) {
	t, err := openTrail(w.o.Workspace)
	if err != nil {
		w.refuseTree("failed", err)
		return
	}
	defer t.close()
	g := &gathering{trail: t, out: newTreeWriter(w, window)}
	records := frame.NewTreeReader(wanted)
	for {
		rec, ok, err := records.Next()
		if err == nil && ok && rec.Op != frame.OpWant {
			err = errProtocol
		}
		if err == nil && ok {
			err = g.file(rec.Index, string(rec.Data))
		}
		if err != nil {
			w.refuseTree("failed", err)
			return
		}
		if !ok {
			break
		}
	}
	if err := g.out.flush(); err == nil {
		_ = w.out.Write(frame.TreeEnd, frame.TreeStream, nil)
	}
}

// file sends one file, or says why not. The error is one of the stream.
func (g *gathering) file(index uint64, name string) error {
	err := sandbox.CheckTreeName([]byte(name))
	for try := 0; err == nil && try < changeTries; try++ {
		var done bool
		done, err = g.try(index, name)
		if done && err == nil {
			return nil
		}
	}
	switch {
	case err == nil:
		err = errRestless
	case errors.Is(err, errStream):
		return err
	case vanished(err), errors.Is(err, errIrregular):
		return g.out.add(&frame.TreeRecord{Op: frame.OpGone, Index: index})
	}
	return g.out.add(&frame.TreeRecord{Op: frame.OpFailed, Index: index, Data: []byte(err.Error())})
}

// errStream is around errors after which nothing more can be sent.
var errStream = errors.New("tree stream")

func streamed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errStream, err)
}

// try reads a file once, and says whether it stayed the same meanwhile.
func (g *gathering) try(index uint64, name string) (same bool, err error) {
	dir, base := split(name)
	at, err := g.trail.open(dir)
	if err != nil {
		return false, err
	}
	fd, err := openToRead(at, base)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, errIrregular
	}
	if wait := unsettled(&st); wait > 0 {
		time.Sleep(wait)
		if err := unix.Fstat(fd, &st); err != nil {
			return false, err
		}
		if unsettled(&st) > 0 {
			return false, nil
		}
	}
	rec := frame.TreeRecord{Op: frame.OpFile, Index: index, Node: nodeOf(name, &st)}
	rec.Node.Extents = extentsOf(fd, &st)
	return g.send(fd, &rec, &st)
}

// openToRead opens a file that its owner may not read, too: that is the program's
// own wish towards itself.
func openToRead(dir int, name string) (int, error) {
	fd, err := openFile(dir, name)
	if !errors.Is(err, unix.EACCES) {
		return fd, err
	}
	var st unix.Stat_t
	if serr := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); serr != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, err
	}
	if cerr := unix.Fchmodat(dir, name, st.Mode&0o7777|0o400, 0); cerr != nil {
		return -1, err
	}
	if fd, err = openFile(dir, name); err != nil {
		_ = unix.Fchmodat(dir, name, st.Mode&0o7777, 0)
		return -1, err
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unsettled is how long to wait until a change of a file shows.
func unsettled(st *unix.Stat_t) time.Duration {
	age := time.Since(time.Unix(st.Ctim.Unix()))
	if age < 0 || age >= tick {
		return 0 // clocks that were set back are not waited for
	}
	return tick - age
}

// extentsOf finds where a file has data; nil is everywhere, which is also the
// answer of file systems that do not know.
func extentsOf(fd int, st *unix.Stat_t) []sandbox.Extent {
	const block = 512
	if st.Blocks*block >= st.Size {
		return nil
	}
	all := []sandbox.Extent{}
	for at := int64(0); at < st.Size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= st.Size {
			break
		}
		if err != nil {
			return nil
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		if err != nil || hole <= data {
			return nil
		}
		if len(all) == frame.MaxExtents-1 {
			hole = st.Size
		}
		at = min(hole, st.Size)
		all = append(all, sandbox.Extent{Offset: data, Length: at - data})
	}
	if len(all) == 1 && all[0].Length == st.Size {
		return nil
	}
	return all
}

// send sends a file, and takes back what it has put together of it if it changed
// and nothing of it is on its way.
func (g *gathering) send(fd int, rec *frame.TreeRecord, st *unix.Stat_t) (same bool, err error) {
	extents, total := rec.Node.Extents, int64(0)
	if extents == nil {
		extents = []sandbox.Extent{{Length: st.Size}}
	}
	for _, x := range extents {
		total += x.Length
	}
	need := rec.Room()
	if total <= leastRead {
		// It fits into one frame, so that nobody hears of a change.
		need += int(total) + len(extents)*frame.TreeDataHeader
	}
	if err := g.out.room(need); err != nil {
		return false, streamed(err)
	}
	mark, before := len(g.out.buf), g.out.sent
	if err := g.out.add(rec); err != nil {
		return false, streamed(err)
	}
	for _, x := range extents {
		whole, err := g.extent(fd, x)
		if err != nil {
			return false, err
		}
		if !whole {
			return false, g.takeBack(mark, before)
		}
	}
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil || now.Size != st.Size || now.Ctim != st.Ctim || now.Mtim != st.Mtim {
		return false, g.takeBack(mark, before)
	}
	return true, streamed(g.out.add(&frame.TreeRecord{Op: frame.OpEnd}))
}

// takeBack forgets a file, or says that it changed where a part of it is gone.
func (g *gathering) takeBack(mark int, before int64) error {
	if g.out.sent == before {
		g.out.buf = g.out.buf[:mark]
		return nil
	}
	return streamed(g.out.add(&frame.TreeRecord{Op: frame.OpChanged}))
}

// extent reads data into frames. whole is false where the file ends before it.
func (g *gathering) extent(fd int, x sandbox.Extent) (whole bool, err error) {
	for x.Length > 0 {
		if err := g.out.room(frame.TreeDataHeader + int(min(x.Length, leastRead))); err != nil {
			return false, streamed(err)
		}
		b := g.out.buf
		room := cap(b) - len(b) - frame.TreeDataHeader
		into := b[len(b)+frame.TreeDataHeader : len(b)+frame.TreeDataHeader+int(min(x.Length, int64(room), math.MaxInt32))]
		n, err := retry(func() (int, error) { return unix.Pread(fd, into, x.Offset) })
		if err != nil {
			return false, err
		}
		if n == 0 {
			return false, nil
		}
		b = b[:len(b)+frame.TreeDataHeader+n]
		frame.PutTreeData(b[len(g.out.buf):], n)
		g.out.buf = b
		x.Offset, x.Length = x.Offset+int64(n), x.Length-int64(n)
	}
	return true, nil
}
