package invariant

import (
	"context"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// executions gives those that are to be looked at.
func (c *check) executions(ctx context.Context, each func(*workflowpb.WorkflowExecutionInfo) error) error {
	var page []byte
	for {
		list, err := c.Temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: c.Namespace, NextPageToken: page})
		if err != nil {
			return err
		}
		for _, e := range list.GetExecutions() {
			if !c.ours(e.GetExecution().GetWorkflowId()) {
				continue
			}
			if err := each(e); err != nil {
				return err
			}
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return nil
		}
	}
}

func (c *check) ours(id string) bool {
	for _, prefix := range c.Runs {
		if strings.Contains(id, prefix) { // our own workflows have the run's id in theirs
			return true
		}
	}
	return len(c.Runs) == 0
}

// events gives the events of one execution.
func (c *check) events(ctx context.Context, e *workflowpb.WorkflowExecutionInfo, each func(*historypb.HistoryEvent)) error {
	it := c.Temporal.GetWorkflowHistory(ctx, e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		event, err := it.Next()
		if err != nil {
			return fmt.Errorf("history of %s: %w", e.GetExecution().GetWorkflowId(), err)
		}
		each(event)
	}
	return nil
}

// histories looks at how executions ended and how their tasks failed.
func (c *check) histories(ctx context.Context) error {
	if c.Temporal == nil {
		return nil
	}
	return c.executions(ctx, func(e *workflowpb.WorkflowExecutionInfo) error {
		c.saw(1)
		id := e.GetExecution().GetWorkflowId()
		if c.Quiet && e.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			c.find("%s (%s) still runs, and everything is over", id, e.GetType().GetName())
		}
		return c.events(ctx, e, func(event *historypb.HistoryEvent) {
			failed := event.GetWorkflowTaskFailedEventAttributes()
			if failed == nil {
				return
			}
			if failed.GetCause() == enumspb.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR {
				c.find("%s (%s): event %d is a task that failed because its code went another way: %s",
					id, e.GetType().GetName(), event.GetEventId(), failed.GetFailure().GetMessage())
			}
		})
	})
}

// secrets looks for canaries, as they are and in the forms that hide them from search.
func (c *check) secrets(ctx context.Context) error {
	if len(c.Secrets) == 0 {
		return nil
	}
	for place, text := range c.Said {
		c.search(place, text)
	}
	if c.DB != nil {
		if err := c.searchDatabase(ctx); err != nil {
			return err
		}
	}
	if c.Temporal == nil {
		return nil
	}
	return c.executions(ctx, func(e *workflowpb.WorkflowExecutionInfo) error {
		id := e.GetExecution().GetWorkflowId()
		return c.events(ctx, e, func(event *historypb.HistoryEvent) {
			text, err := protojson.Marshal(event)
			if err != nil {
				c.find("the history of %s cannot be written out: %v", id, err)
			}
			c.search("the history of "+id, string(text))
		})
	})
}

// search looks for every canary in a text. What is called seen is any text at all.
func (c *check) search(place, text string) {
	c.saw(1)
	for name, secret := range c.Secrets {
		for _, form := range forms(secret) {
			if strings.Contains(text, form) {
				c.find("the %s is in %s", name, place)
				break
			}
		}
	}
}

// searchDatabase looks at every row of every table, as text.
func (c *check) searchDatabase(ctx context.Context) error {
	type table struct{ Name string }
	tables, err := rows[table](ctx, c, `SELECT quote_ident(table_name) FROM information_schema.tables
		WHERE quote_ident(table_schema) = trim(both '"' from '{s}') AND table_type = 'BASE TABLE'`)
	if err != nil {
		return err
	}
	type row struct{ Text string }
	for _, t := range tables {
		all, err := rows[row](ctx, c, `SELECT t::text FROM {s}.`+t.Name+` t`)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		for _, r := range all {
			c.search("table "+t.Name, r.Text)
		}
	}
	return nil
}
