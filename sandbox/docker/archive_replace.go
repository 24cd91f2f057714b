package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// replaceable has no limits but the depth that sandbox.TreeLimits.Validate allows:
// whoever saved a tree had limits of its own, and what was saved has to come back.
var replaceable = sandbox.TreeLimits{Entries: math.MaxInt, Bytes: math.MaxInt64, Depth: 1000}

// errOutrun ends a Replace that another one, or the box's first program, was quicker
// than. Whoever is still to do it tries again, and then replaces what is there.
var errOutrun = errors.New("somebody else gave it another one")

// Replace gives a box a fresh workspace with what src has; see sandbox.Archiver.
// The new one is made and filled on a volume of its own, and then one request to
// the engine makes it the box's: see marker.go. The old one is removed after that,
// and by Collect where that did not come about.
func (r *Runner) Replace(ctx context.Context, name, key string, src sandbox.TreeSource) error {
	if err := sandbox.ValidateBox(name); err != nil {
		return err
	}
	if sandbox.ValidateBox(key) != nil {
		return wflo.Invalid("key", fmt.Sprintf("is %.80q", key), "use a short printable text")
	}
	entries := src.Tree()
	if err := replaceable.Check(entries); err != nil {
		return err
	}
	about, err := r.Check(ctx)
	if err != nil {
		return err
	}
	held, h, err := r.hold(ctx, name)
	if err != nil {
		return err
	}
	defer h.release()
	return endedBy(held, "replace the workspace", r.replace(held, h, about, key, entries, src))
}

