package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

func snapshotsComeBackAsTheyWere(p *past) {
	_, err := p.Snapshot(p.Context(), "nothing")
	p.missing("read of nothing", err)
	for i, name := range odd {
		s := p.snapshot("id"+name, i, func(s *wflo.Snapshot) {
			s.Name, s.Kind, s.Run.WorkflowID, s.Run.Org, s.Run.FirstRunID = name, wflo.SnapshotKind(name), name, name, name
			s.At = s.At.In(time.FixedZone("", 3600))
		})
		kept, err := p.SaveSnapshot(p.Context(), s)
		p.ok("save", err)
		p.written("what is kept", kept, s)
		got, err := p.Snapshot(p.Context(), s.ID)
		p.ok("read", err)
		p.written("snapshot", got, s)
		p.ok("verify", got.Verify())
	}
	for _, name := range odd {
		p.snapshots(activities.SnapshotQuery{Name: name, Org: name, WorkflowID: name, FirstRunID: name, Kind: wflo.SnapshotKind(name)}, "id"+name)
	}
	// A run's budget lines are no part of what is sealed, so they are not kept.
	s := p.snapshot("lines", 0)
	s.Run.Lines = of("wf", "acme").Lines
	p.saved(s)
	if got, err := p.Snapshot(p.Context(), "lines"); err != nil || len(got.Run.Lines) > 0 {
		p.Errorf("the run's lines are %v, %v", got.Run.Lines, err)
	}
	for _, at := range []time.Time{{}, time.Date(9999, 1, 1, 0, 0, 0, 1, time.UTC)} {
		s := p.snapshot("at"+at.String(), 0, func(s *wflo.Snapshot) { s.At = at })
		p.saved(s)
		got, err := p.Snapshot(p.Context(), s.ID)
		p.ok("read", err)
		p.written("snapshot", got, s)
	}
}

func snapshotsAreSavedOnce(p *past) {
	s := p.snapshot("s", 0)
	p.saved(s, s)
	p.ok("pin", p.PinSnapshot(p.Context(), "s", true))
	kept, err := p.SaveSnapshot(p.Context(), s)
	p.ok("save again", err)
	if !kept.Pinned || kept.Digest != s.Digest {
		p.Errorf("kept is %+v, want the pinned one", kept)
	}
	other := p.snapshot("s", 0, func(s *wflo.Snapshot) { s.Calls++ })
	_, err = p.SaveSnapshot(p.Context(), other)
	p.code("another one under the ID", err, wflo.CodeConflict)
	got, err := p.Snapshot(p.Context(), "s")
	p.ok("read", err)
	if got.Calls != s.Calls {
		p.Errorf("the kept one has %d calls, want %d", got.Calls, s.Calls)
	}
	p.snapshots(activities.SnapshotQuery{}, "s")
}

func snapshotsMustBeSealed(p *past) {
	s := p.snapshot("s", 0)
	s.Spent++
	_, err := p.SaveSnapshot(p.Context(), s)
	p.code("one that was changed", err, wflo.CodeConflict)
	s.Digest = ""
	_, err = p.SaveSnapshot(p.Context(), s)
	p.code("one that is not sealed", err, wflo.CodeConflict)
	_, err = p.SaveSnapshot(p.Context(), p.snapshot("", 0))
	p.code("one without an ID", err, wflo.CodeInvalid)
	p.snapshots(activities.SnapshotQuery{})
}

func snapshotsFilter(p *past) {
	p.snapshots(activities.SnapshotQuery{})
	p.saved(
		p.snapshot("a", 1),
		p.snapshot("b", 2, func(s *wflo.Snapshot) { s.Run.Org = "other" }),
		p.snapshot("c", 3, func(s *wflo.Snapshot) { s.Run.WorkflowID = "wf2" }),
		p.snapshot("d", 4, func(s *wflo.Snapshot) { s.Run.FirstRunID = "f2" }),
		p.snapshot("e", 5, func(s *wflo.Snapshot) { s.Name = "" }),
		p.snapshot("f", 6, func(s *wflo.Snapshot) { s.Kind = wflo.SnapshotAuto }),
	)
	p.snapshots(activities.SnapshotQuery{}, "f", "e", "d", "c", "b", "a")
	p.snapshots(activities.SnapshotQuery{Org: "acme"}, "f", "e", "d", "c", "a")
	p.snapshots(activities.SnapshotQuery{Org: "other"}, "b")
	p.snapshots(activities.SnapshotQuery{Org: "nobody"})
	p.snapshots(activities.SnapshotQuery{WorkflowID: "wf2"}, "c")
	p.snapshots(activities.SnapshotQuery{FirstRunID: "f2"}, "d")
	p.snapshots(activities.SnapshotQuery{Name: "before <b>&\u2028"}, "f", "d", "c", "b", "a")
	p.snapshots(activities.SnapshotQuery{Kind: wflo.SnapshotAuto}, "f")
	p.snapshots(activities.SnapshotQuery{Org: "acme", WorkflowID: "wf", FirstRunID: "f-wf", Kind: wflo.SnapshotManual, Limit: 2}, "e", "a")
	p.snapshots(activities.SnapshotQuery{Org: "other", WorkflowID: "wf2"})
}

// snapshotsBefore finds a snapshot by its very moment, and not by one that is a
// nanosecond earlier.
func snapshotsBefore(p *past) {
	a, b := p.snapshot("a", 1), p.snapshot("b", 2)
	p.saved(a, b)
	p.snapshots(activities.SnapshotQuery{Before: b.At}, "b", "a")
	p.snapshots(activities.SnapshotQuery{Before: b.At.In(time.FixedZone("", -7200))}, "b", "a")
	p.snapshots(activities.SnapshotQuery{Before: b.At.Add(-1)}, "a")
	p.snapshots(activities.SnapshotQuery{Before: a.At}, "a")
	p.snapshots(activities.SnapshotQuery{Before: a.At.Add(-1)})
}

