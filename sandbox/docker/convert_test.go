package docker

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestConvert(t *testing.T) {
	created := time.Unix(1000, 0)
	base := job{name: "n", key: "k", image: "sha256:1", argv: []string{"a", "b"}, limits: sandbox.Limits{}.WithDefaults(), created: created}
	boxed := base
	boxed.box, boxed.volume, boxed.readOnly, boxed.stdin = "box", "vol", true, []byte("x")
	few := base
	few.limits.PIDs, few.limits.CPUs = 1, 8
	for name, c := range map[string]struct {
		j     job
		check func(*container.Config, *container.HostConfig) (got, want any)
	}{
		"program": {base, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{c.Entrypoint[4], []string(c.Cmd), c.OpenStdin, c.NetworkDisabled, c.User}, []any{"0", []string{"a", "b"}, false, true, nobody}
		}},
		"labels": {base, func(c *container.Config, h *container.HostConfig) (any, any) {
			return c.Labels, map[string]string{labelOwner: "o", labelBox: "", labelKey: "k", labelCreated: "1000", labelExpires: "1900"}
		}},
		"one-shot": {base, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{len(h.Mounts), h.Tmpfs[sandbox.Workspace]},
				[]any{0, "rw,nosuid,nodev,uid=65534,gid=65534,exec,mode=0770,size=268435456,nr_inodes=16384"}
		}},
		"box": {boxed, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{h.Mounts, h.Tmpfs[sandbox.Workspace], c.OpenStdin, c.StdinOnce}, []any{[]mount.Mount{{
				Type: "volume", Source: "vol", Target: "/workspace", ReadOnly: true,
				VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{labelOwner: "o", labelBox: "box"}},
			}}, "", true, true}
		}},
		"limits": {base, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{h.Memory, h.MemorySwap, h.NanoCPUs, *h.PidsLimit, len(h.Ulimits)},
				[]any{int64(512 << 20), int64(512 << 20), int64(5e8), int64(129), 4}
		}},
		"floor and ceiling": {few, func(c *container.Config, h *container.HostConfig) (any, any) {
			return []any{*h.PidsLimit, h.NanoCPUs}, []any{int64(preludePIDs), int64(2e9)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := c.check(convert(c.j, facts{owner: "o", cpus: 2}))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// hostile are strings that would do harm where they do not belong.
var hostile = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
	"/var/run/docker.sock", "/", "host", "--privileged", "seccomp=unconfined", "container:x", "../..", "/etc:/etc:rw", "size=1,exec,suid",
}))

// TestConvertNeverOpens holds that no job whatsoever opens a sandbox.
func TestConvertNeverOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<40)
		j := job{
			name: hostile.Draw(t, "name"), key: hostile.Draw(t, "key"), box: hostile.Draw(t, "box"),
			volume: rapid.OneOf(rapid.Just(""), rapid.Just("wflo-0123")).Draw(t, "volume"), image: hostile.Draw(t, "image"),
			argv: rapid.SliceOf(hostile).Draw(t, "argv"), env: rapid.MapOf(hostile, hostile).Draw(t, "env"),
			files: make([]byte, block*rapid.IntRange(0, 2).Draw(t, "blocks")), stdin: []byte(hostile.Draw(t, "stdin")),
			limits: sandbox.Limits{Memory: n.Draw(t, "memory"), CPUs: rapid.Float64Range(0, 64).Draw(t, "cpus"), PIDs: n.Draw(t, "pids"), Tmp: n.Draw(t, "tmp")}.WithDefaults(),
		}
		c, h := convert(j, facts{owner: hostile.Draw(t, "owner"), cpus: rapid.IntRange(0, 64).Draw(t, "host"), plumbed: rapid.Bool().Draw(t, "plumbed")})
		for what, bad := range map[string]bool{
			"privileged": h.Privileged, "binds": h.Binds != nil, "volumes from": h.VolumesFrom != nil, "volume driver": h.VolumeDriver != "",
			"anonymous volumes": c.Volumes != nil, "capabilities": h.CapAdd != nil || !slices.Equal(h.CapDrop, []string{"ALL"}),
			"devices":    h.Devices != nil || h.DeviceRequests != nil || h.DeviceCgroupRules != nil,
			"namespaces": h.NetworkMode != "none" || h.IpcMode != "none" || h.PidMode != "" || h.UTSMode != "" || h.UsernsMode != "" || h.CgroupnsMode != "private" || h.Cgroup != "",
			"ports":      h.PortBindings != nil || h.PublishAllPorts || c.ExposedPorts != nil || h.Links != nil,
			"security":   !slices.Equal(h.SecurityOpt, []string{"no-new-privileges:true"}) || h.MaskedPaths != nil || h.ReadonlyPaths != nil || h.Sysctls != nil,
			"writable":   !h.ReadonlyRootfs, "user": c.User != nobody || h.GroupAdd != nil, "terminal": c.Tty, "cgroup parent": h.CgroupParent != "",
			"logs": h.LogConfig.Type != "none", "restart": !h.RestartPolicy.IsNone(), "unlimited": h.Memory <= 0 || h.MemorySwap != h.Memory || *h.PidsLimit <= 0,
			"OOM": h.OomKillDisable != nil || h.OomScoreAdj < 0, "directory": c.WorkingDir != sandbox.Workspace, "shell": c.Entrypoint[0] != "/bin/sh" || c.Entrypoint[2] != prelude,
		} {
			if bad {
				t.Fatalf("%s: %+v %+v", what, c, h)
			}
		}
		for _, m := range h.Mounts {
			if m.Type != mount.TypeVolume || m.Source != j.volume || m.Target != sandbox.Workspace || m.BindOptions != nil || m.VolumeOptions.DriverConfig != nil {
				t.Fatalf("mount %+v", m)
			}
		}
		for path, options := range h.Tmpfs {
			if !slices.Contains([]string{"/tmp", "/dev/shm", scratch, sandbox.Workspace}, path) || !strings.HasPrefix(options, "rw,nosuid,nodev,") ||
				!strings.Contains(options, "size=") || !strings.Contains(options, "nr_inodes=") {
				t.Fatalf("tmpfs %s %s", path, options)
			}
		}
		h.Mounts = nil
		if text, err := json.Marshal(h); err != nil || bytes.Contains(text, []byte("docker.sock")) {
			t.Fatalf("%s %v", text, err)
		}
	})
}

