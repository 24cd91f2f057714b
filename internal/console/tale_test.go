package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// tale is the story of every run, as a test tells it.
type tale struct {
	mu      sync.Mutex
	head    story.Head
	rows    []story.Row
	details map[string]story.Detail
	err     error
	queries []story.Query
	// listeners are the event streams that are open.
	listeners map[chan string]bool
	joined    chan struct{} // gets one for each stream that begins
}

func newTale() *tale {
	return &tale{details: map[string]story.Detail{}, listeners: map[chan string]bool{}, joined: make(chan struct{}, 16)}
}

// Head implements teller.
func (s *tale) Head(_ context.Context, id, _ string) (story.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := s.head
	head.WorkflowID = id
	return head, s.err
}

// Rows implements teller: a cursor is the number of rows before it.
func (s *tale) Rows(_ context.Context, q story.Query) (story.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, q)
	var of []story.Row
	for _, r := range s.rows {
		if len(q.Kinds) == 0 || slices.Contains(q.Kinds, r.Kind) {
			of = append(of, r)
		}
	}
	from, limit := 0, cmp.Or(q.Limit, 200)
	if q.After != "" {
		if _, err := fmt.Sscan(q.After, &from); err != nil || from > len(of) {
			return story.Page{}, wflo.Invalid("after", "is not one of ours", "begin again")
		}
	}
	if q.Latest {
		from = max(0, len(of)-limit)
	}
	to := min(from+limit, len(of))
	p := story.Page{Rows: of[from:to], Open: s.head.Closed.IsZero()}
	for _, r := range of[:from] {
		if slices.ContainsFunc(p.Rows, func(c story.Row) bool { return c.Parent == r.ID }) {
			p.Parents = append(p.Parents, r)
		}
	}
	if to < len(of) || p.Open {
		p.Next = fmt.Sprint(to)
	}
	return p, s.err
}

// Detail implements teller.
func (s *tale) Detail(_ context.Context, _, _, row string) (story.Detail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, there := s.details[row]
	if !there {
		return d, &absent{"no such row", "load the run again"}
	}
	return d, nil
}

// change changes the story and tells whoever listens that there is something new.
func (s *tale) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	for c := range s.listeners {
		c <- "event: rows\ndata: {}\n\n"
	}
}

