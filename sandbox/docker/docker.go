// Package docker runs untrusted code in locked-down containers. It is the one
// package that talks to a container engine.
//
// A sandbox is a container whose PID 1 is wflo's own and waits for a job on its
// attached stdin (see internal/frame). A one-shot execution has a sandbox to
// itself, which nothing has used before and nothing uses after. A box has one
// sandbox that its executions use one after the other, each after everything of
// the one before is dead and gone; executions of a box at the same time have
// sandboxes of their own on the same workspace. Started sandboxes wait in a pool,
// so that an execution begins in a millisecond or two.
//
// The things to call are [New], the methods of sandbox.Runner and
// sandbox.Archiver, and [Runner.Shutdown] at the end; Runner.Check and Runner.Defences say what the
// engine can do, List, Stats, Kill and Collect are for operators.
//
// Every container has a read-only root, no network, no capabilities, no way to
// new privileges, wflo's own seccomp profile, a user that no other has, sized
// writable places in memory, and limits on memory (without swap), CPU,
// processes, open files and file size. None of it is optional, and before its
// first execution a Runner starts a probe inside and looks whether it is so: an
// engine that ignores a defence is refused. A host without AppArmor is reported
// in every result.
//
// Nothing is left behind by a worker that dies: PID 1 ends itself when its owner
// is silent, everything that is made is labelled, and any Runner of the same
// owner removes what is nobody's. A retry adopts an execution that still goes.
//
// The package refuses: images that are not allowed or declare volumes, limits
// above Config.Max, engines without seccomp. It never pulls images and never
// uses the engine's copy interface on a sandbox. The workspace of a one-shot is
// memory of an exact size; that of a box is a volume, which PID 1 watches and
// ends the program when it is over Limits.Workspace, not before the last byte.
package docker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/admission"
	"github.com/wflo-ai/wflo-go/sandbox/egress"
)

// Runner runs specifications on one engine. Make it with New and end it with
// Shutdown. It implements sandbox.Runner.
type Runner struct {
	config Config
	engine engine
	room   *admission.Controller
	proxy  *egress.Proxy
	starts chan struct{} // a slot per container that may be starting
	pool   *pool
	images imageCache
	// takeOvers are one at a time: two that write to the same PID 1 at once
	// could cut each other's frames.
	takeOvers sync.Mutex

	checking chan struct{} // held by the one that checks the engine

	mu      sync.Mutex
	checked *Engine
	tried   map[string]bool // runtimes besides the Runner's own that are safe
	down    bool
	live    map[*session]struct{} // every session, for Shutdown and the sweep
	boxes   map[string]*box
	wg      sync.WaitGroup // what goes on in the background
}

var _ sandbox.Runner = (*Runner)(nil)

// New makes a Runner. Only a wrong configuration is an error: New tries the
// engine and removes what dead workers left behind, but an engine that does not
// answer yet is logged, and Run fails with CodeSandboxUnavailable until it does.
func New(ctx context.Context, config Config) (*Runner, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	cli, err := connectTo(config)
	if err != nil {
		return nil, err
	}
	r, err := newRunner(config, withPoints(cli))
	if err != nil {
		return nil, errors.Join(err, cli.Close())
	}
	if config.Owner == AnyOwner {
		return r, nil
	}
	if _, err := r.Check(ctx); err != nil {
		config.Logger.WarnContext(ctx, "sandbox is not available yet", "error", err)
		return r, nil
	}
	if _, err := r.Collect(ctx, false); err != nil {
		config.Logger.WarnContext(ctx, "sweep of what is left behind", "error", err)
	}
	return r, nil
}

// Warm has sandboxes started for the box that comes first, of the default kind,
// in the background. Without, the first execution starts its own.
func (r *Runner) Warm() {
	e := r.known()
	if spec, err := r.config.admit(defaultBox); err == nil && e != nil {
		r.pool.stock(templateOf(spec, e.image))
	}
}

// defaultBox is what most executions ask for: a box, and everything else as it
// comes. The pool begins with its kind.
var defaultBox = sandbox.Spec{Box: "box", Argv: []string{"true"}}

func newRunner(config Config, e engine) (*Runner, error) {
	room, err := admission.New(config.Admission)
	if err != nil {
		return nil, fmt.Errorf("sandbox admission: %w", err)
	}
	proxy, err := egress.New(config.Egress)
	if err != nil {
		return nil, fmt.Errorf("sandbox egress: %w", err)
	}
	r := &Runner{
		config: config, engine: e, room: room, proxy: proxy,
		starts:   make(chan struct{}, config.Starts),
		checking: make(chan struct{}, 1),
		tried:    map[string]bool{},
		live:     map[*session]struct{}{},
		boxes:    map[string]*box{},
	}
	r.pool = newPool(r)
	return r, nil
}

// Admission tells what runs and what waits on this worker.
func (r *Runner) Admission() admission.Usage { return r.room.Snapshot() }

// background runs f until it is done; Shutdown waits for it. f's context is
// bounded by the engine's timeout and by nothing else.
func (r *Runner) background(f func(ctx context.Context)) {
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*r.config.EngineTimeout)
		defer cancel()
		f(ctx)
	})
}

func (r *Runner) enter(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[s] = struct{}{}
}

func (r *Runner) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, s)
}

// Shutdown removes the sandboxes that wait and those that boxes keep, waits for
// what is being removed, and disconnects. Executions must have ended. The
// workspaces of boxes stay.
func (r *Runner) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	first := !r.down
	r.down = true
	boxes := make([]*box, 0, len(r.boxes))
	for _, b := range r.boxes {
		boxes = append(boxes, b)
	}
	r.mu.Unlock()
	if !first {
		return nil
	}
	r.pool.drain()
	for _, b := range boxes {
		if s := b.takeKept(); s != nil {
			s.discard()
		}
	}
	done := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), r.engine.Close())
	}
	return r.engine.Close()
}

func randomName() string { return "wflo-" + strings.ToLower(rand.Text()) }

// named gives the name of a thing that there is one of: for the same parts the
// same name, whichever worker asks.
func (r *Runner) named(kind, what string) string {
	return "wflo-" + kind + "-" + digest(r.config.Owner, kind, what)
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s;", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// pause lets the engine finish what it is doing.
func pause(ctx context.Context) error {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
