package docker

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/strslice"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// Labels on everything that a Runner makes.
const (
	labelOwner   = "wflo.owner"
	labelBox     = "wflo.box"
	labelKey     = "wflo.key"
	labelCreated = "wflo.created" // Unix seconds
	labelExpires = "wflo.expires" // Unix seconds; past it the container is nobody's
)

// nobody is the user of every sandbox.
const nobody = "65534:65534"

// scratch is where the source of a script lies: outside the workspace, so that
// it neither shows nor stays there.
const scratch = "/run/wflo"

// job is one execution in the runner's words: a specification after defaults,
// or one of the runner's own steps on a box's files.
type job struct {
	name   string // the container's
	key    string
	box    string
	volume string // the box's; empty means a workspace in memory
	image  string // what to create from, an id
	argv   []string
	env    map[string]string
	files  []byte // a tar stream for the prelude, in whole blocks
	stdin  []byte
	limits sandbox.Limits
	// readOnly mounts the workspace read-only.
	readOnly bool
	created  time.Time
}

// facts are what the translation needs to know about the engine.
type facts struct {
	owner   string
	runtime string
	cpus    int
	// plumbed makes the engine set up a network namespace in its usual way
	// instead of leaving out the network entirely, which is faster.
	plumbed bool
}

// convert translates a job to what the engine is asked for. It is pure, and it
// is the only place that fills these structures: what it never sets, no sandbox
// ever has.
func convert(j job, f facts) (*container.Config, *container.HostConfig) {
	stdin := len(j.files)+len(j.stdin) > 0
	config := &container.Config{
		Hostname:        "sandbox",
		User:            nobody,
		WorkingDir:      sandbox.Workspace,
		Entrypoint:      strslice.StrSlice{"/bin/sh", "-c", prelude, "wflo", strconv.Itoa(len(j.files) / block)},
		Cmd:             strslice.StrSlice(j.argv),
		Env:             environment(j.env),
		Image:           j.image,
		AttachStdin:     stdin,
		OpenStdin:       stdin,
		StdinOnce:       stdin,
		AttachStdout:    true,
		AttachStderr:    true,
		NetworkDisabled: !f.plumbed,
		StopSignal:      "SIGKILL",
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		Labels:          labels(j, f.owner),
	}
	yes := true
	host := &container.HostConfig{
		NetworkMode:    "none",
		IpcMode:        container.IPCModeNone,
		CgroupnsMode:   container.CgroupnsModePrivate,
		ReadonlyRootfs: true,
		CapDrop:        strslice.StrSlice{"ALL"},
		SecurityOpt:    []string{"no-new-privileges:true"},
		LogConfig:      container.LogConfig{Type: "none"},
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		// Under memory pressure of the host sandboxes go first.
		OomScoreAdj: 500,
		Init:        &yes,
		Runtime:     f.runtime,
		Tmpfs:       tmpfs(j),
		Resources:   resources(j.limits, f.cpus),
	}
	if j.volume != "" {
		host.Mounts = []mount.Mount{{
			Type: mount.TypeVolume, Source: j.volume, Target: sandbox.Workspace, ReadOnly: j.readOnly,
			// The engine makes a volume that is not there: labelled, so that a
			// sweep finds it whoever made it.
			VolumeOptions: &mount.VolumeOptions{Labels: volumeLabels(j.box, f.owner)},
		}}
	}
	return config, host
}

func labels(j job, owner string) map[string]string {
	return map[string]string{
		labelOwner: owner, labelBox: j.box, labelKey: j.key,
		labelCreated: strconv.FormatInt(j.created.Unix(), 10),
		labelExpires: strconv.FormatInt(j.created.Add(j.limits.Timeout+10*time.Minute).Unix(), 10),
	}
}

func volumeLabels(box, owner string) map[string]string {
	return map[string]string{labelOwner: owner, labelBox: box}
}

// environment sorts, so that the same job gives the same container.
func environment(env map[string]string) []string {
	all := map[string]string{"HOME": "/tmp", "USER": "nobody"}
	maps.Copy(all, env)
	list := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return list
}

// tmpfs lists the writable places in memory. Sizes and inode counts are always
// given: without them the host's memory is the limit. They count towards the
// container's memory, which is why a workspace in memory gets half of it, so
// that a full one is an error of the program and not its end.
func tmpfs(j job) map[string]string {
	const common = "rw,nosuid,nodev,uid=65534,gid=65534"
	inodes := func(size int64) int64 { return max(1024, size/(16*sandbox.KiB)) }
	all := map[string]string{
		"/tmp":     fmt.Sprintf("%s,noexec,mode=1777,size=%d,nr_inodes=%d", common, j.limits.Tmp, inodes(j.limits.Tmp)),
		"/dev/shm": fmt.Sprintf("%s,noexec,mode=1777,size=%d,nr_inodes=1024", common, min(64*sandbox.MiB, j.limits.Memory/4)),
		scratch:    fmt.Sprintf("%s,noexec,mode=0700,size=%d,nr_inodes=16", common, 2*sandbox.MaxSource),
	}
	if j.volume == "" {
		half := j.limits.Memory / 2
		all[sandbox.Workspace] = fmt.Sprintf("%s,exec,mode=0770,size=%d,nr_inodes=%d", common, half, inodes(half))
	}
	return all
}

// preludePIDs is what the engine's init and the prelude's pipeline need.
const preludePIDs = 8

func resources(l sandbox.Limits, cpus int) container.Resources {
	// One more than asked for, because the engine's init counts too.
	pids := max(l.PIDs+1, preludePIDs)
	if cpus > 0 && l.CPUs > float64(cpus) {
		l.CPUs = float64(cpus) // the engine refuses more than it has
	}
	limit := func(name string, n int64) *container.Ulimit {
		return &container.Ulimit{Name: name, Soft: n, Hard: n}
	}
	return container.Resources{
		Memory:     l.Memory,
		MemorySwap: l.Memory, // memory and swap together: no swap on top
		NanoCPUs:   int64(l.CPUs * 1e9),
		PidsLimit:  &pids,
		Ulimits: []*container.Ulimit{
			limit("nofile", l.Open), limit("fsize", l.File), limit("core", 0),
			// Message queues are charged per user and host-wide.
			limit("msgqueue", 0),
		},
	}
}
