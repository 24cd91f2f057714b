//go:build integration

package e2e

import (
	"cmp"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.temporal.io/api/serviceerror"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
)

// faultAll breaks every hit of every point of every story, before and after, in both
// ways. Without it each story is broken where it differs from the others.
const faultAll = "WFLO_FAULTS_ALL"

// unreachable says that an error is of a server that is away: it is asked again.
func unreachable(err error) bool {
	var away *serviceerror.Unavailable
	var late *serviceerror.DeadlineExceeded
	return errors.As(err, &away) || errors.As(err, &late)
}

var hitLine = regexp.MustCompile(`hit (\S+) (\d+)`)

// hits plays a story once without a fault, and gives how often each point was hit.
func hits(t *testing.T, d *dev, database func(testing.TB) string, y story) map[string]int {
	t.Helper()
	s := newScene(t, d, database, y)
	w := s.play(breaking{})
	s.check()
	all := map[string]int{}
	for _, m := range hitLine.FindAllStringSubmatch(w.said(), -1) {
		if begins(m[1], "store.", "part.", "blob.", "runs.") { // package survive breaks all others
			all[m[1]]++
		}
	}
	w.kill()
	return all
}

// begins says that a text begins with one of several others.
func begins(text string, with ...string) bool {
	return slices.ContainsFunc(with, func(w string) bool { return strings.HasPrefix(text, w) })
}

// steady are points that the sweep and whoever waits hit again and again: how often is
// a matter of time.
func steady(point string) bool {
	return begins(point, "store.Restored:", "store.ListCompensations:", "store.ListRestores:", "runs.Describe:")
}

// reads are points of calls that change nothing, so that it is all one whether they were
// made.
func reads(point string) bool {
	return steady(point) || begins(point, "store.Snapshot:", "store.ListSnapshots:", "store.Compensation:", "runs.Query:", "blob.Get:") ||
		strings.Contains(point, ".Check:")
}

// stories are those that are told, and the points that only they have or that mean
// something else in them. The first one has all points.
var stories = []struct {
	story
	differs []string
}{
	{story{wflo.RestoreInPlace, false}, []string{""}},
	{story{wflo.RestoreInPlace, true}, []string{"part."}},
	{story{wflo.RestoreFork, true}, []string{"store.BeginRestore", "store.NoteRestore", "runs.Start", "part.workspace.Restore"}},
	{story{wflo.RestoreReopen, false}, []string{"store.BeginRestore", "store.NoteRestore", "store.AdoptCompensations", "store.BeginUndo", "runs.Start"}},
}

// breakings are the ways to break a story.
func breakings(all map[string]int, differs []string) []breaking {
	var out []breaking
	for point, n := range all {
		after := strings.HasSuffix(point, ":after")
		switch {
		case os.Getenv(faultAll) != "":
			if steady(point) {
				n = 1
			}
			for i := 1; i <= n; i++ {
				out = append(out, breaking{point, i, "fail"}, breaking{point, i, "exit"})
			}
		case !begins(point, differs...):
		case reads(point):
			if !after {
				out = append(out, breaking{point, 1, "fail"})
			}
		case !after:
			// Who dies before a call dies after the one before it; who hears an error has to
			// be told of work that was done, which is the next point.
		default:
			out = append(out, breaking{point, 1, "fail"}, breaking{point, n, "exit"})
		}
	}
	slices.SortFunc(out, func(a, b breaking) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

// phases are points that a story must have, or it proves nothing about them.
func (y story) phases() []string {
	all := []string{
		"blob.Put", "store.SaveSnapshot", "store.Snapshot", "store.BeginRestore", "store.NoteRestore.restoring", "blob.Get",
		"store.NoteCompensations.register", "store.BeginEffect", "store.BeginUndo", "store.NoteCompensations.compensated",
		"store.NoteCompensations.dead_letter", "store.NoteCompensations.closed",
	}
	if y.mode == wflo.RestoreInPlace {
		all = append(all, "runs.Update", "store.NoteRestore.compensating", "store.NoteRestore.done")
	} else {
		all = append(all, "runs.Start")
	}
	if y.parts {
		all = append(all, "part.workspace.Save", "part.workspace.Restore", "part.tables.Save")
	}
	if y.parts && y.mode == wflo.RestoreInPlace {
		all = append(all, "part.tables.Restore")
	}
	return all
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
	// Most of the time they wait for Temporal to notice that a worker is dead, so more of
	// them wait together than other tests do. Each has four connections to PostgreSQL.
	const together = 16
	places := make(chan struct{}, together)
	for _, y := range stories {
		t.Run(y.String(), func(t *testing.T) {
			t.Parallel()
			all := hits(t, d, pg.Database, y.story)
			for _, phase := range y.phases() {
				if all[phase+":before"] == 0 || all[phase+":after"] == 0 {
					t.Errorf("the scenario does not come by %s", phase)
				}
			}
			list := breakings(all, y.differs)
			t.Logf("%d points, broken in %d ways", len(all), len(list))
			var ways sync.WaitGroup
			defer ways.Wait()
			for _, b := range list {
				places <- struct{}{}
				ways.Go(func() {
					defer func() { <-places }()
					t.Run(b.String(), func(t *testing.T) { newScene(t, d, pg.Database, y.story).breaks(b) })
				})
			}
		})
	}
}

// breaks plays the story with a worker that breaks.
func (s *scene) breaks(b breaking) {
	w := s.play(b)
	if b.action == "exit" {
		w.want(s.t, faultpoint.Killed, "broken at "+b.point)
	} else {
		w.find(s.t, "(broken at) "+regexp.QuoteMeta(b.point))
	}
	s.check()
}
