package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker/pid1"
)

// probeScript prints what a program sees of its prison.
const probeScript = `sed -n 's/^\(Uid\|CapEff\|CapPrm\|CapBnd\|CapAmb\|NoNewPrivs\|Seccomp\):[[:space:]]*/\1 /p' /proc/self/status
sed -n 's/^ *\([^ :|]*\):.*/dev \1/p' /proc/net/dev
sed -n '2,$s/.*/route/p' /proc/net/route
sed -n 's/^Linux version \([^ ]*\).*/kernel \1/p' /proc/version
if (: >/wflo-probe) 2>/dev/null; then echo writable; fi
if (: >/wflo/probe) 2>/dev/null; then echo pid1; fi
if [ -e /var/run/docker.sock ] || [ -e /run/docker.sock ]; then echo socket; fi
echo end`

// probe runs probeScript under the same conditions as any program, and lists
// what is wrong. An empty runtime is the Runner's own.
func (r *Runner) probe(ctx context.Context, e Engine, runtime string) ([]string, error) {
	spec, err := r.config.admit(sandbox.Spec{Argv: []string{"sh", "-c", probeScript}, Security: sandbox.Security{Runtime: runtime}})
	if err != nil {
		return nil, err
	}
	img, err := r.image(ctx, r.config.Image)
	if err != nil {
		return nil, err
	}
	x := &execution{r: r, spec: spec, about: e, image: img, t: templateOf(spec, img.id)}
	s, err := r.launch(ctx, x.t, place{name: randomName(), uid: newUID(), created: time.Now()}, e.facts)
	if err != nil {
		if ctx.Err() != nil || wflo.CodeOf(err) != "" {
			return nil, err
		}
		return nil, wflo.Errorf(wflo.CodeSandboxUnavailable, "see the engine's log", "the container engine cannot start a sandbox: %w", err)
	}
	defer s.discard()
	end, _, err := s.run(ctx, x.task(), newCapture(64*sandbox.KiB, nil, nil), nil)
	if err != nil {
		return nil, err
	}
	if end.Outcome == sandbox.Cancelled {
		return nil, ctx.Err()
	}
	stdout, _ := end.out.stdout.text()
	stderr, _ := end.out.stderr.text()
	if end.Outcome != sandbox.Succeeded {
		return nil, wflo.Errorf(wflo.CodeSandboxUnavailable, "the image needs /bin/sh and GNU coreutils; deploy/setup.sh builds one that fits",
			"a first program in %s ended as %s: %s %.200s", r.config.Image, end.Outcome, end.Reason, stderr)
	}
	return judgeProbe(stdout, s.p.uid, prison{virtual(e.Runtime), e.kernel}), nil
}

// prison is where a probe ran.
type prison struct {
	virtual bool   // under gVisor
	kernel  string // the host's release
}

// judgeProbe lists what is wrong in the output of probeScript. Anything that is
// not known to be right is wrong.
//
// gVisor's kernel gives no new privileges to anybody, has no ambient
// capabilities, and applies no filter of the container's to its programs, whose
// calls it answers itself; the filter towards the host is its own. Releases
// differ in whether their /proc says so, so there these lines may be left out.
// In return the kernel must not be the host's: a runtime that only has the name
// is refused.
func judgeProbe(out string, uid uint32, p prison) []string {
	const optional, required, seen = 0, 1, 2
	right := map[string]int{
		"CapEff 0000000000000000": required, "CapPrm 0000000000000000": required, "CapBnd 0000000000000000": required,
		"CapAmb 0000000000000000": required, "NoNewPrivs 1": required, "Seccomp 2": required,
		fmt.Sprintf("Uid %d %d %d %d", uid, uid, uid, uid): required, "dev lo": optional, "end": required,
	}
	if p.virtual {
		right["CapAmb 0000000000000000"], right["NoNewPrivs 1"], right["Seccomp 2"] = optional, optional, optional
		right["Seccomp 0"] = optional
	}
	var wrong []string
	kernel := ""
	for line := range strings.Lines(out) {
		line = strings.Join(strings.Fields(line), " ")
		if release, ok := strings.CutPrefix(line, "kernel "); ok && kernel == "" {
			kernel = release
			continue
		}
		if _, ok := right[line]; !ok {
			wrong = append(wrong, "it shows "+line)
			continue
		}
		right[line] = seen
	}
	for line, state := range right {
		if state == required {
			wrong = append(wrong, "it does not show "+line)
		}
	}
	if p.virtual && (kernel == "" || p.kernel == "" || kernel == p.kernel) {
		wrong = append(wrong, fmt.Sprintf("its kernel is %q and the host's %q, not one of its own", kernel, p.kernel))
	}
	slices.Sort(wrong)
	return wrong
}

