package plugin

import (
	"context"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// engine is the Docker runner, connected at first use: a worker whose runs never
// use a sandbox needs no Docker, and an engine that starts after the worker is
// found.
type engine struct {
	cfg   docker.Config
	owner func() string

	mu     sync.Mutex
	runner *docker.Runner
}

func newEngine(cfg docker.Config, owner func() string) *engine {
	return &engine{cfg: cfg, owner: owner}
}

// tryConfig says what is wrong with a configuration, without an engine: a runner
// for everybody's sandboxes has none of its own and asks for nothing.
func tryConfig(cfg docker.Config) error {
	cfg.Owner = docker.AnyOwner
	if cfg.Admission.Memory == 0 {
		// Not every machine tells what it has, and a worker that never uses a
		// sandbox need not know.
		cfg.Admission.Memory = sandbox.GiB
	}
	ctx := context.Background()
	r, err := docker.New(ctx, cfg)
	if err != nil {
		return err
	}
	return r.Shutdown(ctx)
}

// connect finds the engine, or says why not.
func (e *engine) connect(ctx context.Context) (*docker.Runner, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.runner != nil {
		return e.runner, nil
	}
	cfg := e.cfg
	if cfg.Owner == "" {
		cfg.Owner = e.owner()
	}
	r, err := docker.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r.Warm()
	e.runner = r
	return r, nil
}

func (e *engine) Run(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	r, err := e.connect(ctx)
	if err != nil {
		return sandbox.Result{}, err
	}
	return r.Run(ctx, spec, watch)
}

func (e *engine) ReadFile(ctx context.Context, box, name string, limit int64) ([]byte, error) {
	r, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	return r.ReadFile(ctx, box, name, limit)
}

func (e *engine) WriteFiles(ctx context.Context, box string, files []wflo.File) error {
	r, err := e.connect(ctx)
	if err != nil {
		return err
	}
	return r.WriteFiles(ctx, box, files)
}

func (e *engine) Close(ctx context.Context, box string) error {
	r, err := e.connect(ctx)
	if err != nil {
		return err
	}
	return r.Close(ctx, box)
}

func (e *engine) Boxes(ctx context.Context) ([]string, error) {
	r, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	return r.Boxes(ctx)
}

// shutTime is how long removing the sandboxes that wait may take.
const shutTime = 30 * time.Second

// shut removes the sandboxes that wait and disconnects; executions have ended
// with the worker.
func (e *engine) shut() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.runner == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutTime)
	defer cancel()
	return e.runner.Shutdown(ctx)
}
