package docker

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker/profile"
)

// engine is all that this package asks of the client library: what a test can
// break on purpose, and what another library would have to offer.
type engine interface {
	Ping(ctx context.Context) (types.Ping, error)
	Info(ctx context.Context) (system.Info, error)
	ImageInspect(ctx context.Context, ref string, options ...client.ImageInspectOption) (image.InspectResponse, error)
	ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, p *v1.Platform, name string) (container.CreateResponse, error)
	ContainerAttach(ctx context.Context, id string, o container.AttachOptions) (types.HijackedResponse, error)
	ContainerStart(ctx context.Context, id string, o container.StartOptions) error
	ContainerKill(ctx context.Context, id, signal string) error
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
	ContainerRemove(ctx context.Context, id string, o container.RemoveOptions) error
	ContainerList(ctx context.Context, o container.ListOptions) ([]container.Summary, error)
	ContainerStatsOneShot(ctx context.Context, id string) (container.StatsResponseReader, error)
	ContainerStatPath(ctx context.Context, id, path string) (container.PathStat, error)
	CopyToContainer(ctx context.Context, id, path string, content io.Reader, o container.CopyToContainerOptions) error
	VolumeCreate(ctx context.Context, o volume.CreateOptions) (volume.Volume, error)
	VolumeList(ctx context.Context, o volume.ListOptions) (volume.ListResponse, error)
	VolumeInspect(ctx context.Context, name string) (volume.Volume, error)
	VolumeRemove(ctx context.Context, name string, force bool) error
	Close() error
}

// Engine describes a checked engine.
type Engine struct {
	Version string // the engine's, such as 29.5.1
	Runtime string // what runs the containers, such as runc
	CPUs    int    // the host's
	Cgroups string // "1" or "2"
	// Runtimes are those that the engine has.
	Runtimes []string
	// Missing lists defences that the host lacks; see sandbox.Result.
	Missing []string

	arch     string
	kernel   string // the host's release
	userns   bool
	apparmor bool
	image    string // the id of the default image
	facts    facts
}

const setupHint = "start Docker and set DOCKER_HOST if it is not local; on Debian deploy/setup.sh installs and starts it"

// Check connects to the engine, and the first time also looks whether it can do
// what is needed, by starting a container and looking from the inside. An engine
// that is not there or not safe is an *wflo.Error with CodeSandboxUnavailable.
func (r *Runner) Check(ctx context.Context) (Engine, error) {
	if e := r.known(); e != nil {
		return *e, nil
	}
	select {
	case r.checking <- struct{}{}:
		defer func() { <-r.checking }()
	case <-ctx.Done():
		return Engine{}, ctx.Err()
	}
	if e := r.known(); e != nil {
		return *e, nil
	}
	e, err := r.examine(ctx)
	if err != nil {
		return Engine{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checked = &e
	return e, nil
}

func silent(err error) error {
	hint, _ := away(err)
	return wflo.Errorf(wflo.CodeSandboxUnavailable, hint, "no container engine answers: %w", err)
}

// Ping says whether the engine answers. That it does not is an *wflo.Error with
// CodeSandboxUnavailable.
func (r *Runner) Ping(ctx context.Context) error {
	quick, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	if _, err := r.engine.Ping(quick); err != nil {
		return silent(err)
	}
	return nil
}

func (r *Runner) known() *Engine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checked
}

func (r *Runner) examine(ctx context.Context) (Engine, error) {
	quick, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	if _, err := r.engine.Ping(quick); err != nil {
		return Engine{}, silent(err)
	}
	info, err := r.engine.Info(quick)
	if err != nil {
		return Engine{}, wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "ask the container engine: %w", err)
	}
	e, err := assess(info, r.config)
	if err != nil {
		return Engine{}, err
	}
	image, err := r.image(quick, r.config.Image)
	if err != nil {
		return Engine{}, err
	}
	e.image = image.id
	if e.facts.pid1, err = r.installPID1(ctx, e); err != nil {
		return Engine{}, err
	}
	// Leaving out the network is faster than an empty one, and the same to the
	// program; wflo's AppArmor profile is there if somebody loaded it. Both are
	// tried, not believed.
	for _, e.facts = range e.candidates() {
		var wrong []string
		if wrong, err = r.probe(ctx, e, ""); err != nil {
			if ctx.Err() != nil || wflo.CodeOf(err) != wflo.CodeSandboxUnavailable {
				return Engine{}, err
			}
			continue
		}
		if len(wrong) == 0 {
			return e.judged(r.config)
		}
		err = unlocked(wrong)
	}
	return Engine{}, err
}

