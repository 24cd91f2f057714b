package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// drainTime is how long the output may take to end after the program has.
const drainTime = 5 * time.Second

// killTries is how often, a second apart, a container is killed before the
// engine counts as broken.
const killTries = 30

// maxSample is how old the last reading of CPU time and memory may be when the
// kernel takes the counts away.
const maxSample = 50 * time.Millisecond

// ending is how an execution ended.
type ending struct {
	code     int
	killed   sandbox.Outcome // why the runner ended it; empty when it did not
	oom      bool
	duration time.Duration
	usage    usage
	out      *capture // nil when nothing was started
}

// judge names the outcome. An engine reports a signal only as 128 plus its
// number, so a program that exits with such a code itself counts as signalled.
func judge(e ending) sandbox.Outcome {
	const sigkilled = 128 + 9
	switch {
	case e.killed != "" && (e.out == nil || e.code == sigkilled):
		return e.killed
	case e.code == sigkilled && e.oom:
		return sandbox.OutOfMemory
	case e.out == nil || !e.out.started:
		return sandbox.StartFailed
	case e.code == 0:
		return sandbox.Succeeded
	case deadly(e.code - 128):
		return sandbox.Signalled
	}
	return sandbox.Nonzero
}

// deadly says whether a signal ends a process that does not handle it.
func deadly(signal int) bool {
	return signal >= 1 && signal <= 15 || slices.Contains([]int{16, 24, 25, 26, 27, 29, 30, 31}, signal)
}

// execution is one container from its creation to its removal.
type execution struct {
	r    *Runner
	j    job
	id   string
	out  *capture
	conn types.HijackedResponse

	ended    chan struct{} // closed when nothing is left of it
	end      chan struct{} // closed to end it from outside
	endOnce  sync.Once
	readDone chan error // one value: how the output ended
	wrote    chan struct{}
}

func (r *Runner) execute(ctx context.Context, j job, watch func(sandbox.Stream, []byte)) (ending, error) {
	about, err := r.Check(ctx)
	if err != nil {
		return ending{}, err
	}
	return r.executeOn(ctx, j, about.facts, watch)
}

func (r *Runner) executeOn(ctx context.Context, j job, f facts, watch func(sandbox.Stream, []byte)) (ending, error) {
	x := &execution{
		r: r, j: j, ended: make(chan struct{}), end: make(chan struct{}),
		readDone: make(chan error, 1), wrote: make(chan struct{}),
		out: &capture{stdout: stream{keep: j.limits.Output}, stderr: stream{keep: j.limits.Output}, watch: watch},
	}
	r.enter(x)
	defer r.leave(x)
	select {
	case r.starts <- struct{}{}:
	case <-ctx.Done():
		return ending{killed: sandbox.Cancelled}, nil
	}
	var once sync.Once
	started := func() { once.Do(func() { <-r.starts }) }
	defer started()
	// Requests that make something are never cut off: the engine would go on,
	// and what it made would be nobody's. The caller's wish is looked at between.
	if err := x.create(context.WithoutCancel(ctx), f); err != nil {
		return ending{}, err
	}
	defer x.discard(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		return ending{killed: sandbox.Cancelled}, nil
	}
	return x.run(ctx, started)
}

func (r *Runner) enter(x *execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[x] = struct{}{}
}

func (r *Runner) leave(x *execution) {
	r.mu.Lock()
	delete(r.live, x)
	r.mu.Unlock()
	close(x.ended)
}

