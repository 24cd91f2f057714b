package docker

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/strslice"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker/profile"
)

func TestConvert(t *testing.T) {
	oneShot := templateOf(sandbox.Spec{Security: sandbox.Security{Profile: sandbox.Strict}, Limits: sandbox.Limits{Workspace: 256 * sandbox.MiB}}.WithDefaults(), "sha256:1")
	boxed := templateOf(sandbox.Spec{Box: "b", Security: sandbox.Security{Profile: sandbox.Strict}}.WithDefaults(), "sha256:1")
	open, engines, few, many := oneShot, oneShot, oneShot, oneShot
	open.open = true
	engines.profile = sandbox.Engine
	few.pids, few.memory = 1, 16*sandbox.MiB
	many.cpus = 8
	here := place{name: "n", uid: 1_000_000_007, created: time.Unix(1000, 0)}
	there := here
	there.volume = "vol"
	host := facts{owner: "o", cpus: 2, pid1: "p"}
	plumbed, armoured := host, host
	plumbed.plumbed = true
	armoured.apparmor = profile.AppArmorName
	strict := []string{"no-new-privileges:true", "seccomp=" + profile.Seccomp()}
	pid1 := mount.Mount{Type: "volume", Source: "p", Target: "/wflo", ReadOnly: true}
	for name, c := range map[string]struct {
		t     template
		p     place
		f     facts
		check func(*container.Config, *container.HostConfig) (got, want any)
	}{
		"program": {oneShot, here, host, func(c *container.Config, _ *container.HostConfig) (any, any) {
			return []any{c.Entrypoint, c.Cmd, c.Env, c.User, c.Image, c.OpenStdin, c.StdinOnce, c.Tty},
				[]any{strslice.StrSlice{"/wflo/pid1"}, strslice.StrSlice{}, []string{"GOTRACEBACK=none"}, "1000000007:1000000007", "sha256:1", true, false, false}
		}},
		"labels": {oneShot, here, host, func(c *container.Config, _ *container.HostConfig) (any, any) {
			return c.Labels, map[string]string{labelOwner: "o", labelKind: kindSandbox, labelUID: "1000000007", labelRuntime: "", labelCreated: "1000"}
		}},
		"workspace of a one-shot": {oneShot, here, host, func(_ *container.Config, h *container.HostConfig) (any, any) {
			return []any{h.Mounts, h.Tmpfs[sandbox.Workspace]},
				[]any{[]mount.Mount{pid1}, "rw,nosuid,nodev,uid=1000000007,gid=1000000007,exec,mode=0770,size=268435456,nr_inodes=16384"}
		}},
		"workspace of a box": {boxed, there, host, func(_ *container.Config, h *container.HostConfig) (any, any) {
			return []any{h.Mounts, h.Tmpfs[sandbox.Workspace]}, []any{[]mount.Mount{pid1, workspaceMount(there, host)}, ""}
		}},
		"no network": {oneShot, here, host, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{c.NetworkDisabled, h.NetworkMode}, []any{true, container.NetworkMode("none")}
		}},
		"empty network": {oneShot, here, plumbed, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{c.NetworkDisabled, h.NetworkMode}, []any{false, container.NetworkMode("none")}
		}},
		"open network": {open, here, host, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{c.NetworkDisabled, h.NetworkMode}, []any{false, container.NetworkMode("bridge")}
		}},
		"limits": {oneShot, here, host, func(_ *container.Config, h *container.HostConfig) (any, any) {
			return []any{h.Memory, h.MemorySwap, h.NanoCPUs, *h.PidsLimit, len(h.Ulimits)},
				[]any{int64(512*sandbox.MiB + pid1Memory), int64(512*sandbox.MiB + pid1Memory), int64(5e8), int64(128 + pid1PIDs), 4}
		}},
		"least": {few, here, host, func(_ *container.Config, h *container.HostConfig) (any, any) {
			return *h.PidsLimit, int64(4 + pid1PIDs)
		}},
		"more than the host":   {many, here, host, func(_ *container.Config, h *container.HostConfig) (any, any) { return h.NanoCPUs, int64(2e9) }},
		"strict":               {oneShot, here, host, func(_ *container.Config, h *container.HostConfig) (any, any) { return h.SecurityOpt, strict }},
		"the engine's profile": {engines, here, host, func(_ *container.Config, h *container.HostConfig) (any, any) { return h.SecurityOpt, strict[:1] }},
		"AppArmor": {oneShot, here, armoured, func(_ *container.Config, h *container.HostConfig) (any, any) {
			return h.SecurityOpt, append(slices.Clone(strict), "apparmor="+profile.AppArmorName)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := c.check(convert(c.t, c.p, c.f))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTemplate holds that what is fixed with a container is in its template, so
// that no execution gets a sandbox with other walls than its own, and that what
// travels with the job is not, so that sandboxes can wait for it.
func TestTemplate(t *testing.T) {
	of := func(change func(*sandbox.Spec)) template {
		spec := sandbox.Spec{Argv: []string{"a"}}.WithDefaults()
		change(&spec)
		return templateOf(spec, "sha256:1")
	}
	plain := of(func(*sandbox.Spec) {})
	for name, change := range map[string]func(*sandbox.Spec){
		"memory": func(s *sandbox.Spec) { s.Limits.Memory++ }, "CPUs": func(s *sandbox.Spec) { s.Limits.CPUs++ },
		"PIDs": func(s *sandbox.Spec) { s.Limits.PIDs++ }, "tmp": func(s *sandbox.Spec) { s.Limits.Tmp++ },
		"workspace": func(s *sandbox.Spec) { s.Limits.Workspace++ }, "file": func(s *sandbox.Spec) { s.Limits.File++ },
		"open files": func(s *sandbox.Spec) { s.Limits.Open++ }, "runtime": func(s *sandbox.Spec) { s.Security.Runtime = "runsc" },
		"profile": func(s *sandbox.Spec) { s.Security.Profile = sandbox.Engine }, "network": func(s *sandbox.Spec) { s.Network = sandbox.Open() },
		"box": func(s *sandbox.Spec) { s.Box = "b" },
	} {
		if of(change) == plain {
			t.Errorf("%s is not in the template", name)
		}
	}
	if other := templateOf(sandbox.Spec{}.WithDefaults(), "sha256:2"); other == plain {
		t.Error("the image is not in the template")
	}
	for name, change := range map[string]func(*sandbox.Spec){
		"arguments": func(s *sandbox.Spec) { s.Argv = []string{"b"} }, "timeout": func(s *sandbox.Spec) { s.Limits.Timeout++ },
		"output": func(s *sandbox.Spec) { s.Limits.Output++ }, "environment": func(s *sandbox.Spec) { s.Env = map[string]string{"A": "b"} },
		"origin": func(s *sandbox.Spec) { s.Origin.Tenant = "x" }, "key": func(s *sandbox.Spec) { s.Key = "k" },
		"allowed network": func(s *sandbox.Spec) { s.Network = sandbox.Allow("a.example:1") },
	} {
		if of(change) != plain {
			t.Errorf("%s is in the template", name)
		}
	}
	a, b := of(func(s *sandbox.Spec) { s.Box = "a" }), of(func(s *sandbox.Spec) { s.Box, s.Limits.Workspace = "b", 1 })
	if a != b {
		t.Errorf("boxes have templates of their own: %+v, %+v", a, b)
	}
}

// hostile are strings that would do harm where they do not belong.
var hostile = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
	"/var/run/docker.sock", "/", "host", "--privileged", "seccomp=unconfined", "apparmor=unconfined", "container:x", "../..",
	"/etc:/etc:rw", "size=1,exec,suid", "unconfined", "root", "0:0", "label=disable", "bridge", "shareable",
}))

