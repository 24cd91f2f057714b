package envelope

import (
	"context"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	nexuspb "go.temporal.io/api/nexus/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wflo-ai/wflo-go"
)

// FailureType is the type of failures that say that a task could not be read. It is not
// an error code of wflo's: no policy of a user's makes it final by accident.
const FailureType = "wflo.UnreadablePayload"

// retryAfter is when an activity whose input could not be read is tried again: by then
// another worker, or a person, may have the key.
const retryAfter = 10 * time.Second

// refuseTime bounds how long refusing a task may take.
const refuseTime = 10 * time.Second

// openReply opens what the server answers. A task that cannot be read is given back to
// the server at once, and the worker sees an answer without a task. The SDK would turn
// it into an error of the workflow's code, which may end the run. To others
// what cannot be opened stays sealed, and is an error where it is read.
func (c *Codec) openReply(ctx context.Context, reply proto.Message, req any, cc *grpc.ClientConn) error {
	err := c.openAll(ctx, reply)
	if err == nil {
		return nil
	}
	r := refuser{codec: c, service: workflowservice.NewWorkflowServiceClient(cc), why: err}
	if n, ok := req.(interface{ GetNamespace() string }); ok {
		r.namespace = n.GetNamespace()
	}
	if i, ok := req.(interface{ GetIdentity() string }); ok {
		r.identity = i.GetIdentity()
	}
	switch reply := reply.(type) {
	case *workflowservice.PollWorkflowTaskQueueResponse:
		r.workflow(ctx, reply)
		proto.Reset(reply)
	case *workflowservice.PollActivityTaskQueueResponse:
		r.activity(ctx, reply)
		proto.Reset(reply)
	case *workflowservice.PollNexusTaskQueueResponse:
		r.nexus(ctx, reply)
		proto.Reset(reply)
	case *workflowservice.RespondWorkflowTaskCompletedResponse:
		// Activities that come along were asked for here, under keys that are here; the
		// next task may hold what others sent.
		r.workflow(ctx, reply.GetWorkflowTask())
		reply.WorkflowTask = nil
	}
	return nil
}

// refuser gives tasks back.
type refuser struct {
	codec               *Codec
	service             workflowservice.WorkflowServiceClient
	namespace, identity string
	why                 error
}

// aside is a context for the answer. The poll may be over, and its headers are made
// anew: authorization that is there twice is none.
func (r refuser) aside(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = metadata.NewOutgoingContext(context.WithoutCancel(ctx), metadata.MD{})
	return context.WithTimeout(context.WithValue(ctx, unsealed{}, true), refuseTime)
}

func (r refuser) failure() *failurepb.Failure {
	message, hint := wflo.Explain(r.why)
	if hint != "" {
		message += " (" + hint + ")"
	}
	return &failurepb.Failure{
		Message: message, Source: "wflo",
		FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{
			Type: FailureType, NextRetryDelay: durationpb.New(retryAfter),
		}},
	}
}

// report logs it once per attempt; content is not known here, and stays unknown.
func (r refuser) report(ctx context.Context, what string, answered error, attrs ...slog.Attr) {
	message, hint := wflo.Explain(r.why)
	attrs = append(attrs, slog.String("error", message), slog.String("hint", hint))
	if answered != nil {
		// The server notices by the task's own timeout.
		attrs = append(attrs, slog.String("answer", answered.Error()))
	}
	r.codec.log.LogAttrs(ctx, slog.LevelError, what, attrs...)
}

func (r refuser) workflow(ctx context.Context, task *workflowservice.PollWorkflowTaskQueueResponse) {
	if len(task.GetTaskToken()) == 0 {
		return
	}
	ctx, cancel := r.aside(ctx)
	defer cancel()
	var err error
	what := "a workflow task cannot be read; it will be tried again"
	if task.GetQuery() != nil {
		what = "a query cannot be answered"
		f := r.failure()
		_, err = r.service.RespondQueryTaskCompleted(ctx, &workflowservice.RespondQueryTaskCompletedRequest{
			TaskToken: task.GetTaskToken(), CompletedType: enumspb.QUERY_RESULT_TYPE_FAILED, ErrorMessage: f.GetMessage(), Failure: f, Namespace: r.namespace,
			Cause: enumspb.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
		})
	} else {
		_, err = r.service.RespondWorkflowTaskFailed(ctx, &workflowservice.RespondWorkflowTaskFailedRequest{
			TaskToken: task.GetTaskToken(), Cause: enumspb.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE, Failure: r.failure(),
			Identity: r.identity, Namespace: r.namespace,
		})
	}
	r.report(ctx, what, err, slog.String("workflow_id", task.GetWorkflowExecution().GetWorkflowId()),
		slog.String("run_id", task.GetWorkflowExecution().GetRunId()), slog.Int("attempt", int(task.GetAttempt())))
}

func (r refuser) activity(ctx context.Context, task *workflowservice.PollActivityTaskQueueResponse) {
	if len(task.GetTaskToken()) == 0 {
		return
	}
	ctx, cancel := r.aside(ctx)
	defer cancel()
	_, err := r.service.RespondActivityTaskFailed(ctx, &workflowservice.RespondActivityTaskFailedRequest{
		TaskToken: task.GetTaskToken(), Failure: r.failure(), Identity: r.identity, Namespace: r.namespace,
	})
	r.report(ctx, "the input of an activity cannot be read; it will be tried again", err,
		slog.String("workflow_id", task.GetWorkflowExecution().GetWorkflowId()), slog.String("run_id", task.GetWorkflowExecution().GetRunId()),
		slog.String("activity", task.GetActivityType().GetName()), slog.Int("attempt", int(task.GetAttempt())))
}

func (r refuser) nexus(ctx context.Context, task *workflowservice.PollNexusTaskQueueResponse) {
	if len(task.GetTaskToken()) == 0 {
		return
	}
	ctx, cancel := r.aside(ctx)
	defer cancel()
	_, err := r.service.RespondNexusTaskFailed(ctx, &workflowservice.RespondNexusTaskFailedRequest{
		TaskToken: task.GetTaskToken(), Identity: r.identity, Namespace: r.namespace,
		Error: &nexuspb.HandlerError{ //nolint:staticcheck // servers of before know no other form
			ErrorType: "INTERNAL", Failure: &nexuspb.Failure{Message: r.failure().GetMessage()},
			RetryBehavior: enumspb.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE,
		},
	})
	r.report(ctx, "a Nexus operation cannot be read; it will be tried again", err)
}
