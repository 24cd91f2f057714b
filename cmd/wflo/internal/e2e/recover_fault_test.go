//go:build integration

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"github.com/wflo-ai/wflo-go/recovery"
)

// faultAll breaks every hit of every point. Without it points that call are broken the
// first time and those that kill the first and the last time that they are hit.
const faultAll = "WFLO_FAULTS_ALL"

// breaking is one place at which a worker breaks, and how.
type breaking struct {
	point  string
	n      int
	action string
}

func (b breaking) String() string { return fmt.Sprintf("%s %s %d", b.action, b.point, b.n) }

// scene is one run of the standard scenario with a store and a provider of its own.
type scene struct {
	*dev
	t     *testing.T
	id    string
	till  *till
	store activities.Recovery
	env   []string
	c     client.Client
	back  *recovery.Client
}

func newScene(t *testing.T, d *dev, pg *pgtest.Server) *scene {
	t.Helper()
	s := &scene{dev: d, t: t, id: unique("fault"), till: newTill(t), c: d.client(t)}
	url := pg.Database(t)
	l, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s.store, s.back = l.Recovery(), recovery.New(recovery.Config{Client: s.c})
	s.env = d.env("WFLO_DATABASE="+url, "WFLO_DATA_DIR="+t.TempDir(), "WFLO_OWNER="+s.id, "WFLO_SANDBOX_POOL=-1", "WFLO_ALLOW_UNSIGNED=true",
		faultQueue+"="+s.id, faultProvider+"="+s.till.URL)
	return s
}

// worker starts a worker that breaks as b says; the zero breaking is one that does not.
func (s *scene) worker(b breaking) *program {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	env := append(slices.Clip(s.env), faultPoint+"="+b.point, fmt.Sprintf("%s=%d", faultCount, b.n), faultAction+"="+b.action)
	w := start(s.t, env, self)
	w.find(s.t, "faulty worker (started)|broken (at)")
	return w
}

// play has the run go back once and end badly. Where the worker dies, another one takes
// over.
func (s *scene) play(b breaking) (first *program) {
	s.t.Helper()
	first = s.worker(b)
	over := make(chan struct{})
	var rescue sync.WaitGroup
	rescue.Go(func() {
		select {
		case <-first.ended:
			s.worker(breaking{})
		case <-over:
		}
	})
	defer rescue.Wait()
	defer close(over)
	ctx := wflo.WithRun(s.t.Context(), wflo.Run{User: "ann"})
	run, err := s.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: s.id, TaskQueue: s.id, WorkflowTaskTimeout: 2 * time.Second}, faultAgent)
	if err != nil {
		s.t.Fatal(err)
	}
	s.waits(0)
	out, err := s.back.Do(ctx, wflo.Restore{ID: "r-" + s.id, WorkflowID: s.id, To: wflo.RestorePoint{Snapshot: "base"}, By: "bob", Reason: "a test"})
	if err != nil || out.State != wflo.RestoreDone || out.PreRestore == "" {
		s.t.Errorf("restored %+v, %v", out, err)
	}
	s.waits(1)
	if err := s.c.SignalWorkflow(ctx, s.id, "", "end", nil); err != nil {
		s.t.Fatal(err)
	}
	err = s.c.GetWorkflow(ctx, s.id, "").Get(ctx, nil)
	if err == nil || !strings.Contains(err.Error(), "it ends badly") {
		s.t.Errorf("run %s ended with %v", run.GetID(), err)
	}
	return first
}

// waits waits until the run of an epoch has done all its steps.
func (s *scene) waits(epoch int) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("the steps of epoch %d", epoch), func() bool {
		st, ok := status(s.t, s.c, s.id)
		return ok && st.Run.Epoch == epoch && st.State == wflo.StateRunning && len(st.Steps) == 3
	})
}

// check reads the database, the provider's log and Temporal's history, and nothing else.
func (s *scene) check() {
	s.t.Helper()
	s.checkLedger()
	rows, err := s.store.ListCompensations(s.t.Context(), activities.CompensationQuery{WorkflowID: s.id})
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%s %d %s", r.Name, r.Run.Epoch, r.State))
	}
	slices.Sort(got)
	want := []string{"book 0 dead_letter", "book 1 dead_letter", "pay 0 compensated", "pay 1 compensated"}
	if !slices.Equal(got, want) {
		s.t.Errorf("the compensations are %v, want %v", got, want)
	}
	s.checkSnapshots()
	s.checkHistory()
}

