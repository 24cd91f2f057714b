package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func all(t *testing.T, teller *Teller, id, run string) []Row {
	t.Helper()
	var rows []Row
	for r, err := range teller.All(t.Context(), id, run) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// Pages joined are the story, whatever their size and however the server cuts histories;
// every row is within one that came before it.
func TestPagesJoinToTheStory(t *testing.T) {
	want, tapes := map[string][]Row{}, map[string]*server{}
	for _, names := range chains {
		s := tape(t, names...)
		tapes[names[0]], want[names[0]] = s, all(t, teller(t, s), s.id(), "")
	}
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SampledFrom(chains).Draw(rt, "history")
		s := tapes[names[0]]
		s.page = rapid.IntRange(1, 60).Draw(rt, "events of a page")
		teller := teller(t, s, func(c *Config) { c.Cache = rapid.Int64Range(1, 1<<20).Draw(rt, "cache") })
		kinds := rapid.SliceOfNDistinct(rapid.SampledFrom([]Kind{KindActivity, KindStep, KindRun, KindModel}), 0, 3, func(k Kind) Kind { return k }).Draw(rt, "kinds")
		var expected []Row
		for _, r := range want[names[0]] {
			if len(kinds) == 0 || slices.Contains(kinds, r.Kind) {
				expected = append(expected, r)
			}
		}
		var got []Row
		known := map[string]bool{}
		q := Query{WorkflowID: s.id(), Kinds: kinds}
		for {
			q.Limit = rapid.IntRange(1, 9).Draw(rt, "limit")
			page, err := teller.Rows(t.Context(), q)
			if err != nil {
				rt.Fatal(err)
			}
			told := slices.Concat(page.Parents, page.Rows)
			for _, r := range told {
				known[r.ID] = true
			}
			for _, r := range told {
				if r.Parent != "" && !known[r.Parent] {
					rt.Fatalf("row %s is within %s, which nobody was told of", r.ID, r.Parent)
				}
			}
			got = append(got, page.Rows...)
			if len(page.Rows) > q.Limit || page.Next != "" && len(page.Rows) < q.Limit {
				rt.Fatalf("%d rows of %d, and more", len(page.Rows), q.Limit)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			rt.Fatalf("pages of %s (-want +got):\n%s", names[0], diff)
		}
		last := min(rapid.IntRange(1, 9).Draw(rt, "last"), 9)
		page, err := teller.Rows(t.Context(), Query{WorkflowID: s.id(), Kinds: kinds, Latest: true, Limit: last})
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(expected[max(0, len(expected)-last):], page.Rows); diff != "" && len(expected) > 0 {
			rt.Fatalf("the last rows (-want +got):\n%s", diff)
		}
	})
}

// A run that goes on is read on from its last event, and its rows keep their names.
func TestOpenRunGoesOn(t *testing.T) {
	s := tape(t, "saved")
	whole := s.histories[0]
	teller := teller(t, s)
	before := map[string]bool{}
	after, seen := "", 0
	for shown := 1; shown <= len(whole); shown++ {
		s.shown, s.status = shown, &wflo.Status{State: wflo.StateRunning}
		page, err := teller.Rows(t.Context(), Query{WorkflowID: s.id(), After: after})
		if err != nil {
			t.Fatalf("after %d events: %v", shown, err)
		}
		if open := shown < len(whole); page.Open != open || open && page.Next == "" {
			t.Fatalf("after %d events: open %t, next %q", shown, page.Open, page.Next)
		}
		for _, r := range page.Rows {
			if before[r.ID] {
				t.Errorf("row %s comes twice", r.ID)
			}
			before[r.ID] = true
		}
		seen += len(page.Rows)
		if page.Next != "" {
			after = page.Next
		}
	}
	s.shown = 0
	rows := all(t, teller, s.id(), "")
	if len(rows) != seen {
		t.Errorf("%d rows came one by one, and there are %d", seen, len(rows))
	}
	for _, r := range rows {
		if !before[r.ID] {
			t.Errorf("row %s did not come", r.ID)
		}
	}
	// Each page was read once: the history, cut as it was shown, and one for what came
	// before the run.
	if most := len(whole) + 2; s.reads > most {
		t.Errorf("%d pages were read, want at most %d", s.reads, most)
	}
}

