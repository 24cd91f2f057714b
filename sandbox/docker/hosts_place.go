package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// settle gives the place of a box, which it chooses for one that has none.
func (h *Hosts) settle(ctx context.Context, box string) (sandbox.Place, error) {
	for {
		p, ok, err := h.c.Places.Place(ctx, box)
		if err != nil {
			return p, fmt.Errorf("find the host of box %s: %w", box, err)
		}
		if ok {
			return p, nil
		}
		host, err := h.pick(ctx, box, "")
		if err != nil {
			return p, err
		}
		if _, err := h.c.Places.PutPlace(ctx, sandbox.Place{Box: box, Host: host, Owner: h.c.Owner()}); err != nil {
			return p, fmt.Errorf("choose the host of box %s: %w", box, err)
		}
	}
}

// update changes a place that has not moved since p was read.
func (h *Hosts) update(ctx context.Context, p sandbox.Place, change func(p *sandbox.Place)) (sandbox.Place, error) {
	for ctx.Err() == nil {
		now, ok, err := h.c.Places.Place(ctx, p.Box)
		if err != nil {
			return p, fmt.Errorf("note where box %s is: %w", p.Box, err)
		}
		if !ok || now.Moves != p.Moves {
			return p, errMoved(p.Box)
		}
		change(&now)
		ok, err = h.c.Places.PutPlace(ctx, now)
		if err != nil {
			return p, fmt.Errorf("note where box %s is: %w", p.Box, err)
		}
		if ok {
			now.Version++
			return now, nil
		}
	}
	return p, ctx.Err()
}

// at gives the place of a box whose host answers and has its workspace: the box is
// moved there before, if need be. Where create is not set, a box without a place gives
// the zero one.
func (h *Hosts) at(ctx context.Context, box string, create bool) (p sandbox.Place, err error) {
	if err := sandbox.ValidateBox(box); err != nil {
		return p, err
	}
	if !create {
		if p, ok, err := h.c.Places.Place(ctx, box); err != nil || !ok {
			return p, err
		}
	}
	for range len(h.names) + 1 {
		if p, err = h.settle(ctx, box); err != nil {
			return p, err
		}
		gone, err := h.await(ctx, p.Host)
		if err != nil {
			return p, err
		}
		if !gone {
			return h.complete(ctx, p)
		}
		if err := h.move(ctx, p); err != nil {
			return p, err
		}
	}
	return p, wflo.Errorf(wflo.CodeSandboxUnavailable, "see why hosts come and go", "the box %s finds no host that stays", box)
}

// move gives a box to another host, unless files would be lost.
func (h *Hosts) move(ctx context.Context, p sandbox.Place) error {
	if p.Done > p.Saved {
		return lost(p, "its host does not answer")
	}
	to, err := h.pick(ctx, p.Box, p.Host)
	if err != nil {
		return err
	}
	if p.Moves > 0 {
		// It may have been there before, and have left something.
		if err := h.c.Runners[to].Close(ctx, p.Box); err != nil {
			return err
		}
	}
	p, err = h.update(ctx, p, func(p *sandbox.Place) { moveTo(p, to) })
	switch {
	case errors.Is(err, wflo.ErrSandboxLost): // somebody else has moved it
		return nil
	case err != nil:
		return err
	}
	h.tell(ctx, p)
	return nil
}

func moveTo(p *sandbox.Place, to string) {
	p.From, p.Host, p.Moved, p.Bring = p.Host, to, time.Now(), p.Part != nil
	p.Moves++
}

func (h *Hosts) tell(ctx context.Context, p sandbox.Place) {
	h.c.Logger.WarnContext(ctx, "a box moves to another host", "box", p.Box, "from", p.From, "to", p.Host, "saved", p.SavedAt)
	if h.c.Moved == nil {
		return
	}
	ctx = context.WithoutCancel(ctx) // it has moved, whoever waits for it
	if err := again(func() error { return h.c.Moved(ctx, p) }); err != nil {
		h.c.Logger.ErrorContext(ctx, "a box has moved to another host and there is no record of it", "box", p.Box, "from", p.From, "to", p.Host, "error", err.Error())
	}
}

// lost is the error for a workspace with changes that nobody has. The same step is
// tried again for a while, in which the host may come back.
func lost(p sandbox.Place, why string) error {
	since := "it was never saved"
	if p.Part != nil {
		since = "it was saved last at " + p.SavedAt.UTC().Format(time.RFC3339)
	}
	return wflo.Errorf(wflo.CodeSandboxLost,
		"bring the host back, or go back to a snapshot with `wflo restore`, which does the steps since then again",
		"the workspace of %s is on %s: %s, and %s, %d changes ago", p.Box, p.Host, why, since, p.Done-p.Saved)
}

