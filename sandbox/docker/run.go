package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/admission"
	"github.com/wflo-ai/wflo-go/sandbox/egress"
)

// execution is one call of Run.
type execution struct {
	r       *Runner
	spec    sandbox.Spec
	about   Engine
	image   imageInfo
	t       template
	secrets map[string][]byte // by variable
	network *egress.Session   // nil without
	watch   func(sandbox.Stream, []byte)

	stop     chan struct{} // closed by Close of the box
	stopOnce sync.Once
	ended    chan struct{}
}

// Run executes spec; see sandbox.Runner. watch gets the bytes before they are
// made valid UTF-8, with secrets masked.
func (r *Runner) Run(ctx context.Context, spec sandbox.Spec, watch func(s sandbox.Stream, p []byte)) (sandbox.Result, error) {
	res, err := r.run(ctx, spec, watch)
	if err == nil || ctx.Err() == nil || errors.Is(err, wflo.ErrInvalid) || errors.Is(err, wflo.ErrPolicyDenied) {
		return res, err
	}
	// Whatever broke, the caller no longer waits for it.
	if !errors.Is(err, ctx.Err()) {
		r.config.Logger.WarnContext(ctx, "cancelled execution", "key", spec.Key, "error", err)
	}
	return sandbox.Result{Outcome: sandbox.Cancelled}, nil
}

func (r *Runner) run(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	spec, err := r.config.admit(spec)
	if err != nil {
		return sandbox.Result{}, err
	}
	x := &execution{r: r, spec: spec, watch: watch, stop: make(chan struct{}), ended: make(chan struct{})}
	if err := x.prepare(ctx); err != nil {
		return sandbox.Result{}, err
	}
	if x.network != nil {
		defer x.network.Close()
	}
	if spec.Box != "" {
		b, err := r.enterBox(ctx, x)
		if err != nil {
			return sandbox.Result{}, err
		}
		defer b.leave(x)
	}
	defer close(x.ended)
	ticket, err := r.room.Acquire(ctx, admission.Request{
		Tenant: spec.Origin.Tenant, Memory: spec.Limits.Memory + pid1Memory, CPUs: spec.Limits.CPUs, Waiting: queue(ctx),
	})
	if err != nil {
		return sandbox.Result{}, err
	}
	if ticket.Waited() > 0 {
		sandbox.QueueWatch(ctx)(sandbox.QueueState{})
	}
	res, err := x.execute(ctx)
	ticket.Release(res.CPUTime)
	res.Queued = ticket.Waited()
	return res, err
}

// prepare finds everything that the execution needs and may lack.
func (x *execution) prepare(ctx context.Context) (err error) {
	if x.about, err = x.r.Check(ctx); err != nil {
		return err
	}
	if x.spec.Security.Runtime, err = x.r.config.runtime(x.spec.Security.Runtime, x.about.Runtime); err != nil {
		return err
	}
	if err := x.about.satisfies(x.spec.Security); err != nil {
		return err
	}
	if err := x.r.tryRuntime(ctx, x.about, x.spec.Security.Runtime); err != nil {
		return err
	}
	if x.image, err = x.r.image(ctx, x.spec.Image); err != nil {
		return err
	}
	x.t = templateOf(x.spec, x.image.id)
	x.secrets = make(map[string][]byte, len(x.spec.Secrets))
	for variable, name := range x.spec.Secrets {
		value, err := x.r.config.Secrets.Secret(ctx, name)
		if err != nil {
			return fmt.Errorf("spec.secrets[%s]: %w", variable, err)
		}
		x.secrets[variable] = value
	}
	if x.spec.Network.Mode == sandbox.NetworkAllow {
		x.network, err = x.r.proxy.Open(ctx, x.spec.Network, x.spec.Origin)
	}
	return err
}

// execute takes a sandbox, or an execution of the same key that still goes, and
// gives the result.
func (x *execution) execute(ctx context.Context) (sandbox.Result, error) {
	for range 3 {
		s, how, err := x.r.acquire(ctx, x.spec.Box, x.t, x.about.facts)
		if err != nil {
			return sandbox.Result{}, err
		}
		l, holder, err := x.lease(ctx, s)
		if err != nil {
			x.r.release(s, x.spec.Box, true)
			return sandbox.Result{}, err
		}
		if holder == "" {
			end, err := x.on(ctx, s, l)
			return x.result(s, end, how), err
		}
		if x.spec.Box == "" {
			x.r.pool.put(s)
		} else {
			x.r.release(s, x.spec.Box, false)
		}
		res, done, err := x.adopt(ctx, holder)
		if done || err != nil {
			return res, err
		}
	}
	return sandbox.Result{}, errors.New("sandbox: other executions of the same key keep coming")
}

