package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Snapshot takes snapshots of the run that calls it, and brings them back. Its methods
// are registered as activities; all may be repeated.
type Snapshot struct {
	// Recovery keeps manifests, restores and compensations. Required.
	Recovery Recovery
	// Blobs keeps the pieces of states. Required.
	Blobs Blobs
	// Parts keeps the other parts, by kind. A workspace without a keeper is left out of
	// snapshots; tables without one are refused.
	Parts map[wflo.PartKind]PartKeeper
	// Audit gets an event per snapshot and phase of a restore. Required.
	Audit Audit
	// Logger says what a snapshot had to leave out. Required.
	Logger *slog.Logger
}

// snapshotPrefix is what the IDs of snapshots begin with; snapshotDigits follow.
const (
	snapshotPrefix = "snap-"
	snapshotDigits = 20
)

// isSnapshotID says that a name can only be the ID of a snapshot.
func isSnapshotID(name string) bool {
	rest, ok := strings.CutPrefix(name, snapshotPrefix)
	return ok && len(rest) == snapshotDigits && strings.Trim(rest, "0123456789abcdef") == ""
}

// derivedID is the ID of a snapshot that belongs to what parts name.
func derivedID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return snapshotPrefix + hex.EncodeToString(sum[:])[:snapshotDigits]
}

// Take captures the run. Its ID follows from the effect key, so that every attempt gives
// the same snapshot. A branch that a reset gave up has the same keys; its snapshots are of
// another run of Temporal's, and stay apart.
func (a *Snapshot) Take(ctx context.Context, c step.Capture) (wflo.Snapshot, error) {
	run, _ := wflo.RunFrom(ctx)
	if c.Snapshot.Run.ID() != run.ID() {
		return wflo.Snapshot{}, wflo.Errorf(wflo.CodeInvalid, "take it in the run itself", "a snapshot of run %s is asked for by run %s", c.Snapshot.Run.ID(), run.ID())
	}
	stop := beating(ctx)
	defer stop()
	m := c.Snapshot
	m.ID = snapshotPrefix + string(run.EffectKey())[:snapshotDigits]
	kept, err := a.taken(ctx, &m, string(run.EffectKey()))
	if err != nil {
		return wflo.Snapshot{}, err
	}
	if kept != nil { // by an attempt that may have died before it recorded that
		return *kept, a.record(ctx, *kept)
	}
	if err := a.capture(ctx, &m, c, string(run.EffectKey())); err != nil {
		return wflo.Snapshot{}, fmt.Errorf("snapshot of run %s: %w", run.ID(), err)
	}
	return a.save(ctx, m)
}

func value(s *wflo.Snapshot) wflo.Snapshot {
	if s == nil {
		return wflo.Snapshot{}
	}
	return *s
}

// taken finds what an earlier attempt saved, and gives the manifest an ID of its own
// where one of another branch is in the way.
func (a *Snapshot) taken(ctx context.Context, m *wflo.Snapshot, key string) (*wflo.Snapshot, error) {
	for range 2 {
		s, err := a.Recovery.Snapshot(ctx, m.ID)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil //nolint:nilnil // there is none
		case err != nil:
			return nil, fmt.Errorf("read snapshot %s: %w", m.ID, err)
		case s.RunID == m.RunID:
			return &s, nil
		}
		m.ID = derivedID(key, m.RunID)
	}
	return nil, wflo.Errorf(wflo.CodeConflict, "take it again", "snapshot %s is another run's", m.ID)
}

// save seals and keeps a manifest. Of two attempts at once, the first one counts.
func (a *Snapshot) save(ctx context.Context, m wflo.Snapshot) (wflo.Snapshot, error) {
	m.Run.Lines, m.Run.Step, m.Pinned = nil, "", false
	if err := m.Seal(); err != nil {
		return m, err
	}
	kept, err := a.Recovery.SaveSnapshot(ctx, m)
	if errors.Is(err, wflo.ErrConflict) {
		if other, readErr := a.Recovery.Snapshot(ctx, m.ID); readErr == nil && other.RunID == m.RunID && other.Seq == m.Seq {
			kept, err = other, nil
		}
	}
	if err != nil {
		return m, fmt.Errorf("save snapshot %s: %w", m.ID, err)
	}
	return kept, a.record(ctx, m)
}

// record puts the snapshot on the trail, unless it is there.
func (a *Snapshot) record(ctx context.Context, s wflo.Snapshot) error {
	if err := a.Audit.Append(ctx, runEvent(s.Run, s.ID+":taken", wflo.AuditSnapshotTaken, workerName, s)); err != nil {
		return fmt.Errorf("record snapshot %s: %w", s.ID, err)
	}
	return nil
}

