package workflows_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// stubborn is Temporal as it is to activities that wait for their cancellation, which the
// test environment ends at once: a call of "slow" ends some time after it was asked to.
type stubborn struct {
	interceptor.WorkerInterceptorBase
	takes time.Duration
}

type stubbornIn struct {
	interceptor.WorkflowInboundInterceptorBase
	takes time.Duration
}

type stubbornOut struct {
	interceptor.WorkflowOutboundInterceptorBase
	takes time.Duration
}

func (s *stubborn) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &stubbornIn{takes: s.takes}
	in.Next = next
	return in
}

func (s *stubbornIn) Init(next interceptor.WorkflowOutboundInterceptor) error {
	out := &stubbornOut{takes: s.takes}
	out.Next = next
	return s.Next.Init(out)
}

func (s *stubbornOut) ExecuteActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	f := s.Next.ExecuteActivity(ctx, activity, args...)
	if activity != "slow" {
		return f
	}
	late, set := workflow.NewFuture(ctx)
	free, cancel := workflow.NewDisconnectedContext(ctx)
	s.Next.Go(free, "slow", func(free workflow.Context) {
		defer cancel()
		ctx.Done().Receive(free, nil)
		_ = s.Next.NewTimer(free, s.takes).Get(free, nil)
		set.Chain(f)
	})
	return late
}

// TestRestoreStopsWhatRuns: what is under way is asked to stop and awaited, for ten
// minutes at most, before anything is saved or undone, and has no outcome.
func TestRestoreStopsWhatRuns(t *testing.T) {
	for name, tt := range map[string]struct {
		takes, after time.Duration
		pending      bool
	}{
		"soon":  {takes: 3 * time.Minute, after: 4 * time.Minute},
		"never": {takes: 5 * time.Hour, after: 11 * time.Minute, pending: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			p.stubborn = tt.takes
			var got answerOf
			var begun, ended time.Time
			p.begin = func(n int) {
				if n > 1 {
					return
				}
				begun = p.Now()
				p.restoreAfter(time.Minute, wflo.Restore{ID: "r1", WorkflowID: anywhere, To: wflo.RestorePoint{Snapshot: "here"}, By: "ann", Reason: "x", AcceptIrreversible: true}, &got)
				p.RegisterDelayedCallback(func() {
					if s := p.status(); s.State != wflo.StateRestoring || s.Restoring != "r1" {
						t.Errorf("while it waits: %s, restoring %q", s.State, s.Restoring)
					}
					if slices.Contains(p.did, "undo room") {
						t.Error("it undoes while an activity is under way")
					}
				}, 2*time.Minute)
			}
			err := p.run(func(ctx workflow.Context) error {
				if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
					return err
				}
				if err := book(ctx, "room"); err != nil {
					return err
				}
				if p.runs > 1 {
					ended = p.latestOf(wflo.SnapshotPreRestore).At
					return nil
				}
				slow := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 24 * time.Hour, WaitForCancellation: true})
				return workflow.ExecuteActivity(slow, "slow").Get(ctx, nil)
			})
			if err != nil || got.err != nil || got.rejected != nil || p.runs != 2 || !slices.Equal(p.did, []string{"room", "undo room", "room"}) {
				t.Fatalf("%v, %+v, %d runs, did %v", err, got, p.runs, p.did)
			}
			if took := ended.Sub(begun); took < tt.after || took > tt.after+time.Second {
				t.Errorf("it was saved %s after it began, want %s", took, tt.after)
			}
			pre := p.latestOf(wflo.SnapshotPreRestore)
			s, err := p.snapshot.Load(wflo.WithRun(t.Context(), pre.Run), pre.ID)
			if err != nil || slices.Contains(s.State.Pending, "g0/slow#1") != tt.pending ||
				slices.ContainsFunc(s.State.Outcomes, func(o step.Outcome) bool { return o.Key == "g0/slow#1" }) {
				t.Errorf("%v, pending %v of %+v", err, s.State.Pending, s.State.Outcomes)
			}
		})
	}
}

