package activities

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// DefaultMaxResult is the largest result of an activity, in bytes of JSON. It
// is above what history takes inline because larger payloads are stored as
// blobs, and below what workflow code should ever hold.
const DefaultMaxResult = 4 << 20

// Observer hears what activities do, to count it. Its methods may be called at
// the same time and must not block.
type Observer interface {
	// Activity says that one attempt of an activity ended with a status:
	// ok, error or cancelled.
	Activity(ctx context.Context, name, status string, d time.Duration)
	// LLMCall says that a model answered and what it cost. The run is in ctx.
	LLMCall(ctx context.Context, provider, model string, u wflo.Usage, cost wflo.Money)
	// LLMEstimate says how many prompt tokens were reserved for, and how many the
	// provider counted.
	LLMEstimate(ctx context.Context, provider, model string, reserved, counted int64)
	// LLMOverdraft says that a call cost so much more than was reserved for it.
	LLMOverdraft(ctx context.Context, provider, model string, over wflo.Money)
	// LLMFailover says that a model failed and another one is asked.
	LLMFailover(ctx context.Context, provider, model string)
	// LLMCache says what the response cache did for a call: hit, miss, or error
	// when it could not be used.
	LLMCache(ctx context.Context, outcome string)
	// BudgetExceeded says that a call of the workflow type did not fit.
	BudgetExceeded(workflow string)
	// SandboxRun says how an execution ended, as sandbox.OutcomeOf puts it, and
	// how long it took in all.
	SandboxRun(ctx context.Context, outcome string, d time.Duration)
	// SandboxQueued says how long an execution waited for room.
	SandboxQueued(ctx context.Context, d time.Duration)
	// ApprovalOpened says that a gate was opened.
	ApprovalOpened()
	// ApprovalClosed says how a gate ended and how long it was open.
	ApprovalClosed(ctx context.Context, status wflo.GateStatus, latency time.Duration)
}

// InterceptorConfig sets up the activity half of the interceptor.
type InterceptorConfig struct {
	// Logger gets a line per attempt at debug level, and failures at warn.
	// Required.
	Logger *slog.Logger
	// Observer counts. Required.
	Observer Observer
	// Converter decodes headers; nil means Temporal's default.
	Converter converter.DataConverter
	// MaxResult is the largest result in bytes of JSON; zero means
	// DefaultMaxResult.
	MaxResult int
	// Records says whether an approval was used or taken back, and Terms are the
	// worker's present conditions for decisions. Without them no activity begins that
	// acts on an approval.
	Records Records
	Terms   func() wflo.Terms
	// RequireApproval are the activities, by their registered names, of which no attempt
	// begins without an approval, whoever schedules it: calls that undo, local ones, and
	// calls that a risk rule let pass are refused too. None means that workflow code
	// decides what needs one.
	RequireApproval []string
	// Recovery keeps compensations. Without it no activity begins whose effect has one,
	// and nothing is undone.
	Recovery Recovery
	// Emergency says why an attempt may not begin, see [Emergency.Check]; nil means
	// that every attempt may.
	Emergency func(ctx context.Context, f wflo.Facts) error
	// OnFailure hears of attempts after which there is no other, see [IsFinal], with the
	// error as Temporal has it. The run is in ctx. nil means nobody; it must not block.
	OnFailure func(ctx context.Context, info activity.Info, err error)
	// OnResult hears of attempts that succeeded, after how long, with what went in and
	// came out: to count what results say. The run is in ctx. nil means nobody; it must
	// not block.
	OnResult func(ctx context.Context, info activity.Info, args []any, result any, took time.Duration)
}

// NewInterceptor returns the activity half of the interceptor. It governs every
// activity of the worker: it reads the run from the header into the context
// (wflo.RunFrom), logs and counts the attempt, refuses a result that is too
// large, and turns errors into what Temporal and the workflow half understand.
func NewInterceptor(cfg InterceptorConfig) interceptor.WorkerInterceptor {
	if cfg.Converter == nil {
		cfg.Converter = converter.GetDefaultDataConverter()
	}
	if cfg.MaxResult == 0 {
		cfg.MaxResult = DefaultMaxResult
	}
	return &workerInterceptor{cfg: cfg}
}

type workerInterceptor struct {
	interceptor.WorkerInterceptorBase
	cfg InterceptorConfig
}

// InterceptActivity wraps one attempt.
func (w *workerInterceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &inbound{cfg: w.cfg}
	in.Next = next
	return in
}

