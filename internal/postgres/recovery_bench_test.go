package postgres

import (
	"context"
	"testing"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

// besidePlain gives a benchmark a store, and a table that has nothing but rows.
func besidePlain(b *testing.B, bench func(b *testing.B, r activities.Recovery, plain func(ctx context.Context, id string, data []byte) error, callers int)) {
	for _, callers := range []int{1, 16} {
		b.Run(storetest.Callers(callers), func(b *testing.B) {
			l := mustOpen(b, Config{MaxConns: int32(max(4, callers))})
			if _, err := l.pool.Exec(b.Context(), "CREATE TABLE plain (id text PRIMARY KEY, body text)"); err != nil {
				b.Fatal(err)
			}
			bench(b, l.Recovery(), func(ctx context.Context, id string, data []byte) error {
				_, err := l.pool.Exec(ctx, "INSERT INTO plain VALUES ($1, $2)", id, string(data))
				return err
			}, callers)
		})
	}
}

func BenchmarkNoteCompensations(b *testing.B) { besidePlain(b, storetest.BenchmarkNoteCompensations) }

func BenchmarkBeginEffect(b *testing.B) { besidePlain(b, storetest.BenchmarkBeginEffect) }
