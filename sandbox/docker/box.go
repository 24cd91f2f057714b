package docker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// box is what this worker has of a box: its executions, and the sandbox that
// waits for the next one.
type box struct {
	mu      sync.Mutex
	kept    *session
	timer   *time.Timer
	running map[*execution]struct{}
	closing bool
	closed  chan struct{} // when a Close is over
	busy    chan struct{} // nil, or closed when the workspace has been saved or replaced
}

// box gives the box of that name, made if need be.
func (r *Runner) box(name string) *box {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.boxes[name]
	if b == nil {
		b = &box{running: map[*execution]struct{}{}, closed: make(chan struct{})}
		r.boxes[name] = b
	}
	return b
}

// takeKept gives the sandbox that waits, if there is one.
func (b *box) takeKept() *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.kept
	b.kept = nil
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	return s
}

// keep lets a sandbox wait for the box's next execution. It says no if another
// waits already, or none shall.
func (b *box) keep(s *session, idle time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing || b.kept != nil || idle < 0 {
		return false
	}
	b.kept = s
	b.timer = time.AfterFunc(idle, func() {
		b.mu.Lock()
		mine := b.kept == s
		if mine {
			b.kept, b.timer = nil, nil
		}
		b.mu.Unlock()
		if mine {
			s.discard()
		}
	})
	return true
}

// enterBox adds an execution to its box. While the box is being closed it waits:
// what comes then is for the next box of that name. It also waits while the
// workspace is saved or replaced.
func (r *Runner) enterBox(ctx context.Context, x *execution) (*box, error) {
	return r.enterAs(ctx, x, func(*box) {})
}

// enterAs is enterBox, and calls first with b.mu held, before x is in the box.
func (r *Runner) enterAs(ctx context.Context, x *execution, first func(b *box)) (*box, error) {
	for {
		b := r.box(x.spec.Box)
		b.mu.Lock()
		wait := b.busy
		if b.closing {
			wait = b.closed
		}
		if wait == nil {
			first(b)
			b.running[x] = struct{}{}
			b.mu.Unlock()
			return b, nil
		}
		b.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *box) leave(x *execution) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, x)
}

// How an execution came by its sandbox.
const (
	warm = "warm" // one waited
	kept = "kept" // its box had one
	cold = "cold" // it was started
)

