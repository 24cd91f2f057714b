//go:build integration

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/recovery"
)

// breaking is one place at which a worker breaks, and how.
type breaking struct {
	point  string
	n      int
	action string
}

func (b breaking) String() string { return fmt.Sprintf("%s %s %d", b.action, b.point, b.n) }

// story is how a run of the standard scenario goes back.
type story struct {
	mode  wflo.RestoreMode
	parts bool // it has a sandbox and a table, which go back, too
}

func (y story) String() string {
	if y.parts {
		return string(y.mode) + " with parts"
	}
	return string(y.mode)
}

// steps is how many steps a run has done that waits for its end.
func (y story) steps() int {
	if y.parts {
		return 4
	}
	return 3
}

// scene is one run of the standard scenario with a store and a provider of its own.
type scene struct {
	*dev
	story
	t       *testing.T
	id      string
	into    string // the workflow id of the run that goes on
	restore string // the ID of the one that was done
	till    *till
	store   activities.Recovery
	shop    string // URL
	env     []string
	c       client.Client
	back    *recovery.Client
}

// newScene makes one; database gives an empty database.
func newScene(t *testing.T, d *dev, database func(testing.TB) string, y story) *scene {
	t.Helper()
	s := &scene{dev: d, story: y, t: t, id: unique("fault"), till: newTill(t), c: d.client(t)}
	s.into = s.id
	if y.mode == wflo.RestoreFork {
		s.into = s.id + "-fork"
	}
	url := database(t)
	l, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s.store, s.back = l.Recovery(), recovery.New(recovery.Config{Client: s.c})
	s.shop = url
	engine := "WFLO_SANDBOX_HOST=unix:///nowhere" // workers look for one, and do without
	if y.parts {
		s.shop, engine = database(t), "WFLO_SANDBOX_HOST="+os.Getenv("DOCKER_HOST")
		t.Cleanup(func() { removeAll(t, s.id) }) // what killed workers left
		s.inShop("CREATE TABLE marks (what text PRIMARY KEY)")
	}
	s.env = d.env("WFLO_DATABASE="+url+"&pool_max_conns=3", "WFLO_DATA_DIR="+t.TempDir(), "WFLO_OWNER="+s.id, "WFLO_SANDBOX_POOL=-1", "WFLO_ALLOW_UNSIGNED=true",
		faultQueue+"="+s.id, faultProvider+"="+s.till.URL, faultShop+"="+s.shop, engine)
	return s
}

// inShop runs a statement there, and gives the first column of the row that it returns,
// if any.
func (s *scene) inShop(statement string) (out string) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.shop)
	if err == nil {
		err = conn.QueryRow(s.t.Context(), statement).Scan(&out)
		if errors.Is(err, pgx.ErrNoRows) {
			err = nil
		}
		err = errors.Join(err, conn.Close(s.t.Context()))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return out
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
	run, err := s.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: s.id, TaskQueue: s.id, WorkflowTaskTimeout: 2 * time.Second}, faultAgent, s.parts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.waits(s.id, "")
	if s.mode == wflo.RestoreReopen {
		s.must("terminate", func() error { return s.c.TerminateWorkflow(ctx, s.id, "", "a test") })
	}
	out, err := s.goBack(ctx)
	if err != nil || out.State != wflo.RestoreDone || out.PreRestore == "" {
		s.t.Errorf("restored %+v, %v", out, err)
	}
	s.waits(s.into, run.GetRunID())
	s.end(ctx, s.into)
	if s.into != s.id {
		s.end(ctx, s.id)
	}
	return first
}

// goBack asks for the restore until somebody answers: a server may be away for a moment.
func (s *scene) goBack(ctx context.Context) (out wflo.Restored, err error) {
	s.t.Helper()
	r := wflo.Restore{
		ID: "r-" + s.id, WorkflowID: s.id, To: wflo.RestorePoint{Snapshot: "base"}, Mode: s.mode, By: "bob", Reason: "a test",
		// What cannot be undone is found out by trying: the sweep may have tried before.
		AcceptIrreversible: s.mode == wflo.RestoreReopen,
	}
	if s.into != s.id {
		r.NewID = s.into
	}
	await(s.t, "the restore", func() bool {
		out, err = s.back.Do(ctx, r)
		if err != nil && strings.Contains(err.Error(), faultpoint.ErrInjected.Error()) {
			// What cannot be looked at refuses the restore, and nothing has happened: whoever
			// asked asks again.
			r.ID += "-again"
			return false
		}
		return err == nil || !unreachable(err)
	})
	s.restore = r.ID
	return out, err
}

// must does what a server that comes back lets be done.
func (s *scene) must(what string, do func() error) {
	s.t.Helper()
	await(s.t, what, func() bool {
		err := do()
		if err != nil && !unreachable(err) {
			s.t.Fatalf("%s: %v", what, err)
		}
		return err == nil
	})
}

// end has a run end badly.
func (s *scene) end(ctx context.Context, id string) {
	s.t.Helper()
	s.must("the signal", func() error { return s.c.SignalWorkflow(ctx, id, "", "end", nil) })
	var err error
	await(s.t, "the end of "+id, func() bool {
		err = s.c.GetWorkflow(ctx, id, "").Get(ctx, nil)
		return !unreachable(err)
	})
	if err == nil || !strings.Contains(err.Error(), "it ends badly") {
		s.t.Errorf("run %s ended with %v", id, err)
	}
}

