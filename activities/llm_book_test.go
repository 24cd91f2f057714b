package activities_test

import (
	"context"
	"sync"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// book is a ledger that does what calls need of one, in memory, and remembers
// what it was asked. It has no rules: the lines of the call are its budgets.
type book struct {
	activities.Ledger // what calls do not need is not there

	mu       sync.Mutex
	spends   map[string]*wflo.Spend
	holds    map[wflo.EffectKey][]*wflo.Hold // by attempt
	reserved []wflo.Reservation
	saved    []wflo.Saving
	settled  []wflo.Settlement
	trips    int
	onExceed wflo.OnExceeded
}

func newBook() *book {
	return &book{spends: map[string]*wflo.Spend{}, holds: map[wflo.EffectKey][]*wflo.Hold{}}
}

func (b *book) Close() error { return nil }

func (b *book) Reserve(_ context.Context, r wflo.Reservation) (wflo.Hold, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trips++
	b.reserved = append(b.reserved, r)
	if same := b.find(r.Key, r.Attempt); same != nil {
		if same.Amount != r.Amount {
			return wflo.Hold{}, wflo.Errorf(wflo.CodeConflict, "", "attempt %d has another amount", r.Attempt)
		}
		again := *same
		again.Repeated = true
		return again, nil
	}
	for _, earlier := range b.holds[r.Key] {
		switch {
		case earlier.Attempt > r.Attempt:
		case earlier.State == wflo.HoldSettled:
			return *earlier, nil
		case earlier.State == wflo.HoldOpen:
			b.close(earlier, wflo.HoldUnknown, earlier.Granted)
		}
	}
	granted, err := b.room(r)
	if err != nil {
		return wflo.Hold{}, err
	}
	for _, line := range r.Budgets {
		b.spends[line.ID].Reserved += granted
	}
	h := &wflo.Hold{Reservation: r, State: wflo.HoldOpen, Granted: granted}
	b.holds[r.Key] = append(b.holds[r.Key], h)
	return *h, nil
}

// room is what all budgets have, at most what was asked for.
func (b *book) room(r wflo.Reservation) (wflo.Money, error) {
	granted, least := r.Amount, r.Least
	if least == 0 {
		least = r.Amount
	}
	for _, line := range r.Budgets {
		s := b.spends[line.ID]
		if s == nil {
			s = &wflo.Spend{Budget: line.ID, Limit: line.Limit}
			b.spends[line.ID] = s
		}
		left := s.Limit - s.Spent - s.Reserved
		switch {
		case s.Limit == 0:
		case left < least:
			return 0, wflo.Errorf(wflo.CodeBudgetExceeded, "raise it", "%w", &wflo.Refusal{
				Budget: line.ID, Limit: s.Limit, Spent: s.Spent, Reserved: s.Reserved, Asked: least, OnExceeded: b.onExceed,
			})
		default:
			granted = min(granted, left)
		}
	}
	return granted, nil
}

func (b *book) find(key wflo.EffectKey, attempt int) *wflo.Hold {
	for _, h := range b.holds[key] {
		if h.Attempt == attempt {
			return h
		}
	}
	return nil
}

// close ends a hold at a cost.
func (b *book) close(h *wflo.Hold, state wflo.HoldState, cost wflo.Money) {
	for _, line := range h.Budgets {
		s := b.spends[line.ID]
		s.Reserved -= h.Granted
		s.Spent += cost
		if state == wflo.HoldUnknown {
			s.Unknown += cost
		}
	}
	h.State = state
}

func (b *book) Settle(_ context.Context, s wflo.Settlement) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trips++
	h := b.find(s.Key, s.Attempt)
	if h == nil || h.State != wflo.HoldOpen {
		return wflo.Errorf(wflo.CodeConflict, "", "attempt %d is not open", s.Attempt)
	}
	b.settled = append(b.settled, s)
	h.Outcome = s.Outcome
	b.close(h, wflo.HoldSettled, s.Amount)
	return nil
}

func (b *book) end(key wflo.EffectKey, attempt int, state wflo.HoldState, charge bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trips++
	if h := b.find(key, attempt); h != nil && h.State == wflo.HoldOpen {
		cost := h.Granted
		if !charge {
			cost = 0
		}
		b.close(h, state, cost)
	}
}

func (b *book) Release(_ context.Context, key wflo.EffectKey, attempt int) error {
	b.end(key, attempt, wflo.HoldReleased, false)
	return nil
}

func (b *book) MarkUnknown(_ context.Context, key wflo.EffectKey, attempt int) error {
	b.end(key, attempt, wflo.HoldUnknown, true)
	return nil
}

func (b *book) Save(_ context.Context, s wflo.Saving) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trips++
	if b.find(s.Key, s.Attempt) != nil {
		return nil
	}
	b.saved = append(b.saved, s)
	b.holds[s.Key] = append(b.holds[s.Key], &wflo.Hold{
		Reservation: wflo.Reservation{Key: s.Key, Attempt: s.Attempt, Run: s.Run}, State: wflo.HoldSettled, Outcome: s.Outcome,
	})
	return nil
}

func (b *book) Spend(_ context.Context, id string) (wflo.Spend, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trips++
	if s := b.spends[id]; s != nil {
		return *s, nil
	}
	return wflo.Spend{Budget: id}, nil
}