// checkLedger says that the provider did each thing once under each key, that what was
// undone came undone in the reverse order, and never happened again.
func (s *scene) checkLedger() {
	s.t.Helper()
	var order []string
	seen, undone := map[string]int{}, map[string]bool{}
	for _, a := range s.till.asked() {
		if a.Run != s.id {
			s.t.Errorf("the provider was asked for %s", a.Run)
		}
		name := a.Verb + " " + a.What
		switch {
		case a.Verb == "do" && undone[a.Key]:
			s.t.Errorf("%s came again after it was undone", name)
		case a.Verb == "undo" && a.Undo != "undo-"+a.Key[:20]:
			s.t.Errorf("%s has the compensation %s and the key %s", name, a.Undo, a.Key)
		}
		undone[a.Key] = undone[a.Key] || a.Verb == "undo" && a.What == "pay"
		if seen[a.Verb+a.Key]++; seen[a.Verb+a.Key] == 1 { // a provider with keys does it once
			order = append(order, name)
		}
	}
	want := []string{"do look", "do pay", "do book", "undo book", "undo pay", "do pay", "do book", "undo book", "undo pay"}
	if !slices.Equal(order, want) {
		s.t.Errorf("the provider did %v, want %v", order, want)
	}
}

// checkSnapshots says that every manifest is whole, and that the restore is on record.
func (s *scene) checkSnapshots() {
	s.t.Helper()
	all, err := s.store.ListSnapshots(s.t.Context(), activities.SnapshotQuery{WorkflowID: s.id})
	if err != nil {
		s.t.Fatal(err)
	}
	kinds := map[wflo.SnapshotKind]int{}
	for _, snap := range all {
		kinds[snap.Kind]++
		if err := snap.Verify(); err != nil {
			s.t.Error(err)
		}
	}
	// The code takes its snapshot again: that it was taken is later than what it holds.
	if kinds[wflo.SnapshotManual] != 2 || kinds[wflo.SnapshotPreRestore] != 1 {
		s.t.Errorf("there are snapshots of the kinds %v", kinds)
	}
	r, err := s.store.Restored(s.t.Context(), "r-"+s.id)
	if err != nil || r.State != wflo.RestoreDone || r.Epoch != 1 || len(r.Dead) != 1 || r.PreRestore == "" {
		s.t.Errorf("the restore is on record as %+v, %v", r, err)
	}
}

// checkHistory says that Temporal's histories have no task that failed for a reason of
// the code: a worker that died leaves time-outs.
func (s *scene) checkHistory() {
	s.t.Helper()
	for it := s.c.GetWorkflowHistory(s.t.Context(), s.id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		if f := e.GetWorkflowTaskFailedEventAttributes(); f != nil {
			s.t.Errorf("a workflow task failed: %s %s", f.GetCause(), f.GetFailure().GetMessage())
		}
	}
}

var hitLine = regexp.MustCompile(`hit (\S+) (\d+)`)

// hits plays the scenario once without a fault, and gives how often each point was hit.
func hits(t *testing.T, d *dev, pg *pgtest.Server) map[string]int {
	t.Helper()
	s := newScene(t, d, pg)
	w := s.play(breaking{})
	s.check()
	all := map[string]int{}
	for _, m := range hitLine.FindAllStringSubmatch(w.said(), -1) {
		all[m[1]]++
	}
	w.kill()
	return all
}

// steady are points that the sweep and whoever waits hit again and again: how often is
// a matter of time.
func steady(point string) bool {
	return strings.HasPrefix(point, "store.Restored:") || strings.HasPrefix(point, "store.ListCompensations:") || strings.HasPrefix(point, "runs.Describe:")
}

func breakings(all map[string]int) []breaking {
	var out []breaking
	for point, n := range all {
		last := n
		if steady(point) {
			last = 1
		}
		for i := 1; i <= last; i++ {
			if os.Getenv(faultAll) != "" || i == 1 {
				out = append(out, breaking{point, i, "fail"})
			}
			if os.Getenv(faultAll) != "" || i == 1 || i == last {
				out = append(out, breaking{point, i, "exit"})
			}
		}
	}
	slices.SortFunc(out, func(a, b breaking) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// phases are points that the scenario must have, or it proves nothing about them.
var phases = []string{
	"blob.Put", "store.SaveSnapshot", "store.Snapshot", "store.BeginRestore", "store.NoteRestore.compensating", "store.NoteRestore.restoring",
	"store.NoteRestore.done", "runs.Update", "blob.Get", "store.NoteCompensations.register", "store.BeginEffect", "store.BeginUndo",
	"store.NoteCompensations.compensated", "store.NoteCompensations.dead_letter", "store.NoteCompensations.closed",
}

// A worker breaks before and after each call that snapshots, restores and compensations
// stand on: it dies there, or it hears that what was done has failed. Whatever it is,
// the run goes back once, and nothing is done or undone twice.
func TestFaultPoints(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir())
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	all := hits(t, d, pg)
	for _, phase := range phases {
		if all[phase+":before"] == 0 || all[phase+":after"] == 0 {
			t.Errorf("the scenario does not come by %s", phase)
		}
	}
	list := breakings(all)
	t.Logf("%d points, broken in %d ways", len(all), len(list))
	for _, b := range list {
		t.Run(b.String(), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, d, pg)
			w := s.play(b)
			if b.action == "exit" {
				w.want(t, faultpoint.Killed, "broken at "+b.point)
			} else {
				w.find(t, "(broken at) "+regexp.QuoteMeta(b.point))
			}
			s.check()
		})
	}
}
