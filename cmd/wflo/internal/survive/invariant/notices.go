package invariant

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
)

// notices compares the outbox with what receivers got.
func (c *check) notices(ctx context.Context) error {
	if c.DB == nil {
		return nil
	}
	type notice struct{ ID, State, Error, Channel string }
	all, err := rows[notice](ctx, c, `SELECT id, state, error, channel FROM {s}.notices ORDER BY n`)
	if err != nil {
		return err
	}
	taken, body := map[string]int{}, map[string]string{}
	for _, d := range c.Deliveries {
		c.saw(1)
		if was, again := body[d.ID]; again && was != d.Body {
			c.find("the message %s came in two wordings", d.ID)
		}
		body[d.ID] = d.Body
		if d.Taken {
			taken[d.ID]++
		}
	}
	known := map[string]bool{}
	for _, n := range all {
		c.saw(1)
		id := message(n.ID)
		known[id] = true
		switch {
		case n.State == "delivered" && taken[id] == 0:
			c.find("notice %s is delivered, and no receiver has taken it", n.ID)
		case n.State == "dead_letter" && n.Error == "":
			c.find("notice %s is a dead letter without a reason", n.ID)
		case n.State == "pending" && c.Quiet:
			c.find("notice %s waits, and everything is over", n.ID)
		}
	}
	for id := range body {
		if !known[id] {
			c.find("a receiver got the message %s, which is in no outbox", id)
		}
	}
	return nil
}

// message is the id under which a notice goes to webhooks.
func message(notice string) string {
	sum := sha256.Sum256([]byte(notice))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// tenants checks that every row of a run has the run's tenant.
func (c *check) tenants(ctx context.Context) error {
	if c.DB == nil || len(c.Orgs) == 0 {
		return nil
	}
	type row struct{ Table, Workflow, Org string }
	all, err := rows[row](ctx, c, `
		SELECT 'gates', workflow_id, org FROM {s}.gates
		UNION ALL SELECT 'snapshots', workflow_id, org FROM {s}.snapshots
		UNION ALL SELECT 'compensations', workflow_id, org FROM {s}.compensations
		UNION ALL SELECT 'audit', workflow_id, chain FROM {s}.audit WHERE workflow_id <> ''
		UNION ALL SELECT 'holds', run->>'workflow_id', coalesce(run->>'org', '') FROM {s}.holds`)
	if err != nil {
		return err
	}
	for _, r := range all {
		want, ours := c.Orgs[r.Workflow]
		if !ours {
			continue
		}
		c.saw(1)
		if r.Table == "audit" && want == "" {
			want = "main"
		}
		if r.Org != want {
			c.find("a row of %s in %s belongs to %q, want %q", r.Workflow, r.Table, r.Org, want)
		}
	}
	return nil
}
