package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Callers names a benchmark by how many call at the same time.
func Callers(n int) string { return fmt.Sprint("callers=", n) }

// NoteOne registers one compensation of a run.
func NoteOne(t testing.TB, r activities.Recovery, run wflo.Run, id string) {
	t.Helper()
	if err := r.NoteCompensations(t.Context(), run, step.CompensationNotes{New: []wflo.CompensationRecord{undo(id, 1)}}); err != nil {
		t.Fatal(err)
	}
}

// against runs fn b.N times by so many callers, then as many plain inserts of one row
// with one commit, and reports both per second, their ratio, and the 50th and 99th
// percentile of the time of one fn.
func against(b *testing.B, callers int, plain func(ctx context.Context, id string, data []byte) error, fn func(n int64) error) {
	prefix, data := rand.Text(), []byte(asJSON(undo("bench", 1)))
	b.ResetTimer()
	took := together(b, callers, fn)
	b.StopTimer()
	calls := float64(b.N) / b.Elapsed().Seconds()
	start := time.Now()
	together(b, callers, func(n int64) error { return plain(b.Context(), fmt.Sprint(prefix, n), data) })
	inserts := float64(b.N) / time.Since(start).Seconds()
	b.ReportMetric(calls, "calls/s")
	b.ReportMetric(inserts, "inserts/s")
	b.ReportMetric(calls/inserts, "ratio")
	percentiles(b, took, 99)
}

// BenchmarkNoteCompensations measures registering one compensation, as each effect
// that can be undone waits for.
func BenchmarkNoteCompensations(b *testing.B, r activities.Recovery, plain func(ctx context.Context, id string, data []byte) error, callers int) {
	ctx, prefix, run := b.Context(), rand.Text(), of("wf", "acme")
	against(b, callers, plain, func(n int64) error {
		return r.NoteCompensations(ctx, run, step.CompensationNotes{New: []wflo.CompensationRecord{undo(fmt.Sprint(prefix, n), int(n))}})
	})
}

// BenchmarkBeginEffect measures the fence before an attempt of such an effect: the
// first attempt, with as many compensations there as there are calls.
func BenchmarkBeginEffect(b *testing.B, r activities.Recovery, plain func(ctx context.Context, id string, data []byte) error, callers int) {
	ctx, prefix, run := b.Context(), rand.Text(), of("wf", "acme")
	for n := 1; n <= b.N; n += 100 {
		var some []wflo.CompensationRecord
		for i := n; i < n+100 && i <= b.N; i++ {
			some = append(some, undo(fmt.Sprint(prefix, i), i))
		}
		if err := r.NoteCompensations(ctx, run, step.CompensationNotes{New: some}); err != nil {
			b.Fatal(err)
		}
	}
	against(b, callers, plain, func(n int64) error { return r.BeginEffect(ctx, fmt.Sprint(prefix, n)) })
}