type inbound struct {
	interceptor.ActivityInboundInterceptorBase
	cfg InterceptorConfig
}

func (in *inbound) ExecuteActivity(ctx context.Context, input *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	run := in.run(ctx, info)
	ctx = wflo.WithRun(ctx, run)
	traceRun(ctx, run, info)
	start := time.Now()
	var out any
	err := in.emergency(ctx, info, input)
	if err == nil {
		err = in.approved(ctx, info)
	}
	if err == nil {
		err = in.redeem(ctx, info, input.Args)
	}
	if err == nil {
		out, err = in.attempt(ctx, info, input)
	}
	// The state of a run is as large as all of its results; its own limit is when it is saved.
	if err == nil && info.ActivityType.Name != string(step.SnapshotLoad) {
		if err = checkSize(info.ActivityType.Name, out, in.cfg.MaxResult); err != nil {
			out = nil
		}
	}
	traceOutcome(ctx, input.Args, out)
	took := time.Since(start)
	in.report(ctx, info, err, took)
	if err == nil && in.cfg.OnResult != nil {
		in.cfg.OnResult(ctx, info, input.Args, out, took)
	}
	return out, toWire(err)
}

// approved refuses an activity that needs an approval and was called without one. What
// the call says about its approval is for redeem to look at. The refusal stands also
// where it cannot be recorded.
func (in *inbound) approved(ctx context.Context, info activity.Info) error {
	name := info.ActivityType.Name
	if _, ok := interceptor.Header(ctx)[wflo.HeaderGate]; ok || !slices.Contains(in.cfg.RequireApproval, name) {
		return nil
	}
	err := wflo.Errorf(wflo.CodePolicyDenied, "ask in the workflow (StepOptions.Approval with its Activity), and call it with the context of the step",
		"activity %s begins only with an approval on this worker, and was called without one", name)
	run, _ := wflo.RunFrom(ctx)
	use := wflo.AuditUse{Activity: name, Effect: run.EffectKey(), Error: err.Error()}
	if in.cfg.Records == nil {
		return err
	}
	if auditErr := in.cfg.Records.Append(ctx, wflo.AuditEvent{
		ID:    fmt.Sprintf("unapproved:%s:%s:%s", info.WorkflowExecution.RunID, name, use.Effect),
		Chain: run.AuditChain(), At: time.Now(), Type: wflo.AuditGrantRefused, Severity: wflo.SeverityError, Actor: workerName,
		Namespace: run.Namespace, WorkflowID: run.WorkflowID, FirstRunID: run.FirstRunID, Step: run.Step, Data: data(use),
	}); auditErr != nil {
		in.cfg.Logger.ErrorContext(ctx, "a call without an approval is not on record", "activity", name, "step", run.Step, "error", auditErr.Error())
	}
	return err
}

// run reads whom the activity acts for. A workflow without the plugin sends no
// header: its activities are governed as runs of their own.
func (in *inbound) run(ctx context.Context, info activity.Info) wflo.Run {
	var r wflo.Run
	p, ok := interceptor.Header(ctx)[wflo.HeaderRun]
	if ok {
		if err := in.cfg.Converter.FromPayload(p, &r); err == nil {
			return r
		}
		in.cfg.Logger.WarnContext(ctx, "run header cannot be read", "activity", info.ActivityType.Name)
	}
	r = wflo.Run{
		Namespace: info.Namespace, WorkflowID: info.WorkflowExecution.ID, FirstRunID: info.WorkflowExecution.RunID,
		Step: info.ActivityID, Correlation: info.WorkflowExecution.RunID,
	}
	if info.WorkflowType != nil {
		r.Workflow = info.WorkflowType.Name
	}
	r.Lines = []wflo.BudgetLine{{ID: wflo.RunBudgetID(r.ID())}}
	return r
}

func (in *inbound) report(ctx context.Context, info activity.Info, err error, d time.Duration) {
	status := "ok"
	switch {
	case ctx.Err() != nil && err != nil:
		status = "cancelled"
	case err != nil:
		status = "error"
	}
	in.cfg.Observer.Activity(ctx, info.ActivityType.Name, status, d)
	in.final(ctx, info, err)
	attrs := []any{"activity", info.ActivityType.Name, "attempt", info.Attempt, "duration_ms", d.Milliseconds()}
	if err != nil {
		in.cfg.Logger.WarnContext(ctx, "activity failed", append(attrs, "error", err.Error())...)
		return
	}
	in.cfg.Logger.DebugContext(ctx, "activity done", attrs...)
}
