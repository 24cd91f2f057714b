package invariant

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

type compensation struct {
	ID, Run, State, Error string
	Height                int64
	Begun                 bool
	At                    time.Time
	Doc                   []byte
}

// done is what the other side saw of one effect.
type done struct {
	did, undid   int
	first, last  int // where in the log it was first undone, and last done
	what         string
	firstUndo    time.Time
	doneAfterOne bool // done again after it was undone
}

// effects compares the rows of compensations with what the other side did.
func (c *check) effects(ctx context.Context) error {
	if c.DB == nil {
		return nil
	}
	all, err := rows[compensation](ctx, c, `SELECT id, run, state, error, height, begun, at, doc FROM {s}.compensations ORDER BY run, height`)
	if err != nil {
		return err
	}
	seen := c.seen()
	known := map[string]bool{}
	for _, r := range all {
		c.saw(1)
		known[r.ID] = true
		c.effect(r, seen[r.ID])
	}
	for id, d := range seen {
		if !known[id] && d.undid > 0 {
			c.find("%s was undone as %s, which no row is about", d.what, id)
		}
	}
	return c.order(all, seen)
}

// seen puts together what the other side saw, by the ids of compensations. An effect's
// compensation is named by its key.
func (c *check) seen() map[string]*done {
	all := map[string]*done{}
	for n, e := range c.Effects {
		id := e.Undo
		if id == "" {
			id = fmt.Sprintf("undo-%.20s", e.Key)
		}
		d := all[id]
		if d == nil {
			d = &done{what: e.What}
			all[id] = d
		}
		switch {
		case e.Undo == "":
			d.doneAfterOne = d.doneAfterOne || d.undid > 0
			d.did, d.last = d.did+1, n
		case d.undid == 0:
			d.undid, d.first, d.firstUndo = 1, n, e.At
		default:
			d.undid++
		}
	}
	return all
}

// effect checks one row against the other side.
func (c *check) effect(r compensation, d *done) {
	if d == nil {
		d = &done{}
	}
	if d.doneAfterOne {
		c.find("%s (%s) happened again after it was undone", d.what, r.ID)
	}
	if d.did > 0 && !r.Begun {
		c.find("%s (%s) happened, and its row says that it never began", d.what, r.ID)
	}
	switch r.State {
	case "kept":
		if d.undid > 0 {
			c.find("%s (%s) is kept, and was undone", d.what, r.ID)
		}
	case "compensated":
		if d.did > 0 && d.undid == 0 {
			c.find("%s (%s) is compensated, and the other side still has it", d.what, r.ID)
		}
	case "dead_letter":
		if r.Error == "" {
			c.find("%s is a dead letter without a reason", r.ID)
		}
	case "skipped":
	default:
		if c.Quiet {
			c.find("%s (%s) is %s, and everything is over", d.what, r.ID, r.State)
		}
	}
}

// order checks that of the effects of a run the last was undone first, those apart that
// were registered together.
func (c *check) order(all []compensation, seen map[string]*done) error {
	groups := map[string]string{}
	for _, r := range all {
		var doc struct{ Group string }
		if err := json.Unmarshal(r.Doc, &doc); err != nil {
			return fmt.Errorf("compensation %s: %w", r.ID, err)
		}
		groups[r.ID] = doc.Group
	}
	for i, low := range all {
		for _, high := range all[i+1:] {
			if high.Run != low.Run {
				break
			}
			a, b := seen[low.ID], seen[high.ID]
			if a == nil || b == nil || a.undid == 0 || b.undid == 0 || low.Height == high.Height {
				continue
			}
			if groups[low.ID] != "" && groups[low.ID] == groups[high.ID] || !high.At.Before(a.firstUndo) {
				continue // together, or registered only later
			}
			if b.first > a.first {
				c.find("run %s: %s (height %d) was undone before %s (height %d)", low.Run, a.what, low.Height, b.what, high.Height)
			}
		}
	}
	return nil
}
