package docker

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/strslice"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker/profile"
)

// Labels on everything that a Runner makes.
const (
	labelOwner     = "wflo.owner"
	labelKind      = "wflo.kind"      // see the kinds below
	labelCreated   = "wflo.created"   // Unix seconds
	labelExpires   = "wflo.expires"   // Unix seconds; past it it is nobody's
	labelBox       = "wflo.box"       // on markers and leases
	labelVolume    = "wflo.workspace" // the volume with the box's files
	labelPrevious  = "wflo.previous"  // on markers: the volume that this one's took the place of
	labelUID       = "wflo.uid"       // whose they are
	labelContainer = "wflo.container" // on leases
	labelTenant    = "wflo.tenant"
	labelRun       = "wflo.run"
	labelStep      = "wflo.step"
	labelKey       = "wflo.key" // of an execution, or on markers of what brought the files
	labelAttempt   = "wflo.attempt"
	labelRuntime   = "wflo.runtime"
)

// Kinds of what a Runner makes.
const (
	kindSandbox   = "sandbox"   // a container
	kindWorkspace = "workspace" // a volume with a box's files
	kindMarker    = "box"       // an empty volume that says which workspace a box has; see marker.go
	kindLease     = "lease"     // an empty volume that says which container has an execution
	kindPID1      = "pid1"      // the volume with PID 1
)

// pid1Dir is where a sandbox finds its PID 1.
const pid1Dir = "/wflo"

// What PID 1 itself needs, on top of the program's limits.
const (
	pid1Memory = 12 * sandbox.MiB
	pid1PIDs   = frame.PID1Threads
)

// What gVisor needs of the limits, which count its own kernel too: some 30
// threads and 2.4 for each process of the program, measured with release
// 20240729. It ends the whole sandbox when it gets no other.
const (
	gvisorPIDs       = 48
	gvisorPerProcess = 3
	gvisorMemory     = 32 * sandbox.MiB
)

// template is everything about a sandbox that is fixed when its container is
// made. Two specifications of the same template can use the same container; the
// rest travels with the job. It is comparable.
type template struct {
	image     string // id
	runtime   string
	profile   string // sandbox.Strict or sandbox.Engine
	open      bool   // has the engine's network
	inMemory  bool   // the workspace is memory, not a volume
	memory    int64
	cpus      float64
	pids      int64
	tmp       int64
	workspace int64 // of a workspace in memory
	file      int64
	files     int64
}

func templateOf(spec sandbox.Spec, image string) template {
	l := spec.Limits
	t := template{
		image: image, runtime: spec.Security.Runtime, profile: spec.Security.Profile,
		open: spec.Network.Mode == sandbox.NetworkOpen, inMemory: spec.Box == "",
		memory: l.Memory, cpus: l.CPUs, pids: l.PIDs, tmp: l.Tmp, file: l.File, files: l.Open,
	}
	if t.inMemory {
		t.workspace = l.Workspace
	}
	return t
}

// facts are what the translation needs to know about the engine.
type facts struct {
	owner    string
	cpus     int
	pid1     string // the volume
	apparmor string // the profile to ask for; empty where the host has none
	// virtual says that the engine's own choice of a runtime is gVisor.
	virtual bool
	// plumbed makes the engine set up a network namespace in its usual way
	// instead of leaving out the network entirely, which is faster.
	plumbed bool
}

// virtual says that programs get a kernel of their own.
func (t template) virtual(f facts) bool {
	return t.runtime == "" && f.virtual || virtual(t.runtime)
}

// virtual says that a runtime gives programs a kernel of their own.
func virtual(runtime string) bool { return strings.Contains(runtime, sandbox.Runsc) }

// place is what a container has for itself alone.
type place struct {
	name    string
	volume  string // with the workspace; empty if it is in memory
	uid     uint32
	created time.Time
}

// newUID draws a user for a sandbox. Kernels count inotify instances, pending
// signals, message queues and more per user and host-wide: sandboxes that share
// one can starve each other.
func newUID() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return 1_000_000_000 + binary.BigEndian.Uint32(b[:])%1_000_000_000
}

