package activities_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// fixed is a set that rules the same about everything.
type fixed struct {
	hash   string
	ruling wflo.Ruling
	judged []wflo.Facts
}

func (s *fixed) Judge(f wflo.Facts) wflo.Ruling {
	s.judged = append(s.judged, f)
	r := s.ruling
	r.Bundle, r.Facts = s.hash, "f00d"+string(f.Kind)+f.Operation
	return r
}
func (s *fixed) Pin() wflo.Pin  { return wflo.Pin{Bundle: s.hash} }
func (s *fixed) Hash() string   { return s.hash }
func (s *fixed) Source() []byte { return []byte(s.hash) }

// rulings counts nothing.
type rulings struct{}

func (rulings) PolicyRuled(context.Context, wflo.Effect, time.Duration) {}

// broken is a store in which one thing does not work.
type broken struct {
	activities.Records
	bundle, appending, enqueue error
}

func (b *broken) Bundle(ctx context.Context, hash string) ([]byte, error) {
	if b.bundle != nil {
		return nil, b.bundle
	}
	return b.Records.Bundle(ctx, hash)
}

func (b *broken) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	if b.appending != nil {
		return b.appending
	}
	return b.Records.Append(ctx, events...)
}

func (b *broken) Enqueue(ctx context.Context, notices ...wflo.Notice) error {
	if b.enqueue != nil {
		return b.enqueue
	}
	return b.Records.Enqueue(ctx, notices...)
}

// judge is a Policy over a real store, whose present set is given.
func judge(t *testing.T, present *fixed) (*activities.Policy, *broken, *sqlite.Ledger) {
	t.Helper()
	l, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	store := &broken{Records: l.Records()}
	return &activities.Policy{
		Set: func() activities.PolicySet {
			if present == nil {
				return nil
			}
			return present
		},
		Load: func(_ string, source []byte) (activities.PolicySet, error) {
			if bytes.HasPrefix(source, []byte("broken")) {
				return nil, errors.New("line 1: not policies")
			}
			return &fixed{hash: string(source)}, nil
		},
		Records: store, Ledger: l, Logger: slog.New(slog.DiscardHandler), Observer: rulings{},
	}, store, l
}

func inRun(t *testing.T) context.Context {
	return wflo.WithRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "1", Step: "g0/charge#1", Org: "acme"})
}

func TestPinKeepsTheBundle(t *testing.T) {
	p, store, _ := judge(t, &fixed{hash: "present"})
	pin, err := p.Pin(inRun(t), step.PinRequest{})
	if err != nil || pin.Bundle != "present" {
		t.Fatalf("pin %+v, %v", pin, err)
	}
	if source, err := store.Records.Bundle(t.Context(), "present"); err != nil || string(source) != "present" {
		t.Errorf("kept %q, %v", source, err)
	}
	if err := store.PutBundle(t.Context(), "parents", []byte("parents")); err != nil {
		t.Fatal(err)
	}
	if pin, err := p.Pin(inRun(t), step.PinRequest{Bundle: "parents"}); err != nil || pin.Bundle != "parents" {
		t.Errorf("pin %+v, %v", pin, err)
	}
	none, _, _ := judge(t, nil)
	if pin, err := none.Pin(inRun(t), step.PinRequest{}); err != nil || pin.Bundle != "" {
		t.Errorf("without policies: pin %+v, %v", pin, err)
	}
}

// TestBundlesThatCannotBeHadDeny covers what a store may have done to a bundle. What
// cannot be read now is tried again; what is wrong is not.
func TestBundlesThatCannotBeHadDeny(t *testing.T) {
	p, store, _ := judge(t, nil)
	for hash, source := range map[string]string{"another": "what somebody wrote instead", "broken": "broken"} {
		if err := store.PutBundle(t.Context(), hash, []byte(source)); err != nil {
			t.Fatal(err)
		}
	}
	for hash, want := range map[string]string{"lost": "is gone", "another": "is not what it was", "broken": "cannot be loaded"} {
		_, err := p.Judge(inRun(t), step.Question{Bundle: hash})
		if wflo.CodeOf(err) != wflo.CodePolicyDenied || !strings.Contains(err.Error(), want) {
			t.Errorf("bundle %s: %v", hash, err)
		}
	}
	store.bundle = errors.New("connection refused")
	if _, err := p.Judge(inRun(t), step.Question{Bundle: "any"}); err == nil || wflo.CodeOf(err) != "" || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store that is down: %v, which would not be tried again", err)
	}
}

