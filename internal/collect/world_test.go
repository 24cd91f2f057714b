package collect

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// world is the stores as simple as they can be. before is called first by each of their
// methods that a collector uses, so that a test can do what others do meanwhile, or end
// the collector there.
type world struct {
	activities.Recovery // only what is below is called
	now                 time.Time
	snapshots           map[string]wflo.Snapshot
	compensations       []wflo.CompensationRecord
	restores            []wflo.Restored
	blobs               map[string]stored
	open                map[string]bool
	before              func(method string) error
	n                   int
}

type stored struct {
	data []byte
	at   time.Time
}

func newWorld() *world {
	return &world{
		now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), snapshots: map[string]wflo.Snapshot{}, blobs: map[string]stored{}, open: map[string]bool{},
		before: func(string) error { return nil },
	}
}

func (w *world) config(p Policy) Config {
	return Config{
		Recovery: w, Blobs: w, Parts: map[wflo.PartKind]Refs{wflo.PartWorkspace: w}, Policy: p, Now: func() time.Time { return w.now },
		Open: func(_ context.Context, r wflo.Run) (bool, error) { return w.open[r.ID()], w.before("Open") },
	}
}

// put stores a blob, or stores it again.
func (w *world) put(data string) string {
	sum := sha256.Sum256([]byte(data))
	key := hex.EncodeToString(sum[:])
	w.blobs[key] = stored{[]byte(data), w.now}
	return key
}

// save keeps a snapshot of a run, with a state of these blobs, and a workspace whose
// manifest is a blob that names others.
func (w *world) save(run, name string, kind wflo.SnapshotKind, state []string, files ...string) wflo.Snapshot {
	s := w.manifest(run, name, kind, state, files...)
	w.snapshots[s.ID] = s
	return s
}

func (w *world) manifest(run, name string, kind wflo.SnapshotKind, state []string, files ...string) wflo.Snapshot {
	w.n++
	s := wflo.Snapshot{
		ID: fmt.Sprintf("snap-%05d", w.n), Name: name, Kind: kind, At: w.now.Add(time.Duration(w.n)), Run: runOf("", run),
		Parts: []wflo.SnapshotPart{{Kind: wflo.PartState, Blobs: state}},
	}
	if len(files) > 0 {
		s.Parts = append(s.Parts, wflo.SnapshotPart{Kind: wflo.PartWorkspace, Blobs: []string{w.put(strings.Join(files, "\n"))}})
	}
	return s
}

// needs are the keys of all blobs that a manifest refers to.
func (w *world) needs(s wflo.Snapshot) []string {
	var all []string
	for _, p := range s.Parts {
		all = append(all, p.Blobs...)
		if p.Kind == wflo.PartWorkspace {
			for _, key := range p.Blobs {
				all = append(all, strings.Fields(string(w.blobs[key].data))...)
			}
		}
	}
	return all
}

// whole says what is missing of what manifests and compensations refer to.
func (w *world) whole() error {
	for id, s := range w.snapshots {
		for _, key := range w.needs(s) {
			if _, ok := w.blobs[key]; !ok {
				return fmt.Errorf("snapshot %s needs blob %s, which is gone", id, key)
			}
		}
	}
	for _, c := range w.compensations {
		if _, ok := w.blobs[string(c.Input)]; !ok && slices.Contains(unended(), c.State) {
			return fmt.Errorf("compensation %s needs blob %s, which is gone", c.ID, c.Input)
		}
	}
	return nil
}

func (w *world) Refs(_ context.Context, p wflo.SnapshotPart) ([]string, error) {
	if err := w.before("Refs"); err != nil {
		return nil, err
	}
	var all []string
	for _, key := range p.Blobs {
		b, ok := w.blobs[key]
		if !ok {
			return nil, fs.ErrNotExist
		}
		all = append(all, strings.Fields(string(b.data))...)
	}
	return all, nil
}

func (w *world) sorted() []wflo.Snapshot {
	return slices.SortedFunc(maps.Values(w.snapshots), func(a, b wflo.Snapshot) int {
		return cmp.Or(b.At.Compare(a.At), strings.Compare(b.ID, a.ID))
	})
}

func (w *world) ListSnapshots(_ context.Context, q activities.SnapshotQuery) ([]wflo.Snapshot, error) {
	if err := w.before("ListSnapshots"); err != nil {
		return nil, err
	}
	all := w.sorted()
	if q.After != "" {
		i := slices.IndexFunc(all, func(s wflo.Snapshot) bool { return s.ID == q.After })
		if i < 0 {
			return nil, wflo.Invalid("after", "is not there", "")
		}
		all = all[i+1:]
	}
	return all[:min(len(all), 3)], nil // small pages, so that much happens between them
}

func (w *world) Snapshot(_ context.Context, id string) (wflo.Snapshot, error) {
	if err := w.before("Snapshot"); err != nil {
		return wflo.Snapshot{}, err
	}
	s, ok := w.snapshots[id]
	if !ok {
		return s, fs.ErrNotExist
	}
	return s, nil
}

func (w *world) SaveSnapshot(_ context.Context, s wflo.Snapshot) (wflo.Snapshot, error) {
	if err := w.before("SaveSnapshot"); err != nil {
		return s, err
	}
	w.snapshots[s.ID] = s
	return s, nil
}

func (w *world) DropSnapshots(_ context.Context, ids ...string) error {
	if err := w.before("DropSnapshots"); err != nil {
		return err
	}
	for _, id := range ids {
		if w.snapshots[id].Pinned {
			return wflo.Errorf(wflo.CodeConflict, "", "pinned")
		}
	}
	for _, id := range ids {
		delete(w.snapshots, id)
	}
	return nil
}

func (w *world) ListRestores(_ context.Context, run string) (all []wflo.Restored, err error) {
	if err := w.before("ListRestores"); err != nil {
		return nil, err
	}
	for _, r := range w.restores {
		if r.From == run || r.Into == run {
			all = append(all, r)
		}
	}
	return all, nil
}

func (w *world) ListCompensations(_ context.Context, q activities.CompensationQuery) ([]wflo.CompensationRecord, error) {
	if err := w.before("ListCompensations"); err != nil {
		return nil, err
	}
	i := 0
	if q.After != "" {
		i = 1 + slices.IndexFunc(w.compensations, func(c wflo.CompensationRecord) bool { return c.ID == q.After })
	}
	var all []wflo.CompensationRecord
	for _, c := range w.compensations[i:] {
		if slices.Contains(q.States, c.State) && len(all) < 2 {
			all = append(all, c)
		}
	}
	return all, nil
}

func (w *world) Put(context.Context, []byte) (string, error) {
	return "", errors.New("collectors do not store")
}

func (w *world) Get(_ context.Context, key string) ([]byte, error) {
	return bytes.Clone(w.blobs[key].data), nil
}

func (w *world) List(_ context.Context, before time.Time, each func(string, int64) error) error {
	for _, key := range slices.Sorted(maps.Keys(w.blobs)) {
		if err := w.before("List"); err != nil {
			return err
		}
		if b, ok := w.blobs[key]; ok && b.at.Before(before) {
			if err := each(key, int64(len(b.data))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) Delete(_ context.Context, key string, before time.Time) error {
	if err := w.before("Delete"); err != nil {
		return err
	}
	if b, ok := w.blobs[key]; ok && b.at.Before(before) {
		delete(w.blobs, key)
	}
	return nil
}
