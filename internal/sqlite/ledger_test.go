package sqlite

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustOpen(t testing.TB, c Config) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestLedgerInFile(t *testing.T) {
	t.Parallel()
	storetest.TestLedger(t, func(t *testing.T) activities.Ledger {
		return mustOpen(t, Config{Path: filepath.Join(t.TempDir(), "ledger.db")})
	})
}

func TestLedgerInMemory(t *testing.T) {
	t.Parallel()
	storetest.TestLedger(t, func(t *testing.T) activities.Ledger { return mustOpen(t, Config{}) })
}

func TestWindows(t *testing.T) {
	t.Parallel()
	storetest.TestWindows(t, func(t *testing.T) (activities.Ledger, func(time.Time)) {
		var now atomic.Pointer[time.Time]
		set := func(at time.Time) { now.Store(&at) }
		set(time.Now())
		return mustOpen(t, Config{Now: func() time.Time { return *now.Load() }}), set
	})
}

// TestRuleCountsWhatIsUnderWay has calls be running, and one lost, when a rule for
// each begins.
func TestRuleCountsWhatIsUnderWay(t *testing.T) {
	l := mustOpen(t, Config{})
	reserve := func(key string, amount wflo.Money) error {
		_, err := l.Reserve(t.Context(), wflo.Reservation{Key: wflo.EffectKey(key), Attempt: 1, Amount: amount, Scopes: []string{"user:ann"}})
		return err
	}
	if err := errors.Join(reserve("running", 30), reserve("lost", 20), l.MarkUnknown(t.Context(), "lost", 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.SetBudget(t.Context(), wflo.Budget{Scope: wflo.ScopeUser, Limit: 60}, "ops"); err != nil {
		t.Fatal(err)
	}
	if err := reserve("more", 11); !errors.Is(err, wflo.ErrBudgetExceeded) {
		t.Errorf("10 are left, and a call of 11 gave %v", err)
	}
	err := errors.Join(reserve("fits", 10), l.Settle(t.Context(), wflo.Settlement{Key: "running", Attempt: 1, Amount: 7}),
		l.Settle(t.Context(), wflo.Settlement{Key: "lost", Attempt: 1, Amount: 1}))
	if err != nil {
		t.Error(err)
	}
	if got, err := l.Spend(t.Context(), "user:ann"); err != nil || got.Spent != 8 || got.Reserved != 10 || got.Unknown != 0 {
		t.Errorf("budget is %+v, %v", got, err)
	}
}
