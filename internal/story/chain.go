package story

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
)

// mostRuns bounds how many runs of one chain are told.
const mostRuns = 10_000

// origins remembers which run came before one, which never changes.
type origins struct {
	mu     sync.Mutex
	before map[string]string
}

func (o *origins) get(key string) (before string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before, ok = o.before[key]
	return before, ok
}

func (o *origins) set(key, before string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.before == nil || len(o.before) > 10*mostRuns {
		o.before = map[string]string{}
	}
	o.before[key] = before
}

// chain names the runs of a chain up to its latest, the oldest first. It goes backwards,
// because a reset gives up what came after: the way forward may lead along that. lost
// says that the history of earlier runs is gone.
func (t *Teller) chain(ctx context.Context, latest run) (ids []string, lost bool, err error) {
	for id := latest.runID; id != "" && len(ids) < mostRuns; {
		before, err := t.before(ctx, latest.workflowID, id)
		if errors.Is(err, fs.ErrNotExist) && len(ids) > 0 {
			lost = true
			break
		}
		if err != nil {
			return nil, false, fmt.Errorf("find the runs of %s: %w", latest.workflowID, err)
		}
		ids = append(ids, id)
		id = before
	}
	for i, j := 0, len(ids)-1; i < j; i, j = i+1, j-1 {
		ids[i], ids[j] = ids[j], ids[i]
	}
	return ids, lost, nil
}

// before is the run that a run continues; empty for the first.
func (t *Teller) before(ctx context.Context, workflowID, runID string) (string, error) {
	key := accountKey(workflowID, runID)
	if before, ok := t.origins.get(key); ok {
		return before, nil
	}
	page, err := t.cfg.Client.WorkflowService().GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: t.cfg.Namespace, Execution: &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: runID}, MaximumPageSize: 1,
	})
	if err != nil {
		return "", told(err)
	}
	if err := joinRaw(page); err != nil {
		return "", err
	}
	before := ""
	if all := page.GetHistory().GetEvents(); len(all) > 0 {
		before = all[0].GetWorkflowExecutionStartedEventAttributes().GetContinuedExecutionRunId()
	}
	t.origins.set(key, before)
	return before, nil
}

// of is a run of the same chain as it is known without asking: all but the latest are closed.
func (r run) of(runID string) run {
	if runID == r.runID {
		return r
	}
	return run{workflowID: r.workflowID, runID: runID, first: r.first}
}
