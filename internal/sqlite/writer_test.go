package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// occupy keeps the writer busy until the returned function is called, so that calls
// come together.
func occupy(t *testing.T, l *Ledger) (leave func()) {
	t.Helper()
	busy, free, left := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		left <- l.do(context.Background(), func(*tx) error {
			close(busy)
			<-free
			return nil
		})
	}()
	<-busy
	return func() {
		close(free)
		if err := <-left; err != nil {
			t.Error(err)
		}
	}
}

// TestOneOfAGroupHurtsNoOther has one call of a group fail in the middle of its
// work, in every place: its own changes are undone, and only those.
func TestOneOfAGroupHurtsNoOther(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for bad := range 4 {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			l := mustOpen(t, Config{Path: filepath.Join(t.TempDir(), "ledger.db")})
			var group []*job
			for i := range 4 {
				r := wflo.Reservation{Key: wflo.EffectKey(fmt.Sprint("k", i)), Attempt: 1, Amount: 10, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 25}}}
				group = append(group, &job{t.Context(), func(t *tx) error {
					_, err := t.reserve(r)
					if i == bad {
						return errors.Join(broken, err)
					}
					return err
				}, make(chan error, 1)})
			}
			l.runGroup(group) // the writer itself has nothing to do
			admitted := 0
			for i, j := range group {
				err := <-j.done
				switch {
				case i == bad && !errors.Is(err, broken), i != bad && err != nil && !errors.Is(err, wflo.ErrBudgetExceeded):
					t.Errorf("call %d gave %v", i, err)
				case err == nil:
					admitted++
				}
			}
			if admitted != 2 {
				t.Errorf("%d calls were admitted, want the two that fit", admitted)
			}
			if got, err := l.Spend(t.Context(), "x"); err != nil || got.Reserved != 20 {
				t.Errorf("budget is %+v, %v", got, err)
			}
			if holds, err := l.OpenHolds(t.Context(), 0, 10); err != nil || len(holds) != 2 {
				t.Errorf("holds are %+v, %v", holds, err)
			}
		})
	}
}

// TestCancelledCallsOfAGroup cancels callers that wait: they return at once, are
// not done, and the others are.
func TestCancelledCallsOfAGroup(t *testing.T) {
	l := mustOpen(t, Config{})
	leave := occupy(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	var gone, stay sync.WaitGroup
	call := func(ctx context.Context, key string) error {
		_, err := l.Reserve(ctx, wflo.Reservation{Key: wflo.EffectKey(key), Attempt: 1, Amount: 1, Budgets: []wflo.BudgetLine{{ID: "x"}}})
		return err
	}
	for i := range 8 {
		gone.Go(func() {
			if err := call(ctx, fmt.Sprint("gone", i)); !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled caller got %v", err)
			}
		})
		stay.Go(func() {
			if err := call(t.Context(), fmt.Sprint("stay", i)); err != nil {
				t.Error(err)
			}
		})
	}
	cancel()
	gone.Wait() // while the writer is still busy
	leave()
	stay.Wait()
	if got, err := l.Spend(t.Context(), "x"); err != nil || got.Reserved != 8 {
		t.Errorf("budget is %+v, %v; want what the eight that stayed hold", got, err)
	}
}

func TestClosedLedger(t *testing.T) {
	l := mustOpen(t, Config{})
	closeLedger(t, l)
	if err := l.Release(t.Context(), "k", 1); !errors.Is(err, errClosed) {
		t.Errorf("a closed ledger gave %v", err)
	}
}