// What cannot be asked is refused, and what is not there is told apart.
func TestRefusals(t *testing.T) {
	s := tape(t, "saved")
	teller := teller(t, s)
	for name, q := range map[string]Query{
		"limit": {WorkflowID: s.id(), Limit: 1001}, "negative limit": {WorkflowID: s.id(), Limit: -1}, "cursor": {WorkflowID: s.id(), After: "x"},
		"both": {WorkflowID: s.id(), After: "x.1", Latest: true}, "no run": {},
	} {
		if _, err := teller.Rows(t.Context(), q); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := teller.Rows(t.Context(), Query{WorkflowID: s.id(), After: "another-run.3"}); wflo.CodeOf(err) != wflo.CodeConflict {
		t.Errorf("a cursor of another run: %v", err)
	}
	for _, row := range []string{"", "x", "-", idOf(s.histories[0]) + "-2", "other-1"} {
		if _, err := teller.Detail(t.Context(), s.id(), "", row); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("row %q: %v", row, err)
		}
	}
	if _, err := teller.Head(t.Context(), "nobody", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a run that is not there: %v", err)
	}
}

// Every way to fail leaves a story, and the note says what is missing.
func TestMissingPieces(t *testing.T) {
	down := errors.New("no route to 10.1.2.3")
	for _, tt := range []struct {
		name   string
		change func(*server)
		ledger Ledger
		note   string
		rows   bool
	}{
		{"no worker", func(s *server) { s.pollers = 0 }, &books{}, "no worker polls the task queue", true},
		{"no plugin", func(s *server) { s.statusErr = serviceerror.NewQueryFailed("unknown queryType wflo.status") }, &books{}, "without wflo's plugin", true},
		{"no answer", func(s *server) { s.statusErr = context.DeadlineExceeded }, &books{}, "no worker answered", true},
		{"ledger down", func(*server) {}, &books{err: down}, "the ledger does not answer", true},
		{"history gone", func(s *server) { s.gone = true }, &books{}, "the run's history cannot be read", false},
		{"unknown event", func(s *server) { s.histories[0] = odd(s.histories[0]) }, &books{}, "2 events that this program does not know", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tape(t, "saved")
			s.shown, s.status = 40, &wflo.Status{State: wflo.StateRunning}
			tt.change(s)
			teller := teller(t, s, func(c *Config) { c.Ledger = tt.ledger })
			h, err := teller.Head(t.Context(), s.id(), "")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(h.Note, tt.note) || strings.Contains(h.Note, "10.1.2.3") || h.Workflow == "" {
				t.Errorf("note %q of %q, want %q", h.Note, h.Workflow, tt.note)
			}
			page, err := teller.Rows(t.Context(), Query{WorkflowID: s.id()})
			if tt.rows != (err == nil && len(page.Rows) > 3) {
				t.Errorf("%d rows, %v", len(page.Rows), err)
			}
		})
	}
}

// odd is a history with an event and a marker that nobody knows.
func odd(h []*historypb.HistoryEvent) []*historypb.HistoryEvent {
	h = slices.Clone(h)
	for i, change := range map[int]func(*historypb.HistoryEvent){
		18: func(e *historypb.HistoryEvent) { e.GetMarkerRecordedEventAttributes().MarkerName = "FromTheFuture" },
		19: func(e *historypb.HistoryEvent) { e.EventType, e.Attributes = 999, nil },
	} {
		h[i] = proto.Clone(h[i]).(*historypb.HistoryEvent)
		change(h[i])
	}
	return h
}

// books is a ledger with what a test writes.
type books struct {
	err     error
	spend   wflo.Spend
	entries []wflo.Entry
	holds   []wflo.Hold
	undo    []wflo.CompensationRecord
	snaps   []wflo.Snapshot
}

func (b *books) Spend(context.Context, string) (wflo.Spend, error) { return b.spend, b.err }

func (b *books) Entries(context.Context, string) ([]wflo.Entry, error) { return b.entries, b.err }

func (b *books) OpenHolds(context.Context, time.Duration, int) ([]wflo.Hold, error) {
	return b.holds, b.err
}

func (b *books) ListSnapshots(context.Context, activities.SnapshotQuery) ([]wflo.Snapshot, error) {
	return b.snaps, b.err
}

func (b *books) ListRestores(context.Context, string) ([]wflo.Restored, error) { return nil, b.err }

func (b *books) ListCompensations(context.Context, activities.CompensationQuery) ([]wflo.CompensationRecord, error) {
	return b.undo, b.err
}

