// Package faulty puts a fault point before and after the calls of what activities stand
// on: the ledger, the records, the cache, the log, the channels and the rounds of a
// worker; and, for going back, the store, the blobs, the keepers of parts, and the runs
// themselves. The points are named for them, such as "ledger.Settle:before". A fault
// after a call is the one in which it was done and its caller saw an error.
//
// Calls that nobody's work depends on, such as lists for people, have no points.
//
// While no fault is armed, what is given comes back as it is.
package faulty

import (
	"context"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
)

// around makes a call between its two points.
func around[T any](point string, call func() (T, error)) (T, error) {
	var zero T
	if err := faultpoint.Hit(point + ":before"); err != nil {
		return zero, err
	}
	out, err := call()
	if err != nil {
		return out, err
	}
	if err := faultpoint.Hit(point + ":after"); err != nil {
		return zero, err
	}
	return out, nil
}

// alone is around for a call that gives nothing but an error.
func alone(point string, call func() error) error {
	_, err := around(point, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Keepers puts points around the keepers of parts.
func Keepers(all map[wflo.PartKind]activities.PartKeeper) map[wflo.PartKind]activities.PartKeeper {
	if !faultpoint.Armed() {
		return all
	}
	out := make(map[wflo.PartKind]activities.PartKeeper, len(all))
	for kind, k := range all {
		out[kind] = &keeper{k, string(kind)}
	}
	return out
}

type keeper struct {
	activities.PartKeeper
	kind string
}

type savedPart struct {
	part wflo.SnapshotPart
	ok   bool
}

func (k *keeper) Save(ctx context.Context, in activities.PartRequest, before *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	s, err := around("part."+k.kind+".Save", func() (s savedPart, err error) {
		s.part, s.ok, err = k.PartKeeper.Save(ctx, in, before)
		return s, err
	})
	return s.part, s.ok, err
}

func (k *keeper) Check(ctx context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	return alone("part."+k.kind+".Check", func() error { return k.PartKeeper.Check(ctx, in, p) })
}

func (k *keeper) Restore(ctx context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	return alone("part."+k.kind+".Restore", func() error { return k.PartKeeper.Restore(ctx, in, p) })
}

// Blobs puts points around a store of blobs.
func Blobs(b activities.BlobStore) activities.BlobStore {
	if !faultpoint.Armed() {
		return b
	}
	return &blobs{b}
}

type blobs struct{ activities.BlobStore }

func (b *blobs) Put(ctx context.Context, data []byte) (string, error) {
	return around("blob.Put", func() (string, error) { return b.BlobStore.Put(ctx, data) })
}

func (b *blobs) Get(ctx context.Context, key string) ([]byte, error) {
	return around("blob.Get", func() ([]byte, error) { return b.BlobStore.Get(ctx, key) })
}

// Runs puts points around what reaches runs.
func Runs(r activities.Runs) activities.Runs {
	if !faultpoint.Armed() {
		return r
	}
	return &runs{r}
}

type runs struct{ activities.Runs }

func (r *runs) Describe(ctx context.Context, workflowID, firstRunID string) (activities.RunInfo, error) {
	return around("runs.Describe", func() (activities.RunInfo, error) { return r.Runs.Describe(ctx, workflowID, firstRunID) })
}

func (r *runs) Query(ctx context.Context, run activities.RunInfo, query string, arg, out any) error {
	return alone("runs.Query", func() error { return r.Runs.Query(ctx, run, query, arg, out) })
}

func (r *runs) Update(ctx context.Context, run activities.RunInfo, updateID, update string, arg any) error {
	return alone("runs.Update", func() error { return r.Runs.Update(ctx, run, updateID, update, arg) })
}

func (r *runs) Start(ctx context.Context, s activities.RunStart) (string, error) {
	return around("runs.Start", func() (string, error) { return r.Runs.Start(ctx, s) })
}