// installPID1 brings PID 1 to the engine: into a volume that all sandboxes of
// all owners mount read-only. The copy goes to a container that never runs, so
// the engine's copy interface meets nothing hostile.
func (r *Runner) installPID1(ctx context.Context, e Engine) (string, error) {
	binary, err := pid1.Binary(e.arch)
	if err != nil {
		return "", wflo.Errorf(wflo.CodeSandboxUnavailable, "use an engine on amd64 or arm64", "sandboxes on %s: %w", e.arch, err)
	}
	name := "wflo-pid1-" + pid1.ID(e.arch)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.EngineTimeout)
	defer cancel()
	if _, err := r.engine.VolumeCreate(ctx, volume.CreateOptions{Name: name, Driver: "local", Labels: map[string]string{
		labelKind: kindPID1, labelCreated: strconv.FormatInt(time.Now().Unix(), 10),
	}}); err != nil {
		return "", unreachable("make volume", err)
	}
	courier := randomName()
	resp, err := r.engine.ContainerCreate(ctx, &container.Config{
		Image: e.image, User: "65534:65534", Entrypoint: []string{pid1Dir + "/pid1"}, NetworkDisabled: true,
		Labels: map[string]string{labelOwner: r.config.Owner, labelKind: kindPID1},
	}, &container.HostConfig{
		NetworkMode: "none", CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"},
		Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: pid1Dir, VolumeOptions: &mount.VolumeOptions{NoCopy: true}}},
	}, nil, nil, courier)
	if err != nil {
		return "", unreachable("make a container to install PID 1", err)
	}
	err = r.carry(ctx, resp.ID, binary)
	if rerr := r.remove(ctx, resp.ID); err == nil {
		err = rerr
	}
	return name, err
}

// carry puts PID 1 into the container's volume, unless it is there.
func (r *Runner) carry(ctx context.Context, id string, binary []byte) error {
	stat, err := r.engine.ContainerStatPath(ctx, id, pid1Dir+"/pid1")
	if err == nil && stat.Size == int64(len(binary)) {
		return nil // the volume is named after its content
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "pid1", Mode: 0o555, Size: int64(len(binary))}); err != nil {
		return fmt.Errorf("pack PID 1: %w", err)
	}
	if _, err := w.Write(binary); err != nil {
		return fmt.Errorf("pack PID 1: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("pack PID 1: %w", err)
	}
	if err := r.engine.CopyToContainer(ctx, id, pid1Dir, &buf, container.CopyToContainerOptions{}); err != nil {
		return unreachable("install PID 1", err)
	}
	return nil
}

// imageInfo is what executions need to know of an image.
type imageInfo struct {
	id  string
	env []variable
}

type variable struct{ name, value string }

// image finds an image. It refuses images with volumes, which would be writable
// places that no limit covers.
func (r *Runner) image(ctx context.Context, name string) (imageInfo, error) {
	if img, ok := r.images.get(name); ok {
		return img, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	got, err := r.engine.ImageInspect(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		hint := "docker pull " + name
		if name == DefaultImage {
			hint = "build it with deploy/setup.sh, or deploy/sandbox-image/build.sh"
		}
		return imageInfo{}, wflo.Errorf(wflo.CodeSandboxUnavailable, hint, "the image %s is not on the engine", name)
	case client.IsErrConnectionFailed(err):
		return imageInfo{}, wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "no container engine answers: %w", err)
	case err != nil:
		return imageInfo{}, fmt.Errorf("find image %s: %w", name, err)
	case got.Config != nil && len(got.Config.Volumes) > 0:
		return imageInfo{}, wflo.Invalid("spec.image", name+" declares volumes", "use an image without VOLUME")
	}
	img := imageInfo{id: got.ID}
	if got.Config != nil {
		for _, v := range got.Config.Env {
			n, value, _ := strings.Cut(v, "=")
			img.env = append(img.env, variable{n, value})
		}
	}
	r.images.put(name, img)
	return img, nil
}

func byKind(kind string) filters.Args {
	return filters.NewArgs(filters.Arg("label", labelKind+"="+kind))
}