// TestRulingsAreOnRecordFirst answers nothing that could not be written down, and
// writes nothing twice.
func TestRulingsAreOnRecordFirst(t *testing.T) {
	set := &fixed{hash: "h", ruling: wflo.Ruling{
		Effect: wflo.EffectHalt, Severity: wflo.SeverityCritical, Notify: []string{"slack://ops"},
		Matches: []wflo.Match{{Rule: "stop", Effect: wflo.EffectHalt}}, Halt: &wflo.Halt{Reason: "never"},
	}}
	p, store, _ := judge(t, set)
	q := step.Question{Bundle: "h", Facts: wflo.Facts{Kind: wflo.FactsActivity, Operation: "charge\u202e\n"}}
	store.appending = errors.New("disk full")
	if _, err := p.Judge(inRun(t), q); err == nil || wflo.CodeOf(err) != "" {
		t.Fatalf("without a trail: %v", err)
	}
	store.appending, store.enqueue = nil, errors.New("disk full")
	if _, err := p.Judge(inRun(t), q); err == nil {
		t.Fatal("without an outbox it answered")
	}
	store.enqueue = nil
	for range 2 {
		if r, err := p.Judge(inRun(t), q); err != nil || r.Effect != wflo.EffectHalt {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	records, err := store.ReadAudit(t.Context(), wflo.AuditQuery{})
	if err != nil || len(records) != 2 || records[0].Chain != "acme" || records[0].Type != wflo.AuditPolicyRuled || records[0].Severity != wflo.SeverityCritical {
		t.Fatalf("trail %+v, %v", records, err)
	}
	if halted := records[1]; halted.Type != wflo.AuditRunHalted || halted.Actor != "policy stop" || string(halted.Data) != `{"policy":"stop","reason":"never"}` {
		t.Errorf("the halt is on record as %+v: %s", halted, halted.Data)
	}
	notices, err := store.ListNotices(t.Context(), "", 10)
	if err != nil || len(notices) != 1 || strings.ContainsAny(notices[0].Title, "\u202e\n") {
		t.Errorf("outbox %+v, %v", notices, err)
	}
	q.Facts.Operation = "another"
	if _, err := p.Judge(inRun(t), q); err != nil {
		t.Fatal(err)
	}
	if records, err = store.ReadAudit(t.Context(), wflo.AuditQuery{}); err != nil || len(records) != 4 {
		t.Errorf("other facts are on record %d times, %v", len(records)/2-1, err)
	}
}

// TestWhatPlainlyPassesLeavesNoRecord keeps the trail for what somebody asked for.
func TestWhatPlainlyPassesLeavesNoRecord(t *testing.T) {
	p, store, _ := judge(t, &fixed{hash: "h", ruling: wflo.Ruling{Effect: wflo.EffectAllow}})
	store.appending = errors.New("must not be called")
	if _, err := p.Judge(inRun(t), step.Question{Bundle: "h"}); err != nil {
		t.Error(err)
	}
}

// TestPoliciesSeeTheLedger shows the run's spending as the ledger has it, which knows
// of calls that the workflow does not see.
func TestPoliciesSeeTheLedger(t *testing.T) {
	set := &fixed{hash: "h", ruling: wflo.Ruling{Effect: wflo.EffectAllow}}
	p, _, l := judge(t, set)
	ctx := inRun(t)
	run, _ := wflo.RunFrom(ctx)
	line := wflo.BudgetLine{ID: wflo.RunBudgetID(run.ID()), Limit: 4 * wflo.USD}
	res := wflo.Reservation{Key: "k", Attempt: 1, Amount: wflo.USD, Budgets: []wflo.BudgetLine{line}, Run: run}
	if _, err := l.Reserve(ctx, res); err != nil {
		t.Fatal(err)
	}
	if err := l.Settle(ctx, wflo.Settlement{Key: "k", Attempt: 1, Amount: wflo.USD, Provider: "p", Model: "m"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Judge(ctx, step.Question{Bundle: "h", Facts: wflo.Facts{Cost: wflo.Cent}}); err != nil {
		t.Fatal(err)
	}
	f := set.judged[0]
	want := wflo.BudgetFacts{Limit: 4 * wflo.USD, Spent: wflo.USD, Left: 3 * wflo.USD, Used: 25}
	if f.Cost != wflo.USD || f.Budget != want {
		t.Errorf("cost %s, budget %+v", f.Cost, f.Budget)
	}
	// A ruling that lowers the budget lowers the ledger's.
	set.ruling.Limit, set.ruling.Matches = 2*wflo.USD, []wflo.Match{{Rule: "cap"}}
	for range 2 {
		if _, err := p.Judge(ctx, step.Question{Bundle: "h"}); err != nil {
			t.Fatal(err)
		}
	}
	res.Key, res.Amount = "k2", 2*wflo.USD
	if _, err := l.Reserve(ctx, res); !errors.Is(err, wflo.ErrBudgetExceeded) {
		t.Errorf("a call above the lowered budget: %v", err)
	}
}

// TestEmergencyHaltsEvenWithoutAStore refuses the attempt and tells the run, whatever
// else does not work.
func TestEmergencyHaltsEvenWithoutAStore(t *testing.T) {
	set := &fixed{hash: "h", ruling: wflo.Ruling{
		Effect: wflo.EffectHalt, Matches: []wflo.Match{{Rule: "stop all", Effect: wflo.EffectHalt}}, Halt: &wflo.Halt{Reason: "breach", KeepEffects: true},
	}}
	_, store, _ := judge(t, nil)
	var told []wflo.Halt
	e := &activities.Emergency{
		Set: func() activities.PolicySet { return set }, Records: store, Logger: slog.New(slog.DiscardHandler),
		Halt: func(_ context.Context, _ wflo.Run, h wflo.Halt) error {
			told = append(told, h)
			return errors.New("not connected")
		},
	}
	store.appending = errors.New("disk full")
	if err := e.Check(inRun(t), wflo.Facts{Operation: "charge"}); wflo.CodeOf(err) != wflo.CodePolicyDenied || !strings.Contains(err.Error(), "stop all") {
		t.Errorf("check: %v", err)
	}
	if len(told) != 1 || told[0].Policy != "stop all" || !told[0].KeepEffects || told[0].Reason != "breach" {
		t.Errorf("told %+v", told)
	}
	// What is to be audited waits for the store, and then passes.
	set.ruling = wflo.Ruling{Effect: wflo.EffectAudit, Matches: []wflo.Match{{Rule: "look", Effect: wflo.EffectAudit}}}
	if err := e.Check(inRun(t), wflo.Facts{}); err == nil || wflo.CodeOf(err) != "" {
		t.Errorf("check without a store: %v", err)
	}
	store.appending = nil
	if err := e.Check(inRun(t), wflo.Facts{}); err != nil {
		t.Error(err)
	}
}