func TestPack(t *testing.T) {
	stream, err := pack([]wflo.File{{Name: "a/b/c", Data: []byte("1")}, {Name: "a/d"}}, &tarFile{name: scratch + "/main.py", data: []byte("2")})
	if err != nil || len(stream)%block != 0 {
		t.Fatalf("pack: %d bytes, %v, want whole blocks", len(stream), err)
	}
	var got []string
	r := tar.NewReader(bytes.NewReader(stream))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(h.Typeflag)+h.Name)
	}
	want := []string{"5workspace/a/", "5workspace/a/b/", "0workspace/a/b/c", "0workspace/a/d", "0run/wflo/main.py"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if stream, err := pack(nil, nil); stream != nil || err != nil {
		t.Errorf("pack of nothing = %d bytes, %v", len(stream), err)
	}
}

func TestJudge(t *testing.T) {
	up, down := &capture{started: true}, &capture{}
	for name, c := range map[string]struct {
		e    ending
		want sandbox.Outcome
	}{
		"exit 0":                  {ending{out: up}, sandbox.Succeeded},
		"exit 1":                  {ending{out: up, code: 1}, sandbox.Nonzero},
		"exit 128":                {ending{out: up, code: 128}, sandbox.Nonzero},
		"exit 200":                {ending{out: up, code: 200}, sandbox.Nonzero},
		"SIGCHLD does not kill":   {ending{out: up, code: 145}, sandbox.Nonzero},
		"SIGKILL":                 {ending{out: up, code: 137}, sandbox.Signalled},
		"OOM":                     {ending{out: up, code: 137, oom: true}, sandbox.OutOfMemory},
		"OOM survived":            {ending{out: up, code: 2, oom: true}, sandbox.Nonzero},
		"OOM survived well":       {ending{out: up, oom: true}, sandbox.Succeeded},
		"OOM of the prelude":      {ending{out: down, code: 137, oom: true}, sandbox.OutOfMemory},
		"timeout":                 {ending{out: up, code: 137, killed: sandbox.Timeout}, sandbox.Timeout},
		"timeout with OOM":        {ending{out: up, code: 137, oom: true, killed: sandbox.Timeout}, sandbox.Timeout},
		"ended before the kill":   {ending{out: up, killed: sandbox.Timeout}, sandbox.Succeeded},
		"not started":             {ending{out: down, code: 127}, sandbox.StartFailed},
		"cancelled before start":  {ending{killed: sandbox.Cancelled}, sandbox.Cancelled},
		"cancelled while packing": {ending{out: down, code: 137, killed: sandbox.Cancelled}, sandbox.Cancelled},
	} {
		if got := judge(c.e); got != c.want {
			t.Errorf("%s: judge = %s, want %s", name, got, c.want)
		}
	}
}