var places = regexp.MustCompile(`^rw,nosuid,nodev,uid=(\d+),gid=(\d+),(no)?exec,mode=(1777|0700|0770),size=\d+,nr_inodes=[1-9]\d*$`)

// shape is what a field may hold; a field that is not listed must be zero.
type shape map[string]func(v any) bool

func is(want any) func(any) bool { return func(v any) bool { return reflect.DeepEqual(v, want) } }

// broken lists the fields of a struct that do not have their shape. Embedded
// structs count as if their fields were the struct's own.
func (s shape) broken(v reflect.Value) (wrong []string) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		ok := s[field.Name]
		switch {
		case field.Anonymous && value.Kind() == reflect.Struct:
			wrong = append(wrong, s.broken(value)...)
		case ok == nil && !value.IsZero(), ok != nil && !ok(value.Interface()):
			wrong = append(wrong, fmt.Sprintf("%s = %+v", field.Name, value.Interface()))
		}
	}
	return wrong
}

// lockedConfig and lockedHost are all that convert may ever set.
func lockedConfig(t template, p place, f facts) shape {
	user := fmt.Sprintf("%d:%d", p.uid, p.uid)
	return shape{
		"Hostname": is("sandbox"), "User": is(user), "WorkingDir": is(sandbox.Workspace),
		"Entrypoint": is(strslice.StrSlice{"/wflo/pid1"}), "Cmd": is(strslice.StrSlice{}), "Env": is([]string{"GOTRACEBACK=none"}),
		"Image": is(t.image), "AttachStdin": is(true), "OpenStdin": is(true), "AttachStdout": is(true), "AttachStderr": is(true),
		"NetworkDisabled": is(!t.open && !f.plumbed), "StopSignal": is("SIGKILL"),
		"Healthcheck": is(&container.HealthConfig{Test: []string{"NONE"}}),
		"Labels": is(map[string]string{
			labelOwner: f.owner, labelKind: kindSandbox, labelUID: fmt.Sprint(p.uid), labelRuntime: t.runtime,
			labelCreated: fmt.Sprint(p.created.Unix()),
		}),
	}
}

