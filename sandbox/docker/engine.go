package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// engine is all that this package asks of the client library: what a test can
// break on purpose, and what another library would have to offer.
type engine interface {
	Ping(ctx context.Context) (types.Ping, error)
	Info(ctx context.Context) (system.Info, error)
	ImageInspect(ctx context.Context, ref string, options ...client.ImageInspectOption) (image.InspectResponse, error)
	ContainerCreate(ctx context.Context, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig, p *v1.Platform, name string) (container.CreateResponse, error)
	ContainerAttach(ctx context.Context, id string, o container.AttachOptions) (types.HijackedResponse, error)
	ContainerWait(ctx context.Context, id string, c container.WaitCondition) (<-chan container.WaitResponse, <-chan error)
	ContainerStart(ctx context.Context, id string, o container.StartOptions) error
	ContainerKill(ctx context.Context, id, signal string) error
	ContainerInspect(ctx context.Context, id string) (container.InspectResponse, error)
	ContainerRemove(ctx context.Context, id string, o container.RemoveOptions) error
	ContainerList(ctx context.Context, o container.ListOptions) ([]container.Summary, error)
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
	// Missing lists defences that the host lacks; see sandbox.Result.
	Missing []string

	facts facts
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

func (r *Runner) known() *Engine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checked
}

func (r *Runner) examine(ctx context.Context) (Engine, error) {
	quick, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	if _, err := r.engine.Ping(quick); err != nil {
		return Engine{}, wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "no container engine answers: %w", err)
	}
	info, err := r.engine.Info(quick)
	if err != nil {
		return Engine{}, wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "ask the container engine: %w", err)
	}
	e, err := assess(info, r.config)
	if err != nil {
		return Engine{}, err
	}
	// Leaving out the network is faster than an empty one, and the same to the
	// program. That is looked at, not believed.
	for _, e.facts.plumbed = range []bool{false, true} {
		var wrong []string
		if wrong, err = r.probe(ctx, e); err != nil {
			return Engine{}, err
		}
		if len(wrong) == 0 {
			return e, nil
		}
		err = wflo.Errorf(wflo.CodeSandboxUnavailable, "use a Docker engine with its default security settings",
			"the container engine does not lock sandboxes down: %s", strings.Join(wrong, "; "))
	}
	return Engine{}, err
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
	e := Engine{Version: info.ServerVersion, Runtime: info.DefaultRuntime, CPUs: info.NCPU, Cgroups: info.CgroupVersion}
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
	e.facts = facts{owner: c.Owner, runtime: c.Runtime, cpus: info.NCPU}
	return e, nil
}

// probeScript prints what a program sees of its prison.
const probeScript = `sed -n 's/^\(Uid\|CapEff\|CapPrm\|CapBnd\|CapAmb\|NoNewPrivs\|Seccomp\):[[:space:]]*/\1 /p' /proc/self/status
sed -n 's/^ *\([^ :|]*\):.*/dev \1/p' /proc/net/dev
sed -n '2,$s/.*/route/p' /proc/net/route
if (: >/wflo-probe) 2>/dev/null; then echo writable; fi
if [ -e /var/run/docker.sock ] || [ -e /run/docker.sock ]; then echo socket; fi
echo end`

// probe runs probeScript under the same conditions as any program, and lists
// what is wrong.
func (r *Runner) probe(ctx context.Context, e Engine) ([]string, error) {
	id, err := r.image(ctx, r.config.Image)
	if err != nil {
		return nil, err
	}
	j := r.step(id, "", "sh", "-c", probeScript)
	end, err := r.executeOn(ctx, j, e.facts, nil)
	if err != nil {
		if ctx.Err() != nil || wflo.CodeOf(err) != "" {
			return nil, err
		}
		return nil, wflo.Errorf(wflo.CodeSandboxUnavailable, "see the engine's log", "the container engine cannot start a sandbox: %w", err)
	}
	if end.killed == sandbox.Cancelled && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	stdout, _ := end.out.stdout.text()
	stderr, _ := end.out.stderr.text()
	if judge(end) != sandbox.Succeeded {
		return nil, wflo.Errorf(wflo.CodeSandboxUnavailable, "the image needs /bin/sh and GNU coreutils; deploy/setup.sh builds one that fits",
			"a first program in %s ended as %s: %.200s", r.config.Image, judge(end), stderr)
	}
	return judgeProbe(stdout), nil
}

// judgeProbe lists what is wrong in the output of probeScript. Anything that is
// not known to be right is wrong.
func judgeProbe(out string) []string {
	right := map[string]bool{
		"CapEff 0000000000000000": false, "CapPrm 0000000000000000": false, "CapBnd 0000000000000000": false,
		"CapAmb 0000000000000000": false, "NoNewPrivs 1": false, "Seccomp 2": false,
		"Uid 65534 65534 65534 65534": false, "dev lo": false, "end": false,
	}
	var wrong []string
	for line := range strings.Lines(out) {
		line = strings.Join(strings.Fields(line), " ")
		if _, ok := right[line]; !ok {
			wrong = append(wrong, "it shows "+line)
			continue
		}
		right[line] = true
	}
	for line, seen := range right {
		if !seen && line != "dev lo" {
			wrong = append(wrong, "it does not show "+line)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// image finds an image and gives its id. It refuses images with volumes, which
// would be writable places that no limit covers.
func (r *Runner) image(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	img, err := r.engine.ImageInspect(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		hint := "docker pull " + name
		if name == DefaultImage {
			hint = "build it with deploy/setup.sh, or deploy/sandbox-image/build.sh"
		}
		return "", wflo.Errorf(wflo.CodeSandboxUnavailable, hint, "the image %s is not on the engine", name)
	case client.IsErrConnectionFailed(err):
		return "", wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "no container engine answers: %w", err)
	case err != nil:
		return "", fmt.Errorf("find image %s: %w", name, err)
	case img.Config != nil && len(img.Config.Volumes) > 0:
		return "", wflo.Invalid("spec.image", name+" declares volumes", "use an image without VOLUME")
	}
	return img.ID, nil
}

// step is a job of the runner's own on a box, in the default image.
func (r *Runner) step(image, box string, argv ...string) job {
	j := job{
		name: r.containerName(""), box: box, image: image, argv: argv, created: time.Now(),
		limits: sandbox.Limits{
			Memory: 256 * sandbox.MiB, CPUs: 1, PIDs: 32, Timeout: time.Minute, Tmp: sandbox.MiB,
			File: 64 * sandbox.GiB, Open: 256, Output: 64 * sandbox.KiB,
		},
	}
	if box != "" {
		j.volume = r.volumeName(box)
	}
	return j
}

func byLabel(owner string, more ...string) filters.Args {
	args := filters.NewArgs(filters.Arg("label", labelOwner+"="+owner))
	for _, m := range more {
		args.Add("label", m)
	}
	return args
}
