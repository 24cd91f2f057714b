package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// teller stands for the API of a worker that tells one run's story.
type teller struct {
	head story.Head
	rows []story.Row
	// most bounds a page, whatever the limit.
	most int
	// children are the rows of other runs.
	children map[string][]story.Row

	mu     sync.Mutex
	asked  []string // request lines
	events http.HandlerFunc
}

// serves starts the API and points the command line at it.
func (s *teller) serves(t *testing.T) *fakeTemporal {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/runs/{id}/head", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, func() any { return s.head })
	})
	mux.HandleFunc("GET /api/v1/runs/{id}/rows", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, func() any { return s.page(r) })
	})
	mux.HandleFunc("GET /api/v1/runs/{id}/events", func(w http.ResponseWriter, r *http.Request) {
		if s.events == nil {
			http.NotFound(w, r)
			return
		}
		s.events(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &fakeTemporal{api: server.URL}
}

func (s *teller) answer(w http.ResponseWriter, r *http.Request, value func() any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.URL.RequestURI())
	var v any
	if _, child := s.children[r.PathValue("id")]; child || r.PathValue("id") == s.head.WorkflowID {
		v = value()
	} else {
		w.WriteHeader(http.StatusNotFound)
		v = console.Problem{Message: "there is no run " + r.PathValue("id"), Hint: "see: wflo list"}
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

// page is one as the API's contract has it: cursors are the number of rows before.
func (s *teller) page(r *http.Request) story.Page {
	q := r.URL.Query()
	rows := s.rows
	if below, ok := s.children[r.PathValue("id")]; ok {
		rows = below
	}
	rows = slices.DeleteFunc(slices.Clone(rows), func(row story.Row) bool {
		return len(q["kind"]) > 0 && !slices.Contains(q["kind"], string(row.Kind))
	})
	limit, _ := strconv.Atoi(q.Get("limit"))
	if s.most > 0 {
		limit = min(limit, s.most)
	}
	from, _ := strconv.Atoi(q.Get("after"))
	if q.Get("latest") != "" {
		from = max(len(rows)-limit, 0)
	}
	to := min(from+limit, len(rows))
	p := story.Page{Rows: rows[from:to], Open: s.head.Closed.IsZero()}
	for _, row := range rows[:from] {
		if slices.ContainsFunc(p.Rows, func(c story.Row) bool { return c.Parent == row.ID }) {
			p.Parents = append(p.Parents, row)
		}
	}
	if to < len(rows) || p.Open {
		p.Next = strconv.Itoa(to)
	}
	return p
}

// began is when the story of these tests begins.
var began = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }

// refundStory is a run that asked a model, ran a program that failed once, and waits.
func refundStory() *teller {
	return &teller{
		head: story.Head{
			WorkflowID: "refund-1", RunID: "r-2", FirstRunID: "r-1", Workflow: "example.Refund", TaskQueue: "wflo", Namespace: "default",
			State: wflo.StateFailed, Status: "failed", Why: "step pay failed: the bank said no", Next: "wflo compensations list --run refund-1",
			Run: wflo.Run{User: "ann", Team: "billing"}, Started: began, Closed: at(20),
			Spend: wflo.Spend{Budget: "run:r-1", Limit: wflo.USD, Spent: 120 * wflo.Cent / 100, Reserved: wflo.Cent}, Calls: 1,
			Undo:      map[wflo.CompensationState]int{wflo.CompensationDead: 1, wflo.CompensationDone: 2},
			Snapshots: []wflo.SnapshotRef{{ID: "s1", Name: "before-pay"}},
			Gates:     []wflo.Gate{{ID: "refunds", WorkflowID: "refund-1", Status: wflo.GateOpen, Approval: wflo.Approval{Gate: "refunds", Action: "Refund 12 EUR"}}},
			Error:     "the bank said no", Hint: "ask the bank", Code: "wflo.Invalid", Steps: 2, Events: 40, TraceID: strings.Repeat("ab", 16),
		},
		rows: []story.Row{
			{ID: "run", Kind: story.KindRun, Name: "example.Refund", State: story.StateFailed, Start: began, End: at(20), RunID: "r-1", EventID: 1},
			{ID: "s1", Parent: "run", Kind: story.KindStep, Name: "find", State: story.StateDone, Start: began, Began: at(0.5), End: at(8), RunID: "r-1", EventID: 5},
			{ID: "m1", Parent: "s1", Kind: story.KindModel, Name: "gpt-5.4-mini", State: story.StateDone, Start: at(1), Began: at(1.5), End: at(3), RunID: "r-1", EventID: 6,
				Model: &story.Model{Provider: "openai", Model: "gpt-5.4-mini", Usage: wflo.Usage{Input: 1200, Output: 300}, Amount: 120 * wflo.Cent / 100}},
			{ID: "b1", Parent: "s1", Kind: story.KindSandbox, Name: "python", State: story.StateDone, Start: at(2), Began: at(4), End: at(8), Attempts: 2, RunID: "r-1", EventID: 9,
				Sandbox: &story.Sandbox{Outcome: "ok", Changed: 3}},
			{ID: "g1", Parent: "run", Kind: story.KindApproval, Name: "refunds", State: story.StateDone, Start: at(8), End: at(15), RunID: "r-1", EventID: 20,
				Gate: &story.Gate{Status: wflo.GateApproved, By: []string{"bob"}}},
			{ID: "s2", Parent: "run", Kind: story.KindStep, Name: "pay", State: story.StateFailed, Start: at(15), End: at(20), Effect: wflo.EffectIrreversible, RunID: "r-1", EventID: 30},
			{ID: "a1", Parent: "s2", Kind: story.KindActivity, Name: "bank.Pay", State: story.StateFailed, Start: at(15), Began: at(16), End: at(20), Attempts: 3,
				Error: "the bank said no", Hint: "ask the bank", Worker: "w@host", RunID: "r-1", EventID: 31},
		},
	}
}

// The screen says what happened, why, and what to type next.
func TestDebug(t *testing.T) {
	s := refundStory()
	s.head.Started, s.head.Note = time.Now().Add(-time.Hour), "the worker does not answer"
	invoke(t, s.serves(t), "debug", "refund-1").want(t, 0, []string{
		"state      failed\n", "why        step pay failed: the bank said no\n", "next       wflo compensations list --run refund-1\n",
		"error      the bank said no [wflo.Invalid]\n", "hint       ask the bank\n",
		"spent      $0.012, $0.01 reserved, of $1.00 [", "undo       1 dead letter, which a person must settle, 2 compensated\n", "snapshots  before-pay\n",
		"gate  refunds: Refund 12 EUR\n", "whole      wflo approvals show refunds --run refund-1\n", "wflo approve refunds --run refund-1\n",
		"\nWhat happened\n✗ run example.Refund", "├─✓ step find", "│ ├─✓ model gpt-5.4-mini  2s  $0.012  1200→300 tokens\n", "│ └─✓ sandbox python  6s  try 2, ok, 3 files changed\n",
		"├─✓ approval refunds  7s  approved, by bob\n", "└─✗ step pay  5s  failed, irreversible\n", "  └─✗ bank.Pay  5s  failed, try 3\n      the bank said no\n      hint: ask the bank\n",
	}, []string{"note: the worker does not answer"})
	r := invoke(t, s.serves(t), "debug", "refund-1", "-o", "json", "--last", "1")
	var acc account
	if err := json.Unmarshal([]byte(r.out), &acc); err != nil || acc.Head.Why == "" || acc.Read != 7 {
		t.Fatalf("%v: %+v", err, acc)
	}
	// Not the step that went well, nor its model call, nor the gate.
	if ids := idsOf(acc.Rows); ids != "run s1 b1 s2 a1" {
		t.Errorf("rows %s", ids)
	}
	invoke(t, s.serves(t), "debug", "refund-1", "--jq", ".head.next, (.rows | length)").want(t, 0, []string{"wflo compensations list --run refund-1\n7\n"}, nil)
	invoke(t, s.serves(t), "debug", "other").want(t, ExitError, nil, []string{"there is no run other", "hint: see: wflo list"})
	invoke(t, s.serves(t), "debug", "refund-1", "--last", "0").want(t, ExitUsage, nil, []string{"--last is 0"})
	invoke(t, &fakeTemporal{}, "debug", "refund-1").want(t, ExitError, nil, []string{"no worker's API answers"})
}

func idsOf(rows []story.Row) string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}

// Of a long run, the last rows and those that failed are shown, with what they are within.
func TestDebugOfALongRun(t *testing.T) {
	s := &teller{head: story.Head{WorkflowID: "long", State: wflo.StateRunning, Status: "running", Started: began}}
	for i := range 3000 {
		r := story.Row{ID: fmt.Sprint("s", i), Kind: story.KindStep, Name: fmt.Sprint("step-", i), State: story.StateDone, Start: at(float64(i)), End: at(float64(i) + 1)}
		if i == 2500 || i == 100 {
			r.State, r.Error = story.StateFailed, "no"
		}
		s.rows = append(s.rows, r)
	}
	r := invoke(t, s.serves(t), "debug", "long")
	r.want(t, 0, []string{"step-2999", "step-2988", "step-2500", "(13 of 1000 rows; all: wflo trace long)"}, nil)
	if strings.Contains(r.out, "step-2987\n") || strings.Contains(r.out, "step-100 ") {
		t.Errorf("shows too much:\n%s", r.out)
	}
	if n := len(s.asked); n != 2 {
		t.Errorf("%d requests: %v", n, s.asked)
	}
}

// What a model or a person wrote never moves the cursor or hides a line.
func TestStoryIsEscaped(t *testing.T) {
	s := refundStory()
	s.rows[1].Name, s.rows[6].Error, s.head.Why = "find\x1b[2J\nnext", "no\x1b[8m\u202e", "because\x1b[0m"
	for _, command := range []string{"debug", "trace"} {
		r := invoke(t, s.serves(t), command, "refund-1")
		if strings.ContainsAny(r.out, "\x1b\u202e") || !strings.Contains(r.out, `\x1b`) {
			t.Errorf("%s: %q", command, r.out)
		}
	}
}

// What child workflows did is below the row that started them, also when rows of both
// have the same name, and a child that is gone stays a row.
func TestChildren(t *testing.T) {
	s := refundStory()
	s.rows = append(s.rows, story.Row{ID: "c1", Parent: "s2", Kind: story.KindChild, Name: "wflo.Agent", Summary: "agent-1", State: story.StateDone, Start: at(16), End: at(19)},
		story.Row{ID: "c2", Parent: "s2", Kind: story.KindChild, Name: "other", Summary: "gone", State: story.StateDone, Start: at(17), End: at(19)})
	s.children = map[string][]story.Row{
		"agent-1": {
			{ID: "run", Kind: story.KindRun, Name: "wflo.Agent", State: story.StateDone, Start: at(16), End: at(19)},
			{ID: "s1", Parent: "run", Kind: story.KindStep, Name: "think", State: story.StateDone, Start: at(16), End: at(18)},
			{ID: "c1", Parent: "s1", Kind: story.KindChild, Name: "deeper", Summary: "agent-2", State: story.StateDone, Start: at(16), End: at(18)},
		},
		"agent-2": {{ID: "m1", Kind: story.KindModel, Name: "m", State: story.StateDone, Start: at(17), End: at(18), Model: s.rows[2].Model}},
	}
	r := invoke(t, s.serves(t), "trace", "refund-1")
	r.want(t, 0, []string{"  ├─✓ child wflo.Agent", "  │ └─✓ step think", "  │   └─✓ child deeper", "  │     └─✓ model m", "  └─✓ child other", "2400→600", "$0.024"}, nil)
	r = invoke(t, s.serves(t), "trace", "refund-1", "--kind", "model", "--jq", ".rows[].name")
	r.want(t, 0, []string{"gpt-5.4-mini\nm\n"}, nil)
	invoke(t, s.serves(t), "debug", "refund-1").want(t, 0, []string{"model m"}, nil)
	// A child that is its own child ends somewhere.
	s.children["agent-1"][2].Summary = "agent-1"
	invoke(t, s.serves(t), "trace", "refund-1").want(t, 0, []string{"child deeper"}, []string{"child workflows"})
}