// convert translates a template to what the engine is asked for. It is pure, and
// it is the only place that fills these structures: what it never sets, no
// sandbox ever has. Nothing in them comes from the program.
func convert(t template, p place, f facts) (*container.Config, *container.HostConfig) {
	config := &container.Config{
		Hostname:   "sandbox",
		User:       fmt.Sprintf("%d:%d", p.uid, p.uid),
		WorkingDir: sandbox.Workspace,
		Entrypoint: strslice.StrSlice{pid1Dir + "/pid1"},
		Cmd:        strslice.StrSlice{},
		// Of PID 1 alone: programs get the variables of their job.
		Env:             []string{"GOTRACEBACK=none"},
		Image:           t.image,
		AttachStdin:     true,
		OpenStdin:       true, // without StdinOnce: another worker may take over
		AttachStdout:    true,
		AttachStderr:    true,
		NetworkDisabled: !t.open && !f.plumbed,
		StopSignal:      "SIGKILL",
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		Labels: map[string]string{
			labelOwner: f.owner, labelKind: kindSandbox, labelUID: fmt.Sprint(p.uid), labelRuntime: t.runtime,
			labelCreated: strconv.FormatInt(p.created.Unix(), 10),
		},
	}
	host := &container.HostConfig{
		NetworkMode:    "none",
		IpcMode:        container.IPCModeNone,
		CgroupnsMode:   container.CgroupnsModePrivate,
		ReadonlyRootfs: true,
		CapDrop:        strslice.StrSlice{"ALL"},
		SecurityOpt:    securityOptions(t, f),
		LogConfig:      container.LogConfig{Type: "none"},
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		// Under memory pressure of the host sandboxes go first.
		OomScoreAdj: 500,
		Runtime:     t.runtime,
		Tmpfs:       tmpfs(t, p.uid),
		Resources:   resources(t, f),
		Mounts:      []mount.Mount{{Type: mount.TypeVolume, Source: f.pid1, Target: pid1Dir, ReadOnly: true}},
	}
	if t.open {
		host.NetworkMode = "bridge"
	}
	if p.volume != "" {
		host.Mounts = append(host.Mounts, workspaceMount(p, f))
	}
	return config, host
}

// workspaceMount mounts a workspace. An engine makes a volume that is gone by
// then, as when somebody closes the box meanwhile: labelled, so that it is found
// and removed.
func workspaceMount(p place, f facts) mount.Mount {
	return mount.Mount{
		Type: mount.TypeVolume, Source: p.volume, Target: sandbox.Workspace,
		VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{
			labelOwner: f.owner, labelKind: kindWorkspace, labelCreated: strconv.FormatInt(p.created.Unix(), 10),
		}},
	}
}

func securityOptions(t template, f facts) []string {
	options := []string{"no-new-privileges:true"}
	if t.profile == sandbox.Strict {
		options = append(options, "seccomp="+profile.Seccomp())
	}
	if f.apparmor != "" {
		options = append(options, "apparmor="+f.apparmor)
	}
	return options
}

// profiles names the profiles in force, for results. gVisor takes none: it has a
// filter of its own towards the host, and knows nothing of AppArmor.
func profiles(t template, f facts) []string {
	if t.virtual(f) {
		return []string{"seccomp=gvisor"}
	}
	list := []string{"seccomp=" + t.profile}
	if f.apparmor != "" {
		list = append(list, "apparmor="+f.apparmor)
	}
	return list
}

// tmpfs lists the writable places in memory. Sizes and inode counts are always
// given: without them the host's memory is the limit. They count towards the
// container's memory, which is why a workspace in memory gets half of it, so
// that a full one is an error of the program and not its end.
func tmpfs(t template, uid uint32) map[string]string {
	common := fmt.Sprintf("rw,nosuid,nodev,uid=%d,gid=%d", uid, uid)
	inodes := func(size int64) int64 { return max(1024, size/(16*sandbox.KiB)) }
	all := map[string]string{
		"/tmp":           fmt.Sprintf("%s,noexec,mode=1777,size=%d,nr_inodes=%d", common, t.tmp, inodes(t.tmp)),
		"/dev/shm":       fmt.Sprintf("%s,noexec,mode=1777,size=%d,nr_inodes=1024", common, min(64*sandbox.MiB, t.memory/4)),
		frame.ScratchDir: fmt.Sprintf("%s,noexec,mode=0700,size=%d,nr_inodes=16", common, 4*sandbox.MaxSource),
	}
	if t.inMemory {
		all[sandbox.Workspace] = fmt.Sprintf("%s,exec,mode=0770,size=%d,nr_inodes=%d", common, t.workspace, inodes(t.workspace))
	}
	return all
}

func resources(t template, f facts) container.Resources {
	// With fewer no program of an image could start another.
	pids, memory := max(t.pids, 4)+pid1PIDs, t.memory+pid1Memory
	if t.virtual(f) {
		pids, memory = gvisorPIDs+gvisorPerProcess*pids, memory+gvisorMemory
	}
	if f.cpus > 0 && t.cpus > float64(f.cpus) {
		t.cpus = float64(f.cpus) // the engine refuses more than it has
	}
	limit := func(name string, n int64) *container.Ulimit {
		return &container.Ulimit{Name: name, Soft: n, Hard: n}
	}
	return container.Resources{
		Memory:     memory,
		MemorySwap: memory, // memory and swap together: no swap on top
		NanoCPUs:   int64(t.cpus * 1e9),
		PidsLimit:  &pids,
		Ulimits: []*container.Ulimit{
			limit("nofile", t.files), limit("fsize", t.file), limit("core", 0),
			// Message queues are charged per user and host-wide.
			limit("msgqueue", 0),
		},
	}
}

// harmless are the warnings of an engine that do not mean an ignored limit.
var harmless = []string{
	// A sandbox has no networking to begin with.
	"IPv4 forwarding is disabled. Networking will not work.",
}

func serious(warnings []string) []string {
	return slices.DeleteFunc(slices.Clone(warnings), func(w string) bool {
		return slices.Contains(harmless, strings.TrimSpace(w))
	})
}
