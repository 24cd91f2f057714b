package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func TestRecordsInFile(t *testing.T) {
	t.Parallel()
	storetest.TestRecords(t, func(t *testing.T) activities.Records {
		return mustOpen(t, Config{Path: newFile(t)}).Records()
	})
}

func TestRecordsInMemory(t *testing.T) {
	t.Parallel()
	storetest.TestRecords(t, func(t *testing.T) activities.Records { return mustOpen(t, Config{}).Records() })
}

// TestAuditIsAppendOnly: who has the file can change it, but no statement of wflo's
// can by mistake.
func TestAuditIsAppendOnly(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, Config{})
	if _, err := l.write.Exec("INSERT INTO audit VALUES ('c', 1, 'i', 0, 't', '', '{}', '', '', '')"); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"UPDATE audit SET hash = 'x'", "DELETE FROM audit"} {
		if _, err := l.write.Exec(statement); err == nil {
			t.Errorf("%s went through", statement)
		}
	}
}

// plainInserts gives an insert of one row with one commit into the same kind of file.
func plainInserts(b *testing.B) func(ctx context.Context, id string, data []byte) error {
	db := openUnreserved(b, filepath.Join(b.TempDir(), "plain.db")).db
	if _, err := db.Exec("CREATE TABLE plain (id TEXT NOT NULL PRIMARY KEY, data TEXT NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, id string, data []byte) error {
		_, err := db.ExecContext(ctx, "INSERT INTO plain VALUES (?, ?)", id, string(data))
		return err
	}
}

func BenchmarkAuditAppend(b *testing.B) {
	for _, chains := range []int{1, 16} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("chains=%d/goroutines=%d", chains, callers), func(b *testing.B) {
				r := mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")}).Records()
				storetest.BenchmarkAuditAppend(b, r, plainInserts(b), chains, callers)
			})
		}
	}
}

func BenchmarkInbox(b *testing.B) {
	storetest.BenchmarkInbox(b, func(b *testing.B) activities.Records {
		return mustOpen(b, Config{Path: filepath.Join(b.TempDir(), "ledger.db")}).Records()
	})
}
