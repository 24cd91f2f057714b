package invariant

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
)

var server *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "invariant:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "invariant:", err)
		code = 1
	}
	os.Exit(code)
}

// Words of the sound world.
const (
	run      = "sound"
	model    = "gpt-5.4-mini"
	payKey   = "aaaaaaaaaaaaaaaaaaaa1111"
	bookKey  = "bbbbbbbbbbbbbbbbbbbb2222"
	gateName = "payment"
)

// moment is when everything happened.
var moment = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sound makes a world in which all is as it must be, by the real stores.
func sound(t *testing.T) World {
	t.Helper()
	url := server.Database(t)
	l, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	db, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) })
	of := wflo.Run{WorkflowID: run, FirstRunID: "r1", Org: "acme"}
	paid(t, l, of)
	approved(t, l.Records())
	blobs := saved(t, l, of)
	undone(t, db)
	notice := wflo.Notice{ID: "n1", Channel: "webhook://ops", Kind: wflo.NoticeAsked, Thread: "t", Title: "?", At: moment}
	must(t, l.Records().Enqueue(t.Context(), notice))
	must(t, l.Records().NoticeDelivered(t.Context(), notice.ID, ""))
	return World{
		DB: db, Quiet: true, Owner: "wflo-invariant-" + fmt.Sprint(os.Getpid()), Namespace: "default", Runs: []string{run},
		Invoices: []Invoice{{Response: "resp1", Model: model, Input: 100, Output: 10, Completed: true}},
		Rates:    map[string]Rate{model: {750, 75, 4500}},
		Effects: []Effect{
			{Key: payKey, What: "pay", At: moment.Add(time.Second)}, {Key: bookKey, What: "book", At: moment.Add(2 * time.Second)},
			{Key: bookKey, What: "book", Undo: "undo-" + bookKey[:20], At: moment.Add(time.Hour)},
			{Key: payKey, What: "pay", Undo: "undo-" + payKey[:20], At: moment.Add(2 * time.Hour)},
		},
		Guarded:    []string{"pay"},
		Deliveries: []Delivery{{message("n1"), "body", false}, {message("n1"), "body", true}},
		Temporal:   &histories{},
		Blob: func(_ context.Context, key string) ([]byte, error) {
			data, ok := blobs[key]
			if !ok {
				return nil, os.ErrNotExist
			}
			return data, nil
		},
		Secrets: map[string]string{"key": "canary-4711-0815-secret"}, Said: map[string]string{"worker": "all is well"},
		Counts: []Count{{What: "descriptors", Before: 10, Now: 9}}, Orgs: map[string]string{run: "acme"},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// paid books a call.
func paid(t *testing.T, l *postgres.Ledger, of wflo.Run) {
	t.Helper()
	r := wflo.Reservation{
		Key: "call1", Attempt: 1, Amount: 300_000, Run: of, Provider: "openai", Model: model,
		Budgets: []wflo.BudgetLine{{ID: wflo.RunBudgetID(of.ID()), Limit: wflo.USD}},
	}
	_, err := l.Reserve(t.Context(), r)
	must(t, err)
	must(t, l.Settle(t.Context(), wflo.Settlement{
		Key: r.Key, Attempt: 1, Amount: 100*750 + 10*4500, Usage: wflo.Usage{Input: 100, Output: 10}, Provider: "openai", Model: model, ResponseID: "resp1",
	}))
}

// approved opens a gate, decides and uses it.
func approved(t *testing.T, records interface {
	SaveGate(context.Context, wflo.Gate) error
	UseGrant(context.Context, string, wflo.EffectKey) error
	Append(context.Context, ...wflo.AuditEvent) error
}) {
	t.Helper()
	g := wflo.Gate{
		ID: gateName, Epoch: 1, WorkflowID: run, FirstRunID: "r1", Org: "acme", Nonce: "n-1", Digest: "d1", Requesters: []string{"bob"},
		Approval: wflo.Approval{Gate: gateName, Action: "pay", Approvers: []string{"ann"}, FourEyes: true},
		Status:   wflo.GateApproved, OpenedAt: moment, ClosedAt: moment, ExpiresAt: moment.Add(time.Hour),
	}
	d := wflo.Decision{Gate: gateName, Epoch: 1, Digest: "d1", Verdict: wflo.VerdictApprove, By: "ann", At: moment}
	g.Decision = &d
	must(t, records.SaveGate(t.Context(), g))
	must(t, records.UseGrant(t.Context(), g.Nonce, payKey))
	for i, data := range []any{
		wflo.AuditGate{Gate: g}, wflo.AuditDecision{Gate: g.Nonce, Digest: "d1", Decision: d},
		wflo.AuditUse{Gate: g.Nonce, Digest: "d1", Effect: payKey, Activity: "<pay & book>"}, wflo.AuditGate{Gate: g},
	} {
		text, err := json.Marshal(data)
		must(t, err)
		kind := []wflo.AuditType{wflo.AuditGateOpened, wflo.AuditGateDecided, wflo.AuditGrantUsed, wflo.AuditGateClosed}[i]
		must(t, records.Append(t.Context(), wflo.AuditEvent{
			ID: fmt.Sprint("e", i), Chain: "acme", At: moment, Type: kind, Actor: "ann \"the\tboss\"", WorkflowID: run, FirstRunID: "r1", Data: text,
		}))
	}
}

// saved takes a snapshot, and gives its blobs.
func saved(t *testing.T, l *postgres.Ledger, of wflo.Run) map[string][]byte {
	t.Helper()
	const key = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello
	s := wflo.Snapshot{
		ID: "snap-1", Kind: wflo.SnapshotAuto, Run: of, RunID: "r1", At: moment,
		Parts: []wflo.SnapshotPart{{Kind: wflo.PartState, Blobs: []string{key}, SHA256: key}},
	}
	must(t, s.Seal())
	_, err := l.Recovery().SaveSnapshot(t.Context(), s)
	must(t, err)
	return map[string][]byte{key: []byte("hello")}
}

// undone puts two compensations there that were done.
func undone(t *testing.T, db *pgx.Conn) {
	t.Helper()
	for height, key := range []string{payKey, bookKey} {
		_, err := db.Exec(t.Context(), `INSERT INTO wflo.compensations (id, org, workflow_id, run, owner, height, state, begun, cause, error, ended_by, reason, at, changed_at, doc)
			VALUES ($1, 'acme', $2, $2 || '/r1', '{}', $3, 'compensated', true, '', '', '', '', $4, $4, '{"name": "x"}')`, "undo-"+key[:20], run, height+1, moment)
		must(t, err)
	}
}

// histories is a Temporal with one execution of one event.
type histories struct {
	client.Client
	status enumspb.WorkflowExecutionStatus
	event  *historypb.HistoryEvent
}

func (h *histories) ListWorkflow(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: []*workflowpb.WorkflowExecutionInfo{
		{Execution: &commonpb.WorkflowExecution{WorkflowId: run, RunId: "r1"}, Type: &commonpb.WorkflowType{Name: "agent"}, Status: h.status},
		{Execution: &commonpb.WorkflowExecution{WorkflowId: "others"}, Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING},
	}}, nil
}

func (h *histories) GetWorkflowHistory(context.Context, string, string, bool, enumspb.HistoryEventFilterType) client.HistoryEventIterator {
	event := h.event
	if event == nil {
		event = &historypb.HistoryEvent{EventId: 1}
	}
	return &oneEvent{event}
}

type oneEvent struct{ event *historypb.HistoryEvent }

func (o *oneEvent) HasNext() bool { return o.event != nil }

func (o *oneEvent) Next() (*historypb.HistoryEvent, error) {
	event := o.event
	o.event = nil
	return event, nil
}

// strayed is the event of a task whose code went another way, saying a text.
func strayed(text string) *historypb.HistoryEvent {
	return &historypb.HistoryEvent{EventId: 7, Attributes: &historypb.HistoryEvent_WorkflowTaskFailedEventAttributes{
		WorkflowTaskFailedEventAttributes: &historypb.WorkflowTaskFailedEventAttributes{
			Cause: enumspb.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR, Failure: &failurepb.Failure{Message: text},
		},
	}}
}