func lockedHost(t template, p place, f facts) shape {
	network, options := container.NetworkMode("none"), []string{"no-new-privileges:true"}
	if t.open {
		network = "bridge"
	}
	if t.profile == sandbox.Strict {
		options = append(options, "seccomp="+profile.Seccomp())
	}
	if f.apparmor != "" {
		options = append(options, "apparmor="+f.apparmor)
	}
	return shape{
		"NetworkMode": is(network), "IpcMode": is(container.IPCModeNone), "CgroupnsMode": is(container.CgroupnsModePrivate),
		"ReadonlyRootfs": is(true), "CapDrop": is(strslice.StrSlice{"ALL"}), "SecurityOpt": is(options),
		"LogConfig": is(container.LogConfig{Type: "none"}), "RestartPolicy": is(container.RestartPolicy{Name: "no"}),
		"OomScoreAdj": is(500), "Runtime": is(t.runtime),
		"Tmpfs":  func(v any) bool { return lockedTmpfs(v.(map[string]string), t, p) },
		"Mounts": func(v any) bool { return lockedMounts(v.([]mount.Mount), p, f) },
		"Memory": is(t.memory + pid1Memory), "MemorySwap": is(t.memory + pid1Memory),
		"NanoCPUs":  func(v any) bool { return f.cpus == 0 || v.(int64) <= int64(f.cpus)*1e9 },
		"PidsLimit": func(v any) bool { return *v.(*int64) == max(t.pids, 4)+pid1PIDs },
		"Ulimits": is([]*container.Ulimit{
			{Name: "nofile", Soft: t.files, Hard: t.files}, {Name: "fsize", Soft: t.file, Hard: t.file}, {Name: "core"}, {Name: "msgqueue"},
		}),
	}
}

func lockedMounts(mounts []mount.Mount, p place, f facts) bool {
	want := []mount.Mount{{Type: mount.TypeVolume, Source: f.pid1, Target: "/wflo", ReadOnly: true}}
	if p.volume != "" {
		want = append(want, mount.Mount{
			Type: mount.TypeVolume, Source: p.volume, Target: sandbox.Workspace,
			VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{
				"wflo.owner": f.owner, "wflo.kind": "workspace", "wflo.created": strconv.FormatInt(p.created.Unix(), 10),
			}},
		})
	}
	return reflect.DeepEqual(mounts, want)
}

func lockedTmpfs(all map[string]string, t template, p place) bool {
	want := []string{"/tmp", "/dev/shm", frame.ScratchDir}
	if t.inMemory {
		want = append(want, sandbox.Workspace)
	}
	user := fmt.Sprintf(",uid=%d,gid=%d,", p.uid, p.uid)
	for path, options := range all {
		executable := !strings.Contains(options, ",noexec,")
		if !slices.Contains(want, path) || !places.MatchString(options) || !strings.Contains(options, user) || executable != (path == sandbox.Workspace) {
			return false
		}
	}
	return len(all) == len(want)
}