// create makes the container. One of the same name is a dead worker's, or an
// earlier try of this one: it is ended first.
func (x *execution) create(ctx context.Context, f facts) error {
	config, host := convert(x.j, f)
	for try := 0; ; try++ {
		resp, err := x.createOnce(ctx, config, host)
		switch {
		case err == nil:
			x.id = resp.ID
			if wrong := serious(resp.Warnings); len(wrong) > 0 {
				x.discard(ctx)
				return wflo.Errorf(wflo.CodeSandboxUnavailable, "enable what the engine's host lacks; see docker info",
					"the container engine would ignore a limit: %q", wrong)
			}
			return nil
		case errdefs.IsConflict(err) && try < 20:
			if err := x.r.evict(ctx, x.j); err != nil {
				return err
			}
		case client.IsErrConnectionFailed(err):
			return wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "no container engine answers: %w", err)
		case errdefs.IsNotFound(err):
			return wflo.Errorf(wflo.CodeSandboxUnavailable, "the image was removed just now; bring it back", "create container: %w", err)
		default:
			// The engine may have made it all the same.
			x.r.forget(ctx, x.j)
			return fmt.Errorf("create container: %w", err)
		}
	}
}

func (x *execution) createOnce(ctx context.Context, c *container.Config, h *container.HostConfig) (container.CreateResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, x.r.config.EngineTimeout)
	defer cancel()
	return x.r.engine.ContainerCreate(ctx, c, h, nil, nil, x.j.name)
}

// harmless are the warnings of an engine that do not mean an ignored limit.
var harmless = []string{
	// A sandbox has no networking to begin with.
	"IPv4 forwarding is disabled. Networking will not work.",
}

func serious(warnings []string) []string {
	return slices.DeleteFunc(slices.Clone(warnings), func(w string) bool { return slices.Contains(harmless, w) })
}

// run attaches, starts and watches a created container.
func (x *execution) run(ctx context.Context, started func()) (ending, error) {
	calm := context.WithoutCancel(ctx)
	if err := x.attach(calm); err != nil {
		return ending{}, err
	}
	exited, stopWait := x.wait(calm)
	defer stopWait()
	begin := time.Now()
	err := x.start(calm)
	started()
	if err != nil {
		x.conn.Close()
		return ending{}, fmt.Errorf("start container: %w", err)
	}
	go x.write()
	go func() { x.readDone <- x.out.read(x.conn.Reader) }()
	m := openMeter(cgroupRoot, x.id)
	defer m.close()
	w := watcher{x: x, exited: exited, meter: m}
	end, err := w.watch(ctx)
	if err != nil {
		x.conn.Close() // the program may go on, and its output with it
	}
	if ended := x.drain(&w); err == nil {
		err = ended
	}
	if err != nil {
		return ending{}, err
	}
	end.duration, end.usage, end.out = time.Since(begin), m.last, x.out
	return end, x.look(calm, &end)
}

func (x *execution) attach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.r.config.EngineTimeout)
	defer cancel()
	conn, err := x.r.engine.ContainerAttach(ctx, x.id, container.AttachOptions{
		Stream: true, Stdout: true, Stderr: true, Stdin: len(x.j.files)+len(x.j.stdin) > 0,
	})
	if err != nil {
		return fmt.Errorf("attach to container: %w", err)
	}
	x.conn = conn
	return nil
}

func (x *execution) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.r.config.EngineTimeout)
	defer cancel()
	return x.r.engine.ContainerStart(ctx, x.id, container.StartOptions{})
}

type exit struct {
	code int
	err  error
}

// wait asks for the exit before the start, so that it cannot be missed. stop
// ends the waiting and returns when nothing of it runs any more.
func (x *execution) wait(ctx context.Context) (exited <-chan exit, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	results, errs := x.r.engine.ContainerWait(ctx, x.id, container.WaitConditionNextExit)
	c, done := make(chan exit, 1), make(chan struct{})
	go func() {
		defer close(done)
		// The client's channels are not buffered: one of them must be received
		// from, whatever happens.
		select {
		case res := <-results:
			e := exit{code: int(res.StatusCode)}
			if res.Error != nil {
				e.err = errors.New(res.Error.Message)
			}
			c <- e
		case err := <-errs:
			c <- exit{err: err}
		}
	}()
	return c, func() { cancel(); <-done }
}

