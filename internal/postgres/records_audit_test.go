package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

func login(chain, id string) wflo.AuditEvent {
	return wflo.AuditEvent{ID: id, Chain: chain, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Type: wflo.AuditLogin, Actor: "ann"}
}

func mustAppend(t *testing.T, r activities.Records, events ...wflo.AuditEvent) {
	t.Helper()
	if err := r.Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, r activities.Records, chain string) []wflo.AuditRecord {
	t.Helper()
	all, err := r.ReadAudit(t.Context(), wflo.AuditQuery{Chain: chain})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// unbroken wants the ids of a chain, each record sealed to the one before.
func unbroken(t *testing.T, r activities.Records, chain string, want int) {
	t.Helper()
	all := mustRead(t, r, chain)
	if len(all) != want {
		t.Errorf("chain %s has %d records, want %d", chain, len(all), want)
	}
	var prev wflo.AuditRecord
	for _, a := range all {
		sealed, err := audit.Seal(prev, a.AuditEvent)
		if err != nil || sealed.Hash != a.Hash || sealed.Seq != a.Seq {
			t.Fatalf("record %d of chain %s does not follow the one before: %v", a.Seq, chain, err)
		}
		prev = a
	}
}

// TestTheTrailIsOnlyAddedTo: the database refuses to whoever has its password what
// would change the trail, also in a session that says it applies another server's
// changes.
func TestTheTrailIsOnlyAddedTo(t *testing.T) {
	l := mustOpen(t, Config{MaxConns: 1})
	r, ctx := l.Records(), t.Context()
	mustAppend(t, r, login("x", "a"), login("x", "b"))
	for _, role := range []string{"origin", "replica"} {
		if _, err := l.pool.Exec(ctx, "SET session_replication_role = "+role); err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			"UPDATE wflo.audit SET actor = 'bob'", "DELETE FROM wflo.audit WHERE seq = 2", "DELETE FROM wflo.audit WHERE false", "TRUNCATE wflo.audit",
			"UPDATE wflo.audit_heads SET seq = 1", "UPDATE wflo.audit_heads SET hash = 'x'", "UPDATE wflo.audit_heads SET chain = 'y', seq = 9",
			"DELETE FROM wflo.audit_heads", "TRUNCATE wflo.audit_heads",
		} {
			if _, err := l.pool.Exec(ctx, statement); err == nil || !strings.Contains(err.Error(), "only ever") {
				t.Errorf("as %s, %s gave %v", role, statement, err)
			}
		}
	}
	unbroken(t, r, "x", 2)
}

// TestATrailThatWasCutGoesOnWithAGap: its owner can switch the trigger off and cut
// the end off. The chain is seen to be shorter at once, and after the next record
// to have a gap.
func TestATrailThatWasCutGoesOnWithAGap(t *testing.T) {
	l := mustOpen(t, Config{MaxConns: 1})
	r, ctx := l.Records(), t.Context()
	mustAppend(t, r, login("x", "a"), login("x", "b"), login("x", "c"))
	whole := mustRead(t, r, "x")
	if _, err := l.pool.Exec(ctx, `ALTER TABLE wflo.audit DISABLE TRIGGER audit_append_only; DELETE FROM wflo.audit WHERE seq = 3;
		ALTER TABLE wflo.audit ENABLE ALWAYS TRIGGER audit_append_only`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	heads, err := r.AuditHeads(ctx)
	if err != nil || len(heads) != 1 || heads[0].Seq != 2 || heads[0].Hash != whole[1].Hash {
		t.Errorf("heads are %+v, %v; want the record that is the last now", heads, err)
	}
	mustAppend(t, r, login("x", "d"))
	all := mustRead(t, r, "x")
	if len(all) != 3 || all[2].Seq != 4 || all[2].Prev != whole[2].Hash {
		t.Errorf("the chain is %+v, want a gap before its end", all)
	}
	report, err := audit.Verify(ctx, func(yield func(wflo.AuditRecord, error) bool) {
		for _, a := range all {
			if !yield(a, nil) {
				return
			}
		}
	}, audit.Options{})
	if err != nil || report.Class() != audit.Altered || len(report.Findings) == 0 || !slices.ContainsFunc(report.Findings, func(f audit.Finding) bool {
		return f.Kind == audit.Gap && f.Seq == 3
	}) {
		t.Errorf("the report is %+v, %v; want a gap at record 3", report, err)
	}
}

// holdChain locks the head of a chain until the function that it gives is called.
func holdChain(t *testing.T, l *Ledger, chain string) (release func()) {
	t.Helper()
	tx, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM wflo.audit_heads WHERE chain = $1 FOR UPDATE", chain); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitWaiting spins until so many appends wait for the one on its way.
func (a *appender) awaitWaiting(n int) {
	for got := -1; got != n; {
		a.mu.Lock()
		got = len(a.waiting)
		a.mu.Unlock()
	}
}

// TestAppendsOfAMomentShareACommit has ten callers arrive while a transaction is on
// its way, one of whom leaves.
func TestAppendsOfAMomentShareACommit(t *testing.T) {
	l := mustOpen(t, Config{MaxConns: 4})
	r := l.records
	mustAppend(t, r, login("x", "first"))
	release := holdChain(t, l, "x")
	errs := make(chan error, 11)
	go func() { errs <- r.Append(t.Context(), login("x", "second")) }()
	awaitLock(t, l)
	for i := range 10 {
		go func() { errs <- r.Append(t.Context(), login("x", fmt.Sprint(i))) }()
	}
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- r.Append(gone, login("x", "gone")) }()
	r.appends.awaitWaiting(11)
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who left got %v", err)
	}
	release()
	for range 11 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	unbroken(t, r, "x", 12)
	var transactions int
	if err := l.pool.QueryRow(t.Context(), "SELECT count(DISTINCT xmin::text) FROM wflo.audit").Scan(&transactions); err != nil || transactions != 3 {
		t.Errorf("%d transactions, %v; want 3: the first, the second, and the ten", transactions, err)
	}
}

