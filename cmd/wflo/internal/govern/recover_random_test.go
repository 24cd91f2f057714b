package govern

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/recovery"
	"github.com/wflo-ai/wflo-go/wflotest"
)

// storySeeds is how many stories are told; storySeedsEnv says FROM-TO instead, for one
// that failed or for a night.
const (
	storySeeds    = 24
	storySeedsEnv = "WFLO_STORIES"
	// storyPatience bounds one story; storyTimeout is the run timeout of those that time out.
	storyPatience = time.Minute
	storyTimeout  = 20 * time.Second
)

// befell counts what happened in all stories, so that a generator that has nothing happen
// does not pass for a proof.
type befell struct{ restored, forked, reopened, reset, ended, undone, dead, stories atomic.Int64 }

// TestStories has random agents live through random disturbances against a real server
// and a real store, and compares the world outside with what it has to be.
func TestStories(t *testing.T) {
	from, to := 1, storySeeds
	if s := os.Getenv(storySeedsEnv); s != "" {
		a, b, _ := strings.Cut(s, "-")
		var err, err2 error
		from, err = strconv.Atoi(a)
		to, err2 = strconv.Atoi(b)
		if err != nil || err2 != nil || to < from {
			t.Fatalf("%s is %q; say FROM-TO", storySeedsEnv, s)
		}
	}
	var sum befell
	t.Run("seed", func(t *testing.T) {
		turn := make(chan struct{}, 4)
		for seed := from; seed <= to; seed++ {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				t.Parallel()
				turn <- struct{}{}
				defer func() { <-turn }()
				tell(t, seed, &sum)
			})
		}
	})
	t.Logf("%d stories: %d restored in place, %d forked, %d reopened, %d reset, %d ended from outside; %d effects undone, %d dead letters",
		sum.stories.Load(), sum.restored.Load(), sum.forked.Load(), sum.reopened.Load(), sum.reset.Load(), sum.ended.Load(), sum.undone.Load(), sum.dead.Load())
	if os.Getenv(storySeedsEnv) == "" && !t.Failed() &&
		(sum.restored.Load() == 0 || sum.forked.Load() == 0 || sum.reopened.Load() == 0 || sum.reset.Load() == 0 || sum.ended.Load() == 0 || sum.undone.Load() == 0 || sum.dead.Load() == 0) {
		t.Error("something never happens in these stories")
	}
}

// telling is one story being told.
type telling struct {
	*world
	story story
	out   *outside
	back  *recovery.Client
	sum   *befell
	log   []string // what happened, in words
	// runs are the workflow ids that there are; done the pauses that have befallen each,
	// sent the signals that went out.
	runs []string
	done map[string]bool
	sent map[string]bool
	// approved are the nonces that a person approved, by the gate's label.
	approved map[string][]string
	// restores and resets count those of a workflow id that were done; ended says how
	// somebody ended it.
	restores, resets map[string]int
	ended            map[string]string
}

func tell(t *testing.T, seed int, sum *befell) {
	s := stories().Example(seed)
	defer func() {
		if t.Failed() {
			t.Logf("%s=%d-%d tells it again:\n%s", storySeedsEnv, seed, seed, s.words())
		}
	}()
	out := &outside{byKey: map[wflo.EffectKey]*charge{}}
	w := newWorld(t, config{
		plugin:   func(c *plugin.Config) { swept(c); c.DataDir, c.Database = t.TempDir(), "" },
		register: func(r worker.Registry) { registerStory(r, out) },
	})
	g := &telling{
		world: w, story: s, out: out, sum: sum, back: recovery.New(recovery.Config{Client: w.Client}), done: map[string]bool{}, sent: map[string]bool{},
		approved: map[string][]string{}, restores: map[string]int{}, resets: map[string]int{}, ended: map[string]string{},
	}
	defer func() {
		if t.Failed() {
			t.Logf("what happened:\n  %s", strings.Join(g.log, "\n  "))
		}
	}()
	sum.stories.Add(1)
	id := fmt.Sprintf("story-%d", seed)
	g.runs = []string{id}
	g.begin(id)
	g.live(id)
	if s.After.Kind != "" {
		g.reopen(id)
	}
	for _, fork := range slices.Clone(g.runs[1:]) {
		g.live(fork)
	}
	g.settle()
	g.check()
}

func registerStory(r worker.Registry, out *outside) {
	r.RegisterWorkflowWithOptions(tellStory, workflow.RegisterOptions{Name: storyteller})
	out.register(r)
}

func (g *telling) say(format string, args ...any) {
	g.log = append(g.log, fmt.Sprintf(format, args...))
}

func (g *telling) begin(id string) {
	opts := client.StartWorkflowOptions{ID: id, TaskQueue: g.queue, WorkflowTaskTimeout: 5 * time.Second}
	if slices.ContainsFunc(befallings(g.story.Pauses), func(d disturbance) bool { return d.Kind == befallTimeout }) {
		opts.WorkflowRunTimeout = storyTimeout
	}
	if _, err := g.ExecuteWorkflow(wflo.WithRun(g.t.Context(), wflo.Run{User: "ann", Org: "acme"}), opts, storyteller, g.story.Ops); err != nil {
		g.t.Fatalf("start %s: %v", id, err)
	}
}

