package collect

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// TestRealStores collects from SQLite and files.
func TestRealStores(t *testing.T) {
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{Path: t.TempDir() + "/ledger.db"})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ledger.Close(); err != nil {
			t.Error(err)
		}
		if err := blobs.Close(); err != nil {
			t.Error(err)
		}
	})
	const n = 2*page + 1
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var last string
	for i := range n {
		if last, err = blobs.Put(t.Context(), fmt.Append(nil, "state ", i)); err != nil {
			t.Fatal(err)
		}
		s := wflo.Snapshot{
			ID: fmt.Sprintf("snap-%020x", i), Kind: wflo.SnapshotAuto, Run: wflo.Run{Namespace: "default", WorkflowID: "a/b", FirstRunID: "1"}, RunID: "1",
			At: at.Add(time.Duration(i) * time.Second), Seq: i, Parts: []wflo.SnapshotPart{{Kind: wflo.PartState, Blobs: []string{last}, SHA256: last}},
		}
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Recovery().SaveSnapshot(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	c, err := New(Config{
		Recovery: ledger.Recovery(), Blobs: blobs, Policy: Policy{KeepLast: 1, Grace: time.Hour},
		Open: func(context.Context, wflo.Run) (bool, error) { return true, nil },
		Now:  func() time.Time { return time.Now().Add(2 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Run(t.Context())
	if err != nil || first.Snapshots != n || len(first.Dropped) != n-1 || first.Deleted != 0 {
		t.Errorf("first pass: %d snapshots, %d dropped, %d blobs deleted, %v", first.Snapshots, len(first.Dropped), first.Deleted, err)
	}
	second, err := c.Run(t.Context())
	if err != nil || second.Snapshots != 1 || second.Deleted != n-1 || second.Freed == 0 {
		t.Errorf("second pass: %+v, %v", second, err)
	}
	if got, err := blobs.Get(t.Context(), last); err != nil || string(got) != fmt.Sprint("state ", n-1) {
		t.Errorf("the blob of the snapshot that stays: %q, %v", got, err)
	}
}