// latestOf is the latest snapshot of a kind.
func (p *past) latestOf(kind wflo.SnapshotKind) wflo.Snapshot {
	p.t.Helper()
	all, err := p.ledger.Recovery().ListSnapshots(p.t.Context(), activities.SnapshotQuery{Kind: kind})
	if err != nil || len(all) == 0 {
		p.t.Fatalf("no snapshot of the kind %s: %v", kind, err)
	}
	return all[0]
}

// decideAll approves what is open, every minute of the first ten.
func (p *past) decideAll() {
	for n := range 10 {
		p.RegisterDelayedCallback(func() {
			var gates []wflo.Gate
			v, err := p.QueryWorkflow(wflo.QueryGates)
			if err == nil {
				err = v.Get(&gates)
			}
			if err != nil {
				p.t.Error(err)
			}
			for _, g := range gates {
				if !g.Closed() {
					d := wflotest.Approve(g, "ann")
					d.At = p.Now()
					p.SignalWorkflow(wflo.SignalDecide, d)
				}
			}
		}, time.Duration(n+1)*time.Minute)
	}
}

// TestBoundApprovalsAfterARestore: an approval counts while what was done on it is kept.
// Else people are asked again, and also when the code asks something else.
func TestBoundApprovalsAfterARestore(t *testing.T) {
	ask := func(ctx workflow.Context, action string) error {
		_, err := workflows.RequireApproval(ctx, wflo.Approval{
			Gate: "pay", Action: action, Activity: "pay", Payload: []byte(`"order 17"`), Approvers: []string{"ann"}, Timeout: time.Hour,
		})
		return err
	}
	charge := func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		return workflow.ExecuteActivity(ctx, "pay", "order 17").Get(ctx, nil)
	}
	for name, tt := range map[string]struct {
		// order is what the code does: a asks, p pays, s takes the snapshot.
		order       string
		action      string // of the question after the restore
		asked, paid int
		conflict    string
	}{
		"used before":                     {order: "aps", asked: 1, paid: 1},
		"granted before, and used after":  {order: "asp", asked: 2, paid: 2},
		"granted after":                   {order: "sap", asked: 2, paid: 2},
		"granted before, asked otherwise": {order: "asp", action: "pay more", asked: 2, paid: 2},
		"used before, asked otherwise":    {order: "aps", action: "pay more", asked: 1, paid: 1, conflict: "activity g0/pay#1 was recorded and is not asked for; the code asks for [gate g0/wflo.gate/pay#1]"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			p.begin = func(int) { p.decideAll() }
			err := p.run(func(ctx workflow.Context) error {
				for _, what := range tt.order {
					var err error
					switch what {
					case 'a':
						action := "pay order 17"
						if p.runs > 1 && tt.action != "" {
							action = tt.action
						}
						err = ask(ctx, action)
					case 'p':
						err = charge(ctx)
					case 's':
						_, err = workflows.TakeSnapshot(ctx, "here")
					}
					if err != nil {
						return err
					}
				}
				if p.runs == 1 {
					return workflows.Restore(ctx, "here")
				}
				return nil
			})
			if tt.conflict == "" && err != nil || tt.conflict != "" && (err == nil || !strings.Contains(err.Error(), tt.conflict)) {
				t.Errorf("it ended with %v", err)
			}
			gates, err := p.ledger.Records().ListGates(t.Context(), activities.GateQuery{Closed: true})
			if err != nil || len(gates) != tt.asked || len(p.did) != tt.paid {
				t.Errorf("%v, asked %d times, want %d; paid %d times, want %d", err, len(gates), tt.asked, len(p.did), tt.paid)
			}
			if k := p.keys["order 17"]; len(k) == 2 && k[0] == k[1] {
				t.Error("two payments have one effect key")
			}
		})
	}
}

