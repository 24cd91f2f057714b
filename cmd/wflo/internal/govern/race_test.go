package govern

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
)

// rounds are how often two things race. Each is a run of its own.
const rounds = 30

// race starts a run for each round, has both sides act on its gate at the same
// instant, and waits for its end.
func (w *world) race(ask func(line string) order, sides ...func(run client.WorkflowRun, g wflo.Gate) bool) []raced {
	w.t.Helper()
	out := make([]raced, rounds)
	var all sync.WaitGroup
	for i := range out {
		line := fmt.Sprint("round ", i)
		run := w.startAs(fmt.Sprintf("%s-%d", w.queue, i), wflo.Run{}, guardedWorkflow, ask(line))
		g := w.gate(run, 1)
		out[i] = raced{line: line, run: run, counted: make([]bool, len(sides))}
		start := make(chan struct{})
		for k, side := range sides {
			all.Go(func() {
				<-start
				out[i].counted[k] = side(run, g)
			})
		}
		close(start)
	}
	all.Wait()
	lines := func() []string { l, _ := w.did(); return l }
	for i := range out {
		out[i].err = w.wait(out[i].run, nil)
		out[i].gate = w.status(out[i].run).Gates[0]
	}
	for i := range out {
		for _, l := range lines() {
			if l == out[i].line {
				out[i].ran++
			}
		}
	}
	return out
}

// raced is how one round ended.
type raced struct {
	line    string
	run     client.WorkflowRun
	counted []bool // whose decision was taken
	gate    wflo.Gate
	err     error
	ran     int // how often the action ran
}

func (w *world) sends(d func(g wflo.Gate) wflo.Decision) func(client.WorkflowRun, wflo.Gate) bool {
	return func(run client.WorkflowRun, g wflo.Gate) bool {
		_, err := w.decide(run, "", d(g))
		return err == nil
	}
}

// outcomes counts rounds by how their gate ended, for the log.
func outcomes(all []raced) map[wflo.GateStatus]int {
	n := map[wflo.GateStatus]int{}
	for _, r := range all {
		n[r.gate.Status]++
	}
	return n
}

// check holds every round to the one rule: the action ran, once, exactly where its
// gate ended as approved, and the run says the same.
func check(t *testing.T, all []raced) {
	t.Helper()
	for _, r := range all {
		approved := r.gate.Status == wflo.GateApproved
		if approved != (r.ran == 1) || r.ran > 1 || approved != (r.err == nil) {
			t.Errorf("%s: gate %s, the action ran %d times, the run ended with %v", r.line, r.gate.Status, r.ran, r.err)
		}
	}
	t.Logf("%d rounds: %v", len(all), outcomes(all))
}

// TestApproveAgainstRejectAtTheSameInstant has one winner in every round: a rejection
// that is second takes the approval back, or comes too late and says so.
func TestApproveAgainstRejectAtTheSameInstant(t *testing.T) {
	w, n := guardedWorld(t, nil)
	all := w.race(func(line string) order { return order{Approval: deletion(line, nil)} },
		w.sends(func(g wflo.Gate) wflo.Decision { return n.approve(g, "ann") }),
		w.sends(func(g wflo.Gate) wflo.Decision { return n.reject(g, "ben") }))
	check(t, all)
	for _, r := range all {
		denied := r.gate.Status == wflo.GateRejected || r.gate.Status == wflo.GateRevoked
		if r.counted[1] != denied {
			t.Errorf("%s: the rejection counted %v, and the gate is %s", r.line, r.counted[1], r.gate.Status)
		}
		if !r.counted[0] && !r.counted[1] {
			t.Errorf("%s: neither counted", r.line)
		}
	}
}