// runEvent is an audit event about a run.
func runEvent(run wflo.Run, id string, kind wflo.AuditType, by string, what any) wflo.AuditEvent {
	return wflo.AuditEvent{
		ID: id, Chain: run.AuditChain(), At: time.Now(), Type: kind, Severity: wflo.SeverityInfo, Actor: by,
		Namespace: run.Namespace, WorkflowID: run.WorkflowID, FirstRunID: run.FirstRunID, Data: data(what),
	}
}

// recent bounds how many earlier snapshots are looked at for what did not change since.
const recent = 20

func (a *Snapshot) capture(ctx context.Context, m *wflo.Snapshot, c step.Capture, key string) error {
	before, err := a.Recovery.ListSnapshots(ctx, SnapshotQuery{Org: m.Run.Org, WorkflowID: m.Run.WorkflowID, FirstRunID: m.Run.FirstRunID, Limit: recent})
	if err != nil {
		return fmt.Errorf("read earlier snapshots: %w", err)
	}
	var known *wflo.SnapshotPart
	for i := range before {
		if p := before[i].Part(wflo.PartState, ""); p != nil && slices.Equal(p.Blobs, c.Base) {
			known = p
			break
		}
	}
	state, err := saveState(ctx, a.Blobs, known, c)
	if err != nil {
		return err
	}
	m.Parts = []wflo.SnapshotPart{state}
	if c.Inherit != "" {
		return a.inherit(ctx, m, c.Inherit)
	}
	for _, want := range wanted(c.Parts) {
		p, ok, err := a.savePart(ctx, m.Run, want, key, latestPart(before, want))
		if err != nil {
			return err
		}
		if ok {
			m.Parts = append(m.Parts, p)
		}
	}
	return nil
}

// wanted lists parts without content.
func wanted(parts wflo.Parts) (all []wflo.SnapshotPart) {
	if parts.Workspace {
		all = append(all, wflo.SnapshotPart{Kind: wflo.PartWorkspace})
	}
	for _, name := range unique(parts.Tables) {
		all = append(all, wflo.SnapshotPart{Kind: wflo.PartTables, Name: name})
	}
	return all
}

func latestPart(before []wflo.Snapshot, want wflo.SnapshotPart) *wflo.SnapshotPart {
	for i := range before {
		if p := before[i].Part(want.Kind, want.Name); p != nil {
			return p
		}
	}
	return nil
}

func (a *Snapshot) savePart(ctx context.Context, run wflo.Run, want wflo.SnapshotPart, key string, before *wflo.SnapshotPart) (p wflo.SnapshotPart, ok bool, err error) {
	keeper := a.Parts[want.Kind]
	if keeper == nil && want.Kind == wflo.PartWorkspace {
		a.Logger.WarnContext(ctx, "the sandbox of this worker cannot save workspaces: the snapshot has none", "run", run.ID())
		return p, false, nil
	}
	if keeper == nil {
		return p, false, noKeeper(want)
	}
	p, ok, err = keeper.Save(ctx, PartRequest{Run: run, Name: want.Name, Key: key}, before)
	if err != nil {
		return p, false, fmt.Errorf("save %s: %w", partText(want), err)
	}
	p.Kind, p.Name = want.Kind, want.Name
	return p, ok, nil
}

func noKeeper(p wflo.SnapshotPart) error {
	return wflo.Errorf(wflo.CodeInvalid, "configure it at this worker (plugin.Config.Snapshots)", "the worker cannot keep %s", partText(p))
}

func partText(p wflo.SnapshotPart) string {
	if p.Name == "" {
		return "the " + string(p.Kind)
	}
	return "the " + string(p.Kind) + " " + p.Name
}

// inherit takes the parts besides the state from an earlier snapshot of the run.
func (a *Snapshot) inherit(ctx context.Context, m *wflo.Snapshot, id string) error {
	from, err := a.needed(ctx, id)
	if err != nil {
		return err
	}
	if from.Run.ID() != m.Run.ID() {
		return notOf(from, m.Run)
	}
	takeParts(m, from)
	return nil
}

func notOf(s wflo.Snapshot, run wflo.Run) error {
	return wflo.Errorf(wflo.CodeInvalid, "list those of the run: wflo snapshot list", "snapshot %s is not one of run %s", s.ID, run.ID())
}

// Find gives the snapshot that a restore of the calling run names: by ID, by name (the
// latest), or the latest until a time. A time before the first one is CodeInvalid.
func (a *Snapshot) Find(ctx context.Context, f step.Find) (wflo.Snapshot, error) {
	run, _ := wflo.RunFrom(ctx)
	if f.Run.ID() != run.ID() {
		return wflo.Snapshot{}, wflo.Errorf(wflo.CodeInvalid, "restore the run itself", "run %s asks for a snapshot of run %s", run.ID(), f.Run.ID())
	}
	s, err := findSnapshot(ctx, a.Recovery, run, f.To)
	if err == nil && s == nil {
		err = wflo.Errorf(wflo.CodeInvalid, "name a later time", "run %s has no snapshot of %s, or of before", run.ID(), f.To.Time.UTC().Format(time.RFC3339))
	}
	return value(s), err
}

