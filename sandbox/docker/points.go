package docker

import (
	"context"
	"io"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wflo-ai/wflo-go/internal/faultpoint"
)

// withPoints puts fault points around the requests that change something on the engine.
// While no fault is armed, the engine comes back as it is.
func withPoints(e engine) engine {
	if !faultpoint.Armed() {
		return e
	}
	return &pointed{e}
}

type pointed struct{ engine }

// around makes a request between its two points. What it made stays where the second one
// fails, as with an answer that was lost.
func around[T any](point string, call func() (T, error)) (T, error) {
	var none T
	if err := faultpoint.Hit(point + ":before"); err != nil {
		return none, err
	}
	out, err := call()
	if err != nil {
		return out, err
	}
	if err := faultpoint.Hit(point + ":after"); err != nil {
		return none, err
	}
	return out, nil
}

func alone(point string, call func() error) error {
	_, err := around(point, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func (p *pointed) ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, on *v1.Platform, name string) (container.CreateResponse, error) {
	return around("engine.ContainerCreate", func() (container.CreateResponse, error) { return p.engine.ContainerCreate(ctx, c, h, n, on, name) })
}

func (p *pointed) ContainerAttach(ctx context.Context, id string, o container.AttachOptions) (types.HijackedResponse, error) {
	// A stream that nobody holds is closed by whoever drops it, which a lost answer would
	// not do: the point is before the request alone.
	if err := faultpoint.Hit("engine.ContainerAttach:before"); err != nil {
		return types.HijackedResponse{}, err
	}
	return p.engine.ContainerAttach(ctx, id, o)
}

func (p *pointed) ContainerStart(ctx context.Context, id string, o container.StartOptions) error {
	return alone("engine.ContainerStart", func() error { return p.engine.ContainerStart(ctx, id, o) })
}

func (p *pointed) ContainerKill(ctx context.Context, id, signal string) error {
	return alone("engine.ContainerKill", func() error { return p.engine.ContainerKill(ctx, id, signal) })
}

func (p *pointed) ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error) {
	return around("engine.ContainerInspect", func() (container.InspectResponse, error) { return p.engine.ContainerInspect(ctx, id) })
}

func (p *pointed) ContainerRemove(ctx context.Context, id string, o container.RemoveOptions) error {
	return alone("engine.ContainerRemove", func() error { return p.engine.ContainerRemove(ctx, id, o) })
}

func (p *pointed) ContainerList(ctx context.Context, o container.ListOptions) ([]container.Summary, error) {
	return around("engine.ContainerList", func() ([]container.Summary, error) { return p.engine.ContainerList(ctx, o) })
}

func (p *pointed) CopyToContainer(ctx context.Context, id, path string, content io.Reader, o container.CopyToContainerOptions) error {
	return alone("engine.CopyToContainer", func() error { return p.engine.CopyToContainer(ctx, id, path, content, o) })
}

func (p *pointed) VolumeCreate(ctx context.Context, o volume.CreateOptions) (volume.Volume, error) {
	return around("engine.VolumeCreate", func() (volume.Volume, error) { return p.engine.VolumeCreate(ctx, o) })
}

func (p *pointed) VolumeRemove(ctx context.Context, name string, force bool) error {
	return alone("engine.VolumeRemove", func() error { return p.engine.VolumeRemove(ctx, name, force) })
}
