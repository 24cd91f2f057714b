package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// keepLease is how long a lease outlives its execution's timeout: as long as
// PID 1 keeps a result for a worker that takes over, and a little.
const keepLease = 15 * time.Minute

// lease says on the engine which container has an execution. It is an empty
// volume, because only those can be labelled after a container has started, and
// making one is atomic: of two workers with the same key one gets it.
type lease struct {
	r    *Runner
	name string
	over chan struct{} // closed by release
	made chan bool     // one value: whether it has been made
}

// shortly is how long an execution without a key goes on before somebody could
// look for it, and before a new sandbox is started in its sandbox's place: both
// would only slow it down.
const shortly = 50 * time.Millisecond

// lease claims the execution's key for a session. If another has it, holder is
// that one's container. Without a key it is only for those who look, and made
// while the program starts.
func (x *execution) lease(ctx context.Context, s *session) (l *lease, holder string, err error) {
	o := x.spec.Origin
	labels := map[string]string{
		labelKind: kindLease, labelContainer: s.id, labelBox: x.spec.Box, labelKey: x.spec.Key,
		labelTenant: o.Tenant, labelRun: o.Run, labelStep: o.Step, labelAttempt: strconv.Itoa(int(o.Attempt)),
		labelExpires: unixIn(x.spec.Limits.Timeout + keepLease),
	}
	l = &lease{r: x.r, over: make(chan struct{}), made: make(chan bool, 1)}
	if x.spec.Key == "" {
		l.name = randomName()
		x.r.background(func(ctx context.Context) { l.make(ctx, labels) })
		return l, "", nil
	}
	l.made <- true
	l.name = x.r.named(kindLease, x.spec.Key)
	got, err := x.r.volume(context.WithoutCancel(ctx), l.name, labels)
	switch {
	case err != nil:
		return nil, "", err
	case got[labelKey] != x.spec.Key:
		return nil, "", fmt.Errorf("the lease of %q has labels %v", x.spec.Key, got)
	case got[labelContainer] != s.id:
		return l, got[labelContainer], nil
	}
	return l, "", nil
}

// make makes a lease that is only for those who look.
func (l *lease) make(ctx context.Context, labels map[string]string) {
	timer := time.NewTimer(shortly)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.over:
		l.made <- false
		return
	}
	if err := l.r.makeVolume(ctx, l.name, labels); err != nil {
		l.r.config.Logger.WarnContext(ctx, "label an execution", "lease", l.name, "error", err)
	}
	l.made <- true
}

// release gives the lease up, in the background.
func (l *lease) release() {
	close(l.over)
	l.r.background(func(ctx context.Context) {
		if !<-l.made {
			return
		}
		if err := l.r.removeVolume(ctx, l.name); err != nil {
			l.r.config.Logger.WarnContext(ctx, "release a lease", "volume", l.name, "error", err)
		}
	})
}

// adopt takes over the execution of the same key in another container. If that
// cannot be, the container and its lease are removed, and done is false: there
// may be a new one.
func (x *execution) adopt(ctx context.Context, holder string) (res sandbox.Result, done bool, err error) {
	calm := context.WithoutCancel(ctx)
	x.r.config.Logger.InfoContext(ctx, "an execution of the same key still goes", "key", x.spec.Key, "container", holder)
	s, j, err := x.takeOver(ctx, holder)
	if err != nil {
		if ctx.Err() != nil {
			return sandbox.Result{}, false, ctx.Err()
		}
		x.r.config.Logger.WarnContext(ctx, "it cannot be adopted and is ended", "container", holder, "error", err)
		if err := x.r.remove(calm, holder); err != nil {
			return sandbox.Result{}, false, err
		}
		return sandbox.Result{}, false, x.r.removeVolume(calm, x.r.named(kindLease, x.spec.Key))
	}
	defer s.end()
	end, _, err := j.await(ctx, x.stop)
	if errors.Is(err, errStolen) {
		s.detach()
		x.r.leave(s)
		return sandbox.Result{}, true, err
	}
	s.discard()
	x.r.abandon(x.r.named(kindLease, x.spec.Key))
	res = x.result(s, end, cold)
	res.Adopted = err == nil
	return res, true, err
}

// takeOver attaches to a running container and asks for the job.
func (x *execution) takeOver(ctx context.Context, id string) (*session, *adoption, error) {
	quick, cancel := context.WithTimeout(ctx, x.r.config.EngineTimeout)
	defer cancel()
	c, err := x.r.engine.ContainerInspect(quick, id)
	switch {
	case errdefs.IsNotFound(err):
		return nil, nil, errors.New("its container is gone")
	case err != nil:
		return nil, nil, unreachable("inspect container", err)
	case c.Config == nil || c.Config.Labels[labelOwner] != x.r.config.Owner:
		return nil, nil, errors.New("its container is somebody else's")
	case c.State == nil || !c.State.Running:
		return nil, nil, errors.New("its container has ended")
	}
	x.r.takeOvers.Lock()
	defer x.r.takeOvers.Unlock()
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	nonce[0] |= 1           // and does not begin like padding
	s, err := x.r.attach(context.WithoutCancel(ctx), id, x.t, place{}, nonce)
	if err != nil {
		return nil, nil, err
	}
	task := x.task()
	out := newCapture(x.spec.Limits.Output, x.masked(), x.watch)
	a := &adoption{job: newJob(s, task, out), answered: make(chan struct{})}
	err = s.begin(a)
	if err == nil {
		err = s.w.Raw(frame.Padding())
	}
	if err == nil {
		err = s.w.Send(frame.Adopt, frame.AdoptMsg{Key: x.spec.Key, Nonce: nonce})
	}
	if err == nil {
		err = a.wait(ctx)
	}
	if err != nil {
		s.detach()
		x.r.leave(s)
		return nil, nil, err
	}
	return s, a, nil
}

// adoption is a job that another worker began.
type adoption struct {
	*job
	answer   frame.AdoptedMsg
	answered chan struct{}
	got      bool
}

func (a *adoption) take(f frame.Frame) {
	if a.got {
		a.job.take(f)
		return
	}
	if f.Type != frame.Adopted {
		return
	}
	a.got = true
	if err := f.Decode(&a.answer); err != nil {
		a.answer.Reason = err.Error()
	}
	a.out.stdout.total += a.answer.StdoutMissed
	a.out.stderr.total += a.answer.StderrMissed
	close(a.answered)
}

func (a *adoption) wait(ctx context.Context) error {
	timer := time.NewTimer(helloTime)
	defer timer.Stop()
	select {
	case <-a.answered:
		if !a.answer.OK {
			return fmt.Errorf("it cannot be adopted: %s", a.answer.Reason)
		}
		return nil
	case <-a.s.over:
		return fmt.Errorf("it ended: %w", a.s.fault())
	case <-timer.C:
		return errors.New("its PID 1 does not answer")
	case <-ctx.Done():
		return ctx.Err()
	}
}
