package postgres

import (
	"fmt"
	"testing"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// TestRecords gives each test a schema of one database, as TestLedger does.
func TestRecords(t *testing.T) {
	url := server.Database(t)
	schemas := 0
	storetest.TestRecords(t, func(t *testing.T) activities.Records {
		schemas++
		return mustOpen(t, Config{URL: url, MaxConns: 16, Schema: fmt.Sprint("records", schemas)}).Records()
	})
	noDeadlocks(t, url)
}
