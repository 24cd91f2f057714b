// Package metertest keeps a ledger's books in memory, for tests of what meters
// calls. [Books] is activities.Calls as its contract has it, without windows,
// rules and alerts; [Books.Check] says whether the sums add up. The real ledgers
// are tested by their own suite.
package metertest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

var _ activities.Calls = (*Books)(nil)

type holdKey struct {
	key     wflo.EffectKey
	attempt int
}

// Books are a ledger in memory. The zero value is ready. Its methods may be
// called at the same time.
type Books struct {
	// Fail, when set, may make an operation fail: reserve, settle, release or
	// unknown.
	Fail func(op string) error

	mu      sync.Mutex
	budgets map[string]*wflo.Spend
	holds   map[holdKey]*wflo.Hold
	order   []holdKey
	entries []wflo.Entry
}

func (b *Books) fail(op string) error {
	if b.Fail == nil {
		return nil
	}
	return b.Fail(op)
}

// Reserve is activities.Calls.Reserve.
func (b *Books) Reserve(_ context.Context, r wflo.Reservation) (wflo.Hold, error) {
	if err := b.fail("reserve"); err != nil {
		return wflo.Hold{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holds == nil {
		b.holds, b.budgets = map[holdKey]*wflo.Hold{}, map[string]*wflo.Spend{}
	}
	if h := b.holds[holdKey{r.Key, r.Attempt}]; h != nil {
		if h.Amount != r.Amount {
			return wflo.Hold{}, wflo.Errorf(wflo.CodeConflict, "", "attempt %d has another amount", r.Attempt)
		}
		again := *h
		again.Repeated = true
		return again, nil
	}
	for _, k := range b.order {
		if h := b.holds[k]; k.key == r.Key && h.State == wflo.HoldSettled {
			return *h, nil
		}
	}
	for _, k := range b.order {
		if h := b.holds[k]; k.key == r.Key && k.attempt < r.Attempt && h.State == wflo.HoldOpen {
			b.unknown(h)
		}
	}
	return b.hold(r)
}

func (b *Books) hold(r wflo.Reservation) (wflo.Hold, error) {
	least := r.Least
	if least == 0 {
		least = r.Amount
	}
	h := &wflo.Hold{Reservation: r, State: wflo.HoldOpen, Granted: r.Amount}
	room := wflo.Money(math.MaxInt64)
	for _, line := range r.Budgets {
		s := b.budgets[line.ID]
		if s == nil {
			s = &wflo.Spend{Budget: line.ID, Limit: line.Limit}
			b.budgets[line.ID] = s
		}
		if s.Limit == 0 {
			continue
		}
		left := s.Limit - s.Spent - s.Reserved
		if left < least {
			refusal := &wflo.Refusal{Budget: s.Budget, Limit: s.Limit, Spent: s.Spent, Reserved: s.Reserved, Asked: least}
			return wflo.Hold{}, wflo.Errorf(wflo.CodeBudgetExceeded, "raise the budget", "%w", refusal)
		}
		h.Granted, room = min(h.Granted, left), min(room, left)
	}
	if h.Room = room; room != math.MaxInt64 {
		h.Room -= h.Granted
	}
	for _, line := range r.Budgets {
		b.budgets[line.ID].Reserved += h.Granted
	}
	k := holdKey{r.Key, r.Attempt}
	b.holds[k] = h
	b.order = append(b.order, k)
	return *h, nil
}

// Settle is activities.Calls.Settle.
func (b *Books) Settle(_ context.Context, s wflo.Settlement) error {
	if err := b.fail("settle"); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holds[holdKey{s.Key, s.Attempt}]
	switch {
	case h == nil:
		return wflo.Errorf(wflo.CodeInvalid, "", "no hold")
	case h.State == wflo.HoldSettled:
		return nil
	case h.State != wflo.HoldOpen:
		return wflo.Errorf(wflo.CodeConflict, "", "hold is %s", h.State)
	}
	h.State, h.Outcome = wflo.HoldSettled, slices.Clone(s.Outcome)
	for _, line := range h.Budgets {
		b.budgets[line.ID].Reserved -= h.Granted
		b.budgets[line.ID].Spent += s.Amount
	}
	b.entries = append(b.entries, wflo.Entry{
		Key: s.Key, Attempt: s.Attempt, State: wflo.HoldSettled, Run: h.Run, Provider: s.Provider, Model: s.Model, ResponseID: s.ResponseID,
		Usage: s.Usage, Price: s.Price, Reserved: h.Granted, Amount: s.Amount, Overdraft: max(0, s.Amount-h.Granted), Scopes: h.Scopes,
	})
	return nil
}

// Release is activities.Calls.Release.
func (b *Books) Release(_ context.Context, key wflo.EffectKey, attempt int) error {
	if err := b.fail("release"); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.holds[holdKey{key, attempt}]; h != nil && h.State == wflo.HoldOpen {
		h.State = wflo.HoldReleased
		for _, line := range h.Budgets {
			b.budgets[line.ID].Reserved -= h.Granted
		}
	}
	return nil
}

// MarkUnknown is activities.Calls.MarkUnknown.
func (b *Books) MarkUnknown(_ context.Context, key wflo.EffectKey, attempt int) error {
	if err := b.fail("unknown"); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.holds[holdKey{key, attempt}]; h != nil && h.State == wflo.HoldOpen {
		b.unknown(h)
	}
	return nil
}

func (b *Books) unknown(h *wflo.Hold) {
	h.State = wflo.HoldUnknown
	for _, line := range h.Budgets {
		b.budgets[line.ID].Reserved -= h.Granted
		b.budgets[line.ID].Spent += h.Granted
		b.budgets[line.ID].Unknown += h.Granted
	}
	b.entries = append(b.entries, wflo.Entry{
		Key: h.Key, Attempt: h.Attempt, State: wflo.HoldUnknown, Run: h.Run, Provider: h.Provider, Model: h.Model,
		Reserved: h.Granted, Amount: h.Granted, Scopes: h.Scopes,
	})
}

// Save is activities.Calls.Save. Nothing that is metered uses a cache.
func (b *Books) Save(context.Context, wflo.Saving) error {
	return wflo.Invalid("metertest.Books", "keeps no savings", "use a real ledger")
}

// Entries lists what was charged, oldest first.
func (b *Books) Entries() []wflo.Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.entries)
}

