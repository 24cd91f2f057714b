package sqlite

import (
	"testing"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func TestLogs(t *testing.T) {
	for name, path := range map[string]func(t *testing.T) string{
		"file":   func(t *testing.T) string { return newFile(t) },
		"memory": func(*testing.T) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.TestLogs(t, func(t *testing.T) activities.Logs { return mustOpen(t, Config{Path: path(t)}).Logs() })
		})
	}
}
