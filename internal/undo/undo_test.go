package undo_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/undo"
)

var run = wflo.Run{Namespace: "default", WorkflowID: "order-17", FirstRunID: "r1", Org: "acme", Step: "g0/undo:x#1"}

// desk has one compensation, "undo-1", in a state.
func desk(t *testing.T, state wflo.CompensationState) (*undo.Desk, *activities.Undo) {
	t.Helper()
	l, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	note := &activities.Undo{Store: l.Recovery(), Records: l.Records(), Logger: slog.New(slog.DiscardHandler)}
	n := step.CompensationNotes{
		New:   []wflo.CompensationRecord{{ID: "undo-1", Name: "refund", Activity: "shop.Refund", Height: 1, TaskQueue: "shop", Begun: true}},
		Marks: []step.CompensationMark{{ID: "undo-1", State: state, Error: "the bank is closed"}},
	}
	if _, err := note.Note(wflo.WithRun(t.Context(), run), n); err != nil {
		t.Fatal(err)
	}
	return &undo.Desk{Store: l.Recovery(), Records: l.Records()}, note
}

func TestPeopleEndDeadLetters(t *testing.T) {
	for _, tt := range []struct {
		end   func(d *undo.Desk) (wflo.CompensationRecord, error)
		state wflo.CompensationState
		audit wflo.AuditType
	}{
		{func(d *undo.Desk) (wflo.CompensationRecord, error) {
			return d.Resolve(t.Context(), "undo-1", "ann", "by hand")
		}, wflo.CompensationDone, wflo.AuditCompensationResolved},
		{func(d *undo.Desk) (wflo.CompensationRecord, error) {
			return d.Skip(t.Context(), "undo-1", "ann", "it stays")
		}, wflo.CompensationSkipped, wflo.AuditCompensationSkipped},
	} {
		d, _ := desk(t, wflo.CompensationDead)
		r, err := tt.end(d)
		if err != nil || r.State != tt.state || r.By != "ann" || r.Reason == "" {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := tt.end(d); wflo.CodeOf(err) != wflo.CodeConflict {
			t.Errorf("ended twice: %v", err)
		}
		trail, err := d.Records.ReadAudit(t.Context(), wflo.AuditQuery{Chain: "acme"})
		if err != nil || len(trail) != 2 || trail[0].Type != wflo.AuditCompensationDead || trail[1].Type != tt.audit || trail[1].Actor != "ann" ||
			!strings.Contains(string(trail[1].Data), r.Reason) {
			t.Errorf("trail %+v, %v", trail, err)
		}
	}
}

func TestPeopleSayWhoAndWhy(t *testing.T) {
	d, _ := desk(t, wflo.CompensationDead)
	for name, do := range map[string]func() error{
		"resolve without a reason": func() error { _, err := d.Resolve(t.Context(), "undo-1", "ann", " "); return err },
		"skip without a reason":    func() error { _, err := d.Skip(t.Context(), "undo-1", "ann", ""); return err },
		"skip without a name":      func() error { _, err := d.Skip(t.Context(), "undo-1", "", "it stays"); return err },
		"retry without a name":     func() error { _, err := d.Retry(t.Context(), "undo-1", ""); return err },
		"one that is not there":    func() error { _, err := d.Retry(t.Context(), "undo-2", "ann"); return err },
	} {
		if err := do(); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := d.Show(t.Context(), "undo-1"); err != nil || r.State != wflo.CompensationDead {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOnlyDeadLettersWaitForPeople(t *testing.T) {
	for _, state := range []wflo.CompensationState{wflo.CompensationExecuted, wflo.CompensationRunning, wflo.CompensationKept, wflo.CompensationDone} {
		d, _ := desk(t, state)
		if _, err := d.Skip(t.Context(), "undo-1", "ann", "it stays"); wflo.CodeOf(err) != wflo.CodeConflict {
			t.Errorf("%s was skipped: %v", state, err)
		}
	}
}

// TestNotesGiveWayToTheStore has a run say what a sweep or a person knows better.
func TestNotesGiveWayToTheStore(t *testing.T) {
	d, note := desk(t, wflo.CompensationDone)
	n := step.CompensationNotes{
		New:    []wflo.CompensationRecord{{ID: "undo-2", Name: "other", Activity: "shop.Refund", Height: 2, Begun: true}},
		Marks:  []step.CompensationMark{{ID: "undo-1", State: wflo.CompensationUnknown}, {ID: "undo-2", State: wflo.CompensationExecuted}},
		Closed: true, Kept: []string{"undo-1", "undo-2"},
	}
	if _, err := note.Note(wflo.WithRun(t.Context(), run), n); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]wflo.CompensationState{"undo-1": wflo.CompensationDone, "undo-2": wflo.CompensationExecuted} {
		if r, err := d.Show(t.Context(), id); err != nil || r.State != want {
			t.Errorf("%s is %s, want %s (%v)", id, r.State, want, err)
		}
	}
}

// TestOrdersNameWhatIsLeft lists what a sweep, a restore and a person ask for.
func TestOrdersNameWhatIsLeft(t *testing.T) {
	_, note := desk(t, wflo.CompensationKept)
	n := step.CompensationNotes{New: []wflo.CompensationRecord{
		{ID: "undo-2", Name: "b", Activity: "shop.Refund", Height: 2, Begun: true}, {ID: "undo-3", Name: "c", Activity: "shop.Refund", Height: 3, Begun: true},
	}}
	if _, err := note.Note(wflo.WithRun(t.Context(), run), n); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		order wflo.CompensationOrder
		want  string
	}{
		{wflo.CompensationOrder{RunID: run.ID()}, "undo-3 undo-2"},
		{wflo.CompensationOrder{RunID: run.ID(), Above: 2}, "undo-3"},
		{wflo.CompensationOrder{RunID: run.ID(), Kept: true}, "undo-3 undo-2 undo-1"},
		{wflo.CompensationOrder{IDs: []string{"undo-2", "undo-1"}}, "undo-2"},
	} {
		rows, err := note.List(t.Context(), tt.order)
		var got []string
		for _, r := range rows {
			got = append(got, r.ID)
		}
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: %v, %v, want %s", tt.order, got, err, tt.want)
		}
	}
	if _, err := note.List(t.Context(), wflo.CompensationOrder{}); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("an order about nothing: %v", err)
	}
}

// TestWithoutAStoreNothingIsUndoable fails closed.
func TestWithoutAStoreNothingIsUndoable(t *testing.T) {
	none := &activities.Undo{Logger: slog.New(slog.DiscardHandler)}
	_, noteErr := none.Note(t.Context(), step.CompensationNotes{})
	_, listErr := none.List(t.Context(), wflo.CompensationOrder{RunID: "a/b"})
	_, beginErr := none.Begin(t.Context(), []string{"undo-1"})
	for _, err := range []error{noteErr, listErr, beginErr} {
		if wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("without a store: %v", err)
		}
	}
}