func (r *Runner) replace(ctx context.Context, h *holding, about Engine, key string, entries []sandbox.TreeEntry, src sandbox.TreeSource) error {
	name := h.x.spec.Box
	chain, err := r.chain(ctx, name)
	if err != nil {
		return err
	}
	if n := len(chain); n > 0 && chain[n-1].key == key {
		return r.clear(ctx, chain)
	}
	if err := h.b.stop(ctx, h.x); err != nil {
		return err
	}
	if n := len(chain); n > 0 {
		if err := r.removeWith(ctx, chain[n-1].volume); err != nil {
			return err
		}
	}
	s, err := r.launch(ctx, r.archiveTemplate(about), place{name: randomName(), uid: newUID(), created: time.Now()}, about.facts)
	if err != nil {
		return err
	}
	err = r.withTrees(ctx, s, func(ctx context.Context, c *treeConn) error {
		return (&sending{c: c, entries: entries, src: src, buf: make([]byte, 0, frame.MaxTree)}).run(ctx)
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.discardWith(s.p.volume)
		return err
	}
	return r.change(context.WithoutCancel(ctx), name, key, chain, s)
}

// change makes the workspace of a session that of a box in the place of the last
// one of chain, and ends the session. Where something else took that place while the
// files were on their way, the box keeps what it has: this may be an attempt that
// was given up, by a worker that was cut off, and came to its end after a later one
// had replaced the workspace. What the same key brought meanwhile is as good.
func (r *Runner) change(ctx context.Context, name, key string, chain []marker, s *session) error {
	at, labels := r.named(kindMarker, name), map[string]string{labelBox: name, labelKey: key}
	if n := len(chain); n > 0 {
		last := chain[n-1].volume
		at, labels[labelPrevious] = r.markerAfter(last), last
	}
	_, lost, err := r.mark(ctx, at, s.p, labels)
	if err != nil {
		// The engine may have made the marker: then the volume is the box's, and
		// otherwise Collect finds it.
		s.discard()
		return err
	}
	if !lost {
		s.discard()
		return r.settled(ctx, name, marker{place: s.p, name: at, key: key})
	}
	s.discardWith(s.p.volume)
	if chain, err = r.chain(ctx, name); err != nil {
		return err
	}
	if n := len(chain); n > 0 && chain[n-1].key == key {
		return r.clear(ctx, chain)
	}
	return fmt.Errorf("the workspace of %q changed meanwhile: %w", name, errOutrun)
}

// settled looks whether a box still is when its new workspace is there: whoever
// closes one does not see what comes into being after that.
func (r *Runner) settled(ctx context.Context, name string, m marker) error {
	chain, err := r.chain(ctx, name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(chain, func(c marker) bool { return c.name == m.name }) {
		return errors.Join(errClosed, r.removeWorkspace(ctx, m.volume), r.removeVolume(ctx, m.name))
	}
	return r.clear(ctx, chain)
}

// clear removes the containers that other workers began meanwhile on the workspace
// before the last one, and then, in the background, that workspace: many files take
// their time. Those before it went when it came.
func (r *Runner) clear(ctx context.Context, chain []marker) error {
	if len(chain) < 2 {
		return nil
	}
	old := chain[len(chain)-2].volume
	if err := r.removeWith(ctx, old); err != nil {
		return err
	}
	r.abandon(old)
	return nil
}

// sending brings a tree into an empty workspace.
type sending struct {
	c       *treeConn
	entries []sandbox.TreeEntry
	src     sandbox.TreeSource
	buf     []byte
}

func (v *sending) run(ctx context.Context) error {
	if err := v.c.s.w.Write(frame.Fill, frame.TreeStream, nil); err != nil {
		return err
	}
	for i := range v.entries {
		if err := v.entry(ctx, i); err != nil {
			return err
		}
	}
	// Modes and times of directories come last: what is made in one changes its
	// time, and its mode may forbid it.
	for i := range slices.Backward(v.entries) {
		e := &v.entries[i]
		if e.Kind != sandbox.TreeDir {
			continue
		}
		if err := v.add(ctx, &frame.TreeRecord{Op: frame.OpSet, Node: nodeOf(e)}); err != nil {
			return err
		}
	}
	if err := v.flush(ctx); err != nil {
		return err
	}
	if err := v.c.s.w.Write(frame.TreeEnd, frame.TreeStream, nil); err != nil {
		return err
	}
	f, err := v.c.next(ctx)
	if err == nil && f.Type != frame.Done {
		err = fmt.Errorf("a frame of type %d in the place of Done", f.Type)
	}
	return err
}

func nodeOf(e *sandbox.TreeEntry) frame.Node {
	return frame.Node{Kind: e.Kind, Mode: e.Mode, Size: e.Size, MTime: momentOf(e.MTime), Name: e.Name, Target: e.Target, Extents: e.Extents}
}

func (v *sending) entry(ctx context.Context, i int) error {
	e := &v.entries[i]
	if e.Kind != sandbox.TreeFile {
		return v.add(ctx, &frame.TreeRecord{Op: frame.OpMake, Node: nodeOf(e)})
	}
	n := nodeOf(e)
	if len(n.Extents) > frame.MaxExtents {
		return wflo.Invalid("tree", fmt.Sprintf("has a file %.80q in %d pieces", e.Name, len(n.Extents)), fmt.Sprintf("give at most %d", frame.MaxExtents))
	}
	if err := v.add(ctx, &frame.TreeRecord{Op: frame.OpFile, Index: uint64(i), Node: n}); err != nil {
		return err
	}
	if err := v.content(ctx, i, e.Content()); err != nil {
		return fmt.Errorf("%.80q: %w", e.Name, err)
	}
	return v.add(ctx, &frame.TreeRecord{Op: frame.OpEnd})
}

// content sends the n bytes of a file.
func (v *sending) content(ctx context.Context, i int, n int64) (err error) {
	const least = 16 * sandbox.KiB // room that is worth a read
	r, err := v.src.File(i)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for n > 0 {
		if err := v.room(ctx, frame.TreeDataHeader+int(min(n, least))); err != nil {
			return err
		}
		begin := len(v.buf)
		into := v.buf[begin+frame.TreeDataHeader : cap(v.buf)]
		into = into[:min(int64(len(into)), n)]
		if _, err := io.ReadFull(r, into); err != nil {
			return fmt.Errorf("its content ends %d bytes early: %w", n, err)
		}
		v.buf = v.buf[:begin+frame.TreeDataHeader+len(into)]
		frame.PutTreeData(v.buf[begin:], len(into))
		n -= int64(len(into))
	}
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); {
	case err == nil:
		return errors.New("its content goes on after its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// add appends a record to the frame.
func (v *sending) add(ctx context.Context, rec *frame.TreeRecord) error {
	if err := v.room(ctx, rec.Room()); err != nil {
		return err
	}
	v.buf = rec.AppendTo(v.buf)
	return nil
}

// room makes sure that n bytes fit into the frame.
func (v *sending) room(ctx context.Context, n int) error {
	if len(v.buf)+n <= cap(v.buf) {
		return nil
	}
	return v.flush(ctx)
}

func (v *sending) flush(ctx context.Context) error {
	if len(v.buf) == 0 {
		return nil
	}
	if !v.c.window.spend(len(v.buf)) {
		return context.Cause(ctx)
	}
	err := v.c.s.w.Write(frame.Tree, frame.TreeStream, v.buf)
	v.buf = v.buf[:0]
	return err
}
