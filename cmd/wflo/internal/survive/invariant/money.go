package invariant

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// rows reads all rows of a query; {s} stands for the schema.
func rows[T any](ctx context.Context, c *check, query string, args ...any) ([]T, error) {
	found, err := c.DB.Query(ctx, in(c.Schema, query), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowToStructByPos[T])
}

// tokens is how the ledger keeps what was used.
type tokens struct {
	Input     int64 `json:"input"`
	CacheRead int64 `json:"cache_read"`
	Output    int64 `json:"output"`
	Reasoning int64 `json:"reasoning"`
}

type entry struct {
	Key      string
	Attempt  int
	State    string
	Adjusts  bool
	Model    string
	Response string
	Usage    []byte
	Amount   int64
}

// invoices compares what vendors billed with what is booked.
func (c *check) invoices(ctx context.Context) error {
	if c.DB == nil {
		return nil
	}
	entries, err := rows[entry](ctx, c, `SELECT key, attempt, state, adjusts, model, response_id, convert_to(usage::text, 'UTF8'), amount_nano
		FROM {s}.entries WHERE state <> 'cached' ORDER BY id`)
	if err != nil {
		return err
	}
	billed := map[string]Invoice{}
	for _, i := range c.Invoices {
		c.saw(1)
		if _, twice := billed[i.Response]; twice {
			c.find("the vendor billed the answer %s twice", i.Response)
		}
		billed[i.Response] = i
	}
	settled, unknown := map[string]bool{}, map[string]int64{}
	for _, e := range entries {
		c.saw(1)
		hold := fmt.Sprint(e.Key, "/", e.Attempt)
		if e.State == "unknown" {
			unknown[hold] += e.Amount
			continue
		}
		if settled[e.Key] {
			c.find("the effect %.12s is settled twice", e.Key)
		}
		settled[e.Key] = true
		amount := e.Amount
		if e.Adjusts {
			amount += unknown[hold]
			delete(unknown, hold)
		}
		if err := c.booked(e, amount, billed); err != nil {
			return err
		}
		delete(billed, e.Response)
	}
	c.unheard(billed, unknown)
	return nil
}

// booked compares an entry with its invoice.
func (c *check) booked(e entry, amount int64, billed map[string]Invoice) error {
	var used tokens
	if err := json.Unmarshal(e.Usage, &used); err != nil {
		return fmt.Errorf("usage of %.12s: %w", e.Key, err)
	}
	i, ok := billed[e.Response]
	switch {
	case !ok:
		c.find("the effect %.12s is booked for the answer %q, which nobody billed, or which is booked already", e.Key, e.Response)
	case used != tokens{i.Input, i.CacheRead, i.Output, i.Reasoning}:
		c.find("the answer %s was billed as %+v and is booked as %+v", e.Response, i, used)
	default:
		if want := c.price(i); amount != want {
			c.find("the answer %s costs %d nano-dollars and is booked at %d", e.Response, want, amount)
		}
	}
	return nil
}

// price is what an invoice comes to. Reasoning is billed like the answer.
func (c *check) price(i Invoice) int64 {
	r, ok := c.Rates[i.Model]
	if !ok {
		c.find("nobody knows what the model %q costs", i.Model)
	}
	return i.Input*r.Input + i.CacheRead*r.CacheRead + (i.Output+i.Reasoning)*r.Output
}

// unheard are answers that were billed and are in no entry: calls whose outcome nobody
// heard must stand for them, and be charged at least as much.
func (c *check) unheard(billed map[string]Invoice, unknown map[string]int64) {
	var lost, flagged int64
	for _, i := range billed {
		lost += c.price(i)
	}
	for _, amount := range unknown {
		flagged += amount
	}
	if len(billed) > len(unknown) || lost > flagged {
		c.find("%d answers of %d nano-dollars are in no entry, and %d calls of %d are flagged as unknown", len(billed), lost, len(unknown), flagged)
	}
}

type account struct {
	ID, OnExceeded                                             string
	Slides                                                     bool
	Limit, Spent, Reserved, Unknown                            int64
	HeldOpen, HeldSpent, HeldUnknown, Overdraft, OpenHoldCount int64
}

// accounts compares each account with its holds.
func (c *check) accounts(ctx context.Context) error {
	if c.DB == nil {
		return nil
	}
	all, err := rows[account](ctx, c, `SELECT a.id, a.on_exceeded, a.slides IS NOT NULL, a.limit_nano, a.spent_nano, a.reserved_nano, a.unknown_nano,
			coalesce(sum(h.granted_nano) FILTER (WHERE h.state = 'open'), 0)::bigint,
			coalesce(sum(CASE h.state WHEN 'settled' THEN h.settled_nano WHEN 'unknown' THEN h.granted_nano END), 0)::bigint,
			coalesce(sum(h.granted_nano) FILTER (WHERE h.state = 'unknown'), 0)::bigint,
			coalesce(sum(greatest(0, h.settled_nano - h.granted_nano)) FILTER (WHERE h.state = 'settled'), 0)::bigint,
			count(h.*) FILTER (WHERE h.state = 'open')
		FROM {s}.accounts a LEFT JOIN {s}.holds h ON a.id = ANY (h.budget_ids) GROUP BY a.id`)
	if err != nil {
		return err
	}
	for _, a := range all {
		c.saw(1)
		if a.Reserved != a.HeldOpen {
			c.find("account %s has %d reserved, and its open holds come to %d", a.ID, a.Reserved, a.HeldOpen)
		}
		if !a.Slides && (a.Spent != a.HeldSpent || a.Unknown != a.HeldUnknown) {
			c.find("account %s has %d spent, %d of it unknown, and its holds come to %d and %d", a.ID, a.Spent, a.Unknown, a.HeldSpent, a.HeldUnknown)
		}
		if a.Limit > 0 && (a.OnExceeded == "halt" || a.OnExceeded == "ask") && a.Spent+a.Reserved > a.Limit+a.Overdraft {
			c.find("account %s has %d spent and %d reserved of a limit of %d, and %d flagged above it", a.ID, a.Spent, a.Reserved, a.Limit, a.Overdraft)
		}
		if c.Quiet && a.OpenHoldCount > 0 {
			c.find("account %s has %d open holds, and everything is over", a.ID, a.OpenHoldCount)
		}
	}
	return c.holds(ctx)
}

// holds compares each hold with its entries.
func (c *check) holds(ctx context.Context) error {
	type odd struct {
		Key             string
		Attempt         int
		State           string
		Amount, Entries int64
	}
	all, err := rows[odd](ctx, c, `SELECT h.key, h.attempt, h.state,
			CASE h.state WHEN 'settled' THEN h.settled_nano WHEN 'unknown' THEN h.granted_nano ELSE 0 END,
			coalesce(sum(e.amount_nano), 0)::bigint
		FROM {s}.holds h LEFT JOIN {s}.entries e ON e.key = h.key AND e.attempt = h.attempt AND e.state <> 'cached' GROUP BY h.key, h.attempt`)
	if err != nil {
		return err
	}
	for _, o := range all {
		c.saw(1)
		if o.Amount != o.Entries {
			c.find("hold %.12s/%d is %s at %d, and its entries come to %d", o.Key, o.Attempt, o.State, o.Amount, o.Entries)
		}
	}
	return nil
}
