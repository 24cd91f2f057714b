package collect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const (
	// page is how many rows are read at once.
	page = 200
	// skew is how far the clock of the database may be from this one.
	skew = 15 * time.Minute
)

// read marks what manifests and compensations refer to, and finds what the policy does
// not want.
func (p *pass) read(ctx context.Context) error {
	q := activities.SnapshotQuery{Limit: page}
	for {
		all, err := p.Recovery.ListSnapshots(ctx, q)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			break
		}
		for _, s := range all {
			if err := p.snapshot(ctx, s); err != nil {
				return err
			}
		}
		q.After = all[len(all)-1].ID
	}
	if err := p.compensations(ctx, time.Time{}); err != nil {
		return err
	}
	// The latest changed come first, so one that changed meanwhile may have been missed.
	if err := p.compensations(ctx, p.now.Add(-skew)); err != nil {
		return err
	}
	if err := p.more(ctx); err != nil {
		return err
	}
	p.marks.settle()
	p.report.Referenced = len(p.marks.sorted)
	return nil
}

// more marks what is needed besides what manifests refer to.
func (p *pass) more(ctx context.Context) error {
	if p.More == nil {
		return nil
	}
	all, err := p.More(ctx)
	for _, part := range all {
		if err == nil {
			err = p.part(ctx, part)
		}
	}
	return err
}

// snapshot marks what one refers to. The latest of a run come first.
func (p *pass) snapshot(ctx context.Context, s wflo.Snapshot) error {
	for _, part := range s.Parts {
		if err := p.part(ctx, part); err != nil {
			return wflo.Errorf(wflo.CodeConflict, "restore the blob from a backup, or remove the snapshot with wflo snapshot rm",
				"read the references of the %s of snapshot %s: %w", part.Kind, s.ID, err)
		}
	}
	id := s.Run.Namespace + "/" + s.Run.ID()
	run := p.runs[id]
	if run == nil {
		run = &chain{run: s.Run}
		p.runs[id] = run
	}
	p.report.Snapshots++
	run.n++
	switch {
	case s.Pinned:
		p.report.Kept[KeptPinned]++
	case (p.Policy.KeepLast == 0 || run.n <= p.Policy.KeepLast) && (p.Policy.MaxAge == 0 || p.now.Sub(s.At) <= p.Policy.MaxAge):
		p.report.Kept[KeptYoung]++
	default:
		run.over = append(run.over, candidate{id: s.ID, latest: run.n == 1, named: s.Name != ""})
	}
	return nil
}

// part marks what a part refers to. Most parts are those of the snapshot before, whose
// references need not be read again.
func (p *pass) part(ctx context.Context, part wflo.SnapshotPart) error {
	sum := sha256.Sum256([]byte(string(part.Kind) + "\x00" + part.Name + "\x00" + part.SHA256 + "\x00" + strings.Join(part.Blobs, "\x00")))
	if _, ok := p.seen[sum]; ok {
		return nil
	}
	refs := part.Blobs
	if part.Kind != wflo.PartState {
		reader := p.Parts[part.Kind]
		if reader == nil {
			return fmt.Errorf("nobody here knows this kind")
		}
		more, err := reader.Refs(ctx, part)
		if err != nil {
			return err
		}
		refs = slices.Concat(refs, more)
	}
	for _, key := range refs {
		if !p.marks.add(key) {
			return fmt.Errorf("%q is no key of a blob", key)
		}
	}
	p.seen[sum] = struct{}{}
	return nil
}

// unended are the states of compensations that may still run.
func unended() []wflo.CompensationState {
	return []wflo.CompensationState{
		wflo.CompensationRegistered, wflo.CompensationExecuted, wflo.CompensationUnknown,
		wflo.CompensationRunning, wflo.CompensationDead, wflo.CompensationKept,
	}
}

// compensations marks whatever in the arguments of compensations looks like a blob's
// key, of those that changed since a moment.
func (p *pass) compensations(ctx context.Context, since time.Time) error {
	q := activities.CompensationQuery{States: unended(), Limit: page}
	for {
		all, err := p.Recovery.ListCompensations(ctx, q)
		if err != nil {
			return err
		}
		for _, c := range all {
			p.text(c.Input)
			p.text(c.ProbeInput)
		}
		if len(all) == 0 || all[len(all)-1].ChangedAt.Before(since) {
			return nil
		}
		q.After = all[len(all)-1].ID
	}
}

// text marks each run of 64 hex digits.
func (p *pass) text(data []byte) {
	for _, word := range bytes.FieldsFunc(data, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) {
		p.marks.add(string(word))
	}
}

// keys is a set of keys that takes little more memory than the keys: what was added
// last is sorted in when it is as much as the rest.
type keys struct {
	sorted, added [][sha256.Size]byte
}

// few is how many keys are worth sorting in.
const few = 1 << 10

// add says no to what is no key.
func (k *keys) add(key string) bool {
	var b [sha256.Size]byte
	if len(key) != hex.EncodedLen(len(b)) || strings.ToLower(key) != key {
		return false
	}
	if _, err := hex.Decode(b[:], []byte(key)); err != nil {
		return false
	}
	k.insert(b)
	return true
}

func (k *keys) insert(b [sha256.Size]byte) {
	if k.contains(b) {
		return
	}
	k.added = append(k.added, b)
	if len(k.added) >= max(few, len(k.sorted)/8) {
		k.settle()
	}
}

// settle sorts in what was added: from the end, so that it needs no second set.
func (k *keys) settle() {
	slices.SortFunc(k.added, compareKeys)
	k.added = slices.Compact(k.added)
	i, j := len(k.sorted)-1, len(k.added)-1
	k.sorted = append(k.sorted, k.added...)
	for at := len(k.sorted) - 1; j >= 0; at-- {
		if i >= 0 && compareKeys(k.sorted[i], k.added[j]) > 0 {
			k.sorted[at] = k.sorted[i]
			i--
		} else {
			k.sorted[at] = k.added[j]
			j--
		}
	}
	k.added = k.added[:0]
}

func compareKeys(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) }

// has finds keys that were settled.
func (k *keys) has(key string) bool {
	var b [sha256.Size]byte
	if len(key) != hex.EncodedLen(len(b)) {
		return false
	}
	_, err := hex.Decode(b[:], []byte(key))
	return err == nil && k.contains(b)
}

func (k *keys) contains(b [sha256.Size]byte) bool {
	_, ok := slices.BinarySearchFunc(k.sorted, b, compareKeys)
	return ok
}
