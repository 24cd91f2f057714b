package rewind

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Entry is a restore as stores keep it: what they look for, and the rest as JSON.
type Entry struct {
	ID string
	// From and Into are runs, FromWorkflow and IntoWorkflow their workflow ids.
	From, FromWorkflow, Into, IntoWorkflow string
	// Fork stands in the way of others but forks; Open does so while it is under way.
	Fork, Open bool
	Doc        []byte
}

// Begin completes a restore that begins, at a moment of the database, and gives its
// entry.
func Begin(r wflo.Restored, now time.Time) (wflo.Restored, Entry, error) {
	if r.Restore.ID == "" || r.From == "" {
		return r, Entry{}, wflo.Invalid("restore", fmt.Sprintf("%.100q of the run %.100q lacks its id or its run", r.Restore.ID, r.From), "name both")
	}
	if r.State == "" {
		r.State = wflo.RestorePlanned
	}
	r.Asked, r.Ended = now, time.Time{}
	return entry(r, now)
}

// Note puts what is new about a restore in the place of what is kept, and gives its
// entry. What was asked for, of which run and when never changes.
func Note(kept, r wflo.Restored, now time.Time) (wflo.Restored, Entry, error) {
	r.Restore, r.From, r.Asked, r.Ended = kept.Restore, kept.From, kept.Asked, time.Time{}
	return entry(r, now)
}

func entry(r wflo.Restored, now time.Time) (wflo.Restored, Entry, error) {
	open := []wflo.RestoreState{wflo.RestorePlanned, wflo.RestoreCompensating, wflo.RestoreRestoring}
	if !Over(r) && !slices.Contains(open, r.State) {
		return r, Entry{}, wflo.Invalid("restore "+r.Restore.ID, fmt.Sprintf("has the state %.40q, which there is not", string(r.State)), "use one of wflo's states")
	}
	if Over(r) {
		r.Ended = now
	}
	doc, err := json.Marshal(r)
	if err != nil {
		return r, Entry{}, fmt.Errorf("encode restore %s: %w", r.Restore.ID, err)
	}
	e := Entry{ID: r.Restore.ID, From: r.From, FromWorkflow: r.Restore.WorkflowID, Into: r.Into, Fork: fork(r), Open: !Over(r), Doc: doc}
	if e.FromWorkflow == "" {
		e.FromWorkflow = workflowOf(r.From)
	}
	e.IntoWorkflow = intoWorkflow(r, e.FromWorkflow)
	return r, e, nil
}

func fork(r wflo.Restored) bool {
	if r.Plan.Mode != "" {
		return r.Plan.Mode == wflo.RestoreFork
	}
	return r.Restore.Mode == wflo.RestoreFork
}

// intoWorkflow is the workflow id of the run that goes on. Workflow ids may have
// slashes, so where it can be known it is not guessed.
func intoWorkflow(r wflo.Restored, from string) string {
	for _, id := range []string{from, r.Restore.NewID} {
		if first, ok := strings.CutPrefix(r.Into, id+"/"); id != "" && ok && !strings.Contains(first, "/") {
			return id
		}
	}
	if r.Into == r.Restore.NewID {
		return r.Into
	}
	return workflowOf(r.Into)
}

func workflowOf(run string) string {
	if i := strings.LastIndexByte(run, '/'); i >= 0 {
		return run[:i]
	}
	return run
}

// Over says that a restore has ended.
func Over(r wflo.Restored) bool {
	return r.State == wflo.RestoreDone || r.State == wflo.RestoreFailed
}

// SameRestore refuses a request whose ID has been given to another one.
func SameRestore(kept, asked wflo.Restore) error {
	kept.To.Time, asked.To.Time = kept.To.Time.UTC(), asked.To.Time.UTC()
	a, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("encode restore %s: %w", kept.ID, err)
	}
	b, err := json.Marshal(asked)
	if err != nil {
		return fmt.Errorf("encode restore %s: %w", asked.ID, err)
	}
	if string(a) == string(b) {
		return nil
	}
	return wflo.Errorf(wflo.CodeConflict, "draw another id", "restore %s was asked for before, with another request", kept.ID)
}

// Busy refuses a restore of a run that another one is taking back.
func Busy(run, other string) error {
	return wflo.Errorf(wflo.CodeConflict, "wait until that has ended", "the run %s is being restored by %s", run, other)
}