// findSnapshot gives nil for a time before the first snapshot.
func findSnapshot(ctx context.Context, r Recovery, run wflo.Run, to wflo.RestorePoint) (*wflo.Snapshot, error) {
	if to.Snapshot == "" {
		return snapshotAt(ctx, r, run, to.Time)
	}
	if isSnapshotID(to.Snapshot) {
		s, err := r.Snapshot(ctx, to.Snapshot)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return ofRun(ctx, r, run, s, err)
		}
	}
	return namedSnapshot(ctx, r, run, to.Snapshot)
}

// namedSnapshot is the latest of a name: of what the run is, or else of what it gave up.
func namedSnapshot(ctx context.Context, r Recovery, run wflo.Run, name string) (*wflo.Snapshot, error) {
	restores, err := r.ListRestores(ctx, run.ID())
	if err != nil {
		return nil, fmt.Errorf("read the restores of run %s: %w", run.ID(), err)
	}
	q := SnapshotQuery{WorkflowID: run.WorkflowID, FirstRunID: run.FirstRunID, Name: name}
	var latest *wflo.Snapshot
	for {
		found, err := r.ListSnapshots(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("find the snapshot: %w", err)
		}
		for i := range found {
			if !givenUp(found[i], restores, time.Time{}) {
				return ofRun(ctx, r, run, found[i], nil)
			}
			if latest == nil {
				latest = &found[i]
			}
		}
		switch {
		case len(found) > 0:
			q.After = found[len(found)-1].ID
		case latest == nil:
			return nil, wflo.Errorf(wflo.CodeInvalid, "list those of the run: wflo snapshot list", "run %s has no snapshot %q", run.ID(), name)
		default:
			return ofRun(ctx, r, run, *latest, nil)
		}
	}
}

// snapshotAt is the latest snapshot of the run until a moment, of what the run then was:
// a restore before that moment gave up what was later than the moment that it went back to.
func snapshotAt(ctx context.Context, r Recovery, run wflo.Run, at time.Time) (*wflo.Snapshot, error) {
	restores, err := r.ListRestores(ctx, run.ID())
	if err != nil {
		return nil, fmt.Errorf("read the restores of run %s: %w", run.ID(), err)
	}
	q := SnapshotQuery{WorkflowID: run.WorkflowID, FirstRunID: run.FirstRunID, Before: at}
	for {
		found, err := r.ListSnapshots(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("find the snapshot: %w", err)
		}
		for i := range found {
			if !givenUp(found[i], restores, at) {
				return ofRun(ctx, r, run, found[i], nil)
			}
		}
		if len(found) == 0 {
			return nil, nil //nolint:nilnil // a time before the first snapshot
		}
		q.After = found[len(found)-1].ID
	}
}

// givenUp says that the run had gone back behind a snapshot until a moment; the zero time
// means until now.
func givenUp(s wflo.Snapshot, restores []wflo.Restored, until time.Time) bool {
	return slices.ContainsFunc(restores, func(r wflo.Restored) bool {
		return r.State == wflo.RestoreDone && r.From == s.Run.ID() && r.Into == r.From && r.Epoch > s.Run.Epoch &&
			(until.IsZero() || !r.Asked.After(until)) && s.At.After(r.Plan.At)
	})
}

// ofRun refuses a snapshot of another run, apart from those of the run that this one
// goes on for, until the moment at which it does.
func ofRun(ctx context.Context, r Recovery, run wflo.Run, s wflo.Snapshot, err error) (*wflo.Snapshot, error) {
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if s.Run.Org != run.Org {
		return nil, notOf(s, run)
	}
	for at := run.ID(); s.Run.ID() != at; {
		before, err := reopenedFrom(ctx, r, at)
		if err != nil {
			return nil, err
		}
		if before == nil || s.At.After(before.Plan.At) {
			return nil, notOf(s, run)
		}
		at = before.From
	}
	return &s, nil
}

// reopenedFrom is the restore that began a run in place of a closed one; nil without.
func reopenedFrom(ctx context.Context, r Recovery, run string) (*wflo.Restored, error) {
	all, err := r.ListRestores(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("read the lineage of run %s: %w", run, err)
	}
	for i := range all {
		if all[i].Into == run && all[i].From != run && all[i].Plan.Mode == wflo.RestoreReopen {
			return &all[i], nil
		}
	}
	return nil, nil //nolint:nilnil // the run began by itself
}

// beating records heartbeats until stop is called, where somebody listens.
func beating(ctx context.Context) (stop func()) {
	if !activity.IsActivity(ctx) {
		return func() {}
	}
	return pulse(ctx, func() any { return nil })
}