// events is a stream as the API gives it.
func (s *tale) events(w http.ResponseWriter, r *http.Request) {
	c := make(chan string, 100)
	s.mu.Lock()
	s.listeners[c] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, c)
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(time.Time{})
	_ = out.Flush()
	select {
	case s.joined <- struct{}{}:
	default: // nobody waits for it
	}
	for {
		select {
		case event := <-c:
			fmt.Fprint(w, event)
			_ = out.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// taleStart is when the run of someTale began.
func taleStart() time.Time { return time.Now().UTC().Truncate(time.Second).Add(-3 * time.Minute) }

// someTale has a row of every kind that a page shows in a way of its own.
func someTale() *tale {
	s, at := newTale(), taleStart()
	after := func(ms int) time.Time { return at.Add(time.Duration(ms) * time.Millisecond) }
	s.head = story.Head{
		RunID: "0192-run", FirstRunID: "first", Workflow: "RefundAgent", TaskQueue: "refunds", Namespace: "default", State: wflo.StateWaiting, Status: "Running",
		Why: "It waits for 1 of 1 approvals of refunds: refund order 17", Next: "wflo approve run-n1", Run: wflo.Run{User: "eve", Team: "support", Org: ""}, Started: at,
		Risk: string(wflo.RiskHigh), Spend: wflo.Spend{Budget: "run:run-n1/first", Limit: wflo.USD, Spent: 31 * wflo.Cent, Reserved: 12 * wflo.Cent}, Calls: 3, Steps: 4,
		Undo: map[wflo.CompensationState]int{wflo.CompensationExecuted: 1}, Bundle: fmt.Sprintf("%064d", 7), TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	}
	model := func(id, parent string, from, to int, in, out int64, cost wflo.Money) story.Row {
		return story.Row{ID: id, Parent: parent, Kind: story.KindModel, Name: "openai/gpt-5.4", State: story.StateDone, Start: after(from), Began: after(from + 300), End: after(to), Attempts: 1, RunID: "0192-run", EventID: 9,
			Model: &story.Model{Provider: "openai", Model: "gpt-5.4", State: wflo.HoldSettled, Usage: wflo.Usage{Input: in, Output: out}, Amount: cost}}
	}
	s.rows = []story.Row{
		{ID: "r1", Kind: story.KindRun, Name: "RefundAgent began", State: story.StateDone, Start: after(0), End: after(0), RunID: "0192-run", EventID: 1},
		{ID: "s1", Kind: story.KindStep, Name: "look up the order", Step: "lookup#1", State: story.StateDone, Start: after(800), Began: after(900), End: after(11_000), RunID: "0192-run", EventID: 5},
		model("m1", "s1", 1_000, 6_500, 1_204, 312, 11*wflo.Cent),
		{ID: "t1", Parent: "s1", Kind: story.KindTool, Name: "orders.find", State: story.StateDone, Start: after(6_600), Began: after(6_700), End: after(7_900), Attempts: 1, RunID: "0192-run"},
		model("m2", "s1", 8_000, 10_900, 2_310, 198, 14*wflo.Cent),
		{ID: "k1", Kind: story.KindSnapshot, Name: "before check the numbers", State: story.StateDone, Start: after(11_100), End: after(12_000), RunID: "0192-run", Snapshot: &story.Snapshot{ID: snapA, Kind: wflo.SnapshotAuto, Bytes: 4 << 20}},
		{ID: "s2", Kind: story.KindStep, Name: "check the numbers", Step: "check#1", State: story.StateDone, Start: after(12_100), Began: after(12_200), End: after(61_000), RunID: "0192-run"},
		{ID: "b1", Parent: "s2", Kind: story.KindSandbox, Name: "python check.py", State: story.StateFailed, Start: after(12_300), Began: after(13_100), End: after(42_000), Attempts: 2, Error: "exit code 3: total does not match", RunID: "0192-run",
			Sandbox: &story.Sandbox{Outcome: "nonzero", ExitCode: 3, Image: "python:3.13@sha256:0f3c", Runtime: "runc", Network: "none", Took: 28 * time.Second, CPU: 3 * time.Second, Memory: 91 << 20,
				Profiles: map[string]string{"seccomp": "in force", "apparmor": "in force"}, Limits: map[string]string{"memory": "512 MiB", "pids": "128"}, Changed: 2, Stdout: 40 << 20, Stderr: 120}},
		{ID: "p1", Parent: "s2", Kind: story.KindPolicy, Name: "large refunds", State: story.StateDone, Start: after(42_500), End: after(42_500), RunID: "0192-run", Policy: &story.Policy{Verdict: "approval", Rules: []string{"large-refunds"}, Inputs: json.RawMessage(`{"cost":"25.00","operation":"refund"}`)}},
		{ID: "c1", Kind: story.KindCompensation, Name: "undo the reservation", State: story.StateUndone, Start: after(61_100), Began: after(61_900), End: after(63_000), RunID: "0192-run"},
		{ID: "g1", Kind: story.KindApproval, Name: "refunds", State: story.StateWaiting, Start: after(64_000), Summary: "refund order 17", RunID: "0192-run", Gate: &story.Gate{Nonce: "n1", Status: wflo.GateOpen, Risk: "high"}},
	}
	for _, r := range s.rows {
		s.details[r.ID] = story.Detail{Row: r}
	}
	box := s.details["b1"]
	box.Input = &story.Content{Text: `{"argv":["python","check.py"],"files":{"check.py":"print(1)"}}`, Size: 62}
	box.Stdout = &story.Content{Text: "row 1 ok\nrow 2 differs\n", Size: 40 << 20, Cut: true}
	box.Stderr = &story.Content{Text: "Traceback (most recent call last):\n  AssertionError: total does not match\n", Size: 72}
	box.Files, box.Trace = []string{"out/report.md", "out/rows.csv"}, "exit code 3\nat check.py:12"
	s.details["b1"] = box
	return s
}

// telling is an office whose runs have the story, with its events.
func telling(t *testing.T, s *tale, change func(*Config)) *office {
	t.Helper()
	return newOffice(t, func(c *Config) {
		c.tells = s
		c.Links = Links{Temporal: "http://127.0.0.1:8233/namespaces/{namespace}/workflows/{workflow_id}/{run_id}", Trace: "https://jaeger.example.com/trace/{trace_id}"}
		if change != nil {
			change(c)
		}
	})
}

// gates puts the open gates of the office's runs into the head, as the teller does.
func (s *tale) gates(all ...wflo.Gate) { s.head.Gates = all }
