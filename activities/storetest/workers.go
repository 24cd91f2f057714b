package storetest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Workers makes one ledger of several that are open on the same store, as those
// of several workers are. Each paid call goes to the next one in turn, so that a
// call may be settled by another worker than the one that reserved for it. All
// else goes to the first. Closing it closes the first only.
func Workers(ledgers ...activities.Ledger) activities.Ledger {
	return &workers{Ledger: ledgers[0], all: ledgers}
}

type workers struct {
	activities.Ledger
	all  []activities.Ledger
	turn atomic.Uint64
}

func (w *workers) next() activities.Ledger { return w.all[w.turn.Add(1)%uint64(len(w.all))] }

func (w *workers) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	return w.next().Reserve(ctx, r)
}

func (w *workers) Settle(ctx context.Context, s wflo.Settlement) error {
	return w.next().Settle(ctx, s)
}

func (w *workers) Release(ctx context.Context, key wflo.EffectKey, attempt int) error {
	return w.next().Release(ctx, key, attempt)
}

func (w *workers) MarkUnknown(ctx context.Context, key wflo.EffectKey, attempt int) error {
	return w.next().MarkUnknown(ctx, key, attempt)
}

func (w *workers) Save(ctx context.Context, s wflo.Saving) error { return w.next().Save(ctx, s) }

// TestOverspend lets agents spend one limit through several workers, and wants
// no more spent than that, nothing reserved, and every cent in an entry. ledgers
// are open on the same empty store.
func TestOverspend(t *testing.T, ledgers ...activities.Ledger) {
	const callers = 16
	b := &books{T: t, Ledger: Workers(ledgers...)}
	if err := agents(t.Context(), callers, throughLedger(b)); err != nil {
		t.Fatal(err)
	}
	for i, l := range ledgers { // each sees the same
		got, err := l.Spend(t.Context(), "org")
		if err != nil {
			t.Fatal(err)
		}
		if got.Spent > overspendLimit || got.Reserved != 0 || got.Spent <= overspendLimit-overspendWorst {
			t.Errorf("worker %d spent %s of %s and reserves %s", i, got.Spent, overspendLimit, got.Reserved)
		}
	}
	b.balanced("org", run.RootID())
}
