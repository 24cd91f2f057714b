package govern

import (
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// TestRecordedRestores is TestRecordedHistories for runs that are saved, rolled back and
// taken back: each with the run that it goes on as.
func TestRecordedRestores(t *testing.T) {
	back := func(w *world, id string, mode wflo.RestoreMode) wflo.Restored {
		w.t.Helper()
		out, err := recovery.New(recovery.Config{Client: w.Client}).Do(w.t.Context(), wflo.Restore{
			ID: "recorded-" + id, WorkflowID: id, To: wflo.RestorePoint{Snapshot: "looked"}, Mode: mode, By: "bob", Reason: "a recording",
		})
		if err != nil {
			w.t.Fatal(err)
		}
		return out
	}
	waits := func(w *world, id string, epoch int) {
		w.t.Helper()
		eventually(w.t, "the wait for the end", func() bool {
			s := w.status(w.GetWorkflow(w.t.Context(), id, ""))
			return s.Run.Epoch == epoch && s.State == wflo.StateRunning && len(s.Steps) == 3
		})
	}
	end := func(w *world, id, how string) {
		w.t.Helper()
		w.signal(w.GetWorkflow(w.t.Context(), id, ""), histories.SignalAct, how)
		if err := w.wait(w.GetWorkflow(w.t.Context(), id, ""), nil); (err != nil) != (how == "badly") {
			w.t.Fatalf("%s ended with %v", id, err)
		}
	}
	for name, act := range map[string]func(w *world, run client.WorkflowRun, file string){
		"saved": func(w *world, run client.WorkflowRun, file string) {
			end(w, run.GetID(), "badly")
			w.keep(file, w.history(run.GetID(), run.GetRunID()))
		},
		"restored": func(w *world, run client.WorkflowRun, file string) {
			first := run.GetRunID()
			back(w, run.GetID(), wflo.RestoreInPlace)
			waits(w, run.GetID(), 1)
			end(w, run.GetID(), "well")
			h := w.history(run.GetID(), first)
			w.keep(file, h)
			w.keep(file+"-next", w.history(run.GetID(), successor(h)))
		},
		"reopened": func(w *world, run client.WorkflowRun, file string) {
			end(w, run.GetID(), "badly")
			back(w, run.GetID(), wflo.RestoreReopen)
			waits(w, run.GetID(), 1)
			end(w, run.GetID(), "well")
			w.keep(file, w.history(run.GetID(), ""))
			w.keep(file+"-by", w.history("wflo-restore/recorded-"+run.GetID(), ""))
		},
		"forked": func(w *world, run client.WorkflowRun, file string) {
			back(w, run.GetID(), wflo.RestoreFork)
			fork := run.GetID() + "-recorded-" + run.GetID()
			waits(w, fork, 1)
			end(w, fork, "well")
			w.keep(file, w.history(fork, ""))
			end(w, run.GetID(), "well")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, config{})
			run := w.start(wflo.Run{User: "ann"}, histories.Saved)
			waits(w, run.GetID(), 0)
			act(w, run, name)
		})
	}
}
