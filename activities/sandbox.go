package activities

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
}

// Run executes spec in the run's sandbox. The execution is keyed by the step's
// effect, so a retry ends what a dead worker left running before it starts.
func (s *Sandbox) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Result, error) {
	run, _ := wflo.RunFrom(ctx)
	if spec.Box == "" {
		spec.Box = run.ID()
	}
	spec.Key = string(run.EffectKey())
	var seen atomic.Int64
	stop := pulse(ctx, func() any { return fmt.Sprintf("%d bytes of output", seen.Load()) })
	defer stop()
	start := time.Now()
	running, done := untilStop(ctx)
	defer done()
	res, err := s.Runner.Run(running, spec, func(_ sandbox.Stream, p []byte) { seen.Add(int64(len(p))) })
	if err != nil {
		return sandbox.Result{}, fmt.Errorf("sandbox: %w", err)
	}
	s.Observer.SandboxRun(ctx, string(res.Outcome), time.Since(start))
	if res.Outcome != sandbox.Cancelled {
		return res, nil
	}
	if ctx.Err() == nil {
		return sandbox.Result{}, errors.New("the worker stops; the program is run again on another")
	}
	// Temporal must see the cancellation and not a result.
	return res, ctx.Err()
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

// Close removes the run's sandbox with everything in it.
func (s *Sandbox) Close(ctx context.Context, _ step.None) (step.None, error) {
	return step.None{}, s.Runner.Close(ctx, boxOf(ctx))
}

func boxOf(ctx context.Context) string {
	run, _ := wflo.RunFrom(ctx)
	return run.ID()
}
