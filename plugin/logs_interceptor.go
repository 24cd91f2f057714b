package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// logInterceptor puts the ids of the run on what activities log. It comes after the
// interceptor that reads the run from the header.
type logInterceptor struct {
	interceptor.WorkerInterceptorBase
	logs *logging
}

// InterceptActivity wraps one attempt.
func (l *logInterceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &logInbound{logs: l.logs}
	in.Next = next
	return in
}

type logInbound struct {
	interceptor.ActivityInboundInterceptorBase
	logs *logging
}

// Init wraps what the activity asks of the SDK.
func (in *logInbound) Init(outbound interceptor.ActivityOutboundInterceptor) error {
	out := &logOutbound{}
	out.Next = outbound
	return in.Next.Init(out)
}

// ExecuteActivity remembers the run, so that lines of the SDK find it that name the run id
// only, and reports a panic, which no interceptor before it sees.
func (in *logInbound) ExecuteActivity(ctx context.Context, input *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	if run, ok := wflo.RunFrom(ctx); ok {
		in.logs.know(info.WorkflowExecution.RunID, run)
	}
	returned := false
	defer func() {
		if !returned {
			in.logs.failed(ctx, info, errPanicked)
		}
	}()
	out, err := in.Next.ExecuteActivity(ctx, input)
	returned = true
	return out, err
}

// know says which run a run id of Temporal belongs to, for lines of the SDK.
func (l *logging) know(runID string, run wflo.Run) {
	if l.keeper != nil {
		l.keeper.Know(runID, run)
	}
}

// errPanicked stands for the error that Temporal's SDK makes of a panic.
var errPanicked = temporal.NewApplicationError("the activity panicked", "panic")

type logOutbound struct {
	interceptor.ActivityOutboundInterceptorBase
}

// GetLogger gives the SDK's logger with the ids that all lines of a run have.
func (o *logOutbound) GetLogger(ctx context.Context) log.Logger {
	l := o.Next.GetLogger(ctx)
	run, ok := wflo.RunFrom(ctx)
	if !ok {
		return l
	}
	var ids []any
	for _, id := range [][2]string{
		{"workflow_id", run.WorkflowID}, {"execution_id", run.FirstRunID}, {"user_id", run.User}, {"team", run.Team},
		{"step", run.Step}, {"correlation_id", run.Correlation},
	} {
		if id[1] != "" {
			ids = append(ids, id[0], id[1])
		}
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		ids = append(ids, "trace_id", sc.TraceID().String(), "span_id", sc.SpanID().String())
	}
	return log.With(l, ids...)
}

// governed are errors by which wflo did what it is for: they are no faults to look into.
var governed = []wflo.Code{
	wflo.CodeBudgetExceeded, wflo.CodeApprovalRejected, wflo.CodeApprovalTimeout, wflo.CodeApprovalExpired, wflo.CodeHalted, wflo.CodePolicyDenied,
}

// failed reports an attempt after which there is no other.
func (l *logging) failed(ctx context.Context, info activity.Info, err error) {
	if l.sentry == nil || !activities.IsFinal(info, err) {
		return
	}
	code := string(wflo.CodeOf(err))
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		code = app.Type()
	}
	if code == "" {
		code = fmt.Sprintf("%T", err)
	}
	if slices.Contains(governed, wflo.Code(code)) {
		return
	}
	f := telemetry.ActivityFailure{Activity: info.ActivityType.Name, Code: code, Attempt: int(info.Attempt)}
	if info.WorkflowType != nil {
		f.Workflow = info.WorkflowType.Name
	}
	l.sentry.ActivityFailed(ctx, f)
}
