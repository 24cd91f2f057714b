package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of one report.
const (
	mostRows   = 10_000
	mostScopes = 20
)

// Bys are what costs can be reported by.
var Bys = []string{"run", "step", "agent", "workflow", "user", "team", "org", "model", "provider", "tag", "hour", "day", "week", "month"}

// Costs is a report of what was spent.
type Costs struct {
	Query wflo.CostQuery `json:"query"`
	Rows  []wflo.CostRow `json:"rows"`
	// Total is for all entries that the query fits. It is not always the sum of
	// the rows: an entry with two tags is in two of them.
	Total wflo.CostRow `json:"total"`
}

func (h *Handler) costs(ctx context.Context, r *http.Request) (any, error) {
	q, err := costQuery(r)
	if err != nil {
		return nil, err
	}
	out, err := h.report(ctx, q)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// report adds up what the caller may see.
func (h *Handler) report(ctx context.Context, q wflo.CostQuery) (out Costs, err error) {
	if org := callerOf(ctx).id.Org; org != "" {
		q.Scopes = append(q.Scopes, string(wflo.ScopeOrg)+":"+org)
	}
	rows, err := h.cfg.Ledger.Costs(ctx, q)
	if err != nil {
		return out, fmt.Errorf("add up costs: %w", err)
	}
	total := rows
	if q.By != "" {
		whole := q
		whole.By, whole.Limit = "", 0
		if total, err = h.cfg.Ledger.Costs(ctx, whole); err != nil {
			return out, fmt.Errorf("add up the total: %w", err)
		}
	}
	out = Costs{Query: q, Rows: append([]wflo.CostRow{}, rows...)}
	if len(total) > 0 {
		out.Total = total[0]
	}
	out.Total.Key = "total"
	return out, nil
}

func costQuery(r *http.Request) (wflo.CostQuery, error) {
	var c wflo.CostQuery
	q, err := queryOf(r, "by", "from", "to", "zone", "scope", "limit")
	if err != nil {
		return c, err
	}
	if c.By = q.Get("by"); c.By != "" && !slices.Contains(Bys, c.By) {
		return c, wflo.Invalid("by", fmt.Sprintf("is %q", c.By), "use "+strings.Join(Bys, ", ")+", or leave it out for the total")
	}
	for _, t := range []struct {
		name string
		into *time.Time
	}{{"from", &c.From}, {"to", &c.To}} {
		if given := q.Get(t.name); given != "" {
			if *t.into, err = time.Parse(time.RFC3339, given); err != nil {
				return c, wflo.Invalid(t.name, fmt.Sprintf("is %q", given), "write a time as in 2026-12-01T13:00:00Z")
			}
		}
	}
	if !c.From.IsZero() && !c.To.IsZero() && !c.From.Before(c.To) {
		return c, wflo.Invalid("from", "is not before to", "give the earlier time as from")
	}
	c.TimeZone = q.Get("zone")
	if err := (wflo.Budget{TimeZone: c.TimeZone}).Validate(); err != nil {
		return c, wflo.Invalid("zone", fmt.Sprintf("is %q", c.TimeZone), wflo.HintOf(err))
	}
	c.Scopes = q["scope"]
	if err := costScopes(c.Scopes); err != nil {
		return c, err
	}
	if q.Get("limit") != "" {
		c.Limit, err = count(q, "limit", 0, mostRows)
	}
	return c, err
}

// costScopes refuses too many scopes, and those that no entry has.
func costScopes(all []string) error {
	if len(all) > mostScopes {
		return wflo.Invalid("scope", fmt.Sprintf("is given %d times", len(all)), fmt.Sprintf("use at most %d", mostScopes))
	}
	for _, s := range all {
		if err := costScope(s); err != nil {
			return err
		}
	}
	return nil
}

// costScope refuses what no entry is attributed to.
func costScope(s string) error {
	scope, name, err := wflo.SplitBudgetID(s)
	if err != nil {
		return wflo.Invalid("scope", fmt.Sprintf("is %q", s), "name it SCOPE:NAME, such as user:ann")
	}
	if name == wflo.Each {
		return wflo.Invalid("scope", fmt.Sprintf("is %q", s), "name one, such as user:ann; for a row each use by="+string(scope))
	}
	return nil
}
