package sqlite

import (
	"sync/atomic"
	"testing"
	"time"

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
		return mustOpen(t, Config{Path: newFile(t)})
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