// The ledger has the last word on what a call cost: its tries, what is held, and once
// although the call stands in two rows.
func TestLedgerPricesRows(t *testing.T) {
	s := tape(t, "budget-raised")
	run := wflo.Run{Namespace: "default", WorkflowID: s.id(), FirstRunID: idOf(s.histories[0]), Step: "g0/wflo.llm.Chat#1"}
	b := &books{entries: []wflo.Entry{
		{Key: run.EffectKey(), Attempt: 1, State: wflo.HoldUnknown, Provider: "openai", Model: "m", Amount: 3 * wflo.Cent, Usage: wflo.Usage{Input: 1}},
		{Key: run.EffectKey(), Attempt: 2, State: wflo.HoldSettled, Provider: "openai", Model: "m", Amount: wflo.Cent, Usage: wflo.Usage{Input: 2, Output: 5}},
	}}
	var got []*Model
	for _, r := range all(t, teller(t, s, func(c *Config) { c.Ledger = b }), s.id(), "") {
		if r.Kind == KindModel && r.Step == run.Step {
			got = append(got, r.Model)
		}
	}
	want := []*Model{nil, {Provider: "openai", Model: "m", State: wflo.HoldSettled, Usage: wflo.Usage{Input: 3, Output: 5}, Amount: 4 * wflo.Cent}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the rows of the call (-want +got):\n%s", diff)
	}
}

// What the store says was undone later is undone in the story.
func TestUndoneLater(t *testing.T) {
	s := tape(t, "restored-1-next")
	b := &books{undo: []wflo.CompensationRecord{{ID: "undo-52e88fb48b1c211e685d", State: wflo.CompensationDone}, {ID: "undo-x", State: wflo.CompensationDead}}}
	s.histories[0][0].GetWorkflowExecutionStartedEventAttributes().ContinuedExecutionRunId = ""
	teller := teller(t, s, func(c *Config) { c.Recovery = b })
	for _, r := range all(t, teller, s.id(), "") {
		if want := StateUndone; r.Step == "g0/book#1" && r.State != want {
			t.Errorf("row %s %q is %s, want %s", r.ID, r.Name, r.State, want)
		}
	}
	h, err := teller.Head(t.Context(), s.id(), "")
	if err != nil {
		t.Fatal(err)
	}
	if h.Undo[wflo.CompensationDead] != 1 || !strings.Contains(h.Why, "could not be undone") || !strings.HasPrefix(h.Next, "wflo compensations list --run ") {
		t.Errorf("undo %v, why %q, next %q", h.Undo, h.Why, h.Next)
	}
}

// A detail has what went in and came out; a row of it is bounded, and a download is not.
func TestDetailOfEveryRow(t *testing.T) {
	for _, names := range chains {
		s := tape(t, names...)
		teller := teller(t, s)
		for _, r := range all(t, teller, s.id(), "") {
			d, err := teller.Detail(t.Context(), s.id(), "", r.ID)
			if err != nil {
				t.Errorf("%s: row %s: %v", names[0], r.ID, err)
				continue
			}
			if diff := cmp.Diff(r, d.Row); diff != "" {
				t.Errorf("%s: the row of its detail (-want +got):\n%s", names[0], diff)
			}
			switch {
			case r.Kind == KindSandbox && r.State == StateDone && d.Stdout == nil:
				t.Errorf("%s: program %s has no output", names[0], r.ID)
			case r.Kind == KindActivity && (d.Input == nil || r.State == StateDone && d.Output == nil):
				t.Errorf("%s: activity %s: input %v, output %v", names[0], r.ID, d.Input, d.Output)
			case r.Kind == KindActivity && r.State == StateFailed && !strings.Contains(d.Trace, "told to"):
				t.Errorf("%s: activity %s: trace %q", names[0], r.ID, d.Trace)
			}
		}
	}
}

// store keeps payloads outside of histories.
type store struct{ kept map[string]*commonpb.Payload }

func (*store) Name() string { return "test" }

func (*store) Type() string { return "test" }

func (*store) Store(converter.StorageDriverStoreContext, []*commonpb.Payload) ([]converter.StorageDriverClaim, error) {
	return nil, errors.New("nobody stores")
}

func (s *store) Retrieve(_ converter.StorageDriverRetrieveContext, claims []converter.StorageDriverClaim) ([]*commonpb.Payload, error) {
	var out []*commonpb.Payload
	for _, c := range claims {
		p, ok := s.kept[c.ClaimData["key"]]
		if !ok {
			return nil, fs.ErrNotExist
		}
		out = append(out, p)
	}
	return out, nil
}