func snapshotsPaging(p *past) {
	const many = 130
	var want []string
	for i := range many {
		p.saved(p.snapshot(numbered("s", i), i/10)) // ten at the same time
		want = append([]string{numbered("s", i)}, want...)
	}
	p.snapshots(activities.SnapshotQuery{}, want[:100]...)
	p.snapshots(activities.SnapshotQuery{Limit: many * 2}, want...)
	for at := 0; at < many; at += 7 {
		q := activities.SnapshotQuery{Limit: 7, Org: "acme"}
		if at > 0 {
			q.After = want[at-1]
		}
		p.snapshots(q, want[at:min(at+7, many)]...)
	}
	p.snapshots(activities.SnapshotQuery{After: want[many-1]})
	_, err := p.ListSnapshots(p.Context(), activities.SnapshotQuery{After: "nothing"})
	p.code("reading on after nothing", err, wflo.CodeInvalid)
}

func snapshotsPinned(p *past) {
	ctx := p.Context()
	p.missing("pin of nothing", p.PinSnapshot(ctx, "a", true))
	p.missing("unpin of nothing", p.PinSnapshot(ctx, "a", false))
	p.ok("drop nothing", p.DropSnapshots(ctx))
	p.ok("drop what is not there", p.DropSnapshots(ctx, "a", "b"))
	p.saved(p.snapshot("a", 1), p.snapshot("b\x00", 2), p.snapshot("c", 3, func(s *wflo.Snapshot) { s.Pinned = true }))
	p.code("drop of a pinned one", p.DropSnapshots(ctx, "a", "b\x00", "c"), wflo.CodeConflict)
	p.snapshots(activities.SnapshotQuery{}, "c", "b\x00", "a")
	p.ok("pin", p.PinSnapshot(ctx, "a", true))
	p.ok("pin again", p.PinSnapshot(ctx, "a", true))
	p.ok("take the pin", p.PinSnapshot(ctx, "c", false))
	for id, pinned := range map[string]bool{"a": true, "b\x00": false, "c": false} {
		got, err := p.Snapshot(ctx, id)
		p.ok("read", err)
		if got.Pinned != pinned {
			p.Errorf("%s is pinned: %v", id, got.Pinned)
		}
	}
	p.ok("drop", p.DropSnapshots(ctx, "c", "nothing", "b\x00", "c"))
	p.snapshots(activities.SnapshotQuery{}, "a")
	p.missing("pin of what was dropped", p.PinSnapshot(ctx, "c", true))
}

func snapshotsLarge(p *past) {
	s := p.snapshot("s", 0, func(s *wflo.Snapshot) {
		for i := range 2_000 {
			s.Parts[0].Blobs = append(s.Parts[0].Blobs, fmt.Sprintf("%01100d", i))
		}
	})
	p.saved(s)
	got, err := p.Snapshot(p.Context(), "s")
	p.ok("read", err)
	if len(got.Parts[0].Blobs) != len(s.Parts[0].Blobs) || got.Digest != s.Digest {
		p.Errorf("%d blobs came back, want %d", len(got.Parts[0].Blobs), len(s.Parts[0].Blobs))
	}
}

// raceOfDropAndPin: what somebody could pin is there, and what somebody could drop is
// not.
func raceOfDropAndPin(p *past) {
	for round := range rounds {
		id := numbered("s", round)
		p.saved(p.snapshot(id, round), p.snapshot(id+"too", round))
		var pins, drops atomic.Int64
		p.race(16, func(ctx context.Context, racer int) error {
			if racer%2 == 0 {
				err := p.PinSnapshot(ctx, id, true)
				if err == nil {
					pins.Add(1)
					return nil
				}
				p.missing("pin", err)
				return nil
			}
			if err := p.DropSnapshots(ctx, id, id+"too"); err != nil {
				p.code("drop", err, wflo.CodeConflict)
				return nil
			}
			drops.Add(1)
			return nil
		})
		_, err := p.Snapshot(p.Context(), id)
		_, too := p.Snapshot(p.Context(), id+"too")
		if (pins.Load() > 0) == (drops.Load() > 0) || (pins.Load() > 0) != (err == nil) || (err == nil) != (too == nil) {
			p.Errorf("%d pins and %d drops went through; then reading gave %v and %v", pins.Load(), drops.Load(), err, too)
		}
	}
}

// raceOfSaves: of two snapshots with one ID exactly one is kept, and all who saved it
// hear so.
func raceOfSaves(p *past) {
	two := []wflo.Snapshot{p.snapshot("s", 0), p.snapshot("s", 1)}
	var saved [2]atomic.Int64
	p.race(16, func(ctx context.Context, racer int) error {
		s := two[racer%2]
		kept, err := p.SaveSnapshot(ctx, s)
		switch {
		case err != nil:
			p.code("save", err, wflo.CodeConflict)
		case kept.Digest != s.Digest:
			return fmt.Errorf("kept %s, saved %s", kept.Digest, s.Digest)
		default:
			saved[racer%2].Add(1)
		}
		return nil
	})
	if a, b := saved[0].Load(), saved[1].Load(); a+b != 8 || a*b != 0 {
		p.Errorf("%d saved the one and %d the other, want all of one", a, b)
	}
}