// Holds lists all holds, oldest first.
func (b *Books) Holds() []wflo.Hold {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []wflo.Hold
	for _, k := range b.order {
		out = append(out, *b.holds[k])
	}
	return out
}

// Spend is the state of a budget.
func (b *Books) Spend(budget string) wflo.Spend {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.budgets[budget]; s != nil {
		return *s
	}
	return wflo.Spend{Budget: budget}
}

// Check says what does not add up, if anything: holds that are open, and budgets
// that are overspent or whose sums differ from the entries.
func (b *Books) Check() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	spent := map[string]wflo.Money{}
	for _, e := range b.entries {
		for _, line := range b.holds[holdKey{e.Key, e.Attempt}].Budgets {
			spent[line.ID] += e.Amount
		}
	}
	for _, k := range b.order {
		if h := b.holds[k]; h.State == wflo.HoldOpen {
			return fmt.Errorf("hold of %s for %s is open", h.Granted, h.Model)
		}
	}
	for id, s := range b.budgets {
		switch {
		case s.Reserved != 0:
			return fmt.Errorf("budget %s still reserves %s", id, s.Reserved)
		case s.Spent != spent[id]:
			return fmt.Errorf("budget %s spent %s, its entries sum to %s", id, s.Spent, spent[id])
		case s.Limit > 0 && s.Spent > s.Limit:
			return fmt.Errorf("budget %s spent %s of %s", id, s.Spent, s.Limit)
		}
	}
	return nil
}