// on runs the task in a sandbox of its own.
func (x *execution) on(ctx context.Context, s *session, l *lease) (ending, error) {
	out := newCapture(x.spec.Limits.Output, x.masked(), x.watch)
	end, spent, err := s.run(ctx, x.task(), out, x.stop)
	if errors.Is(err, errStolen) {
		// Sandbox and lease are the other worker's now.
		s.detach()
		x.r.leave(s)
		return end, err
	}
	x.r.release(s, x.spec.Box, spent || err != nil)
	l.release()
	return end, err
}

func (x *execution) masked() [][]byte {
	return slices.Collect(maps.Values(x.secrets))
}

// task puts the specification into PID 1's words.
func (x *execution) task() task {
	l := x.spec.Limits
	t := task{
		stdin: x.spec.Stdin, files: x.spec.Files,
		msg: frame.JobMsg{
			Key: x.spec.Key, Stdin: len(x.spec.Stdin) > 0, Network: x.network != nil,
			Timeout: l.Timeout, CPUTime: l.CPUTime, Output: l.Output, OutputTotal: l.OutputTotal,
			Artifacts: x.spec.Artifacts, ArtifactBytes: l.Artifacts,
		},
	}
	if !x.t.inMemory {
		t.msg.Workspace = l.Workspace
	}
	argv, env := x.spec.Argv, map[string]string{"HOME": "/tmp", "USER": "sandbox", "LOGNAME": "sandbox"}
	for _, v := range x.image.env {
		env[v.name] = v.value
	}
	if x.spec.Source != "" {
		var more map[string]string
		argv, more, t.scratch = script(x.spec.Language, x.spec.Source)
		maps.Copy(env, more)
	}
	maps.Copy(env, x.spec.Env)
	if x.network != nil {
		maps.Copy(env, x.network.Environment())
		t.serve = x.network.Serve
		if ca := x.network.CA(); len(ca) > 0 {
			t.scratch = append(t.scratch, wflo.File{Name: path.Base(egress.CAFile), Data: ca})
		}
	}
	for _, arg := range argv {
		t.msg.Argv = append(t.msg.Argv, []byte(arg))
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		t.msg.Env = append(t.msg.Env, []byte(name+"="+env[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(x.secrets)) {
		t.msg.Env = append(t.msg.Env, append([]byte(name+"="), x.secrets[name]...))
	}
	return t
}

// script gives the program, the variables and the file of a source. Output is
// unbuffered, so that what a program printed before a timeout is not lost.
func script(l sandbox.Language, source string) (argv []string, env map[string]string, files []wflo.File) {
	file := func(name string) []wflo.File { return []wflo.File{{Name: name, Data: []byte(source)}} }
	switch l {
	case sandbox.Bash:
		return []string{"bash", frame.ScratchDir + "/main.sh"}, nil, file("main.sh")
	case sandbox.Node:
		return []string{"node", frame.ScratchDir + "/main.js"},
			map[string]string{"NODE_PATH": sandbox.Workspace + "/node_modules:" + sandbox.Workspace}, file("main.js")
	}
	return []string{"python3", frame.ScratchDir + "/main.py"},
		map[string]string{"PYTHONPATH": sandbox.Workspace, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}, file("main.py")
}

// result puts what came out into the caller's words.
func (x *execution) result(s *session, end ending, how string) sandbox.Result {
	res := sandbox.Result{
		Outcome: end.Outcome, ExitCode: end.Code, Signal: end.Signal, Reason: end.Reason, OOM: end.OOM, Hit: end.Hit,
		Duration: end.Duration, PeakMemory: end.PeakMemory, CPUTime: end.CPUTime,
		Changed: end.Changed, ChangedMore: end.ChangedMore, Artifacts: end.artifacts, ArtifactsMissed: end.ArtifactsMissed,
		Sandbox: s.id, Image: x.image.id, Runtime: x.t.runtime, Profiles: profiles(x.t, x.about.facts), Missing: x.about.Missing,
		Warm: how == warm || how == kept,
	}
	if res.Runtime == "" {
		res.Runtime = x.about.Runtime
	}
	if end.out != nil {
		res.Stdout, res.StdoutTruncated = end.out.stdout.text()
		res.Stderr, res.StderrTruncated = end.out.stderr.text()
	}
	if x.network != nil {
		res.Traffic = x.network.Traffic()
	}
	return res
}

// queue passes on what the host's admission says to who asked for it.
func queue(ctx context.Context) func(admission.State) {
	watch := sandbox.QueueWatch(ctx)
	return func(s admission.State) {
		watch(sandbox.QueueState{Waiting: true, Position: s.Position, Reason: s.Reason})
	}
}

type noSecrets struct{}

// Secret knows none.
func (noSecrets) Secret(_ context.Context, name string) ([]byte, error) {
	return nil, wflo.Errorf(wflo.CodeMissingKey, "configure secrets on the worker", "secret %q: this worker has no secrets", name)
}

// unixIn gives a point in time as a label.
func unixIn(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }
