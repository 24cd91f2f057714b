package plugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/tree"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// hosts gives the runner over the hosts that a configuration names.
func (p *Plugin) hosts(cfg docker.Config) (*docker.Hosts, error) {
	if cfg.Host != "" || cfg.CertPath != "" {
		return nil, wflo.Invalid("plugin.Config.Docker", "has Hosts and also an engine of its own", "give WFLO_SANDBOX_HOSTS or WFLO_SANDBOX_HOST, not both")
	}
	store, ok := p.parts.ledger.(interface{ Places() sandbox.Places })
	if !ok {
		return nil, wflo.Invalid("plugin.Config.Database", "keeps no places of sandboxes", "use SQLite or PostgreSQL")
	}
	runners := map[string]docker.HostRunner{}
	for i, host := range cfg.Hosts {
		if runners[host.Name] != nil || host.Name == "" || host.Address == "" {
			return nil, wflo.Invalid(fmt.Sprintf("plugin.Config.Docker.Hosts[%d]", i), fmt.Sprintf("is %.80q, without an address or there twice", host.Name), "name each host once: NAME=ADDRESS")
		}
		one := cfg
		one.Hosts, one.Host, one.CertPath = nil, host.Address, host.CertPath
		if err := tryConfig(one); err != nil {
			return nil, fmt.Errorf("plugin.Config.Docker.Hosts: %s: %w", host.Name, err)
		}
		e := newEngine(one, p.owner)
		p.closers = append(p.closers, e.shut)
		runners[host.Name] = e
	}
	return docker.NewHosts(docker.HostsConfig{
		Runners: runners, Places: store.Places(), Owner: p.owner, Gone: cfg.HostGone, KeepLess: cfg.KeepLess, Moved: p.moved, Logger: p.cfg.Logger,
	})
}

// Ping says whether the engine answers.
func (e *engine) Ping(ctx context.Context) error {
	r, err := e.connect(ctx)
	if err != nil {
		return err
	}
	return r.Ping(ctx)
}

// HasBox says whether a box has a workspace on the engine.
func (e *engine) HasBox(ctx context.Context, box string) (bool, error) {
	r, err := e.connect(ctx)
	if err != nil {
		return false, err
	}
	return r.HasBox(ctx, box)
}

// movable keeps workspaces of boxes that are on one of several hosts: what is in a
// snapshot need not be lost with a host.
type movable struct {
	*tree.Workspace
	hosts *docker.Hosts
}

var _ activities.PartKeeper = (*movable)(nil)

// newMovable also gives each host what keeps the workspaces of its boxes.
func newMovable(hosts *docker.Hosts, open func(sandbox.Archiver) (*tree.Workspace, error)) (*movable, error) {
	err := hosts.SetKeepers(func(a sandbox.Archiver) (docker.Keeper, error) {
		workspace, err := open(a)
		return keeper{workspace}, err
	})
	if err != nil {
		return nil, err
	}
	workspace, err := open(hosts)
	return &movable{Workspace: workspace, hosts: hosts}, err
}

// Save implements activities.PartKeeper. It goes on from what was kept last.
func (m *movable) Save(ctx context.Context, in activities.PartRequest, before *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	place, ok, err := m.hosts.Place(ctx, in.Run.ID())
	if err != nil {
		return wflo.SnapshotPart{}, false, fmt.Errorf("find the workspace: %w", err)
	}
	if ok && place.Part != nil {
		before = place.Part
	}
	part, saved, err := m.Workspace.Save(ctx, in, before)
	if err != nil || !saved || !ok {
		return part, saved, err
	}
	return part, saved, m.hosts.Saved(ctx, place, part)
}

// Restore implements activities.PartKeeper.
func (m *movable) Restore(ctx context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	if err := m.Workspace.Restore(ctx, in, p); err != nil {
		return err
	}
	return m.hosts.Brought(ctx, in.Run.ID(), p)
}

// keeper keeps the workspaces of one host's boxes.
type keeper struct{ workspace *tree.Workspace }

// Keep implements docker.Keeper.
func (k keeper) Keep(ctx context.Context, box string, before *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	return k.workspace.Save(ctx, activities.PartRequest{Run: runOf(box)}, before)
}

// Bring implements docker.Keeper.
func (k keeper) Bring(ctx context.Context, box, key string, p wflo.SnapshotPart) error {
	return k.workspace.Restore(ctx, activities.PartRequest{Run: runOf(box), Key: key}, p)
}

// runOf is the run that a box is named after.
func runOf(box string) wflo.Run {
	i := strings.LastIndexByte(box, '/')
	return wflo.Run{WorkflowID: box[:max(i, 0)], FirstRunID: box[i+1:]}
}

// kept are the workspaces that boxes need when they move.
func kept(hosts *docker.Hosts) func(ctx context.Context) ([]wflo.SnapshotPart, error) {
	return func(ctx context.Context) (all []wflo.SnapshotPart, err error) {
		places, err := hosts.Kept(ctx)
		for _, place := range places {
			if place.Part != nil {
				all = append(all, *place.Part)
			}
		}
		return all, err
	}
}