// waits waits until a run has done all its steps: the first one, or one that comes after
// the execution before.
func (s *scene) waits(id, before string) {
	s.t.Helper()
	await(s.t, "the steps of "+id+" after "+before, func() bool {
		d, err := s.c.DescribeWorkflowExecution(s.t.Context(), id, "")
		if err != nil || d.GetWorkflowExecutionInfo().GetExecution().GetRunId() == before {
			return false
		}
		st, ok := status(s.t, s.c, id)
		return ok && st.State == wflo.StateRunning && len(st.Steps) == s.steps()
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
	if s.into != s.id {
		more, err := s.store.ListCompensations(s.t.Context(), activities.CompensationQuery{WorkflowID: s.into})
		if err != nil {
			s.t.Fatal(err)
		}
		rows = append(rows, more...)
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%s %s", r.Name, r.State))
	}
	slices.Sort(got)
	want := []string{"book dead_letter", "book dead_letter", "pay compensated", "pay compensated"}
	if !slices.Equal(got, want) {
		s.t.Errorf("the compensations are %v, want %v", got, want)
	}
	s.checkSnapshots()
	s.checkHistory()
	if !s.parts {
		return
	}
	if got := s.inShop("SELECT string_agg(what, ' ' ORDER BY what) FROM marks"); got != "book look pay" {
		s.t.Errorf("the table has the marks %q", got)
	}
}

// checkLedger says that the provider did each thing once under each key, that what was
// undone came undone in the reverse order, and never happened again.
func (s *scene) checkLedger() {
	s.t.Helper()
	var order []string
	seen, undone := map[string]int{}, map[string]bool{}
	for _, a := range s.till.asked() {
		if a.Run != s.id && a.Run != s.into {
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
	if want := s.wanted(); !slices.Equal(order, want) {
		s.t.Errorf("the provider did %q, want %q", order, want)
	}
}

// wanted is what the provider is to have done.
func (s *scene) wanted() []string {
	did, undid := []string{"do pay", "do book"}, []string{"undo book", "undo pay"}
	first, again := did, did
	if s.parts { // each sees what was there when it was saved, but that a fork leaves tables alone
		first, again = slices.Concat([]string{"do look and look"}, did), slices.Concat([]string{"do look and look"}, did)
		if s.mode == wflo.RestoreFork {
			again[0] = "do look and book look pay"
		}
	}
	if s.mode == wflo.RestoreFork {
		return slices.Concat([]string{"do look"}, first, again, undid, undid)
	}
	return slices.Concat([]string{"do look"}, first, undid, again, undid)
}

// checkSnapshots says that every manifest is whole, and that the restore is on record.
func (s *scene) checkSnapshots() {
	s.t.Helper()
	kinds := map[wflo.SnapshotKind]int{}
	for _, id := range slices.Compact([]string{s.id, s.into}) {
		all, err := s.store.ListSnapshots(s.t.Context(), activities.SnapshotQuery{WorkflowID: id})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, snap := range all {
			kinds[snap.Kind]++
			if err := snap.Verify(); err != nil {
				s.t.Error(err)
			}
		}
	}
	// The code takes its snapshot again: that it was taken is later than what it holds.
	if kinds[wflo.SnapshotManual] != 2 || kinds[wflo.SnapshotPreRestore] != 1 {
		s.t.Errorf("there are snapshots of the kinds %v", kinds)
	}
	dead := 1
	if s.mode == wflo.RestoreFork {
		dead = 0
	}
	r, err := s.store.Restored(s.t.Context(), s.restore)
	// Of a run that was terminated the sweep may have undone all before.
	if err != nil || r.State != wflo.RestoreDone || len(r.Dead) != dead && s.mode != wflo.RestoreReopen || r.PreRestore == "" {
		s.t.Errorf("the restore is on record as %+v, %v", r, err)
	}
}

// checkHistory says that Temporal's histories have no task that failed for a reason of
// the code: a worker that died leaves time-outs.
func (s *scene) checkHistory() {
	s.t.Helper()
	for _, id := range slices.Compact([]string{s.id, s.into}) {
		for it := s.c.GetWorkflowHistory(s.t.Context(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
			e, err := it.Next()
			if err != nil {
				s.t.Fatal(err)
			}
			if f := e.GetWorkflowTaskFailedEventAttributes(); f != nil {
				s.t.Errorf("a workflow task failed: %s %s", f.GetCause(), f.GetFailure().GetMessage())
			}
		}
	}
}

// till is the provider: a process of its own as far as workers are concerned, with a log
// of what it was asked.
type till struct {
	*httptest.Server
	mu     sync.Mutex
	log    []asked
	holds  chan struct{} // somebody is held
	letsGo chan struct{} // closed when nobody is any more
}

type asked struct{ Verb, Run, What, Key, Undo string }

func newTill(t *testing.T) *till {
	t.Helper()
	p := &till{holds: make(chan struct{}, 1), letsGo: make(chan struct{})}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			p.holds <- struct{}{}
			select {
			case <-p.letsGo:
			case <-r.Context().Done(): // it was killed
			}
			return
		}
		q := r.URL.Query()
		a := asked{r.URL.Path[1:], q.Get("run"), q.Get("what"), q.Get("key"), q.Get("undo")}
		p.mu.Lock()
		p.log = append(p.log, a)
		p.mu.Unlock()
		if a.Verb == "undo" && a.What == "book" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, a.Key)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *till) asked() []asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]asked{}, p.log...)
}
