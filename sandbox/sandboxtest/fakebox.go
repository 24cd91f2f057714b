package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// fakeBox is a workspace in memory.
type fakeBox struct {
	nodes map[string]*fakeNode // by name
	key   string               // of the Replace that it is from
	clock int
}

// fakeNode is one name of it. data is that of its extents, one after the other.
type fakeNode struct {
	entry sandbox.TreeEntry
	data  []byte
}

// whole is the content with its holes.
func (n *fakeNode) whole() []byte {
	if n.entry.Extents == nil {
		return append([]byte{}, n.data...)
	}
	all, data := make([]byte, n.entry.Size), n.data
	for _, x := range n.entry.Extents {
		copy(all[x.Offset:x.Offset+x.Length], data)
		data = data[x.Length:]
	}
	return all
}

// file gives a regular file by one of its names; nil if there is none.
func (b *fakeBox) file(name string) *fakeNode {
	if b == nil || b.nodes[name] == nil {
		return nil
	}
	n := b.nodes[name]
	if n.entry.Kind == sandbox.TreeLink {
		n = b.nodes[string(n.entry.Target)]
	}
	if n.entry.Kind != sandbox.TreeFile {
		return nil
	}
	return n
}

// write puts files into place, and makes directories above them.
func (b *fakeBox) write(files []wflo.File) {
	for _, f := range files {
		for dir := path.Dir(f.Name); dir != "."; dir = path.Dir(dir) {
			if b.nodes[dir] == nil {
				b.put(sandbox.TreeEntry{Name: []byte(dir), Kind: sandbox.TreeDir, Mode: 0o755, MTime: time.Now()}, nil)
			}
		}
		b.put(sandbox.TreeEntry{Name: []byte(f.Name), Kind: sandbox.TreeFile, Mode: 0o644, Size: int64(len(f.Data)), MTime: time.Now()}, slices.Clone(f.Data))
	}
}

func (b *fakeBox) put(e sandbox.TreeEntry, data []byte) {
	b.clock++
	e.Stamp = fmt.Sprint(b.clock)
	b.nodes[string(e.Name)] = &fakeNode{entry: e, data: data}
}

// hold keeps executions of a box from beginning until release, and gives those
// that are at work.
func (f *Fake) hold(ctx context.Context, box string) (running []*fakeRun, release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.busy[box] != nil {
		busy := f.busy[box]
		f.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
	}
	if f.busy == nil {
		f.busy = map[string]chan struct{}{}
	}
	busy := make(chan struct{})
	f.busy[box] = busy
	for run := range f.running {
		if run.box == box {
			running = append(running, run)
		}
	}
	return running, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.busy, box)
		close(busy)
	}, nil
}

// Save shows s the box; see sandbox.Archiver. Files do not change meanwhile.
func (f *Fake) Save(ctx context.Context, box string, limits sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	if err := sandbox.ValidateBox(box); err != nil {
		return false, false, err
	}
	if err := limits.Validate(); err != nil {
		return false, false, err
	}
	running, release, err := f.hold(ctx, box)
	if err != nil {
		return false, false, err
	}
	defer release()
	f.mu.Lock()
	b := f.boxes[box]
	var nodes []*fakeNode
	if b != nil {
		for _, name := range slices.Sorted(maps.Keys(b.nodes)) {
			nodes = append(nodes, b.nodes[name])
		}
	}
	f.mu.Unlock()
	quiesced = len(running) == 0
	if b == nil {
		return quiesced, false, nil
	}
	entries := make([]sandbox.TreeEntry, len(nodes))
	for i, n := range nodes {
		entries[i] = n.entry
		entries[i].Extents = nil // known when it is read
	}
	if err := limits.Check(entries); err != nil {
		return quiesced, true, err
	}
	want, err := s.Tree(entries)
	for _, i := range want {
		if err == nil {
			err = s.File(i, nodes[i].entry, bytes.NewReader(nodes[i].data))
		}
	}
	return quiesced, true, err
}

// Replace gives the box what src has; see sandbox.Archiver.
func (f *Fake) Replace(ctx context.Context, box, key string, src sandbox.TreeSource) error {
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	if sandbox.ValidateBox(key) != nil {
		return wflo.Invalid("key", fmt.Sprintf("is %.80q", key), "use a short printable text")
	}
	entries := src.Tree()
	if err := (sandbox.TreeLimits{Entries: math.MaxInt, Bytes: math.MaxInt64, Depth: 1000}).Check(entries); err != nil {
		return err
	}
	running, release, err := f.hold(ctx, box)
	if err != nil {
		return err
	}
	defer release()
	f.mu.Lock()
	same := f.boxes[box] != nil && f.boxes[box].key == key
	f.mu.Unlock()
	if same {
		return nil
	}
	for _, run := range running {
		run.cancel()
		select {
		case <-run.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b := &fakeBox{nodes: map[string]*fakeNode{}, key: key}
	for i, e := range entries {
		var data []byte
		if e.Kind == sandbox.TreeFile {
			if data, err = readSource(src, i, e.Content()); err != nil {
				return fmt.Errorf("%.80q: %w", e.Name, err)
			}
		}
		b.put(e, data)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.box(box)
	f.boxes[box] = b
	return nil
}

// readSource reads a file that must have n bytes.
func readSource(src sandbox.TreeSource, i int, n int64) ([]byte, error) {
	r, err := src.File(i)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err == nil && int64(len(data)) != n {
		err = fmt.Errorf("its content has %d bytes, not %d", len(data), n)
	}
	return data, err
}