// TestAnAppendThatNobodyWaitsForIsGivenUp: the chain is free again.
func TestAnAppendThatNobodyWaitsForIsGivenUp(t *testing.T) {
	l := mustOpen(t, Config{MaxConns: 4})
	r := l.records
	mustAppend(t, r, login("x", "first"))
	release := holdChain(t, l, "x")
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- r.Append(gone, login("x", "gone")) }()
	awaitLock(t, l)
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who left got %v", err)
	}
	mustAppend(t, r, login("y", "other")) // in its turn, while the chain is still held
	release()
	mustAppend(t, r, login("x", "second"))
	unbroken(t, r, "x", 2)
}

// TestOneRefusedAppendHurtsNoOther: what the database does not take fails for its
// own caller only.
func TestOneRefusedAppendHurtsNoOther(t *testing.T) {
	l := mustOpen(t, Config{MaxConns: 4})
	if _, err := l.pool.Exec(t.Context(), "ALTER TABLE wflo.audit ADD CHECK (actor <> 'bad')"); err != nil {
		t.Fatal(err)
	}
	bad := login("x", "bad")
	bad.Actor = "bad"
	garbled := login("y", "garbled")
	garbled.Data = []byte(`{"a":1,"a":2}`)
	want := 0
	for name, fault := range map[string]wflo.AuditEvent{"the database's": bad, "its own": garbled} {
		calls := []*appendCall{
			{events: []wflo.AuditEvent{login("x", name+" a")}}, {events: []wflo.AuditEvent{login("x", name+" lost"), fault}},
			{events: []wflo.AuditEvent{login("x", name+" b"), login("x", name+" lost")}}, // whom the other did not forestall
		}
		for _, c := range calls {
			c.answer = make(chan error, 1)
		}
		l.records.sendAppends(t.Context(), calls)
		for i, c := range calls {
			if err := <-c.answer; (err != nil) != (i == 1) {
				t.Errorf("%s fault: call %d gave %v", name, i, err)
			}
		}
		want += 3
		unbroken(t, l.Records(), "x", want)
	}
}

// TestAppendsSurviveBrokenConnections ends connections of two workers while they
// append: each event is recorded once, and the chain is whole.
func TestAppendsSurviveBrokenConnections(t *testing.T) {
	url := server.Database(t)
	a, b, other := mustOpen(t, Config{URL: url, MaxConns: 2}), mustOpen(t, Config{URL: url, MaxConns: 2}), mustOpen(t, Config{URL: url, MaxConns: 1})
	const events, breaks = 100, 20
	done := make(chan struct{}, 2)
	for name, l := range map[string]*Ledger{"a": a, "b": b} {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range events {
				// Again until it is recorded, as an activity does.
				for l.Records().Append(t.Context(), login("x", fmt.Sprint(name, i))) != nil && t.Context().Err() == nil {
				}
			}
		}()
	}
	broken := 0
	for left := 2; left > 0; {
		select {
		case <-done:
			left--
		default:
			if broken >= breaks {
				<-done
				left--
				continue
			}
			var n int
			if err := other.pool.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle' AND random() < 0.2`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			broken += n
		}
	}
	if broken == 0 {
		t.Error("no connection was broken")
	}
	unbroken(t, other.Records(), "x", 2*events)
}

func TestClosedLedgerRecordsNothing(t *testing.T) {
	l := mustOpen(t, Config{})
	l.records.appends.close()
	if err := l.Records().Append(t.Context(), login("x", "a")); !errors.Is(err, errClosed) {
		t.Errorf("error is %v", err)
	}
}
