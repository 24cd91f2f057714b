package pgtables

import (
	"context"
	"errors"
	"fmt"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Save implements activities.PartKeeper: one read of all rows of the set, at one moment.
// What is there from before is stored again, which is cheap. A manifest before that
// cannot be read any more only makes more count as new.
func (k *Keeper) Save(ctx context.Context, in activities.PartRequest, before *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	p, err := k.save(ctx, in, before)
	if err != nil {
		return wflo.SnapshotPart{}, false, fmt.Errorf("save tables %s: %w", in.Name, err)
	}
	return p, true, nil
}

func (k *Keeper) save(ctx context.Context, in activities.PartRequest, before *wflo.SnapshotPart) (p wflo.SnapshotPart, err error) {
	set, err := k.set(in.Name)
	if err != nil {
		return p, err
	}
	known := map[string]bool{}
	if before != nil {
		if old, err := k.load(ctx, *before); err == nil {
			known[before.Blobs[0]] = true
			_ = old.chunks(func(_ *table, c chunk) error { known[c.Key] = true; return nil })
		}
	}
	st := newStorer(ctx, k, known)
	var m *manifest
	var chunks [][]*chunk
	err = k.in(st.ctx, set, reading, func(ctx context.Context, s *session) error {
		m, chunks, err = k.readRows(ctx, s, st)
		return err
	})
	if ended := st.end(); ended != nil {
		return p, ended
	}
	if err != nil {
		return p, err
	}
	for i := range chunks {
		for _, c := range chunks[i] {
			m.Tables[i].Chunks = append(m.Tables[i].Chunks, *c)
		}
		m.Tables[i].SHA256 = m.Tables[i].hashChunks()
	}
	return k.keep(ctx, in.Name, m, st)
}

// readRows reads schema and rows. The chunks are complete when the storer has ended.
func (k *Keeper) readRows(ctx context.Context, s *session, st *storer) (*manifest, [][]*chunk, error) {
	m, err := s.schema(ctx)
	if err != nil {
		return nil, nil, err
	}
	chunks := make([][]*chunk, len(m.Tables))
	most := k.limits
	for i := range m.Tables {
		rows := st.table(most, &chunks[i])
		err := s.read(ctx, &m.Tables[i], m.Tables[i].copyOut(), rows)
		st.release(rows)
		if err != nil {
			return nil, nil, err
		}
		most.Rows -= m.Tables[i].Rows
		most.Bytes -= m.Tables[i].Bytes
	}
	// After the rows, so that no row has a number that a sequence will give again.
	return m, chunks, s.readPositions(ctx, m.Sequences)
}

// keep stores the manifest. Nothing refers to the chunks before it is there, so a save
// that ends on the way leaves what the collector takes.
func (k *Keeper) keep(ctx context.Context, name string, m *manifest, st *storer) (p wflo.SnapshotPart, err error) {
	data, err := m.encode()
	if err != nil {
		return p, err
	}
	data = withHash(data)
	digest, err := m.digest()
	if err != nil {
		return p, err
	}
	key, err := k.blobs.Put(ctx, data)
	if err != nil {
		return p, fmt.Errorf("store the manifest: %w", err)
	}
	if !st.known[key] {
		st.stored += int64(len(data))
	}
	return wflo.SnapshotPart{
		Kind: wflo.PartTables, Name: name, Blobs: []string{key}, Bytes: m.bytes(), Stored: st.stored, Count: m.rows(), SHA256: digest,
	}, nil
}

// load reads the manifest of a part and verifies it.
func (k *Keeper) load(ctx context.Context, p wflo.SnapshotPart) (*manifest, error) {
	if p.Kind != wflo.PartTables || len(p.Blobs) != 1 {
		return nil, wflo.Invalid("part", fmt.Sprintf("is of kind %q with %d blobs", string(p.Kind), len(p.Blobs)), "give the tables part of a snapshot")
	}
	what := "the manifest of tables " + p.Name
	data, err := k.blob(ctx, what, p.Blobs[0])
	if err != nil {
		return nil, err
	}
	data, err = checkHash(data)
	if err != nil {
		return nil, damaged("%s %w", what, err)
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, damaged("%s %w", what, err)
	}
	digest, err := m.digest()
	if err != nil {
		return nil, err
	}
	if digest != p.SHA256 {
		return nil, damaged("%s is of another snapshot: its hash is %.12s, not %.12s", what, digest, p.SHA256)
	}
	return m, nil
}

// blob reads one.
func (k *Keeper) blob(ctx context.Context, what, key string) ([]byte, error) {
	if !isHash(key) {
		return nil, damaged("%s has no key", what)
	}
	data, err := k.blobs.Get(ctx, key)
	if err != nil {
		return nil, unread(fmt.Sprintf("%s (blob %.12s)", what, key), err)
	}
	return data, nil
}

// chunk reads one as it is stored, and verifies it.
func (k *Keeper) chunk(ctx context.Context, t *table, c chunk) ([]byte, error) {
	what := "a part of table " + t.show()
	data, err := k.blob(ctx, what, c.Key)
	if err != nil {
		return nil, err
	}
	if hashOf(data) != c.SHA256 {
		return nil, damaged("%s is damaged: blob %.12s has another hash", what, c.Key)
	}
	return data, nil
}

// open reads a chunk.
func (k *Keeper) open(ctx context.Context, t *table, c chunk, buf []byte) ([]byte, error) {
	data, err := k.chunk(ctx, t, c)
	if err != nil {
		return nil, err
	}
	raw, err := k.codec.dec.DecodeAll(data, buf[:0])
	if err == nil && (int64(len(data)) != c.Size || int64(len(raw)) != c.Raw) {
		err = errors.New("it has another size")
	}
	if err != nil {
		return nil, damaged("a part of table %s is damaged: blob %.12s: %w", t.show(), c.Key, err)
	}
	return raw, nil
}

// whole verifies that every blob is there and is what was stored, without opening it.
func (k *Keeper) whole(ctx context.Context, m *manifest) error {
	return m.chunks(func(t *table, c chunk) error {
		_, err := k.chunk(ctx, t, c)
		return err
	})
}

// Refs implements activities.PartKeeper: the manifest and the chunks that it names.
func (k *Keeper) Refs(ctx context.Context, p wflo.SnapshotPart) ([]string, error) {
	m, err := k.load(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("list the blobs of tables %s: %w", p.Name, err)
	}
	refs := []string{p.Blobs[0]}
	err = m.chunks(func(_ *table, c chunk) error { refs = append(refs, c.Key); return nil })
	return refs, err
}
