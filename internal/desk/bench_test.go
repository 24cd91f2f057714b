package desk_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// BenchmarkInbox is a page of the inbox of somebody at 10,000 open gates, of which
// every tenth names them.
func BenchmarkInbox(b *testing.B) {
	ledger, err := sqlite.Open(b.Context(), sqlite.Config{Path: b.TempDir() + "/records.db"})
	if err != nil {
		b.Fatal(err)
	}
	defer ledger.Close()
	records, at := ledger.Records(), time.Now()
	for i := range 10_000 {
		who := "somebody"
		if i%10 == 0 {
			who = "group:ops"
		}
		run := wflo.Run{WorkflowID: fmt.Sprintf("r%d", i), FirstRunID: "first", User: "eve"}
		a := refunds(func(a *wflo.Approval) { a.Approvers = []string{who} })
		if err := records.SaveGate(b.Context(), run.Ask("refunds", a, at.Add(time.Duration(i)*time.Second)).Seal(fmt.Sprintf("n%05d", i))); err != nil {
			b.Fatal(err)
		}
	}
	d := &desk.Desk{Records: records, Logger: slog.New(slog.DiscardHandler)}
	for name, q := range map[string]desk.Query{"mine": {Mine: true}, "all": {}, "deep": {After: "n09000"}} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				items, err := d.Inbox(b.Context(), person("pat", in("ops")), q)
				if err != nil || len(items) != 100 {
					b.Fatalf("%d items, %v", len(items), err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}
