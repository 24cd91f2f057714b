package faulty

import (
	"context"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Recovery puts points around the store.
func Recovery(r activities.Recovery) activities.Recovery {
	if !faultpoint.Armed() {
		return r
	}
	return &store{r}
}

// store leaves out what a restore and an undoing do not call: pins and retention.
type store struct{ activities.Recovery }

func (s *store) SaveSnapshot(ctx context.Context, m wflo.Snapshot) (wflo.Snapshot, error) {
	return around("store.SaveSnapshot", func() (wflo.Snapshot, error) { return s.Recovery.SaveSnapshot(ctx, m) })
}

func (s *store) Snapshot(ctx context.Context, id string) (wflo.Snapshot, error) {
	return around("store.Snapshot", func() (wflo.Snapshot, error) { return s.Recovery.Snapshot(ctx, id) })
}

func (s *store) ListSnapshots(ctx context.Context, q activities.SnapshotQuery) ([]wflo.Snapshot, error) {
	return around("store.ListSnapshots", func() ([]wflo.Snapshot, error) { return s.Recovery.ListSnapshots(ctx, q) })
}

func (s *store) BeginRestore(ctx context.Context, r wflo.Restored) (wflo.Restored, error) {
	return around("store.BeginRestore", func() (wflo.Restored, error) { return s.Recovery.BeginRestore(ctx, r) })
}

func (s *store) NoteRestore(ctx context.Context, r wflo.Restored) (wflo.Restored, error) {
	return around("store.NoteRestore."+string(r.State), func() (wflo.Restored, error) { return s.Recovery.NoteRestore(ctx, r) })
}

func (s *store) Restored(ctx context.Context, id string) (wflo.Restored, error) {
	return around("store.Restored", func() (wflo.Restored, error) { return s.Recovery.Restored(ctx, id) })
}

func (s *store) ListRestores(ctx context.Context, run string) ([]wflo.Restored, error) {
	return around("store.ListRestores", func() ([]wflo.Restored, error) { return s.Recovery.ListRestores(ctx, run) })
}

func (s *store) NoteCompensations(ctx context.Context, run wflo.Run, n step.CompensationNotes) error {
	return alone("store.NoteCompensations."+what(n), func() error { return s.Recovery.NoteCompensations(ctx, run, n) })
}

// what names the phase that notes are of.
func what(n step.CompensationNotes) string {
	switch {
	case n.Closed:
		return "closed"
	case len(n.New) > 0:
		return "register"
	case len(n.Marks) > 0:
		return string(n.Marks[0].State)
	}
	return "nothing"
}

func (s *store) BeginEffect(ctx context.Context, ids ...string) error {
	return alone("store.BeginEffect", func() error { return s.Recovery.BeginEffect(ctx, ids...) })
}

func (s *store) BeginUndo(ctx context.Context, id, cause string) (wflo.CompensationRecord, error) {
	return around("store.BeginUndo", func() (wflo.CompensationRecord, error) { return s.Recovery.BeginUndo(ctx, id, cause) })
}

func (s *store) Compensation(ctx context.Context, id string) (wflo.CompensationRecord, error) {
	return around("store.Compensation", func() (wflo.CompensationRecord, error) { return s.Recovery.Compensation(ctx, id) })
}

func (s *store) ListCompensations(ctx context.Context, q activities.CompensationQuery) ([]wflo.CompensationRecord, error) {
	return around("store.ListCompensations", func() ([]wflo.CompensationRecord, error) { return s.Recovery.ListCompensations(ctx, q) })
}

func (s *store) AdoptCompensations(ctx context.Context, from, to wflo.Run, upTo int) error {
	return alone("store.AdoptCompensations", func() error { return s.Recovery.AdoptCompensations(ctx, from, to, upTo) })
}