// acquire gives a sandbox of the template with the box's workspace, or with one
// of its own when box is empty.
func (r *Runner) acquire(ctx context.Context, name string, t template, f facts) (s *session, how string, err error) {
	begin := time.Now()
	defer func() {
		if err == nil {
			r.config.Observer.Created(how, time.Since(begin))
		}
	}()
	if name == "" {
		return r.fresh(ctx, t, f)
	}
	if s := r.box(name).takeKept(); s != nil {
		if s.t == t && s.alive() {
			return s, kept, nil
		}
		s.discard()
	}
	const tries = 4
	for range tries {
		p, ok, err := r.workspaceOf(ctx, name)
		if err != nil {
			return nil, "", err
		}
		if !ok {
			if s, how, err = r.fresh(ctx, t, f); err != nil {
				return nil, "", err
			}
			lost := false
			p, lost, err = r.claim(context.WithoutCancel(ctx), s, name)
			switch {
			case err != nil:
				r.pool.drop(s)
				return nil, "", err
			case !lost:
				return s, how, nil
			}
			r.pool.put(s)
		}
		if s, err = r.launch(ctx, t, p, f); err != nil {
			return nil, cold, err
		}
		still, err := r.stillAt(ctx, s, name)
		if still {
			return s, cold, nil
		}
		s.discard()
		if err != nil {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("the workspace of %q is replaced all the time", name)
}

// stillAt says whether a session's workspace is its box's. Whoever replaces a
// workspace says so first and then removes the containers that have the old one:
// of a container that was not there yet, this is how it is found out.
func (r *Runner) stillAt(ctx context.Context, s *session, name string) (bool, error) {
	p, ok, err := r.workspaceOf(context.WithoutCancel(ctx), name)
	return err == nil && ok && p.volume == s.p.volume, err
}

// fresh gives a sandbox that nothing has used.
func (r *Runner) fresh(ctx context.Context, t template, f facts) (*session, string, error) {
	if s := r.pool.take(t); s != nil {
		return s, warm, nil
	}
	s, err := r.launch(ctx, t, place{name: randomName(), uid: newUID(), created: time.Now()}, f)
	return s, cold, err
}

// release takes a sandbox back after use.
func (r *Runner) release(s *session, name string, spent bool) {
	r.mu.Lock()
	b, down := r.boxes[name], r.down
	r.mu.Unlock()
	if name == "" || spent || down || b == nil || !s.alive() || !b.keep(s, r.config.Idle) {
		s.discard()
	}
}

// Close ends the box's executions and removes its containers and workspace; see
// sandbox.Runner. Executions of this Runner come out as cancelled.
func (r *Runner) Close(ctx context.Context, name string) error {
	if err := sandbox.ValidateBox(name); err != nil {
		return err
	}
	b, err := r.closeBox(ctx, name)
	if err != nil {
		return err
	}
	defer func() {
		r.mu.Lock()
		delete(r.boxes, name)
		r.mu.Unlock()
		close(b.closed)
	}()
	if err := b.stop(ctx, nil); err != nil {
		return err
	}
	chain, err := r.chain(ctx, name)
	if err != nil {
		return err
	}
	for _, m := range chain {
		// Another worker's executions end like the rest.
		if err := r.removeWorkspace(ctx, m.volume); err != nil {
			return err
		}
	}
	if err := r.removeLeases(ctx, name); err != nil {
		return err
	}
	// Last, because they are how the rest is found; and the first one last of all,
	// because it leads to the others.
	for _, m := range slices.Backward(chain) {
		if err := r.removeVolume(ctx, m.name); err != nil {
			return err
		}
	}
	return nil
}

// removeWorkspace removes a volume with the files of a box, and the containers
// that have it.
func (r *Runner) removeWorkspace(ctx context.Context, volume string) error {
	if err := r.removeWith(ctx, volume); err != nil {
		return err
	}
	return r.removeVolume(ctx, volume)
}

// closeBox marks a box as one that is being closed, by this caller alone.
func (r *Runner) closeBox(ctx context.Context, name string) (*box, error) {
	for {
		b := r.box(name)
		b.mu.Lock()
		mine := !b.closing
		b.closing = true
		b.mu.Unlock()
		if mine {
			return b, nil
		}
		select {
		case <-b.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stop ends the box's executions, except one, and what waits, and returns when
// they are over.
func (b *box) stop(ctx context.Context, except *execution) error {
	b.mu.Lock()
	all := make([]*execution, 0, len(b.running))
	for x := range b.running {
		if x == except {
			continue
		}
		x.stopOnce.Do(func() { close(x.stop) })
		all = append(all, x)
	}
	b.mu.Unlock()
	if s := b.takeKept(); s != nil {
		s.discard()
	}
	for _, x := range all {
		select {
		case <-x.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// removeWith removes the containers that have a volume.
func (r *Runner) removeWith(ctx context.Context, volume string) error {
	list, err := r.containersWith(ctx, volume)
	if err != nil {
		return err
	}
	for _, c := range list {
		if err := r.remove(ctx, c.ID); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) containersWith(ctx context.Context, volume string) ([]container.Summary, error) {
	args := byLabel(r.config.Owner)
	args.Add("volume", volume)
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	list, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return nil, unreachable("list containers", err)
	}
	return list, nil
}

func (r *Runner) removeLeases(ctx context.Context, name string) error {
	volumes, err := r.volumes(ctx, kindLease)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if v.Labels[labelBox] != name {
			continue
		}
		if err := r.removeVolume(ctx, v.Name); err != nil {
			return err
		}
	}
	return nil
}

// volumes lists those of a kind.
func (r *Runner) volumes(ctx context.Context, kind string) ([]*volume.Volume, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	args := byLabel(r.config.Owner)
	if kind != "" {
		args.Add("label", labelKind+"="+kind)
	}
	list, err := r.engine.VolumeList(ctx, volume.ListOptions{Filters: args})
	if err != nil {
		return nil, unreachable("list volumes", err)
	}
	return list.Volumes, nil
}

// Boxes lists the boxes that have a workspace, in order; see sandbox.Runner. It
// also removes what dead workers left behind.
func (r *Runner) Boxes(ctx context.Context) ([]string, error) {
	if _, err := r.Collect(ctx, false); err != nil {
		return nil, err
	}
	r.pool.tend()
	markers, err := r.volumes(ctx, kindMarker)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(markers))
	for _, v := range markers {
		names = append(names, v.Labels[labelBox])
	}
	slices.Sort(names)
	return slices.Compact(names), nil // a box has several where its workspace was replaced
}

// byLabel filters by owner; AnyOwner sees everything that has one.
func byLabel(owner string) filters.Args {
	if owner == AnyOwner {
		return filters.NewArgs(filters.Arg("label", labelOwner))
	}
	return filters.NewArgs(filters.Arg("label", labelOwner+"="+owner))
}
