package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// saveTries is how often an unsteady workspace is saved before that is an error.
const saveTries = 3

// Save implements activities.PartKeeper. Without a runner, or for a run without a
// workspace, ok is false. A manifest before that cannot be read any more costs time
// and nothing else: all is read again.
func (w *Workspace) Save(ctx context.Context, in activities.PartRequest, before *wflo.SnapshotPart) (p wflo.SnapshotPart, ok bool, err error) {
	if w.runner == nil {
		return wflo.SnapshotPart{}, false, nil
	}
	var old *manifest
	if before != nil {
		if old, err = w.load(ctx, *before); err != nil {
			old, before = nil, nil
		}
	}
	for range saveTries {
		p, ok, err = w.save(ctx, in.Run.ID(), old, before)
		if !errors.Is(err, errUnsteady) {
			break
		}
	}
	if err != nil {
		return wflo.SnapshotPart{}, false, fmt.Errorf("save the workspace of %s: %w", in.Run.ID(), err)
	}
	return p, ok, nil
}

func (w *Workspace) save(ctx context.Context, box string, old *manifest, before *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	none := wflo.SnapshotPart{}
	s := &saver{limits: w.limits, exclude: w.exclude, before: old}
	s.open = func(known map[sum]*piece) *writer {
		s.w = newWriter(ctx, w.blobs, w.codec, known)
		return s.w
	}
	quiesced, ok, err := w.runner.Save(ctx, box, w.limits, s)
	if s.w != nil {
		defer s.w.end()
	}
	if err != nil || !ok {
		return none, false, err
	}
	if s.w == nil {
		return none, false, errors.New("the sandbox gave no tree")
	}
	if err := s.w.finish(); err != nil {
		return none, false, err
	}
	m, err := s.manifest()
	if err != nil {
		return none, false, err
	}
	p, err := w.keep(ctx, m, before)
	p.Quiesced = quiesced
	p.Stored += s.w.stored.Load()
	return p, err == nil, err
}

// keep stores a manifest. Nothing refers to what was stored for it before it is
// there whole, so a save that ends on the way leaves what the collector takes.
func (w *Workspace) keep(ctx context.Context, m *manifest, before *wflo.SnapshotPart) (wflo.SnapshotPart, error) {
	var sections [][]byte
	if err := m.encode(func(section []byte) error {
		sections = append(sections, w.codec.enc.EncodeAll(section, nil))
		return nil
	}); err != nil {
		return wflo.SnapshotPart{}, err
	}
	known := map[string]bool{}
	if before != nil {
		for _, key := range before.Blobs {
			known[key] = true
		}
	}
	var stored atomic.Int64
	keys := make([]string, len(sections))
	err := each(ctx, len(sections), func(ctx context.Context, i int) error {
		key, err := put(ctx, w.blobs, sections[i])
		if err != nil {
			return fmt.Errorf("store the manifest of the workspace: %w", err)
		}
		if !known[key] {
			stored.Add(int64(len(sections[i])))
		}
		keys[i] = key
		return nil
	})
	return wflo.SnapshotPart{Kind: wflo.PartWorkspace, Blobs: keys, Bytes: m.bytes(), Stored: stored.Load(),
		Count: int64(len(m.nodes)), SHA256: m.digest()}, err
}