// TestManyApproversAtTheSameInstant needs three of five, who click at once, each of
// them twice: the action runs once.
func TestManyApproversAtTheSameInstant(t *testing.T) {
	w, n := guardedWorld(t, nil)
	people := []string{"ann", "ben", "cat", "dan", "eve"}
	var sides []func(client.WorkflowRun, wflo.Gate) bool
	for _, p := range slices.Concat(people, people) {
		sides = append(sides, w.sends(func(g wflo.Gate) wflo.Decision { return n.approve(g, p) }))
	}
	all := w.race(func(line string) order {
		return order{Approval: deletion(line, func(a *wflo.Approval) { a.Approvers, a.Quorum = people, 3 })}
	}, sides...)
	check(t, all)
	for _, r := range all {
		taken := 0
		for _, c := range r.counted {
			if c {
				taken++
			}
		}
		if r.gate.Status != wflo.GateApproved || taken != 3 || len(r.gate.Votes) != 3 {
			t.Errorf("%s: gate %s, %d decisions counted, %d votes", r.line, r.gate.Status, taken, len(r.gate.Votes))
		}
	}
}

// TestApproveAgainstTheTimer approves when the time is up, a little before in some
// rounds and a little after in others.
func TestApproveAgainstTheTimer(t *testing.T) {
	w, n := guardedWorld(t, nil)
	round := 0
	var mu sync.Mutex
	all := w.race(func(line string) order {
		return order{Approval: deletion(line, func(a *wflo.Approval) { a.Timeout = time.Second })}
	}, func(run client.WorkflowRun, g wflo.Gate) bool {
		mu.Lock()
		off := time.Duration(round-rounds*2/3) * 2 * time.Millisecond
		round++
		mu.Unlock()
		<-time.After(time.Until(g.ExpiresAt.Add(off)))
		_, err := w.decide(run, "", n.approve(g, "ann"))
		return err == nil
	})
	check(t, all)
	for _, r := range all {
		if approved := r.gate.Status == wflo.GateApproved; approved != r.counted[0] {
			t.Errorf("%s: the approval counted %v, and the gate is %s", r.line, r.counted[0], r.gate.Status)
		}
		if r.gate.Status == wflo.GateApproved && r.gate.ClosedAt.After(r.gate.ExpiresAt) {
			t.Errorf("%s: approved %s after its time was up", r.line, r.gate.ClosedAt.Sub(r.gate.ExpiresAt))
		}
	}
}

// TestRejectionAgainstTheStartOfTheAction lets a rejection race with the activity that
// acts on the approval: either it ran, or it was denied, and never both.
func TestRejectionAgainstTheStartOfTheAction(t *testing.T) {
	for name, bySignal := range map[string]bool{"by update": false, "by signal": true} {
		t.Run(name, func(t *testing.T) {
			w, n := guardedWorld(t, nil)
			var approved [rounds]sync.WaitGroup
			round := func(run client.WorkflowRun) *sync.WaitGroup {
				i, _ := strconv.Atoi(run.GetID()[len(w.queue)+1:])
				return &approved[i]
			}
			for i := range approved {
				approved[i].Add(1)
			}
			all := w.race(func(line string) order { return order{Approval: deletion(line, nil), Then: "act"} },
				func(run client.WorkflowRun, g wflo.Gate) bool {
					defer round(run).Done()
					_, err := w.decide(run, "", n.approve(g, "ann"))
					return err == nil
				},
				func(run client.WorkflowRun, _ wflo.Gate) bool {
					round(run).Wait()
					return w.SignalWorkflow(w.t.Context(), run.GetID(), "", "act", nil) == nil
				},
				func(run client.WorkflowRun, g wflo.Gate) bool {
					no := n.reject(g, "ben")
					round(run).Wait()
					if bySignal { // it may find the run gone
						return w.SignalWorkflow(w.t.Context(), run.GetID(), "", wflo.SignalDecide, no) == nil
					}
					_, err := w.decide(run, "", no)
					return err == nil
				})
			check(t, all)
			for _, r := range all {
				if !bySignal && r.counted[2] != (r.gate.Status == wflo.GateRevoked) {
					t.Errorf("%s: the rejection counted %v, and the gate is %s", r.line, r.counted[2], r.gate.Status)
				}
				if r.gate.Status != wflo.GateApproved && r.gate.Status != wflo.GateRevoked {
					t.Errorf("%s: gate %s", r.line, r.gate.Status)
				}
			}
		})
	}
}