// complete makes sure that the host has the workspace. One that has lost it, because
// it came back empty, is like one that is gone.
func (h *Hosts) complete(ctx context.Context, p sandbox.Place) (sandbox.Place, error) {
	if p.Part == nil && p.Done == 0 {
		return p, nil
	}
	has, err := h.c.Runners[p.Host].HasBox(ctx, p.Box)
	switch {
	case err != nil:
		return p, err
	case has && !p.Bring:
		return p, nil
	case p.Done > p.Saved:
		return p, lost(p, "the host has lost it")
	case p.Part == nil:
		return p, nil // it was empty whenever it was saved
	}
	keeper := h.c.Keepers[p.Host]
	if keeper == nil {
		return p, wflo.Errorf(wflo.CodeInvalid, "configure snapshots", "nothing can bring the workspace of %s to %s", p.Box, p.Host)
	}
	if err := keeper.Bring(ctx, p.Box, fmt.Sprintf("place-%d-%d", p.Moves, p.Saved), *p.Part); err != nil {
		return p, fmt.Errorf("bring the workspace of %s to %s: %w", p.Box, p.Host, err)
	}
	if !p.Bring {
		return p, nil
	}
	return h.update(ctx, p, func(p *sandbox.Place) { p.Bring = false })
}

// changed notes that something has ended that may have changed the workspace, before
// anybody hears of it, and keeps the workspace. That it could not be kept is logged:
// until the next time, the box cannot move.
func (h *Hosts) changed(ctx context.Context, p sandbox.Place) error {
	p, err := h.noted(ctx, p)
	if err != nil || h.c.KeepLess {
		return err
	}
	keeper := h.c.Keepers[p.Host]
	if keeper == nil {
		return nil
	}
	part, ok, err := keeper.Keep(ctx, p.Box, p.Part)
	if err == nil && ok {
		err = h.Saved(ctx, p, part)
	}
	if err != nil && !errors.Is(err, wflo.ErrSandboxLost) {
		h.c.Logger.WarnContext(ctx, "a workspace could not be kept; it cannot move to another host", "box", p.Box, "error", err.Error())
	}
	return nil
}

// noteTries is how often noting a change is tried. Without the note, files could be
// lost unnoticed; without trying again, a program would be run twice for it.
const noteTries = 5

func (h *Hosts) noted(ctx context.Context, p sandbox.Place) (now sandbox.Place, err error) {
	if err = again(func() error {
		now, err = h.update(ctx, p, func(p *sandbox.Place) { p.Done++ })
		return err
	}); err != nil {
		return p, err
	}
	return now, nil
}

// again tries something up to noteTries times, with longer and longer pauses. That the
// box has moved does not change by waiting.
func again(try func() error) (err error) {
	for n := range noteTries {
		if err = try(); err == nil || errors.Is(err, wflo.ErrSandboxLost) || n == noteTries-1 {
			return err
		}
		timer := time.NewTimer(time.Duration(n) * lookEvery)
		<-timer.C
	}
	return err
}

// Place is the place of a box; ok says that it has one. With it, [Hosts.Saved] is
// told which changes are in a part.
func (h *Hosts) Place(ctx context.Context, box string) (p sandbox.Place, ok bool, err error) {
	return h.c.Places.Place(ctx, box)
}

// Saved notes that a workspace was kept as a part, with everything that had ended when
// its place was p. Where a later one was kept meanwhile, that one stays.
func (h *Hosts) Saved(ctx context.Context, p sandbox.Place, part wflo.SnapshotPart) error {
	_, err := h.update(ctx, p, func(now *sandbox.Place) {
		if now.Part == nil || p.Done >= now.Saved {
			now.Part, now.Saved, now.SavedAt = &part, p.Done, time.Now()
		}
	})
	return err
}

// Brought notes that the workspace of a box is now what a part says.
func (h *Hosts) Brought(ctx context.Context, box string, part wflo.SnapshotPart) error {
	p, ok, err := h.c.Places.Place(ctx, box)
	if err != nil || !ok {
		return err
	}
	return h.Saved(ctx, p, part)
}

// placesPage is how many places are read at a time.
const placesPage = 1000

// Kept gives the places of all boxes, also of those that other workers look after.
func (h *Hosts) Kept(ctx context.Context) (all []sandbox.Place, err error) {
	after := ""
	for {
		page, err := h.c.Places.ListPlaces(ctx, after, placesPage)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < placesPage {
			return all, nil
		}
		after = page[len(page)-1].Box
	}
}
