package invariant

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// decision is a decision as records keep it.
type decision struct {
	Epoch   int       `json:"epoch"`
	Digest  string    `json:"digest"`
	Verdict string    `json:"verdict"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// gate is what is read of a gate in the index.
type gate struct {
	ID, Nonce, Digest, Status string
	Epoch                     int
	Requesters                []string
	Approval                  struct {
		Approvers []string
		FourEyes  bool `json:"four_eyes"`
		Quorum    int
	}
	ClosedAt time.Time `json:"closed_at"`
	Decision *decision
	Votes    []decision
}

// told is what the trail has of a gate.
type told struct {
	opened, closed, used, revoked int
	decided                       []decision
}

// gates compares the index of gates, the grants, the trail and what was done.
func (c *check) gates(ctx context.Context) error {
	if c.DB == nil {
		return nil
	}
	type doc struct{ Doc []byte }
	docs, err := rows[doc](ctx, c, `SELECT doc FROM {s}.gates ORDER BY nonce`)
	if err != nil {
		return err
	}
	trail, err := c.toldOfGates(ctx)
	if err != nil {
		return err
	}
	all := map[string]gate{}
	for _, d := range docs {
		var g gate
		if err := json.Unmarshal(d.Doc, &g); err != nil {
			return fmt.Errorf("a gate: %w", err)
		}
		c.saw(1)
		all[g.Nonce] = g
		t := trail[g.Nonce]
		if t == nil {
			t = &told{}
		}
		c.gate(g, *t)
	}
	return c.grants(ctx, all, trail)
}

func (c *check) toldOfGates(ctx context.Context) (map[string]*told, error) {
	type record struct {
		Type string
		Data []byte
	}
	records, err := rows[record](ctx, c, `SELECT type, convert_to(data, 'UTF8') FROM {s}.audit WHERE type LIKE 'approval.%' AND data IS NOT NULL ORDER BY n`)
	if err != nil {
		return nil, err
	}
	all := map[string]*told{}
	for _, r := range records {
		var data struct {
			Gate     json.RawMessage
			Decision decision
		}
		if err := json.Unmarshal(r.Data, &data); err != nil {
			return nil, fmt.Errorf("a record of a gate: %w", err)
		}
		var whole gate
		var nonce string
		if json.Unmarshal(data.Gate, &nonce) != nil && json.Unmarshal(data.Gate, &whole) == nil {
			nonce = whole.Nonce
		}
		if all[nonce] == nil {
			all[nonce] = &told{}
		}
		all[nonce].add(r.Type, data.Decision)
	}
	return all, nil
}

func (t *told) add(what string, d decision) {
	switch what {
	case "approval.requested":
		t.opened++
	case "approval.closed":
		t.closed++
	case "approval.used":
		t.used++
	case "approval.revoked":
		t.revoked++
	case "approval.decided":
		t.decided = append(t.decided, d)
	}
}

// gate checks one gate of the index.
func (c *check) gate(g gate, t told) {
	if t.opened != 1 || t.closed > 1 {
		c.find("gate %s (%s) was opened %d times and closed %d times, says the trail", g.ID, g.Nonce, t.opened, t.closed)
	}
	if g.Status == "open" {
		if c.Quiet {
			c.find("gate %s (%s) is open, and everything is over", g.ID, g.Nonce)
		}
		return
	}
	if t.closed == 0 {
		c.find("gate %s (%s) is %s, and the trail has no end of it", g.ID, g.Nonce, g.Status)
	}
	if g.Status != "approved" {
		return
	}
	if g.Decision == nil || len(t.decided) == 0 {
		c.find("gate %s (%s) is approved, and nobody has decided", g.ID, g.Nonce)
		return
	}
	final := 0
	for _, d := range t.decided {
		if d.Epoch != g.Epoch || d.Digest != g.Digest && d.Digest != "" {
			c.find("gate %s (%s): a decision of epoch %d on %.12s counted, at epoch %d on %.12s", g.ID, g.Nonce, d.Epoch, d.Digest, g.Epoch, g.Digest)
		}
		if d.Verdict == "approve" || d.Verdict == "reject" {
			final++
		}
		if len(g.Approval.Approvers) > 0 && !slices.Contains(g.Approval.Approvers, d.By) {
			c.find("gate %s (%s) was decided by %s, who is no approver", g.ID, g.Nonce, d.By)
		}
		if g.Approval.FourEyes && slices.Contains(g.Requesters, d.By) {
			c.find("gate %s (%s) was decided by %s, who asked for it", g.ID, g.Nonce, d.By)
		}
	}
	if want := max(1, g.Approval.Quorum); final != want {
		c.find("gate %s (%s) has %d final decisions, want %d", g.ID, g.Nonce, final, want)
	}
}

// grants checks that what was guarded happened on an approval, once, and after it.
func (c *check) grants(ctx context.Context, gates map[string]gate, trail map[string]*told) error {
	type grant struct {
		Nonce, Effect, Revoked string
		At                     time.Time
	}
	all, err := rows[grant](ctx, c, `SELECT nonce, coalesce(effect, ''), coalesce(revoked_by, ''), at FROM {s}.grants`)
	if err != nil {
		return err
	}
	approved := map[string]time.Time{}
	for _, g := range all {
		c.saw(1)
		of, ok := gates[g.Nonce]
		if g.Effect == "" {
			continue
		}
		if !ok || of.Decision == nil || of.Status != "approved" && of.Status != "revoked" {
			c.find("a grant of gate %q was used, which nobody approved", g.Nonce)
			continue
		}
		if approved[g.Effect] = of.Decision.At; g.At.Before(of.Decision.At.Add(-c.apart())) {
			c.find("gate %s (%s) was used before it was decided", of.ID, g.Nonce)
		}
		if t := trail[g.Nonce]; t == nil || t.used != 1 {
			c.find("gate %s (%s) was used, and the trail does not have that once", of.ID, g.Nonce)
		}
	}
	for _, e := range c.Effects {
		if e.Undo != "" || !slices.Contains(c.Guarded, e.What) {
			continue
		}
		c.saw(1)
		if at, ok := approved[e.Key]; !ok {
			c.find("%s happened under the key %.12s without an approval", e.What, e.Key)
		} else if e.At.Before(at.Add(-c.apart())) {
			c.find("%s happened before its approval", e.What)
		}
	}
	return nil
}

// clocks is how far the clocks of database, worker and stand-in may be apart where they are
// on one machine.
const clocks = 100 * time.Millisecond

// apart is how far clocks may be apart in this world.
func (c *check) apart() time.Duration { return max(clocks, c.Clocks) }
