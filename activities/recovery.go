package activities

import (
	"context"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Recovery is what going back is written down in, besides money and governance. Every
// method is one transaction, safe to call from any number of workers at the same time,
// and safe to repeat. The suite in activities/storetest holds every implementation to
// this.
type Recovery interface {
	Snapshots
	Restores
	Compensations
}

// Snapshots keeps manifests.
type Snapshots interface {
	// SaveSnapshot keeps a sealed manifest and gives what is kept: one whose ID is there
	// already stays as it is; another digest is CodeConflict.
	SaveSnapshot(ctx context.Context, s wflo.Snapshot) (wflo.Snapshot, error)
	// Snapshot reads one by ID; an error that matches fs.ErrNotExist without one. What
	// does not verify is CodeConflict.
	Snapshot(ctx context.Context, id string) (wflo.Snapshot, error)
	// ListSnapshots reads manifests, the latest first.
	ListSnapshots(ctx context.Context, q SnapshotQuery) ([]wflo.Snapshot, error)
	// PinSnapshot sets or takes the pin; fs.ErrNotExist without a snapshot.
	PinSnapshot(ctx context.Context, id string, pinned bool) error
	// DropSnapshots removes manifests, all or none: a pinned one is CodeConflict, one
	// that is not there is fine. Their blobs are for the collector.
	DropSnapshots(ctx context.Context, ids ...string) error
}

// SnapshotQuery selects snapshots. The zero value means the latest 100.
type SnapshotQuery struct {
	// Org, WorkflowID, FirstRunID, Name and Kind are filters; empty means all.
	Org, WorkflowID, FirstRunID, Name string
	Kind                              wflo.SnapshotKind
	// Before gives those that were taken at that moment or earlier.
	Before time.Time
	// After is the ID of the last one that was seen, for reading on; one that is not
	// there is CodeInvalid.
	After string
	Limit int // zero means 100
}

// Restores keeps what was restored, for lineage, and lets each take effect once.
type Restores interface {
	// BeginRestore keeps a new restore and gives what is kept under its ID; another
	// request under the same ID is CodeConflict. While another restore of the same run
	// (Restored.From) is under way, it is CodeConflict too, unless both are forks. Dry
	// runs are given back and not kept at all.
	BeginRestore(ctx context.Context, r wflo.Restored) (wflo.Restored, error)
	// NoteRestore replaces what is kept, unless that has ended, and gives it. What was
	// asked for, From and Asked stay; fs.ErrNotExist without a restore.
	NoteRestore(ctx context.Context, r wflo.Restored) (wflo.Restored, error)
	// Restored reads one by ID; fs.ErrNotExist without one.
	Restored(ctx context.Context, id string) (wflo.Restored, error)
	// ListRestores reads those that took a run back or led to one ("workflow id/first
	// run id"; a workflow id alone means all its runs), the oldest first; empty means
	// the latest 100 of all.
	ListRestores(ctx context.Context, run string) ([]wflo.Restored, error)
}

// Compensations keeps undo actions and what became of them.
type Compensations interface {
	// NoteCompensations writes down what a run says about its compensations: new ones,
	// whose ID may be there already, then changes, which wflo.CompensationState.May
	// allows, else CodeConflict names both states; a mark of the state that it has is
	// fine and changes nothing but an empty Cause or Error. A mark of an ID that is not
	// there is fs.ErrNotExist. All or none. What is marked as executed has Begun. New
	// ones are this run's, whatever their Run; marks may be of any run's. Closed notes
	// make what is left over a dead letter, or skip it where its effect never began.
	NoteCompensations(ctx context.Context, run wflo.Run, n step.CompensationNotes) error
	// BeginEffect says that an attempt of the effect of these compensations begins. When
	// one of them has been undone, skipped, is being undone, or is a dead letter, it is
	// CodeConflict and none is marked: the effect must not happen any more. One that is not there is
	// fs.ErrNotExist.
	BeginEffect(ctx context.Context, ids ...string) error
	// BeginUndo says that undoing begins, and gives the record with the state
	// compensating; one whose effect never began is skipped at once instead, for good,
	// and so refuses BeginEffect from now on. One that has ended is given as it is.
	BeginUndo(ctx context.Context, id, cause string) (wflo.CompensationRecord, error)
	// Compensation reads one; fs.ErrNotExist without one.
	Compensation(ctx context.Context, id string) (wflo.CompensationRecord, error)
	// ListCompensations reads them, of one run the highest first, else the latest
	// changed first.
	ListCompensations(ctx context.Context, q CompensationQuery) ([]wflo.CompensationRecord, error)
	// AdoptCompensations makes those of a run that have not ended, up to a height,
	// another run's: of the one that goes on in its place. The step, the epoch and the
	// generation of their Run stay those of the registration.
	AdoptCompensations(ctx context.Context, from, to wflo.Run, upTo int) error
}

// CompensationQuery selects compensations. The zero value means the latest 100.
type CompensationQuery struct {
	// Org, WorkflowID and Run (a Run.ID) are filters, and so is States; empty means all.
	Org, WorkflowID, Run string
	States               []wflo.CompensationState
	// Quiet gives those that have not changed since that moment.
	Quiet time.Time
	// After is the ID of the last one that was seen, for reading on; one that is not
	// there is CodeInvalid.
	After string
	Limit int // zero means 100
}

// PartKeeper saves one kind of what a snapshot holds besides the state, and brings it
// back. Its methods may be called at the same time.
type PartKeeper interface {
	// Save captures the part. before is the same part of the run's snapshot before, nil
	// without one: what did not change since need not be read again. ok is false where
	// the run has nothing of this kind, such as no sandbox.
	Save(ctx context.Context, in PartRequest, before *wflo.SnapshotPart) (p wflo.SnapshotPart, ok bool, err error)
	// Check says whether the part can be brought back now: all blobs are there and
	// whole, the schema is the same. It changes nothing.
	Check(ctx context.Context, in PartRequest, p wflo.SnapshotPart) error
	// Restore brings it back, all or nothing, and may be repeated with the same
	// PartRequest.Key.
	Restore(ctx context.Context, in PartRequest, p wflo.SnapshotPart) error
	// Diff compares the part with another one, or with what is there now where to is
	// nil.
	Diff(ctx context.Context, in PartRequest, from wflo.SnapshotPart, to *wflo.SnapshotPart) (wflo.PartDiff, error)
	// Refs lists every blob that the part needs.
	Refs(ctx context.Context, p wflo.SnapshotPart) ([]string, error)
}

// PartRequest says whose part it is.
type PartRequest struct {
	Run wflo.Run
	// Name is that of the table set; empty for others.
	Name string
	// Key identifies a restore across its retries.
	Key string
}

// BlobStore is Blobs that can be cleaned.
type BlobStore interface {
	Blobs
	// List calls each with every blob that was stored, or stored again, before a moment,
	// in any order, until each returns an error, which List returns.
	List(ctx context.Context, before time.Time, each func(key string, size int64) error) error
	// Delete removes a blob that was stored, and stored again, before a moment only. One
	// that is not there, or is newer, is fine.
	Delete(ctx context.Context, key string, before time.Time) error
}