func unlocked(wrong []string) error {
	return wflo.Errorf(wflo.CodeSandboxUnavailable, "use a Docker engine with its default security settings",
		"the container engine does not lock sandboxes down: %s", strings.Join(wrong, "; "))
}

// tryRuntime looks, the first time, at a sandbox of a runtime that specifications
// may name besides the Runner's own.
func (r *Runner) tryRuntime(ctx context.Context, e Engine, runtime string) error {
	if runtime == r.config.Runtime {
		return nil
	}
	r.mu.Lock()
	tried := r.tried[runtime]
	r.mu.Unlock()
	if tried {
		return nil
	}
	e.Runtime = runtime
	wrong, err := r.probe(ctx, e, runtime)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return unlocked(wrong)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried[runtime] = true
	return nil
}

// candidates are ways to make sandboxes on the engine, the best first.
func (e Engine) candidates() []facts {
	var all []facts
	for _, plumbed := range []bool{false, true} {
		f := e.facts
		f.plumbed = plumbed
		if e.apparmor {
			own := f
			own.apparmor = profile.AppArmorName
			all = append(all, own)
		}
		all = append(all, f)
	}
	return all
}

// judged says what a working engine lacks, and refuses one that lacks what the
// configuration requires.
func (e Engine) judged(c Config) (Engine, error) {
	if e.apparmor && e.facts.apparmor == "" {
		e.Missing = append(e.Missing, "apparmor="+profile.AppArmorName)
	}
	if c.RequireAppArmor && len(e.Missing) > 0 {
		return Engine{}, wflo.Errorf(wflo.CodeSandboxUnavailable, "load wflo's profile with apparmor_parser -r, or do not require AppArmor",
			"the container engine lacks %s", strings.Join(e.Missing, ", "))
	}
	return e, nil
}

// satisfies says whether the engine has what a specification wants of it.
func (e Engine) satisfies(s sandbox.Security) error {
	if s.Runtime != "" && !slices.Contains(e.Runtimes, s.Runtime) {
		return wflo.Errorf(wflo.CodeSandboxUnavailable, "add it to the engine's runtimes, or choose another", "the container engine has no runtime %q", s.Runtime)
	}
	runtime := s.Runtime
	if runtime == "" {
		runtime = e.Runtime
	}
	for _, name := range s.Require {
		has := map[string]bool{
			"apparmor": len(e.Missing) == 0 && !virtual(runtime), "userns": e.userns, "gvisor": virtual(runtime),
		}[name]
		if !has && name == "gvisor" {
			return wflo.Errorf(wflo.CodePolicyDenied, "set spec.security.runtime to runsc, or do not require it", "spec.security.require: the runtime is %s, not gvisor", runtime)
		}
		if !has {
			return wflo.Errorf(wflo.CodePolicyDenied, "run it on a host that has it, or do not require it", "spec.security.require: this host has no %s", name)
		}
	}
	return nil
}

// assess judges what an engine says of itself.
func assess(info system.Info, c Config) (Engine, error) {
	unsafe := func(hint, problem string) (Engine, error) {
		return Engine{}, wflo.Errorf(wflo.CodeSandboxUnavailable, hint, "the container engine %s", problem)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(info.SecurityOptions, func(o string) bool {
			return o == name || strings.Contains(o+",", "name="+name+",")
		})
	}
	e := Engine{
		Version: info.ServerVersion, Runtime: info.DefaultRuntime, CPUs: info.NCPU, Cgroups: info.CgroupVersion,
		Runtimes: slices.Sorted(maps.Keys(info.Runtimes)), arch: info.Architecture, kernel: info.KernelVersion,
		userns: has("userns"), apparmor: has("apparmor"),
	}
	if c.Runtime != "" {
		if _, ok := info.Runtimes[c.Runtime]; !ok {
			return unsafe("add it to the engine's runtimes, or choose another", fmt.Sprintf("has no runtime %q", c.Runtime))
		}
		e.Runtime = c.Runtime
	}
	switch {
	case info.OSType != "linux":
		return unsafe("use an engine that runs Linux containers", "runs "+info.OSType+" containers")
	case !has("seccomp"):
		return unsafe("use a kernel and an engine with seccomp", "has no seccomp")
	case !info.MemoryLimit || !info.PidsLimit || !info.CPUCfsQuota:
		return unsafe("enable the memory, pids and cpu control groups of the host", "cannot limit memory, processes or CPU")
	}
	if !has("apparmor") && !has("selinux") {
		if c.RequireAppArmor {
			return unsafe("enable AppArmor on the host, or do not require it", "has neither AppArmor nor SELinux")
		}
		e.Missing = append(e.Missing, "apparmor")
	}
	e.facts = facts{owner: c.Owner, cpus: info.NCPU, virtual: virtual(e.Runtime)}
	return e, nil
}
