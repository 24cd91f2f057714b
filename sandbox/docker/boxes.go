package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// remove removes a container by force, with what the engine made for it, and
// returns when it is gone. One that is gone already is no error.
func (r *Runner) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	for {
		err := r.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case !errdefs.IsConflict(err): // a conflict is another removal on its way
			return fmt.Errorf("remove container: %w", err)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("remove container: %w", err)
		}
	}
}

// evict removes the container that has j's name, if it is this installation's.
func (r *Runner) evict(ctx context.Context, j job) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	c, err := r.engine.ContainerInspect(ctx, j.name)
	if errdefs.IsNotFound(err) {
		return pause(ctx) // its removal is on its way
	}
	if err != nil {
		return fmt.Errorf("inspect container %s: %w", j.name, err)
	}
	if c.Config == nil || c.Config.Labels[labelOwner] != r.config.Owner || c.Config.Labels[labelKey] != j.key {
		return fmt.Errorf("container %s is somebody else's", j.name)
	}
	r.config.Logger.WarnContext(ctx, "ending an earlier execution of the same key", "key", j.key, "container", c.ID)
	return r.remove(ctx, c.ID)
}

// forget removes what a request of unknown outcome may have made.
func (r *Runner) forget(ctx context.Context, j job) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	c, err := r.engine.ContainerInspect(ctx, j.name)
	if err == nil && c.Config != nil && c.Config.Labels[labelOwner] == r.config.Owner && c.Config.Labels[labelKey] == j.key {
		err = r.remove(ctx, c.ID)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		r.config.Logger.WarnContext(ctx, "remove container of unknown state", "container", j.name, "error", err)
	}
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

// seed gives a new volume the owner that the default image's workspace has: an
// engine copies it when a container is created, so none needs to run.
func (r *Runner) seed(ctx context.Context, j job) error {
	about, err := r.Check(ctx)
	if err != nil {
		return err
	}
	id, err := r.image(ctx, r.config.Image)
	if err != nil {
		return err
	}
	calm := context.WithoutCancel(ctx)
	x := &execution{r: r, j: r.step(id, j.box, "true")}
	if err := x.create(calm, about.facts); err != nil {
		return err
	}
	x.discard(calm)
	return nil
}

// Close ends the box's executions and removes its containers and workspace; see
// sandbox.Runner. Executions of this Runner come out as cancelled.
func (r *Runner) Close(ctx context.Context, box string) error {
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	for _, x := range r.executions(box) {
		x.endOnce.Do(func() { close(x.end) })
		select {
		case <-x.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// An execution that began meanwhile holds the volume: it ends like the rest.
	for range 10 {
		if err := r.removeContainers(ctx, byLabel(r.config.Owner, labelBox+"="+box), always); err != nil {
			return err
		}
		err := r.engine.VolumeRemove(ctx, r.volumeName(box), false)
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case !errdefs.IsConflict(err):
			return unreachable("remove workspace", err)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return errors.New("remove workspace: it stays in use")
}

func (r *Runner) executions(box string) []*execution {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*execution
	for x := range r.live {
		if x.j.box == box {
			all = append(all, x)
		}
	}
	return all
}

// Boxes lists the boxes that have containers or a workspace, in order; see
// sandbox.Runner. It also removes containers that are past their time, which
// only workers that died leave behind.
func (r *Runner) Boxes(ctx context.Context) ([]string, error) {
	if err := r.sweep(ctx); err != nil {
		return nil, err
	}
	var names []string
	containers, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: byLabel(r.config.Owner)})
	if err != nil {
		return nil, unreachable("list containers", err)
	}
	for _, c := range containers {
		names = append(names, c.Labels[labelBox])
	}
	volumes, err := r.engine.VolumeList(ctx, volume.ListOptions{Filters: byLabel(r.config.Owner)})
	if err != nil {
		return nil, unreachable("list volumes", err)
	}
	for _, v := range volumes.Volumes {
		names = append(names, v.Labels[labelBox])
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(n string) bool { return n == "" }), nil
}

// sweep removes containers that are past their time.
func (r *Runner) sweep(ctx context.Context) error {
	now := time.Now()
	return r.removeContainers(ctx, byLabel(r.config.Owner), func(labels map[string]string) bool {
		expires, err := strconv.ParseInt(labels[labelExpires], 10, 64)
		return err == nil && now.Unix() > expires
	})
}

func always(map[string]string) bool { return true }

func (r *Runner) removeContainers(ctx context.Context, which filters.Args, doomed func(labels map[string]string) bool) error {
	list, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: which})
	if err != nil {
		return unreachable("list containers", err)
	}
	var all error
	for _, c := range list {
		if doomed(c.Labels) {
			all = errors.Join(all, r.remove(ctx, c.ID))
		}
	}
	return all
}

// unreachable tells an engine that is not there from one that refused.
func unreachable(doing string, err error) error {
	if client.IsErrConnectionFailed(err) {
		return wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "%s: no container engine answers: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
