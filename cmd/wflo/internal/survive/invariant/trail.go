package invariant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

type record struct {
	Chain                                                         string
	Seq                                                           int64
	ID                                                            string
	At                                                            time.Time
	Type, Severity, Actor, Namespace, Workflow, Run, Step, InGate string
	Data                                                          []byte
	Prev, Hash                                                    string
}

// trail follows each chain from its first record to its head.
func (c *check) trail(ctx context.Context) error {
	if c.DB == nil {
		return nil
	}
	records, err := rows[record](ctx, c, `SELECT chain, seq, id, at, type, severity, actor, namespace, workflow_id, first_run_id, step, gate,
		convert_to(coalesce(data, ''), 'UTF8'), prev, hash FROM {s}.audit ORDER BY chain, seq`)
	if err != nil {
		return err
	}
	last := map[string]record{}
	for _, r := range records {
		c.saw(1)
		before, ok := last[r.Chain]
		if !ok {
			before.Hash = strings.Repeat("0", 2*sha256.Size)
		}
		if r.Seq != before.Seq+1 {
			c.find("chain %s: record %d follows record %d", r.Chain, r.Seq, before.Seq)
		}
		if r.Prev != before.Hash {
			c.find("chain %s: record %d does not follow the one before it", r.Chain, r.Seq)
		}
		hash, err := r.hash()
		if err != nil {
			return err
		}
		if hash != r.Hash {
			c.find("chain %s: record %d (%s) is not what was hashed", r.Chain, r.Seq, r.Type)
		}
		last[r.Chain] = r
	}
	if err := c.heads(ctx, last); err != nil {
		return err
	}
	return c.told(ctx)
}

// hash is the hash that the record must have: of the one before it, a line end, and its
// canonical form.
func (r record) hash() (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n{", r.Prev)
	comma := ""
	for _, member := range []struct {
		name string
		text string
	}{
		{"actor", r.Actor}, {"at", r.At.UTC().Format(time.RFC3339Nano)}, {"chain", r.Chain}, {"data", ""}, {"first_run_id", r.Run}, {"gate", r.InGate},
		{"id", r.ID}, {"namespace", r.Namespace}, {"seq", ""}, {"severity", r.Severity}, {"step", r.Step}, {"type", r.Type}, {"workflow_id", r.Workflow},
	} {
		value := member.text
		switch {
		case member.name == "data":
			value = string(r.Data)
		case member.name == "seq":
			value = fmt.Sprint(r.Seq)
		case value != "":
			var quoted strings.Builder
			enc := json.NewEncoder(&quoted)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(value); err != nil {
				return "", err
			}
			value = strings.TrimSuffix(quoted.String(), "\n")
		}
		if value != "" {
			fmt.Fprintf(&b, "%s%q:%s", comma, member.name, value)
			comma = ","
		}
	}
	b.WriteByte('}')
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:]), nil
}

// heads compares the heads with the last records.
func (c *check) heads(ctx context.Context, last map[string]record) error {
	type head struct {
		Chain string
		Seq   int64
		Hash  string
	}
	heads, err := rows[head](ctx, c, `SELECT chain, seq, hash FROM {s}.audit_heads`)
	if err != nil {
		return err
	}
	for _, h := range heads {
		c.saw(1)
		if l := last[h.Chain]; l.Seq != h.Seq || l.Hash != h.Hash {
			c.find("chain %s ends at record %d, and its head is %d", h.Chain, l.Seq, h.Seq)
		}
		delete(last, h.Chain)
	}
	for chain := range last {
		c.find("chain %s has no head", chain)
	}
	return nil
}

// told compares what stores say happened with what the trail has of it.
func (c *check) told(ctx context.Context) error {
	type missing struct{ What, ID string }
	all, err := rows[missing](ctx, c, `
		SELECT 'dead compensation', k.id FROM {s}.compensations k WHERE k.state = 'dead_letter' AND NOT EXISTS (
			SELECT FROM {s}.audit a WHERE a.type = 'compensation.dead_letter' AND a.data::json->>'id' = k.id)
		UNION ALL SELECT 'dead notice', n.id FROM {s}.notices n WHERE n.state = 'dead_letter' AND NOT EXISTS (
			SELECT FROM {s}.audit a WHERE a.type = 'notice.dead' AND strpos(a.data, n.id) > 0)
		UNION ALL SELECT 'gate', g.nonce FROM {s}.gates g WHERE NOT EXISTS (
			SELECT FROM {s}.audit a WHERE a.type = 'approval.requested' AND a.data::json->'gate'->>'nonce' = g.nonce)
		UNION ALL SELECT 'snapshot', s.id FROM {s}.snapshots s WHERE s.kind = 'manual' AND NOT EXISTS (
			SELECT FROM {s}.audit a WHERE a.type = 'snapshot.taken' AND strpos(a.data, s.id) > 0)`)
	if err != nil {
		return err
	}
	for _, m := range all {
		c.find("the trail does not have the %s %s", m.What, m.ID)
	}
	return nil
}
