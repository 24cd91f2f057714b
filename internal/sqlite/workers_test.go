//go:build !race

// Two processes share no memory, so the race detector has nothing to find here
// that it does not find in the other tests of the suite.

package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// TestLedgerOfWorkers holds ledgers that remember what they read to the suite
// while another one writes.
func TestLedgerOfWorkers(t *testing.T) {
	t.Parallel()
	storetest.TestLedger(t, func(t *testing.T) activities.Ledger {
		return storetest.Workers(mustShare(t, filepath.Join(t.TempDir(), "ledger.db"), 2)...)
	})
}