func befallings(m map[string]disturbance) []disturbance {
	var all []disturbance
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// live accompanies a run to its end.
func (g *telling) live(id string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), storyPatience)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		if ctx.Err() != nil {
			g.t.Fatalf("%s comes to no end: %s", id, g.stack(id))
		}
		d, err := g.DescribeWorkflowExecution(ctx, id, "")
		if err != nil {
			if ctx.Err() != nil {
				continue
			}
			g.t.Fatalf("describe %s: %v", id, err)
		}
		if d.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			g.say("%s ends: %s", id, d.GetWorkflowExecutionInfo().GetStatus())
			return
		}
		runID := d.GetWorkflowExecutionInfo().GetExecution().GetRunId()
		g.approve(ctx, id)
		for _, p := range g.waits(ctx, id) {
			if g.befalls(ctx, id, p) {
				break
			}
			if key := runID + p; !g.sent[key] {
				g.sent[key] = true
				g.say("%s goes on from %s", id, p)
				if err := g.SignalWorkflow(ctx, id, runID, signalGo+p, nil); err != nil {
					g.sent[key] = false // it has another run by now
				}
			}
		}
	}
}

// stack is what a run that hangs does.
func (g *telling) stack(id string) string {
	var s wflo.Status
	v, err := g.QueryWorkflow(g.t.Context(), id, "", wflo.QueryStatus)
	if err == nil {
		err = v.Get(&s)
	}
	var trace string
	if v, err := g.QueryWorkflow(g.t.Context(), id, "", client.QueryTypeStackTrace); err == nil {
		_ = v.Get(&trace)
	}
	var page step.StatePage
	var knows []string
	if v, err := g.QueryWorkflow(g.t.Context(), id, "", wflo.QueryState, step.PageQuery{}); err == nil && v.Get(&page) == nil {
		for _, o := range page.State.Outcomes {
			knows = append(knows, fmt.Sprintf("%d %s %s in %q", o.Seq, o.Kind, o.Key, o.In))
		}
	}
	return fmt.Sprintf("it is %s, doing %q (%v)\nits journal:\n%s\n%s", s.State, s.Doing, err, strings.Join(knows, "\n"), trace)
}

// waits are the pauses that the run is at.
func (g *telling) waits(ctx context.Context, id string) (all []string) {
	v, err := g.QueryWorkflow(ctx, id, "", queryPauses)
	if err != nil || v.Get(&all) != nil {
		return nil
	}
	slices.Sort(all)
	return all
}

// approve is the person who approves what is asked.
func (g *telling) approve(ctx context.Context, id string) {
	v, err := g.QueryWorkflow(ctx, id, "", wflo.QueryStatus)
	var s wflo.Status
	if err != nil || v.Get(&s) != nil {
		return
	}
	for _, gate := range s.Gates {
		label := labelOf(id, gate.Approval.Gate)
		if gate.Status != wflo.GateOpen || slices.Contains(g.approved[label], gate.Nonce) {
			continue
		}
		if err := g.SignalWorkflow(ctx, id, "", wflo.SignalDecide, wflotest.Approve(gate, "bob")); err != nil {
			continue
		}
		g.approved[label] = append(g.approved[label], gate.Nonce)
		g.say("%s: %s is approved", id, gate.Approval.Gate)
	}
}

// befalls does to the run what the story says of a pause, once for each run.
func (g *telling) befalls(ctx context.Context, id, pause string) bool {
	d := g.story.Pauses[pause]
	key := id + "@" + pause
	fork := d.Kind == befallRestore && d.Mode == wflo.RestoreFork
	if d.Kind == nothingBefalls || g.done[key] || fork && id != g.runs[0] { // or forks would have forks for ever
		return false
	}
	g.done[key] = true
	g.say("%s is at %s: %s", id, pause, d.words())
	switch d.Kind {
	case befallSnapshot:
		g.tolerate(func() error {
			_, err := g.back.Snapshot(ctx, id, wflo.SnapshotOrder{Name: "by hand", By: "bob"})
			return err
		}())
	case befallRestore:
		g.restore(ctx, id, d)
	case befallCancel:
		g.ended[id] = d.Kind
		g.must("cancel", g.CancelWorkflow(ctx, id, ""))
		g.sum.ended.Add(1)
	case befallKill:
		g.ended[id] = d.Kind
		g.must("terminate", g.TerminateWorkflow(ctx, id, "", "an operator"))
		g.sum.ended.Add(1)
	case befallTimeout:
		g.ended[id] = d.Kind
		g.awaitEnd(ctx, id)
		g.sum.ended.Add(1)
	case befallReset:
		g.reset(g.GetWorkflow(ctx, id, g.currentRun(ctx, id)))
		g.resets[id]++
		g.sum.reset.Add(1)
	case befallWorker:
		g.worker.Stop()
		g.again()
	}
	return true
}