// TestConvertNeverOpens holds that no template, place and facts whatsoever open
// a sandbox: every field has the one shape that is written down here, and a field
// that is not written down is zero, also those that the library gets tomorrow.
func TestConvertNeverOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<40)
		tpl := template{
			image: hostile.Draw(t, "image"), runtime: hostile.Draw(t, "runtime"),
			profile: rapid.OneOf(hostile, rapid.Just(sandbox.Strict)).Draw(t, "profile"),
			open:    rapid.Bool().Draw(t, "open"), inMemory: rapid.Bool().Draw(t, "in memory"),
			memory: n.Draw(t, "memory"), cpus: rapid.Float64Range(0, 64).Draw(t, "cpus"), pids: n.Draw(t, "pids"), tmp: n.Draw(t, "tmp"),
			workspace: n.Draw(t, "workspace"), file: n.Draw(t, "file"), files: n.Draw(t, "files"),
		}
		p := place{
			name: hostile.Draw(t, "name"), volume: rapid.OneOf(rapid.Just(""), hostile).Draw(t, "volume"),
			uid: rapid.Uint32Min(1).Draw(t, "uid"), created: time.Unix(rapid.Int64().Draw(t, "created"), 0),
		}
		f := facts{
			owner: hostile.Draw(t, "owner"), cpus: rapid.IntRange(0, 64).Draw(t, "host"), pid1: hostile.Draw(t, "pid1"),
			apparmor: rapid.SampledFrom([]string{"", profile.AppArmorName}).Draw(t, "apparmor"), plumbed: rapid.Bool().Draw(t, "plumbed"),
		}
		c, h := convert(tpl, p, f)
		wrong := lockedConfig(tpl, p, f).broken(reflect.ValueOf(*c))
		wrong = append(wrong, lockedHost(tpl, p, f).broken(reflect.ValueOf(*h))...)
		if len(wrong) > 0 {
			t.Fatalf("%s", strings.Join(wrong, "\n"))
		}
	})
}

// TestShape holds that the test above would find what it is for.
func TestShape(t *testing.T) {
	tpl, p, f := template{image: "i", memory: 1}, place{uid: 1}, facts{pid1: "p"}
	for name, open := range map[string]func(*container.Config, *container.HostConfig){
		"privileged": func(_ *container.Config, h *container.HostConfig) { h.Privileged = true },
		"binds":      func(_ *container.Config, h *container.HostConfig) { h.Binds = []string{"/:/host"} },
		"devices": func(_ *container.Config, h *container.HostConfig) {
			h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/kmsg"}}
		},
		"no masked paths": func(_ *container.Config, h *container.HostConfig) { h.MaskedPaths = []string{} },
		"host processes":  func(_ *container.Config, h *container.HostConfig) { h.PidMode = "host" },
		"propagation": func(_ *container.Config, h *container.HostConfig) {
			h.Mounts[0].BindOptions = &mount.BindOptions{Propagation: "shared"}
		},
		"writable PID 1": func(_ *container.Config, h *container.HostConfig) { h.Mounts[0].ReadOnly = false },
		"suid":           func(_ *container.Config, h *container.HostConfig) { h.Tmpfs["/tmp"] = "rw,size=1" },
		"another tmpfs":  func(_ *container.Config, h *container.HostConfig) { h.Tmpfs["/etc"] = h.Tmpfs["/tmp"] },
		"root":           func(c *container.Config, _ *container.HostConfig) { c.User = "0:0" },
		"volumes":        func(c *container.Config, _ *container.HostConfig) { c.Volumes = map[string]struct{}{"/x": {}} },
		"secret":         func(c *container.Config, _ *container.HostConfig) { c.Env = append(c.Env, "A=b") },
	} {
		c, h := convert(tpl, p, f)
		open(c, h)
		wrong := append(lockedConfig(tpl, p, f).broken(reflect.ValueOf(*c)), lockedHost(tpl, p, f).broken(reflect.ValueOf(*h))...)
		if len(wrong) != 1 {
			t.Errorf("%s: found %q, want one fault", name, wrong)
		}
	}
}

func TestSerious(t *testing.T) {
	got := serious([]string{" IPv4 forwarding is disabled. Networking will not work.\n", "Your kernel does not support swap limit capabilities", ""})
	if diff := cmp.Diff([]string{"Your kernel does not support swap limit capabilities", ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUID holds that users of sandboxes are none of the host's, and not each
// other's but by accident.
func TestUID(t *testing.T) {
	seen := map[uint32]bool{}
	for range 1000 {
		uid := newUID()
		if uid < 1_000_000_000 || uid >= 2_000_000_000 {
			t.Fatalf("uid %d", uid)
		}
		seen[uid] = true
	}
	if len(seen) < 990 {
		t.Errorf("1000 sandboxes share %d users", len(seen))
	}
}