// write feeds the prelude and the program. A program that does not read makes
// it wait until the connection is closed.
func (x *execution) write() {
	defer close(x.wrote)
	for _, p := range [][]byte{x.j.files, x.j.stdin} {
		if _, err := x.conn.Conn.Write(p); err != nil {
			return // the program has ended or does not want more
		}
	}
	if len(x.j.files)+len(x.j.stdin) > 0 {
		_ = x.conn.CloseWrite() // the program ends without it, or the timeout comes
	}
}

// drain ends the goroutines: the output must end shortly after the program has.
func (x *execution) drain(w *watcher) error {
	err := w.readErr
	if !w.readOver {
		if derr := x.conn.Conn.SetReadDeadline(time.Now().Add(drainTime)); derr != nil {
			x.conn.Close()
		}
		err = <-x.readDone
	}
	x.conn.Close()
	<-x.wrote
	return err
}

// look asks the engine how the container ended.
func (x *execution) look(ctx context.Context, end *ending) error {
	ctx, cancel := context.WithTimeout(ctx, x.r.config.EngineTimeout)
	defer cancel()
	c, err := x.r.engine.ContainerInspect(ctx, x.id)
	if err != nil {
		if end.killed != "" {
			return nil // ended by us, and removed by a Close since
		}
		return fmt.Errorf("inspect container: %w", err)
	}
	end.oom = c.State.OOMKilled || end.usage.kills > 0
	begun, berr := time.Parse(time.RFC3339Nano, c.State.StartedAt)
	done, derr := time.Parse(time.RFC3339Nano, c.State.FinishedAt)
	if berr == nil && derr == nil && done.After(begun) {
		end.duration = done.Sub(begun)
	}
	return nil
}

// watcher waits for the end of a started container, and brings it about.
type watcher struct {
	x        *execution
	exited   <-chan exit
	meter    *meter
	why      sandbox.Outcome
	readOver bool
	readErr  error
}

func (w *watcher) watch(ctx context.Context) (ending, error) {
	timeout := time.NewTimer(w.x.j.limits.Timeout)
	defer timeout.Stop()
	pause := 4 * time.Millisecond
	sample := time.NewTimer(pause)
	defer sample.Stop()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	cancelled, end, read, kills := ctx.Done(), w.x.end, w.x.readDone, 0
	kill := func(why sandbox.Outcome) {
		if w.why == "" {
			w.why = why
		}
		kills++
		w.x.kill(context.WithoutCancel(ctx))
	}
	for {
		select {
		case e := <-w.exited:
			if e.err != nil {
				return ending{}, fmt.Errorf("wait for container: %w", e.err)
			}
			return ending{code: e.code, killed: w.why}, nil
		case <-cancelled:
			cancelled = nil
			kill(sandbox.Cancelled)
		case <-end:
			end = nil
			kill(sandbox.Cancelled)
		case <-timeout.C:
			kill(sandbox.Timeout)
		case w.readErr = <-read:
			w.readOver = true
			w.meter.read() // the group is about to go
			if w.readErr != nil {
				kill(sandbox.Cancelled) // its output would block it
			}
			read = nil
		case <-sample.C:
			w.meter.read()
			pause = min(2*pause, maxSample)
			sample.Reset(pause)
		case <-again.C:
			if kills > killTries {
				return ending{}, errors.New("container does not die")
			}
			if kills > 0 {
				kill(w.why)
			}
		}
	}
}

func (x *execution) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := x.r.engine.ContainerKill(ctx, x.id, "SIGKILL"); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		x.r.config.Logger.WarnContext(ctx, "kill container", "container", x.id, "error", err)
	}
}

// discard removes the container, running or not.
func (x *execution) discard(ctx context.Context) {
	if err := x.r.remove(ctx, x.id); err != nil {
		x.r.config.Logger.WarnContext(ctx, "remove container", "container", x.id, "error", err)
	}
}
