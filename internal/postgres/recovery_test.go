package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// TestRecovery gives each test a schema of one database, as TestRecords does, and
// opens it three times, as three workers do.
func TestRecovery(t *testing.T) {
	url := server.Database(t)
	schemas := 0
	storetest.TestRecovery(t, func(t *testing.T) activities.Recovery {
		schemas++
		s := &sharedRecovery{}
		for range 3 {
			s.all = append(s.all, mustOpen(t, Config{URL: url, MaxConns: 8, Schema: fmt.Sprint("recovery", schemas)}).Recovery())
		}
		s.Recovery = s.all[0]
		return s
	})
	noDeadlocks(t, url)
}

// sharedRecovery is the store of several workers. What they could fight for goes to
// the next one in turn.
type sharedRecovery struct {
	activities.Recovery
	all  []activities.Recovery
	turn atomic.Uint64
}

func (s *sharedRecovery) next() activities.Recovery {
	return s.all[s.turn.Add(1)%uint64(len(s.all))]
}

func (s *sharedRecovery) SaveSnapshot(ctx context.Context, m wflo.Snapshot) (wflo.Snapshot, error) {
	return s.next().SaveSnapshot(ctx, m)
}

func (s *sharedRecovery) PinSnapshot(ctx context.Context, id string, pinned bool) error {
	return s.next().PinSnapshot(ctx, id, pinned)
}

func (s *sharedRecovery) DropSnapshots(ctx context.Context, ids ...string) error {
	return s.next().DropSnapshots(ctx, ids...)
}

func (s *sharedRecovery) BeginRestore(ctx context.Context, r wflo.Restored) (wflo.Restored, error) {
	return s.next().BeginRestore(ctx, r)
}

func (s *sharedRecovery) NoteRestore(ctx context.Context, r wflo.Restored) (wflo.Restored, error) {
	return s.next().NoteRestore(ctx, r)
}

func (s *sharedRecovery) NoteCompensations(ctx context.Context, run wflo.Run, n step.CompensationNotes) error {
	return s.next().NoteCompensations(ctx, run, n)
}

func (s *sharedRecovery) BeginEffect(ctx context.Context, ids ...string) error {
	return s.next().BeginEffect(ctx, ids...)
}

func (s *sharedRecovery) BeginUndo(ctx context.Context, id, cause string) (wflo.CompensationRecord, error) {
	return s.next().BeginUndo(ctx, id, cause)
}

func (s *sharedRecovery) AdoptCompensations(ctx context.Context, from, to wflo.Run, upTo int) error {
	return s.next().AdoptCompensations(ctx, from, to, upTo)
}
