package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

const (
	// ahead is how many requests for contents PID 1 has at a time, so that it never
	// waits for the next one.
	ahead = 2
	// maxTreeNames is how many bytes the names of a tree may have together. They are
	// in this process's memory, and a program chooses them.
	maxTreeNames = 256 * sandbox.MiB
	// perWant is how many files are asked for in one request.
	perWant = 1000
)

// saving is one Save.
type saving struct {
	c      *treeConn
	limits sandbox.TreeLimits
	s      sandbox.TreeSaver
	left   int // sockets and pipes

	entries []sandbox.TreeEntry
	want    []int
	asked   int   // of want
	bytes   int64 // of contents so far
	names   int
	linked  map[string]bool // files that have other names

	held    frame.Frame // the one that records comes from
	records frame.TreeReader
}

func (v *saving) run(ctx context.Context) error {
	if err := v.scan(ctx); err != nil {
		return err
	}
	if err := v.limits.Check(v.entries); err != nil {
		return err
	}
	want, err := v.s.Tree(v.entries)
	if err != nil {
		return err
	}
	for i, n := range want {
		if n < 0 || n >= len(v.entries) || v.entries[n].Kind != sandbox.TreeFile || i > 0 && want[i-1] >= n {
			return fmt.Errorf("the saver wants entry %d, after %d others", n, i)
		}
	}
	v.want = want
	for range ahead {
		if err := v.ask(); err != nil {
			return err
		}
	}
	for _, i := range want {
		if err := v.file(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// found is an entry with what is known of it besides.
type found struct {
	entry    sandbox.TreeEntry
	dev, ino uint64
	links    bool
}

// scan gets all entries, sorted by name, so that the same tree is always told the
// same way.
func (v *saving) scan(ctx context.Context) error {
	msg := frame.ScanMsg{Entries: v.limits.Entries, Bytes: v.limits.Bytes, Depth: v.limits.Depth}
	if err := v.c.s.w.SendTo(frame.Scan, frame.TreeStream, msg); err != nil {
		return err
	}
	var all []found
	for {
		f, err := v.c.next(ctx)
		if err != nil {
			return err
		}
		if f.Type == frame.TreeEnd {
			var m frame.ScannedMsg
			err := f.Decode(&m)
			v.left = m.Left
			v.sort(all)
			return err
		}
		if all, err = v.nodes(f, all); err == nil {
			err = v.c.grant(f)
		}
		if err != nil {
			return err
		}
	}
}

// nodes takes the entries of a frame.
func (v *saving) nodes(f frame.Frame, all []found) ([]found, error) {
	for r := frame.NewTreeReader(f.Data); ; {
		rec, ok, err := r.Next()
		switch {
		case err != nil || !ok:
			return all, err
		case f.Type != frame.Tree || rec.Op != frame.OpNode || len(all) >= v.limits.Entries:
			return nil, errors.New("PID 1 tells of what was not asked for")
		}
		if v.names += len(rec.Node.Name) + len(rec.Node.Target); v.names > maxTreeNames {
			return nil, wflo.Invalid("the workspace", fmt.Sprintf("has names of more than %d bytes together", maxTreeNames), "use shorter names, or fewer")
		}
		n := &rec.Node
		all = append(all, found{entry: entryOf(n), dev: n.Dev, ino: n.Ino, links: n.Kind == sandbox.TreeFile && n.Links > 1})
	}
}

// sort puts the entries in order and finds the other names of files. A name that a
// directory told twice, because it changed meanwhile, counts once.
func (v *saving) sort(all []found) {
	slices.SortStableFunc(all, func(a, b found) int { return bytes.Compare(a.entry.Name, b.entry.Name) })
	all = slices.CompactFunc(all, func(a, b found) bool { return bytes.Equal(a.entry.Name, b.entry.Name) })
	type id struct{ dev, ino uint64 }
	first := map[id][]byte{}
	v.linked = map[string]bool{}
	v.entries = make([]sandbox.TreeEntry, len(all))
	for i := range all {
		e := all[i].entry
		if all[i].links {
			at := id{all[i].dev, all[i].ino}
			if to := first[at]; to == nil {
				first[at] = e.Name
			} else {
				e.Kind, e.Size, e.Target = sandbox.TreeLink, 0, to
				v.linked[string(to)] = true
			}
		}
		v.entries[i] = e
	}
}

// ask sends one more request for contents, if there is anything left to ask for.
func (v *saving) ask() error {
	const fixed = 24
	var b []byte
	for n := 0; v.asked < len(v.want) && n < perWant; n++ {
		i := v.want[v.asked]
		if len(b)+len(v.entries[i].Name)+fixed > frame.MaxTree {
			break
		}
		rec := frame.TreeRecord{Op: frame.OpWant, Index: uint64(i), Data: v.entries[i].Name}
		b = rec.AppendTo(b)
		v.asked++
	}
	if len(b) == 0 {
		return nil
	}
	return v.c.s.w.Write(frame.Want, frame.TreeStream, b)
}

// record gives the next one. PID 1 gets another request when it has answered one.
func (v *saving) record(ctx context.Context) (frame.TreeRecord, error) {
	for {
		rec, ok, err := v.records.Next()
		if ok || err != nil {
			return rec, err
		}
		if err := v.c.grant(v.held); err != nil {
			return rec, err
		}
		v.held = frame.Frame{}
		f, err := v.c.next(ctx)
		if err != nil {
			return rec, err
		}
		switch f.Type {
		case frame.TreeEnd:
			if err := v.ask(); err != nil {
				return rec, err
			}
		case frame.Tree:
			v.held, v.records = f, frame.NewTreeReader(f.Data)
		default:
			return rec, fmt.Errorf("a frame of type %d in a tree", f.Type)
		}
	}
}

// file has the saver take one file.
func (v *saving) file(ctx context.Context, i int) error {
	e := v.entries[i]
	for {
		rec, err := v.record(ctx)
		if err != nil {
			return err
		}
		if rec.Index != uint64(i) {
			return fmt.Errorf("PID 1 sends file %d, want %d", rec.Index, i)
		}
		switch rec.Op {
		case frame.OpGone:
			if v.linked[string(e.Name)] {
				return restless(e.Name) // its other names are still there, or are not
			}
			e.Kind, e.Size = "", 0
			return v.s.File(i, e, bytes.NewReader(nil))
		case frame.OpFailed:
			return unreadable(e.Name, rec.Data)
		case frame.OpFile:
		default:
			return fmt.Errorf("PID 1 sends record %d, want a file", rec.Op)
		}
		again, err := v.content(ctx, i, &rec.Node)
		if err != nil || !again {
			return err
		}
	}
}

// content has the saver take what was read of a file, and says whether it comes
// again.
func (v *saving) content(ctx context.Context, i int, n *frame.Node) (again bool, err error) {
	now := entryOf(n)
	now.Name, now.Kind, now.Target = v.entries[i].Name, sandbox.TreeFile, nil
	r := &contentReader{v: v, ctx: ctx, name: now.Name, left: now.Content()}
	if v.bytes+r.left > v.limits.Bytes {
		return false, v.limits.Exceeded(len(v.entries), v.bytes+r.left, 0, true)
	}
	err = v.s.File(i, now, r)
	if err == nil || errors.Is(r.err, sandbox.ErrChanged) {
		_, _ = r.WriteTo(io.Discard) // what the saver left
	}
	switch {
	case errors.Is(r.err, sandbox.ErrChanged):
		return true, nil
	case err != nil:
		return false, err
	case !errors.Is(r.err, io.EOF):
		return false, r.err
	}
	v.bytes += now.Content()
	return false, nil
}

// contentReader gives the content of one file.
type contentReader struct {
	v    *saving
	ctx  context.Context //nolint:containedctx // io.Reader has none
	name []byte
	left int64 // what is to come
	data []byte
	err  error
}

// fill gets the next piece.
func (r *contentReader) fill() error {
	if r.err != nil {
		return r.err
	}
	rec, err := r.v.record(r.ctx)
	switch {
	case err != nil:
		r.err = err
	case rec.Op == frame.OpData && int64(len(rec.Data)) <= r.left:
		r.data, r.left = rec.Data, r.left-int64(len(rec.Data))
	case rec.Op == frame.OpEnd && r.left == 0:
		r.err = io.EOF
	case rec.Op == frame.OpChanged:
		r.err = sandbox.ErrChanged
	case rec.Op == frame.OpFailed:
		r.err = unreadable(r.name, rec.Data)
	default:
		r.err = fmt.Errorf("PID 1 sends record %d in a file with %d bytes to come", rec.Op, r.left)
	}
	return r.err
}

func (r *contentReader) Read(p []byte) (int, error) {
	for len(r.data) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// WriteTo gives what is left in pieces as large as they come.
func (r *contentReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		for len(r.data) > 0 {
			n, err := w.Write(r.data)
			r.data, total = r.data[n:], total+int64(n)
			if err != nil {
				return total, err
			}
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return total, nil
			}
			return total, err
		}
	}
}

func restless(name []byte) error {
	return wflo.Invalid("the workspace", fmt.Sprintf("cannot be saved: %.200q changes all the time", name), "end the program that writes it, or save when none runs")
}

func unreadable(name, why []byte) error {
	if string(why) == frame.Restless {
		return restless(name)
	}
	return wflo.Invalid("the workspace", fmt.Sprintf("cannot be saved: %.200q cannot be read: %.200s", name, why), "see its mode and that of its directories")
}