// A result of 30 MB that is kept outside of the history shows its facts in the row, its
// head in the detail, and all of it in the download. Where the store is not reached the
// story goes on without.
func TestLargeOutput(t *testing.T) {
	const large = 30 << 20
	text := strings.Repeat("0123456789abcde\n", large/16)
	p, err := converter.GetDefaultDataConverter().ToPayload(sandbox.Result{Outcome: sandbox.Succeeded, Stdout: text, Image: "sha256:1", Changed: []sandbox.Change{{Name: "a", Op: "added"}}})
	if err != nil {
		t.Fatal(err)
	}
	claim, err := json.Marshal(map[string]any{"driver_name": "test", "driver_claim": map[string]any{"claim_data": map[string]string{"key": "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := tape(t, "agent-loop")
	result := s.histories[0][12].GetActivityTaskCompletedEventAttributes().GetResult()
	result.Payloads = []*commonpb.Payload{{
		Metadata: map[string][]byte{"encoding": []byte(referenceLegacy)}, Data: claim,
		ExternalPayloads: []*commonpb.Payload_ExternalPayloadDetails{{SizeBytes: int64(len(p.GetData()))}},
	}}
	row := idOf(s.histories[0]) + "-11"
	near := teller(t, s, func(c *Config) {
		c.Storage = []converter.StorageDriver{&store{kept: map[string]*commonpb.Payload{"k": p}}}
	})
	d, err := near.Detail(t.Context(), s.id(), "", row)
	if err != nil {
		t.Fatal(err)
	}
	if d.Sandbox.Outcome != "succeeded" || d.Sandbox.Stdout != large || !d.Stdout.Cut || d.Stdout.Size != large || len(d.Stdout.Text) > MostDetail || len(d.Files) != 1 {
		t.Errorf("sandbox %+v, output of %d bytes of %d, files %v", d.Sandbox, len(d.Stdout.Text), d.Stdout.Size, d.Files)
	}
	out, err := near.Output(t.Context(), s.id(), "", row)
	if err != nil || string(out.Data) != text {
		t.Errorf("download of %d bytes, %v", len(out.Data), err)
	}
	far := teller(t, s)
	if d, err = far.Detail(t.Context(), s.id(), "", row); err != nil || d.State != StateDone || d.Output == nil || !d.Output.Cut {
		t.Errorf("without the store: %+v, %v", d.Output, err)
	}
	if _, err := far.Output(t.Context(), s.id(), "", row); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("download without the store: %v", err)
	}
}

// No row has what people, models or programs wrote.
func TestRowsHaveNoContent(t *testing.T) {
	s := tape(t, "agent-loop")
	data, err := json.Marshal(all(t, teller(t, s), s.id(), ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"Count to three", "print(3)"} {
		if strings.Contains(string(data), content) {
			t.Errorf("a row has %q", content)
		}
	}
}

// Each way to stop or wait has its sentence, and what to do.
func TestWhy(t *testing.T) {
	at := timestamppb.New(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	app := func(text string) *failurepb.Failure {
		return &failurepb.Failure{Message: text, FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: "x"}}}
	}
	gate := wflo.Gate{ID: "delete", Nonce: "n1", Status: wflo.GateOpen, ExpiresAt: at.AsTime(), Approval: wflo.Approval{Action: "Delete 7 rows", Approvers: []string{"ann", "group:ops"}, Quorum: 2, Risk: wflo.RiskHigh}}
	parked := gate
	parked.ID = "budget/team:books"
	end := func(e *historypb.HistoryEvent) func(*server) {
		return func(s *server) { // it ends so after ten events
			e.EventId, e.EventTime = 11, s.histories[0][9].GetEventTime()
			s.histories[0] = append(slices.Clone(s.histories[0][:10]), e)
			s.shown = 0
		}
	}
	for _, tt := range []struct {
		name      string
		change    func(*server)
		why, next string
	}{
		{"gate", func(s *server) { s.status = &wflo.Status{State: wflo.StateWaiting, Gates: []wflo.Gate{gate}} },
			"it waits at gate delete; 2 of ann, group:ops may decide until 2030-01-02 03:04:05 UTC", "wflo approve ID"},
		{"two gates", func(s *server) { s.status = &wflo.Status{State: wflo.StateWaiting, Gates: []wflo.Gate{gate, gate}} }, "and at 1 more", "wflo approve n1"},
		{"parked", func(s *server) { s.status = &wflo.Status{State: wflo.StateWaiting, Gates: []wflo.Gate{parked}} }, "it is parked because budget team:books has no room", "wflo approve ID"},
		{"no worker", func(s *server) { s.pollers = 0 }, "no worker polls its task queue", "wflo doctor"},
		{"other code", func(s *server) {
			s.histories[0][9] = &historypb.HistoryEvent{EventId: 10, EventTime: s.histories[0][8].GetEventTime(), EventType: enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED,
				Attributes: &historypb.HistoryEvent_WorkflowTaskFailedEventAttributes{WorkflowTaskFailedEventAttributes: &historypb.WorkflowTaskFailedEventAttributes{
					Cause: enumspb.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR, Failure: app("nondeterministic")}}}
			s.task = &workflowpb.PendingWorkflowTaskInfo{Attempt: 4}
			s.statusErr = serviceerror.NewQueryFailed("TMPRL1100")
		}, "its code does not fit its history any more", "temporal workflow reset --workflow-id ID"},
		{"retries", func(s *server) {
			s.pending = []*workflowpb.PendingActivityInfo{{ActivityId: "7", ActivityType: &commonpb.ActivityType{Name: "pay"}, Attempt: 3, LastFailure: app("no money"), NextAttemptScheduleTime: at}}
		}, "activity pay has failed 2 times, last with: no money; it is tried again at 2030-01-02 03:04:05 UTC", "wflo logs ID --follow"},
		{"restore", func(s *server) { s.status = &wflo.Status{State: wflo.StateRestoring, Restoring: "r1"} }, "it is being taken back by restore r1", "wflo lineage ID"},
		{"compensating", func(s *server) { s.status = &wflo.Status{State: wflo.StateCompensating} }, "its effects are being undone", "wflo compensations list --run ID"},
		{"running", func(*server) {}, "", ""},
		{"terminated", end(&historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED, Attributes: &historypb.HistoryEvent_WorkflowExecutionTerminatedEventAttributes{
			WorkflowExecutionTerminatedEventAttributes: &historypb.WorkflowExecutionTerminatedEventAttributes{Identity: "ann", Reason: "enough"}}}), "it was terminated by ann: enough", "wflo trace ID"},
		{"timed out", end(&historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT, Attributes: &historypb.HistoryEvent_WorkflowExecutionTimedOutEventAttributes{
			WorkflowExecutionTimedOutEventAttributes: &historypb.WorkflowExecutionTimedOutEventAttributes{}}}), "it did not end in the time that it was given", "wflo trace ID"},
		{"cancelled", end(&historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED, Attributes: &historypb.HistoryEvent_WorkflowExecutionCanceledEventAttributes{
			WorkflowExecutionCanceledEventAttributes: &historypb.WorkflowExecutionCanceledEventAttributes{}}}), "it was cancelled", "wflo trace ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tape(t, "plain")
			s.shown, s.status = 10, &wflo.Status{State: wflo.StateRunning}
			tt.change(s)
			h, err := teller(t, s).Head(t.Context(), s.id(), "")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(h.Why, tt.why) || tt.why == "" && h.Why != "" || !strings.HasPrefix(h.Next, strings.ReplaceAll(tt.next, "ID", s.id())) || (tt.next == "") != (h.Next == "") {
				t.Errorf("why %q\nnext %q", h.Why, h.Next)
			}
		})
	}
}

// A budget that stops a run is named with its numbers.
func TestWhyOverBudget(t *testing.T) {
	refusal := &wflo.Refusal{Budget: "team:books", Limit: wflo.USD, Spent: 90 * wflo.Cent, Reserved: wflo.Cent, Asked: 20 * wflo.Cent}
	s := &sources{r: run{workflowID: "w"}, about: about{ending: wrong{refusal: refusal}}}
	why, next := overBudget(s, &Head{WorkflowID: "w"}, "it failed", "")
	want := fmt.Sprintf("it was stopped by budget team:books: a call needed %s; of %s, %s was spent and %s reserved", refusal.Asked, refusal.Limit, refusal.Spent, refusal.Reserved)
	if why != want || next != "wflo budget show team:books" {
		t.Errorf("%q, %q", why, next)
	}
}

// Names of runs are one word of a shell.
func TestQuote(t *testing.T) {
	for name, want := range map[string]string{"run-1": "run-1", "a b": "'a b'", "it's; rm": `'it'\''s; rm'`, "": "''", "$(x)": "'$(x)'"} {
		if got := quote(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}
