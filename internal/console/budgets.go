package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of lists.
const (
	someAlerts = 100
	mostAlerts = 1000
	mostSpends = 100
)

func (h *Handler) budgets(ctx context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	all, err := h.cfg.Ledger.ListBudgets(ctx)
	if err != nil {
		return nil, fmt.Errorf("list budgets: %w", err)
	}
	return append([]wflo.Spend{}, all...), nil
}

func (h *Handler) budget(ctx context.Context, r *http.Request) (any, error) {
	id, err := budgetID(r)
	if err != nil {
		return nil, err
	}
	return h.spend(ctx, id)
}

// spend is a budget in its current window, or absent when neither a rule nor
// spending made it.
func (h *Handler) spend(ctx context.Context, id string) (wflo.Spend, error) {
	s, err := h.cfg.Ledger.Spend(ctx, id)
	if err != nil {
		return wflo.Spend{}, fmt.Errorf("read budget %s: %w", id, err)
	}
	if s.Rule != nil || s.Limit != 0 || s.Spent != 0 || s.Reserved != 0 {
		return s, nil
	}
	// A rule for each has no window of its own to read.
	all, err := h.cfg.Ledger.ListBudgets(ctx)
	if err != nil {
		return wflo.Spend{}, fmt.Errorf("list budgets: %w", err)
	}
	for _, b := range all {
		switch {
		case b.Budget == id:
			return b, nil
		case b.Rule != nil && b.Rule.ID() == id:
			return wflo.Spend{Budget: id, Limit: b.Rule.Limit, Rule: b.Rule}, nil
		}
	}
	return wflo.Spend{}, &absent{"no budget " + id, "list them at /api/v1/budgets"}
}

// rule is a wflo.Budget whose limit can be told from none.
type rule struct {
	wflo.Budget
	Limit *wflo.Money `json:"limit"`
}

func (h *Handler) setBudget(ctx context.Context, r *http.Request) (any, error) {
	by, id, err := change(r)
	if err != nil {
		return nil, err
	}
	scope, name, err := wflo.SplitBudgetID(id)
	if err != nil {
		return nil, err
	}
	var given rule
	if err := body(r, "budget", "send a JSON budget with limit, period, time_zone, thresholds and on_exceeded", &given); err != nil {
		return nil, err
	}
	b := given.Budget
	switch {
	case b.Scope != "" && b.Scope != scope, b.Name != "" && b.Name != name:
		return nil, wflo.Invalid("budget", "in the body is "+b.ID()+", not "+id, "leave scope and name out, or name the same")
	case given.Limit != nil && *given.Limit <= 0:
		return nil, wflo.Invalid("budget.limit", "is "+given.Limit.String(), "give a positive amount of dollars, such as 5.00, or leave it out for no limit")
	case given.Limit != nil:
		b.Limit = *given.Limit
	}
	b.Scope, b.Name = scope, name
	if err := b.Validate(); err != nil {
		return nil, err
	}
	if err := h.cfg.Ledger.SetBudget(ctx, b, by); err != nil {
		return nil, fmt.Errorf("set budget %s: %w", id, err)
	}
	h.cfg.Logger.InfoContext(ctx, "budget set", "budget", id, "limit", b.Limit.String(), "by", by)
	return h.spend(ctx, id)
}

// Removed says which budget is no more.
type Removed struct {
	Budget string `json:"budget"`
}

func (h *Handler) removeBudget(ctx context.Context, r *http.Request) (any, error) {
	by, id, err := change(r)
	if err != nil {
		return nil, err
	}
	if err := h.cfg.Ledger.RemoveBudget(ctx, id); err != nil {
		return nil, fmt.Errorf("remove budget %s: %w", id, err)
	}
	h.cfg.Logger.InfoContext(ctx, "budget removed", "budget", id, "by", by)
	return Removed{Budget: id}, nil
}

// TopUp is the body of a top-up; the path names the budget and HeaderUser says
// who it is by.
type TopUp struct {
	// Key makes it idempotent: the same key raises once.
	Key    string     `json:"key"`
	Amount wflo.Money `json:"amount"`
	Reason string     `json:"reason,omitempty"`
}

func (h *Handler) topUp(ctx context.Context, r *http.Request) (any, error) {
	by, id, err := change(r)
	if err != nil {
		return nil, err
	}
	var t TopUp
	if err := body(r, "top-up", "send JSON with key, amount and reason", &t); err != nil {
		return nil, err
	}
	s, err := h.raise(ctx, id, by, t)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// raise tops a budget up, for the API and the page.
func (h *Handler) raise(ctx context.Context, id, by string, t TopUp) (s wflo.Spend, err error) {
	switch {
	case t.Key == "":
		return s, wflo.Invalid("topup.key", "is empty", "choose one per top-up, so that a repetition does not raise twice")
	case t.Amount <= 0:
		return s, wflo.Invalid("topup.amount", "is "+t.Amount.String(), "give a positive amount of dollars, such as 5.00")
	}
	if err := cmp.Or(text("topup.key", t.Key), text("topup.reason", t.Reason)); err != nil {
		return s, err
	}
	if _, _, err := wflo.SplitBudgetID(id); err != nil {
		return s, err
	}
	s, err = h.cfg.Ledger.TopUp(ctx, wflo.TopUp{Key: t.Key, Budget: id, Amount: t.Amount, By: by, Reason: t.Reason})
	if err != nil {
		return s, fmt.Errorf("top up %s: %w", id, err)
	}
	h.cfg.Logger.InfoContext(ctx, "budget topped up", "budget", id, "amount", t.Amount.String(), "by", by)
	return s, nil
}

// spends reads several budgets by their ids, those of runs too.
func (h *Handler) spends(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "budget")
	if err != nil {
		return nil, err
	}
	if n := len(q["budget"]); n > mostSpends {
		return nil, wflo.Invalid("budget", fmt.Sprintf("is given %d times", n), fmt.Sprintf("ask for at most %d", mostSpends))
	}
	for _, id := range q["budget"] {
		if _, _, err := wflo.SplitBudgetID(id); err != nil {
			return nil, err
		}
	}
	all, err := spendsOf(ctx, h.cfg.Ledger, q["budget"])
	return append([]wflo.Spend{}, all...), err
}

func (h *Handler) alerts(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "budget", "n")
	if err != nil {
		return nil, err
	}
	n, err := count(q, "n", someAlerts, mostAlerts)
	if err != nil {
		return nil, err
	}
	id := q.Get("budget")
	if id != "" {
		if _, _, err := wflo.SplitBudgetID(id); err != nil {
			return nil, err
		}
	}
	all, err := h.cfg.Ledger.ListAlerts(ctx, id, n)
	if err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
	}
	return append([]wflo.BudgetAlert{}, all...), nil
}

// change is who asks for a change of which budget.
func change(r *http.Request) (by, id string, err error) {
	if by, err = user(r); err != nil {
		return "", "", err
	}
	id, err = budgetID(r)
	return by, id, err
}

// budgetID is the id in the path, where a slash is written %2F.
func budgetID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	scope, name, err := wflo.SplitBudgetID(id)
	if err != nil {
		return "", err
	}
	return id, wflo.Budget{Scope: scope, Name: name}.Validate()
}
