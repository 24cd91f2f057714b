package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// TestLogs opens each schema three times, as three workers do.
func TestLogs(t *testing.T) {
	url := server.Database(t)
	schemas := 0
	storetest.TestLogs(t, func(t *testing.T) activities.Logs {
		schemas++
		s := &sharedLogs{}
		for range 3 {
			s.all = append(s.all, mustOpen(t, Config{URL: url, MaxConns: 4, Schema: fmt.Sprint("logs", schemas)}).Logs())
		}
		s.Logs = s.all[0]
		return s
	})
	noDeadlocks(t, url)
}

// sharedLogs is the store of several workers, who take turns.
type sharedLogs struct {
	activities.Logs
	all  []activities.Logs
	turn atomic.Uint64
}

func (s *sharedLogs) next() activities.Logs { return s.all[s.turn.Add(1)%uint64(len(s.all))] }

func (s *sharedLogs) AppendLogs(ctx context.Context, most int, lines ...wflo.LogLine) error {
	return s.next().AppendLogs(ctx, most, lines...)
}

func (s *sharedLogs) PurgeLogs(ctx context.Context, before time.Time) (int, error) {
	return s.next().PurgeLogs(ctx, before)
}

// TestLogsOfAnyAddress: whatever the address asks for.
func TestLogsOfAnyAddress(t *testing.T) {
	u := server.Database(t)
	mustOpen(t, Config{URL: u})
	for _, options := range []string{"&search_path=nowhere&default_transaction_isolation=serializable", "&default_query_exec_mode=exec"} {
		l := mustOpen(t, Config{URL: u + options}).Logs()
		line := wflo.LogLine{At: time.Now(), Message: "m", WorkflowID: options, FirstRunID: "f"}
		if err := l.AppendLogs(t.Context(), 10, line, line); err != nil {
			t.Error(err)
		}
		got, err := l.ReadLogs(t.Context(), activities.LogQuery{WorkflowID: options, FirstRunID: "f"})
		if err != nil || len(got) != 2 {
			t.Errorf("%d lines, %v", len(got), err)
		}
		if _, err := l.PurgeLogs(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
	}
}
