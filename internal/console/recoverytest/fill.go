package recoverytest

import (
	"context"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// Evil is text as a stranger writes it.
const Evil = "<b>x</b>\u202egnp\x1b[2J"

// Shoot saves a snapshot of a run.
func (r *Runs) Shoot(ctx context.Context, run wflo.Run, name string, at time.Time) (wflo.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shoot(ctx, run, name, wflo.SnapshotManual, at)
}

func (r *Runs) shoot(ctx context.Context, run wflo.Run, name string, kind wflo.SnapshotKind, at time.Time) (wflo.Snapshot, error) {
	r.sequence++
	n := r.sequence
	s := wflo.Snapshot{
		ID: fmt.Sprintf("snap-%020x", n), Name: name, Kind: kind, Run: run, RunID: "temporal", TaskQueue: "q", At: at.UTC().Truncate(time.Second), Seq: n, Height: 1,
		Spent: wflo.Money(n) * wflo.Cent, Calls: n, Parts: []wflo.SnapshotPart{
			{Kind: wflo.PartState, Blobs: []string{"b1"}, Bytes: int64(900 * n), Stored: 400, Count: int64(n), SHA256: fmt.Sprintf("%064d", n)},
			{Kind: wflo.PartWorkspace, Blobs: []string{"b2"}, Bytes: 4 << 20, Stored: 1 << 20, Count: 17, SHA256: fmt.Sprintf("%064d", 7)},
		},
	}
	if err := s.Seal(); err != nil {
		return s, err
	}
	return r.Store.SaveSnapshot(ctx, s)
}

// Dead registers a compensation whose effect happened and could not be undone.
func (r *Runs) Dead(ctx context.Context, run wflo.Run, id, name string) error {
	c := wflo.CompensationRecord{
		ID: id, Name: name, Activity: "shop.Refund", Run: run, TaskQueue: "q", Height: 1, Step: "charge#1", Input: []byte("secret argument"), State: wflo.CompensationRegistered,
	}
	for _, notes := range []step.CompensationNotes{
		{New: []wflo.CompensationRecord{c}},
		{Marks: []step.CompensationMark{{ID: id, State: wflo.CompensationExecuted}}},
		{Marks: []step.CompensationMark{{ID: id, State: wflo.CompensationDead, Cause: "the run was terminated", Error: "the provider is down"}}},
	} {
		if err := r.Store.NoteCompensations(ctx, run, notes); err != nil {
			return err
		}
	}
	return nil
}

// Fill makes two runs, refund-17 of acme and deal-9 of rival: each has a snapshot before
// and one after a charge, and a dead letter, undo- and the name of the org.
func (r *Runs) Fill(ctx context.Context) error {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, run := range []wflo.Run{
		{WorkflowID: "refund-17", FirstRunID: "first-17", Org: "acme", User: "eve"}, {WorkflowID: "deal-9", FirstRunID: "first-9", Org: "rival", User: "mal"},
	} {
		r.Add(run, true)
		for i, name := range []string{"before-charge", "after-charge"} {
			if _, err := r.Shoot(ctx, run, name, at.Add(time.Duration(i)*time.Minute)); err != nil {
				return err
			}
		}
		if err := r.Dead(ctx, run, "undo-"+run.Org, "refund of order 17"); err != nil {
			return err
		}
	}
	return nil
}

// SomePlan has something of everything.
func SomePlan() wflo.RestorePlan {
	at := time.Date(2026, 11, 22, 10, 2, 0, 0, time.UTC)
	return wflo.RestorePlan{
		Digest: "d1f5", More: wflo.PlanMore{Again: 7}, Kept: 4, Spent: 37 * wflo.Cent, SpentTotal: 2 * wflo.USD,
		Undo:     []wflo.CompensationRecord{{ID: "undo-2", Name: "refund of order 17", Activity: "shop.Refund", Step: "charge#1", State: wflo.CompensationExecuted, Height: 2}},
		Skipped:  []wflo.CompensationRecord{{ID: "undo-1", Name: "close account", Activity: "bank.Close", State: wflo.CompensationSkipped}},
		Void:     []wflo.PlanItem{{Key: "refunds#1", Kind: "gate", At: at, Note: "people are asked again"}},
		Again:    []wflo.PlanItem{{Key: "charge#1", Kind: "step", Effect: wflo.EffectReversible, At: at}, {Key: "mail#1", Kind: "step", Effect: wflo.EffectIrreversible, At: at}},
		Warnings: []string{"1 activities outside of finished steps are called again"},
		Diffs: []wflo.PartDiff{{Kind: wflo.PartWorkspace, More: 3, Changes: []wflo.PartChange{
			{Name: "out/report" + Evil + ".md", Op: "added", After: 2048}, {Name: "in.csv", Op: "removed", Before: 17}, {Name: "run.sh", Op: "changed", Before: 10, After: 12, Detail: "mode 0644 to 0755"},
		}}, {Kind: wflo.PartTables, Name: "orders", Problem: "the schema changed"}},
	}
}

// Irreversible adds an e-mail that nothing undoes.
func Irreversible(p wflo.RestorePlan) wflo.RestorePlan {
	p.Irreversible = []wflo.PlanItem{{Key: "mail#1", Kind: "step", Effect: wflo.EffectIrreversible, At: time.Date(2026, 11, 22, 10, 2, 0, 0, time.UTC), Note: "nothing undoes it"}}
	p.Refusals = []string{"what cannot be undone would be done again: mail#1; accept that (accept_irreversible) to go back all the same"}
	return p
}