// TestMoneyStaysSpent over a restore, and what is answered from the journal is not spent
// again.
func TestMoneyStaysSpent(t *testing.T) {
	p := newPast(t)
	ask := func(ctx workflow.Context, text string) error {
		_, err := workflows.Ask(ctx, wflo.Prompt{Model: "m", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: text}}})
		return err
	}
	var seen []wflo.Money
	err := p.run(func(ctx workflow.Context) error {
		if err := ask(ctx, "before"); err != nil {
			return err
		}
		snap, err := workflows.TakeSnapshot(ctx, "here")
		if err != nil {
			return err
		}
		seen = append(seen, snap.Spent)
		if err := ask(ctx, "after"); err != nil || p.runs > 1 {
			return err
		}
		return workflows.Restore(ctx, "here")
	})
	if err != nil || !slices.Equal(p.did, []string{"before", "after", "after"}) {
		t.Fatalf("%v, did %v", err, p.did)
	}
	if s := p.status(); s.Spent != 6_000_000 || s.Calls != 3 || !slices.Equal(seen, []wflo.Money{2_000_000, 4_000_000}) {
		t.Errorf("spent %s in %d calls, the snapshot says %v", s.Spent, s.Calls, seen)
	}
	all, err := p.ledger.Recovery().ListRestores(t.Context(), "")
	if err != nil || len(all) != 1 || all[0].Plan.Spent != 2_000_000 || all[0].Plan.SpentTotal != 4_000_000 {
		t.Errorf("%v, the plan says %+v", err, all)
	}
}

// TestSignalsOfBranches: what branches next to each other receive they receive again,
// and a step that is not run again takes no signal that was not its own time's.
func TestSignalsOfBranches(t *testing.T) {
	p := newPast(t)
	var saw [][]string
	p.begin = func(n int) {
		for i := range 5 {
			if n == 1 {
				p.RegisterDelayedCallback(func() { p.SignalWorkflow("news", fmt.Sprint("s", i)) }, time.Duration(i+1)*time.Minute)
			}
		}
	}
	err := p.run(func(ctx workflow.Context) error {
		var heard []string
		news := workflow.GetSignalChannel(ctx, "news")
		hear := func(ctx workflow.Context, who string) string {
			var s string
			news.Receive(ctx, &s)
			heard = append(heard, who+" "+s)
			return s
		}
		all := workflow.NewWaitGroup(ctx)
		var failed error
		for _, who := range []string{"one", "two"} {
			all.Add(1)
			workflow.Go(ctx, func(ctx workflow.Context) {
				defer all.Done()
				_, err := workflows.Step(ctx, who, workflows.StepOptions{}, func(ctx workflow.Context) (string, error) {
					s := hear(ctx, who)
					if who == "two" { // it ends when a signal has come that nobody has received
						if err := workflow.Sleep(ctx, 150*time.Second); err != nil {
							return "", err
						}
					}
					return s, nil
				})
				if err != nil {
					failed = err
				}
			})
		}
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			hear(ctx, "plain")
		})
		all.Wait(ctx)
		if failed != nil {
			return failed
		}
		hear(ctx, "later")
		if _, err := workflows.TakeSnapshot(ctx, "here"); err != nil {
			return err
		}
		hear(ctx, "last")
		saw = append(saw, heard)
		if p.runs == 1 {
			return workflows.Restore(ctx, "here")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(saw[0][:3])
	if len(saw) != 2 || len(saw[0]) != 5 || saw[0][3] != "later s3" || saw[0][4] != "last s4" {
		t.Fatalf("the code heard %v", saw)
	}
	// The steps are not run again.
	if want := []string{"plain", "later s3", "last s4"}; len(saw[1]) != 3 || !strings.HasPrefix(saw[1][0], want[0]) || !slices.Equal(saw[1][1:], want[1:]) {
		t.Errorf("after the restore the code heard %v, before %v", saw[1], saw[0])
	}
}