func (g *telling) must(what string, err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatalf("%s: %v", what, err)
	}
}

// tolerate lets pass that the runtime refuses something for a reason that it names.
func (g *telling) tolerate(err error) bool {
	g.t.Helper()
	switch {
	case err == nil:
		return true
	case wflo.CodeOf(err) == wflo.CodeConflict || wflo.CodeOf(err) == wflo.CodeInvalid:
		g.say("  it is refused: %v", err)
		return false
	}
	g.t.Errorf("it failed without a reason: %v", err)
	return false
}

func (g *telling) currentRun(ctx context.Context, id string) string {
	g.t.Helper()
	d, err := g.DescribeWorkflowExecution(ctx, id, "")
	g.must("describe", err)
	return d.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}

func (g *telling) awaitEnd(ctx context.Context, id string) {
	g.t.Helper()
	err := g.GetWorkflow(ctx, id, "").Get(ctx, nil)
	if ctx.Err() != nil {
		g.t.Fatalf("%s did not end: %v", id, err)
	}
}

// again starts another worker with the same plugin.
func (g *telling) again() {
	g.t.Helper()
	g.worker = worker.New(g.Client, g.queue, worker.Options{WorkerStopTimeout: time.Second})
	registerStory(g.worker, g.out)
	start(g.t, g.worker)
}

// point is where a restore goes; ok is false where the run has no snapshot.
func (g *telling) point(ctx context.Context, id string, d disturbance) (p wflo.RestorePoint, ok bool) {
	g.t.Helper()
	all, err := g.guard.Recovery().ListSnapshots(ctx, activities.SnapshotQuery{WorkflowID: id})
	g.must("list snapshots", err)
	all = slices.DeleteFunc(all, func(s wflo.Snapshot) bool { return s.Kind == wflo.SnapshotPreRestore })
	if len(all) == 0 {
		return p, false
	}
	s := all[min(d.Back, len(all)-1)]
	if d.At {
		return wflo.RestorePoint{Time: s.At}, true
	}
	return wflo.RestorePoint{Snapshot: s.ID}, true
}

func (g *telling) restore(ctx context.Context, id string, d disturbance) {
	g.t.Helper()
	to, ok := g.point(ctx, id, d)
	if !ok {
		g.say("  there is no snapshot")
		return
	}
	r := wflo.Restore{
		ID: recovery.NewID(), WorkflowID: id, To: to, Mode: d.Mode, By: "bob", Reason: "a story", AcceptIrreversible: true,
	}
	if d.Mode == wflo.RestoreFork {
		r.NewID = fmt.Sprintf("%s-fork-%d", id, len(g.runs))
	}
	out, err := g.back.Do(ctx, r)
	if !g.tolerate(err) {
		return
	}
	g.say("  it is %s, into %s", out.State, out.Into)
	switch out.Plan.Mode {
	case wflo.RestoreFork:
		g.runs = append(g.runs, r.NewID)
		g.sum.forked.Add(1)
	case wflo.RestoreReopen:
		g.restores[id]++
		g.sum.reopened.Add(1)
	default:
		g.restores[id]++
		g.sum.restored.Add(1)
	}
}

// reopen goes on with a run that has ended.
func (g *telling) reopen(id string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), storyPatience)
	defer cancel()
	before := g.restores[id]
	g.say("%s has ended: %s", id, g.story.After.words())
	g.restore(ctx, id, g.story.After)
	if g.restores[id] == before {
		return
	}
	delete(g.ended, id)
	g.live(id)
}

// settle waits until nobody has anything left to do.
func (g *telling) settle() {
	g.t.Helper()
	eventually(g.t, "the end of all compensations", func() bool { return len(g.left()) == 0 })
}

// left are the compensations of the story that have not ended.
func (g *telling) left() (left []wflo.CompensationRecord) {
	g.t.Helper()
	for _, r := range g.rows() {
		if !r.State.Ended() && r.State != wflo.CompensationDead {
			left = append(left, r)
		}
	}
	return left
}

func (g *telling) rows() []wflo.CompensationRecord {
	g.t.Helper()
	rows, err := g.guard.Recovery().ListCompensations(g.t.Context(), activities.CompensationQuery{Limit: 1000})
	g.must("list compensations", err)
	return rows
}

var errNotEnded = errors.New("it has not ended")

// ending is how the latest run of a workflow id ended, with what it knows to stand.
func (g *telling) ending(id string) (got []string, status enumspb.WorkflowExecutionStatus, err error) {
	g.t.Helper()
	d, err := g.DescribeWorkflowExecution(g.t.Context(), id, "")
	g.must("describe", err)
	status = d.GetWorkflowExecutionInfo().GetStatus()
	if status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return nil, status, errNotEnded
	}
	err = g.GetWorkflow(g.t.Context(), id, "").Get(g.t.Context(), &got)
	return got, status, err
}
