package activities

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Sandbox runs untrusted code. Its methods are registered as activities.
type Sandbox struct {
	// Runner does it. Required.
	Runner sandbox.Runner
	// Observer counts. Required.
	Observer Observer
	// MaxResult is the interceptor's: artifacts that would make a result larger
	// are named in Result.ArtifactsMissed instead. Zero means DefaultMaxResult.
	MaxResult int
}

// Run executes spec in the run's sandbox, or in one of its own if the box is
// sandbox.OneShot. The execution is keyed by the step's effect, so a retry meets
// what a dead worker left running. Heartbeats carry a step.Progress.
func (s *Sandbox) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Result, error) {
	start := time.Now()
	res, err := s.run(ctx, spec)
	s.Observer.SandboxRun(ctx, string(sandbox.OutcomeOf(res, err)), time.Since(start))
	traceResult(ctx, res, err)
	if err != nil {
		return sandbox.Result{}, fmt.Errorf("sandbox: %w", err)
	}
	s.Observer.SandboxQueued(ctx, res.Queued)
	switch {
	case res.Outcome != sandbox.Cancelled:
		return fit(res, s.maxResult()), nil
	case ctx.Err() != nil:
		// Temporal must see the cancellation and not a result.
		return res, ctx.Err()
	case stopping(ctx):
		return sandbox.Result{}, errors.New("the worker stops; the program is run again on another")
	}
	return sandbox.Result{}, errors.New("the sandbox was closed while the program ran")
}

func (s *Sandbox) run(ctx context.Context, spec sandbox.Spec) (sandbox.Result, error) {
	spec, err := assign(ctx, spec)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := s.carries(spec); err != nil {
		return sandbox.Result{}, err
	}
	traceSpec(ctx, spec)
	var w watch
	defer pulse(ctx, func() any { return w.progress() })()
	running, done := untilStop(sandbox.WithQueueWatch(ctx, w.queued))
	defer done()
	return s.Runner.Run(running, spec, func(_ sandbox.Stream, p []byte) { w.wrote(p) })
}

// assign fills in what a workflow must not choose: whose execution it is, its
// key, and the box, which is the run's own, the one of the run that it belongs
// to, or none. Another run's workspace stays out of reach.
func assign(ctx context.Context, spec sandbox.Spec) (sandbox.Spec, error) {
	run, _ := wflo.RunFrom(ctx)
	switch spec.Box {
	case "":
		spec.Box = run.ID()
	case sandbox.OneShot:
		spec.Box = ""
	case run.ID(), run.RootID():
	default:
		return spec, wflo.Invalid("spec.box", fmt.Sprintf("is %.80q, which is not of this run", spec.Box),
			fmt.Sprintf("leave it empty for the run's sandbox, or use sandbox.OneShot (%q) for one that is thrown away", sandbox.OneShot))
	}
	tenant := run.Team
	if tenant == "" {
		tenant = run.User
	}
	spec.Key = string(run.EffectKey())
	spec.Origin = sandbox.Origin{
		Tenant: labelText(tenant), Run: labelText(run.ID()), Step: labelText(run.Step), Attempt: activity.GetInfo(ctx).Attempt,
	}
	return spec, nil
}

func (s *Sandbox) maxResult() int {
	if s.MaxResult == 0 {
		return DefaultMaxResult
	}
	return s.MaxResult
}

// carries refuses, before anything runs, artifacts that were asked for by size
// and cannot come back: the result is JSON, in which four bytes stand for three.
func (s *Sandbox) carries(spec sandbox.Spec) error {
	most := int64(s.maxResult()) / 4 * 3
	if len(spec.Artifacts) == 0 || spec.Limits.Artifacts <= most {
		return nil
	}
	return wflo.Invalid("limits.artifacts", fmt.Sprintf("is %s, and a result carries at most %s of files", sandbox.FormatSize(spec.Limits.Artifacts), sandbox.FormatSize(most)),
		"ask for less, leave large files in the workspace and read parts of them, or raise plugin.Config.MaxResult")
}

// untilStop ends with ctx, or when the worker is asked to stop: a program must
// not outlive the worker that watches it.
func untilStop(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	stop := activity.GetWorkerStopChannel(ctx)
	wg.Go(func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		wg.Wait()
	}
}

func stopping(ctx context.Context) bool {
	select {
	case <-activity.GetWorkerStopChannel(ctx):
		return true
	default:
		return false
	}
}

// Read reads a file of the run's workspace.
func (s *Sandbox) Read(ctx context.Context, in step.Read) ([]byte, error) {
	defer pulse(ctx, func() any { return "reading " + in.Name })()
	return s.Runner.ReadFile(ctx, boxOf(ctx), in.Name, in.Limit)
}

// Write puts files into the run's workspace.
func (s *Sandbox) Write(ctx context.Context, files []wflo.File) (step.None, error) {
	defer pulse(ctx, func() any { return "writing" })()
	return step.None{}, s.Runner.WriteFiles(ctx, boxOf(ctx), files)
}

// Close removes the run's sandbox with everything in it. An engine that is not
// there does not hold up the end of the run: the sweep removes what is left when
// the engine is back.
func (s *Sandbox) Close(ctx context.Context, _ step.None) (step.None, error) {
	err := s.Runner.Close(ctx, boxOf(ctx))
	if errors.Is(err, wflo.ErrSandboxUnavailable) {
		activity.GetLogger(ctx).Warn("the run's sandbox is left to the sweep", "box", boxOf(ctx), "error", err.Error())
		return step.None{}, nil
	}
	return step.None{}, err
}

func boxOf(ctx context.Context) string {
	run, _ := wflo.RunFrom(ctx)
	return run.ID()
}
