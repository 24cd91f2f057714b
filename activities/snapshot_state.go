package activities

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	// maxPieces is how many pieces a state may have; more are merged, so that a restore
	// reads few.
	maxPieces = 32
	// pieceSize is about how large a piece becomes, in bytes of JSON.
	pieceSize = 8 << 20
	// maxState is the largest state, in bytes of JSON: it reaches workflow code as one
	// payload, and what could not be brought back is better not saved.
	maxState = 48 << 20
)

// saveState adds a delta to the pieces that were saved before, of which known is the part
// that has exactly them; nil where they are to be read first. The SHA-256 of a state is
// over the keys of its pieces.
func saveState(ctx context.Context, blobs Blobs, known *wflo.SnapshotPart, c step.Capture) (wflo.SnapshotPart, error) {
	p := wflo.SnapshotPart{Kind: wflo.PartState}
	states := []step.State{c.State}
	merge := len(c.Base)+1 > maxPieces
	if len(c.Base) > 0 && (known == nil || merge) {
		before, size, err := readPieces(ctx, blobs, c.Base)
		if err != nil {
			return p, err
		}
		known = &wflo.SnapshotPart{Bytes: size, Count: countOutcomes(before)}
		if merge {
			states, known = []step.State{mergeStates(append(before, c.State))}, nil
		}
	}
	if known != nil && len(c.Base) > 0 {
		p.Blobs, p.Bytes, p.Count = slices.Clone(c.Base), known.Bytes, known.Count
	}
	for _, s := range states {
		if err := putState(ctx, blobs, &p, s); err != nil {
			return p, err
		}
	}
	if p.Bytes > maxState {
		return p, wflo.Errorf(wflo.CodePayloadTooLarge, "return references from steps and keep the data elsewhere, or continue as new",
			"the state of the run has %s, the limit is %s", bytesText(int(p.Bytes)), bytesText(maxState))
	}
	p.SHA256 = stateHash(p.Blobs)
	return p, nil
}

func stateHash(keys []string) string {
	sum := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	return hex.EncodeToString(sum[:])
}

// putState writes a state as pieces of bounded size: there is always one, which has how
// the run began.
func putState(ctx context.Context, blobs Blobs, p *wflo.SnapshotPart, s step.State) error {
	for rest, first := s.Outcomes, true; first || len(rest) > 0; first = false {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size < pieceSize) {
			size += outcomeSize(rest[n])
			n++
		}
		piece := step.State{Workflow: s.Workflow, Generation: s.Generation}
		if first {
			piece = s
		}
		piece.Outcomes, rest = rest[:n], rest[n:]
		data, err := json.Marshal(piece)
		if err != nil {
			return fmt.Errorf("encode state: %w", err)
		}
		key, err := blobs.Put(ctx, data)
		if err != nil {
			return fmt.Errorf("store state: %w", err)
		}
		p.Blobs = append(p.Blobs, key)
		p.Bytes += int64(len(data))
		p.Stored += int64(len(data))
		p.Count += int64(n)
	}
	return nil
}

// outcomeSize is about how large an outcome is as JSON.
func outcomeSize(o step.Outcome) int {
	return 200 + len(o.Key) + 4*(o.Result.Size()+o.Failure.Size())/3
}

func readPieces(ctx context.Context, blobs Blobs, keys []string) (states []step.State, size int64, err error) {
	for _, key := range keys {
		data, err := blobs.Get(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, wflo.Errorf(wflo.CodeConflict, "use another snapshot; somebody removed blobs that it needs", "a piece of the state is gone: %w", err)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read state: %w", err)
		}
		var s step.State
		if err := json.Unmarshal(data, &s); err != nil {
			return nil, 0, fmt.Errorf("read state: piece %s: %w", key, err)
		}
		states, size = append(states, s), size+int64(len(data))
	}
	return states, size, nil
}

// readState gives the state that a snapshot holds.
func readState(ctx context.Context, blobs Blobs, s wflo.Snapshot) (step.State, error) {
	p := s.Part(wflo.PartState, "")
	if p == nil || len(p.Blobs) == 0 {
		return step.State{}, wflo.Errorf(wflo.CodeConflict, "restore another snapshot", "snapshot %s has no state", s.ID)
	}
	if stateHash(p.Blobs) != p.SHA256 {
		return step.State{}, wflo.Errorf(wflo.CodeConflict, "restore another snapshot", "the state of snapshot %s is not the one that was saved", s.ID)
	}
	pieces, _, err := readPieces(ctx, blobs, p.Blobs)
	if err != nil {
		return step.State{}, fmt.Errorf("snapshot %s: %w", s.ID, err)
	}
	return mergeStates(pieces), nil
}

func countOutcomes(states []step.State) (n int64) {
	for _, s := range states {
		n += int64(len(s.Outcomes))
	}
	return n
}

// mergeStates puts the pieces of a state together, the oldest first. How the run began is
// what the last piece says that knows; a later outcome of the same number replaces an
// earlier one. Results from before the run continued as new have no number.
func mergeStates(pieces []step.State) step.State {
	type id struct {
		seq int
		key string
	}
	var out step.State
	all := map[id]step.Outcome{}
	for i, p := range pieces {
		if i == 0 || headed(p) {
			out = p
		}
		for _, o := range p.Outcomes {
			at := id{seq: o.Seq}
			if o.Seq == 0 {
				at.key = o.Key
			}
			all[at] = o
		}
	}
	out.Outcomes = make([]step.Outcome, 0, len(all))
	for _, o := range all {
		out.Outcomes = append(out.Outcomes, o)
	}
	slices.SortFunc(out.Outcomes, func(a, b step.Outcome) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// headed says that a piece knows how the run began; those that follow because a state was
// too large for one do not.
func headed(p step.State) bool {
	return p.Input != nil || p.Header != nil || !p.Started.IsZero()
}

// later says that a compensation was registered after another one.
func later(a, b wflo.CompensationRecord) bool {
	return cmp.Or(cmp.Compare(a.Run.Epoch, b.Run.Epoch), a.At.Compare(b.At), cmp.Compare(a.Height, b.Height)) > 0
}

// tryOf is the key of a step without the number of its try.
func tryOf(key string) string {
	if i := strings.LastIndexByte(key, '~'); i > 0 && i+1 < len(key) && strings.Trim(key[i+1:], "0123456789") == "" {
		return key[:i]
	}
	return key
}

// movedText says why the journal ends earlier than the snapshot.
func movedText(o *step.Outcome) string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf("%s %s was undone meanwhile, so the run goes on from before it", o.Kind, o.Key)
}
