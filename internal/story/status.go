package story

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/wflo-ai/wflo-go"
)

// statuses remembers what runs answered, for as long as nothing happens to them: a
// worker may have to replay a run to answer.
type statuses struct {
	mu    sync.Mutex
	known map[string]*answer
}

// answer is what a run said of itself. Its mutex is held while it is asked, so that many
// who look at one run ask it once.
type answer struct {
	mu     sync.Mutex
	at     time.Time
	events int64
	status *wflo.Status
	note   string
	idle   bool // nobody polls the run's task queue
}

// An answer is good for so long where nothing happens, and a failure for less.
const (
	statusAge = 5 * time.Second
	noteAge   = 2 * time.Second
	mostKnown = 10_000
)

func (s *statuses) of(key string) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) > mostKnown {
		s.known = map[string]*answer{}
	}
	a := s.known[key]
	if a == nil {
		a = &answer{}
		s.known[key] = a
	}
	return a
}

// status asks an open run how it is; nil where it does not say, and then the note says
// why. Nobody asks closed runs: their histories say it all, and they would be replayed.
func (t *Teller) status(ctx context.Context, r run) (*wflo.Status, string) {
	if !r.open {
		return nil, ""
	}
	a := t.answer(ctx, r)
	return a.status, a.note
}

// polled says that somebody polls the run's task queue, as far as is known.
func (t *Teller) polled(ctx context.Context, r run) bool { return !r.open || !t.answer(ctx, r).idle }

func (t *Teller) answer(ctx context.Context, r run) answer {
	a := t.statuses.of(accountKey(r.workflowID, r.runID))
	a.mu.Lock()
	defer a.mu.Unlock()
	age := t.cfg.Now().Sub(a.at)
	if a.events == r.events && !a.at.IsZero() && (age < noteAge || a.status != nil && age < statusAge) {
		return answer{status: a.status, note: a.note, idle: a.idle}
	}
	a.status, a.note, a.idle = t.ask(ctx, r)
	a.events, a.at = r.events, t.cfg.Now()
	if ctx.Err() != nil {
		a.at = time.Time{} // whoever asked has left; the next asks again
	}
	return answer{status: a.status, note: a.note, idle: a.idle}
}

func (t *Teller) ask(ctx context.Context, r run) (s *wflo.Status, note string, idle bool) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.QueryTime)
	defer cancel()
	queue := queueOf(r)
	d, err := t.cfg.Client.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
		Namespace: t.cfg.Namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: queue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL}, TaskQueueType: enumspb.TASK_QUEUE_TYPE_WORKFLOW,
	})
	if err == nil && len(d.GetPollers()) == 0 {
		return nil, "no worker polls the task queue " + queue + ", so that the run itself says nothing", true
	}
	v, err := t.cfg.Client.QueryWorkflow(ctx, r.workflowID, r.runID, wflo.QueryStatus)
	if err == nil {
		s = &wflo.Status{}
		err = v.Get(s)
	}
	if err != nil {
		return nil, unanswered(err), false
	}
	return s, "", false
}

func queueOf(r run) string {
	if q := r.GetWorkflowExecutionInfo().GetTaskQueue(); q != "" {
		return q
	}
	return r.GetExecutionConfig().GetTaskQueue().GetName()
}

// unanswered says why a run does not say how it is.
func unanswered(err error) string {
	var failed *serviceerror.QueryFailed
	var late *serviceerror.DeadlineExceeded
	switch {
	case errors.As(err, &failed) && strings.Contains(failed.Message, "unknown queryType"):
		return "the run's worker is without wflo's plugin, so that only Temporal's history is told"
	case errors.As(err, &failed):
		return "the run itself says nothing: " + line(failed.Message)
	case errors.As(err, &late), errors.Is(err, context.DeadlineExceeded):
		return "no worker answered for the run in time"
	}
	return "the run itself says nothing: no worker answers"
}
