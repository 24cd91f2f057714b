package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/wflo-ai/wflo-go"
)

// launch starts a sandbox and waits until its PID 1 is ready. Requests that make
// something are never cut off: the engine would go on, and what it made would be
// nobody's. The caller's wish is looked at between. A new workspace is made when
// the place names none and the template needs one.
func (r *Runner) launch(ctx context.Context, t template, p place, f facts) (s *session, err error) {
	select {
	case r.starts <- struct{}{}:
		defer func() { <-r.starts }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	calm := context.WithoutCancel(ctx)
	if !t.inMemory && p.volume == "" {
		p.volume = randomName()
		defer func() {
			if err != nil {
				r.abandon(p.volume)
			}
		}()
		if err := r.makeWorkspace(calm, t, p.volume); err != nil {
			return nil, err
		}
	}
	id, err := r.create(calm, t, p, f)
	if err != nil {
		return nil, err
	}
	if s, err = r.begin(ctx, id, t, p); err != nil {
		if rerr := r.remove(calm, id); rerr != nil {
			r.config.Logger.WarnContext(ctx, "remove container", "container", id, "error", rerr)
		}
		return nil, err
	}
	return s, nil
}

// begin attaches to a created container and starts it.
func (r *Runner) begin(ctx context.Context, id string, t template, p place) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	calm := context.WithoutCancel(ctx)
	s, err := r.attach(calm, id, t, p, nil)
	if err != nil {
		return nil, err
	}
	err = r.start(calm, id)
	if err == nil {
		err = s.awaitReady(ctx)
	}
	if err != nil {
		s.detach()
		r.leave(s)
		return nil, err
	}
	return s, nil
}

func (r *Runner) start(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	if err := r.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return unreachable("start container", err)
	}
	return nil
}

// create makes the container.
func (r *Runner) create(ctx context.Context, t template, p place, f facts) (string, error) {
	config, host := convert(t, p, f)
	quick, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	resp, err := r.engine.ContainerCreate(quick, config, host, nil, nil, p.name)
	switch {
	case err == nil:
	case client.IsErrConnectionFailed(err):
		// Perhaps only the answer was lost.
		r.background(func(ctx context.Context) {
			if err := r.remove(ctx, p.name); err != nil {
				r.config.Logger.WarnContext(ctx, "remove container of unknown state", "container", p.name, "error", err)
			}
		})
		return "", wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "no container engine answers: %w", err)
	case errdefs.IsNotFound(err):
		return "", wflo.Errorf(wflo.CodeSandboxUnavailable, "the image was removed just now; bring it back", "create container: %w", err)
	default:
		// The engine may have made it all the same.
		if rerr := r.remove(ctx, p.name); rerr != nil {
			r.config.Logger.WarnContext(ctx, "remove container of unknown state", "container", p.name, "error", rerr)
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("create container: %w", err)
		}
		return "", unreachable("create container", err)
	}
	if wrong := serious(resp.Warnings); len(wrong) > 0 {
		if rerr := r.remove(ctx, resp.ID); rerr != nil {
			r.config.Logger.WarnContext(ctx, "remove container", "container", resp.ID, "error", rerr)
		}
		return "", wflo.Errorf(wflo.CodeSandboxUnavailable, "enable what the engine's host lacks; see docker info",
			"the container engine would ignore a limit: %q", wrong)
	}
	return resp.ID, nil
}

// makeWorkspace makes a volume whose root everybody may write to. An engine
// gives a new volume the owner and mode of the image's directory when a
// container is created; another image may not have one, so the default image
// does it, without running.
func (r *Runner) makeWorkspace(ctx context.Context, t template, name string) error {
	if err := r.makeVolume(ctx, name, map[string]string{labelKind: kindWorkspace}); err != nil {
		return err
	}
	about, err := r.Check(ctx)
	if err != nil || t.image == about.image {
		return err
	}
	seed := t
	seed.image = about.image
	id, err := r.create(ctx, seed, place{name: randomName(), volume: name, uid: newUID(), created: time.Now()}, about.facts)
	if err != nil {
		return err
	}
	return r.remove(ctx, id)
}

func (r *Runner) makeVolume(ctx context.Context, name string, labels map[string]string) error {
	_, err := r.volume(ctx, name, labels)
	return err
}

// volume makes a volume, or gives the labels of the one of that name: whoever
// is first decides what they say.
func (r *Runner) volume(ctx context.Context, name string, labels map[string]string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	labels[labelOwner] = r.config.Owner
	labels[labelCreated] = fmt.Sprint(time.Now().Unix())
	v, err := r.engine.VolumeCreate(ctx, volume.CreateOptions{Name: name, Driver: "local", Labels: labels})
	if err != nil {
		return nil, unreachable("make volume", err)
	}
	if v.Labels[labelOwner] != r.config.Owner {
		return nil, fmt.Errorf("volume %s is somebody else's", name)
	}
	return v.Labels, nil
}

func (r *Runner) kill(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := r.engine.ContainerKill(ctx, id, "SIGKILL")
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		return fmt.Errorf("kill container: %w", err)
	}
	return nil
}

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
			return unreachable("remove container", err)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("remove container: %w", err)
		}
	}
}

// abandon removes a volume that is nobody's, in the background.
func (r *Runner) abandon(name string) {
	r.background(func(ctx context.Context) {
		if err := r.removeVolume(ctx, name); err != nil {
			r.config.Logger.WarnContext(ctx, "remove volume", "volume", name, "error", err)
		}
	})
}

// manyFiles is how many times longer than others a request may take that removes a
// volume: the engine answers when the last of its files is gone.
const manyFiles = 10

// removeVolume waits for the containers that still hold a volume to go.
func (r *Runner) removeVolume(ctx context.Context, name string) error {
	patient, cancel := context.WithTimeout(ctx, manyFiles*r.config.EngineTimeout)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	for {
		err := r.engine.VolumeRemove(patient, name, false)
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case !errdefs.IsConflict(err):
			return unreachable("remove volume", err)
		}
		if perr := pause(ctx); perr != nil {
			return fmt.Errorf("remove volume: it stays in use: %w", err)
		}
	}
}

// unreachable tells an engine that is not there from one that refused.
func unreachable(doing string, err error) error {
	if hint, ok := away(err); ok {
		return wflo.Errorf(wflo.CodeSandboxUnavailable, hint, "%s: no container engine answers: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
