package story

import (
	"context"
	"fmt"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
)

// pageEvents is how many events are asked for at once; the server may give more or less.
const pageEvents = 1000

// account is one run of a chain as its history tells it. Rows are only ever added at its
// end, in the order in which they began, so that a row's place names it.
type account struct {
	workflowID, runID string
	read              reader

	// mu is held while the history is read on, and while rows are copied.
	mu   sync.Mutex
	rows []entry
	// last is the number of the last event, token where the history goes on. The pages
	// are where it can be read again from.
	last   int64
	token  []byte
	begun  bool
	closed bool
	pages  []mark
	size   int64

	about
	index
}

// mark is where a page of the history begins: after which event, and by which token.
type mark struct {
	after int64
	token []byte
}

// about is what the history says about the run as a whole.
type about struct {
	workflow, queue string
	// first is the chain's first run; before and next are the runs around this one.
	first, before, next string
	started, ended      time.Time
	run                 wflo.Run // as it was last seen in a header
	bundle, trace       string
	ending              wrong
	status              enumspb.WorkflowExecutionStatus
	halted              *wflo.Halt
	tools               map[string]string // the tools of an agent, by activity
	steps, calls        int               // that are over
	unknown             int               // events and markers that nobody knows here
	// stuck is why the last workflow task failed, until one succeeds.
	stuck      string
	stuckCause enumspb.WorkflowTaskFailedCause
	// asked is who asked the run to end, and why.
	asked string
}

// index finds rows that go on.
type index struct {
	events  map[int64]int  // by the event that began them
	gates   map[string]int // by nonce
	named   map[string]int // steps, by key
	effects map[string][]int
	quiet   map[int64]string // wflo's own activities, which have no rows
	hashed  map[string]int   // steps, by what the keys of steps within them begin with
	// paid is the last row of an effect: what the ledger has of it stands there, once.
	paid map[wflo.EffectKey]int
}

// entry is a row with what is needed to find the rest of it.
type entry struct {
	Row
	activityID string
	effect     wflo.EffectKey
	// effects are the compensations of what it does, undoes the one that it carries out.
	effects []string
	undoes  string
	// result is the event that has the outcome.
	result int64
	// parent is the place of the row that it is within.
	parent int
	// changes is how often a gate had changed when it was seen last, forKey the call that
	// it is about.
	changes int
	forKey  string
	gate    *wflo.Gate // while it is open
	// far is what is in a store, and read when somebody looks at the row.
	far *far
	// The rest is of steps: how many rows within it go on, and how the last ended.
	within int
	until  time.Time
	undone bool
}

// far is a result, and the input, that were too large to be read for everybody.
type far struct{ input, result *commonpb.Payload }

func newAccount(workflowID, runID string, r reader) *account {
	return &account{
		workflowID: workflowID, runID: runID, read: r,
		about: about{status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING},
		index: index{
			events: map[int64]int{}, gates: map[string]int{}, named: map[string]int{}, effects: map[string][]int{},
			quiet: map[int64]string{}, hashed: map[string]int{}, paid: map[wflo.EffectKey]int{},
		},
	}
}

func accountKey(workflowID, runID string) string { return workflowID + "/" + runID }

func (a *account) key() string { return accountKey(a.workflowID, a.runID) }

// account gives what a run's history says, read as far as r knows it to be.
func (t *Teller) account(ctx context.Context, r run) (*account, error) {
	a := t.cache.get(accountKey(r.workflowID, r.runID), func() *account { return newAccount(r.workflowID, r.runID, t.read) })
	a.mu.Lock()
	defer a.mu.Unlock()
	err := t.catchUp(ctx, a, r)
	if err != nil {
		t.cache.forget(a.key()) // what was read so far may be torn
		return nil, fmt.Errorf("read history of %s: %w", r.workflowID, err)
	}
	t.cache.grown(a.key(), a.size)
	return a, nil
}

// catchUp reads what is new.
func (t *Teller) catchUp(ctx context.Context, a *account, r run) error {
	for !a.closed && (a.last < r.events || !a.begun || !r.open) {
		at := mark{after: a.last, token: a.token}
		page, err := t.page(ctx, a, a.token, r.open)
		if err != nil {
			return err
		}
		a.pages = append(a.pages, at)
		before := a.last
		for _, e := range page.GetHistory().GetEvents() {
			if e.GetEventId() <= a.last {
				continue
			}
			a.fold(ctx, e)
			a.last = e.GetEventId()
		}
		a.begun, a.token = true, page.GetNextPageToken()
		if len(a.token) == 0 || a.last == before {
			break // all that there is
		}
	}
	a.size = int64(len(a.rows))*rowBytes + a.size/2
	return nil
}

// rowBytes is about what a row takes in memory, with its place in the index.
const rowBytes = 900

// page reads one page of a history. Of a run that is open the server is asked to wait for
// more at its end, because only then it says where that is; nobody asks there before
// there is more.
func (t *Teller) page(ctx context.Context, a *account, token []byte, open bool) (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
	page, err := t.cfg.Client.WorkflowService().GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: t.cfg.Namespace, Execution: &commonpb.WorkflowExecution{WorkflowId: a.workflowID, RunId: a.runID},
		MaximumPageSize: pageEvents, NextPageToken: token, WaitNewEvent: open, SkipArchival: open,
	})
	if err != nil {
		return nil, told(err)
	}
	return page, joinRaw(page)
}

// joinRaw decodes what servers send that do not decode histories themselves.
func joinRaw(page *workflowservice.GetWorkflowExecutionHistoryResponse) error {
	for _, raw := range page.GetRawHistory() {
		if page.History == nil {
			page.History = &historypb.History{}
		}
		var part historypb.History
		if err := proto.Unmarshal(raw.GetData(), &part); err != nil {
			return fmt.Errorf("decode history: %w", err)
		}
		page.History.Events = append(page.History.Events, part.GetEvents()...)
	}
	return nil
}

// again reads events of the run again, by their numbers, which ascend.
func (t *Teller) again(ctx context.Context, a *account, ids ...int64) (map[int64]*historypb.HistoryEvent, error) {
	want, most := map[int64]bool{}, int64(0)
	from := ids[0]
	for _, id := range ids {
		want[id] = true
		most, from = max(most, id), min(from, id)
	}
	a.mu.Lock()
	at, closed := mark{}, a.closed
	for _, p := range a.pages {
		if p.after < from {
			at = p
		}
	}
	a.mu.Unlock()
	found := map[int64]*historypb.HistoryEvent{}
	for token := at.token; ; {
		page, err := t.page(ctx, a, token, !closed)
		if err != nil {
			return nil, err
		}
		var last int64
		for _, e := range page.GetHistory().GetEvents() {
			if last = e.GetEventId(); want[last] {
				found[last] = e
			}
		}
		if token = page.GetNextPageToken(); len(token) == 0 || last >= most || len(found) == len(want) {
			return found, nil
		}
	}
}