// load reads the manifest of a part and verifies it.
func (w *Workspace) load(ctx context.Context, p wflo.SnapshotPart) (*manifest, error) {
	if p.Kind != wflo.PartWorkspace {
		return nil, wflo.Invalid("part.kind", fmt.Sprintf("is %q", string(p.Kind)), "give the workspace part of a snapshot")
	}
	d := newDecoder(w.limits.Entries)
	// A few sections at a time, so that what is not yet taken in stays small.
	for first := 0; first < len(p.Blobs); first += workers() {
		keys := p.Blobs[first:min(first+workers(), len(p.Blobs))]
		sections := make([][]byte, len(keys))
		if err := each(ctx, len(keys), func(ctx context.Context, i int) (err error) {
			sections[i], err = w.section(ctx, keys[i])
			return err
		}); err != nil {
			return nil, err
		}
		for i, s := range sections {
			if err := d.section(s); wflo.CodeOf(err) != "" {
				return nil, err
			} else if err != nil {
				return nil, damaged("the manifest %.12s is damaged: %w", keys[i], err)
			}
		}
	}
	m := &manifest{nodes: d.nodes}
	if got := m.digest(); got != p.SHA256 || int64(len(m.nodes)) != p.Count {
		return nil, damaged("the manifest is not the one of this snapshot: it has %d entries and the hash %.12s, not %d and %.12s", len(m.nodes), got, p.Count, p.SHA256)
	}
	return m, nil
}

func (w *Workspace) section(ctx context.Context, key string) ([]byte, error) {
	what := fmt.Sprintf("the manifest %.12s", key)
	data, err := w.blobs.Get(ctx, key)
	if err != nil {
		return nil, unread(what, err)
	}
	section, err := w.codec.sections.DecodeAll(data, nil)
	if err != nil {
		return nil, damaged("%s is damaged: %w", what, err)
	}
	return section, nil
}

// Refs implements activities.PartKeeper: the manifest's sections, then the packs.
func (w *Workspace) Refs(ctx context.Context, p wflo.SnapshotPart) ([]string, error) {
	m, err := w.load(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("list the blobs of a workspace: %w", err)
	}
	keys := slices.Clone(p.Blobs)
	for _, pack := range m.packs() {
		keys = append(keys, pack.key)
	}
	return keys, nil
}

// Restore implements activities.PartKeeper. All content is verified while the new
// workspace is made; what is damaged refuses the restore, and the run keeps the
// workspace that it has.
func (w *Workspace) Restore(ctx context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	if w.runner == nil {
		return errNoRunner()
	}
	m, err := w.checked(ctx, p)
	if err != nil {
		return fmt.Errorf("restore the workspace of %s: %w", in.Run.ID(), err)
	}
	src := w.source(ctx, m.nodes)
	defer src.close()
	if err := w.runner.Replace(ctx, in.Run.ID(), in.Key, src); err != nil {
		return fmt.Errorf("restore the workspace of %s: %w", in.Run.ID(), err)
	}
	return nil
}

// checked loads a manifest that could be a workspace's.
func (w *Workspace) checked(ctx context.Context, p wflo.SnapshotPart) (*manifest, error) {
	m, err := w.load(ctx, p)
	if err != nil {
		return nil, err
	}
	return m, w.limits.Check(m.entries())
}

// Check implements activities.PartKeeper: it reads all of it and hashes it again.
func (w *Workspace) Check(ctx context.Context, _ activities.PartRequest, p wflo.SnapshotPart) error {
	m, err := w.checked(ctx, p)
	if err == nil {
		err = w.verify(ctx, m)
	}
	if err != nil {
		return fmt.Errorf("check a workspace: %w", err)
	}
	return nil
}

// verify reads every pack once, a few at a time.
func (w *Workspace) verify(ctx context.Context, m *manifest) error {
	c := newContents(m.nodes)
	packs := m.packs()
	frames := map[*pack][]*frame{}
	for f := range c.pieces {
		frames[f.pack] = append(frames[f.pack], f)
	}
	return each(ctx, len(packs), func(ctx context.Context, i int) error {
		in := frames[packs[i]]
		data, err := w.readPack(ctx, packs[i], c.nameOf(in[0]))
		if err != nil {
			return err
		}
		var buf []byte
		for _, f := range in {
			if buf, err = w.openFrame(c, f, data, buf[:0]); err != nil {
				return err
			}
		}
		return nil
	})
}

var _ sandbox.TreeSaver = (*saver)(nil)
