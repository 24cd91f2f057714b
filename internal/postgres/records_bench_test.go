package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// BenchmarkAuditAppend compares the trail with a table that has nothing but rows.
func BenchmarkAuditAppend(b *testing.B) {
	for _, chains := range []int{1, 16} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("chains=%d/callers=%d", chains, callers), func(b *testing.B) {
				l := mustOpen(b, Config{MaxConns: int32(max(4, callers))})
				if _, err := l.pool.Exec(b.Context(), "CREATE TABLE plain (id text PRIMARY KEY, body text)"); err != nil {
					b.Fatal(err)
				}
				plain := func(ctx context.Context, id string, data []byte) error {
					_, err := l.pool.Exec(ctx, "INSERT INTO plain VALUES ($1, $2)", id, string(data))
					return err
				}
				storetest.BenchmarkAuditAppend(b, l.Records(), plain, chains, callers)
			})
		}
	}
}

func BenchmarkInbox(b *testing.B) {
	storetest.BenchmarkInbox(b, func(b *testing.B) activities.Records { return mustOpen(b, Config{}).Records() })
}
