// Package rewind has the rules that the stores of recovery share, whatever database
// they are in: how a manifest is written and verified ([Manifest], [Snapshot]), which
// change of a compensation is allowed ([Apply], [Undo], [MayBegin]), and which restores
// stand in each other's way ([Begin]). Everything in it is pure; a store reads, asks,
// and writes what it is told, in one transaction. What a compensation was given is in
// none of its errors, because users put secrets there.
package rewind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Manifest gives the canonical JSON that a snapshot's digest is of, which is what
// stores keep. A snapshot that is not sealed, or was changed since, is an error.
func Manifest(s wflo.Snapshot) ([]byte, error) {
	if s.ID == "" {
		return nil, wflo.Invalid("snapshot.id", "is empty", "make it of the effect key")
	}
	if err := s.Verify(); err != nil {
		return nil, err
	}
	s.Pinned, s.Digest, s.Run.Lines = false, "", nil
	b, err := json.Marshal(s)
	if err == nil {
		b, err = wflo.Canonical(b)
	}
	if err != nil {
		return nil, fmt.Errorf("encode snapshot %s: %w", s.ID, err)
	}
	return b, nil
}

// Snapshot reads what Manifest wrote, from the row of that ID. A manifest that is
// another's, or is not byte by byte the one that was sealed, is CodeConflict.
func Snapshot(id string, manifest []byte, digest string, pinned bool) (wflo.Snapshot, error) {
	var s wflo.Snapshot
	if err := json.Unmarshal(manifest, &s); err != nil || s.ID != id {
		return wflo.Snapshot{}, changed(id)
	}
	s.Digest = digest
	sealed, err := Manifest(s)
	switch {
	case wflo.CodeOf(err) == wflo.CodeConflict:
		return wflo.Snapshot{}, err
	case err != nil || !bytes.Equal(sealed, manifest):
		return wflo.Snapshot{}, changed(id)
	}
	s.Pinned = pinned
	return s, nil
}

func changed(id string) error {
	return wflo.Errorf(wflo.CodeConflict, "restore another snapshot, and find out who changed the database",
		"snapshot %s was changed after it was taken", id)
}

// SameSnapshot refuses a snapshot whose ID has been given to another one.
func SameSnapshot(kept, s wflo.Snapshot) error {
	if kept.Digest == s.Digest {
		return nil
	}
	return wflo.Errorf(wflo.CodeConflict, "take it under another effect key",
		"snapshot %s is there already, with the digest %.12s and not %.12s", s.ID, kept.Digest, s.Digest)
}

// Pinned refuses to drop a snapshot.
func Pinned(id string) error {
	return wflo.Errorf(wflo.CodeConflict, "take its pin first, or leave it out", "snapshot %s is pinned", id)
}

// Nanos is a moment in nanoseconds since 1970, the first or last that there is for
// those before 1678 and after 2262. Snapshots are ordered by it, because a restore to
// the very moment of a snapshot must find it.
func Nanos(t time.Time) int64 {
	switch at := t.Unix(); {
	case at < math.MinInt64/int64(time.Second):
		return math.MinInt64
	case at >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// NoSuch refuses to read a list on after an entry that is not there.
func NoSuch(after string) error {
	return wflo.Invalid("after", fmt.Sprintf("is %.100q, which is not there", after), "list from the start")
}
