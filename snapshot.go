package wflo

import (
	"encoding/json"
	"fmt"
	"time"
)

// Snapshot is one manifest over the parts of a run at a moment. It never changes once
// it is saved, its pin apart.
type Snapshot struct {
	// ID is "snap-" and the first 20 hex digits of the effect key under which it was
	// taken, so that a retry gives the same one.
	ID string `json:"id"`
	// Name is what it can be restored by; of several with one name in a run the latest
	// counts. It may be empty.
	Name string       `json:"name,omitempty"`
	Kind SnapshotKind `json:"kind"`
	// Run says whose it is: namespace, workflow id, first run id, type, user, org,
	// generation and epoch. Its Lines are left out.
	Run Run `json:"run"`
	// RunID is Temporal's, of the run that took it. TaskQueue is where its workers poll.
	RunID     string `json:"run_id"`
	TaskQueue string `json:"task_queue,omitempty"`
	// Step is the key of the step before which it was taken; empty for others.
	Step string `json:"step,omitempty"`
	// At is when, by the run's own clock, which is Temporal's.
	At time.Time `json:"at"`
	// Parts are what it holds; the state is always one of them.
	Parts []SnapshotPart `json:"parts"`
	// Seq is the number of the last outcome that the state has: of steps, activities,
	// timers, gates and signals. Height counts the compensations that were registered.
	Seq    int `json:"seq"`
	Height int `json:"height"`
	// Spent and Calls are the run's model calls until then. Money stays spent.
	Spent Money `json:"spent"`
	Calls int   `json:"calls"`
	// Gates are the nonces of the gates that were open.
	Gates []string `json:"gates,omitempty"`
	// Build is the worker's build id; empty where it has none.
	Build string `json:"build,omitempty"`
	// Pinned keeps it from retention.
	Pinned bool `json:"pinned,omitempty"`
	// Digest is the SHA-256, in hex, of the canonical JSON of all but Pinned and Digest.
	Digest string `json:"digest"`
}

// SnapshotKind says why a snapshot was taken.
type SnapshotKind string

// The kinds of snapshots.
const (
	SnapshotAuto       SnapshotKind = "auto"        // before a step that may be rolled back, or is risky
	SnapshotManual     SnapshotKind = "manual"      // a person or the workflow's author asked
	SnapshotPreRestore SnapshotKind = "pre_restore" // what a restore gives up
)

// PartKind names a kind of what a snapshot holds.
type PartKind string

// The parts of a snapshot. The state has the outcomes of steps, and with them the
// artifacts that programs gave back.
const (
	PartState     PartKind = "state"
	PartWorkspace PartKind = "workspace" // the files of the run's sandbox
	PartTables    PartKind = "tables"    // a set of PostgreSQL tables, by its configured name
)

// SnapshotPart is one part as it is stored.
type SnapshotPart struct {
	Kind PartKind `json:"kind"`
	// Name is that of the table set; empty for others.
	Name string `json:"name,omitempty"`
	// Blobs are the keys that lead to all of it: the manifest of a tree or of tables,
	// the pieces of a state, oldest first.
	Blobs []string `json:"blobs,omitempty"`
	// Bytes is the size of what was saved, Stored how much of it was new to the store,
	// after compression.
	Bytes  int64 `json:"bytes"`
	Stored int64 `json:"stored"`
	// Count is how many entries, files or rows it has.
	Count int64 `json:"count"`
	// SHA256 is over the content, in hex, as the kind defines it.
	SHA256 string `json:"sha256"`
	// Quiesced says of a workspace that no program was at work while it was saved.
	Quiesced bool `json:"quiesced,omitempty"`
}

// Part finds a part; nil without one.
func (s *Snapshot) Part(kind PartKind, name string) *SnapshotPart {
	for i, p := range s.Parts {
		if p.Kind == kind && p.Name == name {
			return &s.Parts[i]
		}
	}
	return nil
}

// Seal sets the digest.
func (s *Snapshot) Seal() error {
	digest, err := s.digest()
	if err != nil {
		return err
	}
	s.Digest = digest
	return nil
}

// Verify refuses a manifest that is not the one that was sealed.
func (s *Snapshot) Verify() error {
	digest, err := s.digest()
	if err != nil {
		return err
	}
	if digest != s.Digest {
		return Errorf(CodeConflict, "restore another snapshot, and find out who changed the database",
			"snapshot %s was changed after it was taken: its digest is %.12s, not %.12s", s.ID, digest, s.Digest)
	}
	return nil
}

func (s *Snapshot) digest() (string, error) {
	plain := *s
	plain.Pinned, plain.Digest = false, ""
	plain.Run.Lines = nil
	b, err := json.Marshal(plain)
	if err == nil {
		b, err = Canonical(b)
	}
	if err != nil {
		return "", fmt.Errorf("snapshot %s: %w", s.ID, err)
	}
	return hashParts("wflo.snapshot.v1", string(b)), nil
}

// Parts says what a snapshot takes, or a restore brings back, besides the state.
type Parts struct {
	// Workspace is the files of the run's sandbox, where it has one.
	Workspace bool `json:"workspace,omitempty"`
	// Tables are sets of tables, by their names in the worker's configuration.
	Tables []string `json:"tables,omitempty"`
}

// PartDiff is what differs in one part between two moments, the older one first.
type PartDiff struct {
	Kind PartKind `json:"kind"`
	Name string   `json:"name,omitempty"`
	// Changes are by name: of files, tables, or steps. More counts those that are left
	// out.
	Changes []PartChange `json:"changes,omitempty"`
	More    int          `json:"more,omitempty"`
	// Problem says why there is nothing to compare with; empty where there is.
	Problem string `json:"problem,omitempty"`
}

// PartChange is one of them. Op is added, removed or changed; Before and After are
// sizes in bytes, or rows.
type PartChange struct {
	Name   string `json:"name"`
	Op     string `json:"op"`
	Before int64  `json:"before,omitempty"`
	After  int64  `json:"after,omitempty"`
	// Detail says more in words, such as the mode of a file.
	Detail string `json:"detail,omitempty"`
}
