package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"

	"github.com/wflo-ai/wflo-go"
)

// Sandbox is a container that a Runner made.
type Sandbox struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// State is "idle" (it waits in a pool), "running", "kept" (between two
	// executions of its box), "created" (it never started) or "exited".
	State   string `json:"state"`
	Owner   string `json:"owner"`
	Tenant  string `json:"tenant,omitempty"`
	Box     string `json:"box,omitempty"`
	Run     string `json:"run,omitempty"`
	Step    string `json:"step,omitempty"`
	Key     string `json:"key,omitempty"`
	Attempt int32  `json:"attempt,omitempty"`
	Image   string `json:"image"`
	Runtime string `json:"runtime,omitempty"`
	// Host is the name of the host that it is on; who asks several fills it in.
	Host string `json:"host,omitempty"`
	// Created is when it was made, Expires when its execution is over at the
	// latest; zero without one.
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

// Stats is what a sandbox uses right now. CPUPercent is of one CPU, memory in
// bytes.
type Stats struct {
	ID          string        `json:"id"`
	CPUPercent  float64       `json:"cpu_percent"`
	Memory      int64         `json:"memory"`
	MemoryLimit int64         `json:"memory_limit"`
	PIDs        int64         `json:"pids"`
	PIDLimit    int64         `json:"pid_limit"`
	CPUTime     time.Duration `json:"cpu_time"`
}

// Collected is what nobody owned any more, by name.
type Collected struct {
	Containers []string `json:"containers"`
	Volumes    []string `json:"volumes"`
}

// inventory is all that an owner has on the engine.
type inventory struct {
	containers []container.Summary
	volumes    []*volume.Volume
	// late are the markers after the containers were listed. A container that makes
	// way for its workspace's marker in between is in neither of the others.
	late []*volume.Volume
}

func (r *Runner) inventory(ctx context.Context) (inventory, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	// Volumes first: one whose container is made in between is then not taken
	// for one without.
	volumes, err := r.volumes(ctx, "")
	if err != nil {
		return inventory{}, err
	}
	containers, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: byLabel(r.config.Owner)})
	if err != nil {
		return inventory{}, unreachable("list containers", err)
	}
	late, err := r.volumes(ctx, kindMarker)
	if err != nil {
		return inventory{}, err
	}
	return inventory{containers: containers, volumes: volumes, late: late}, nil
}

// by indexes the volumes of a kind by one of their labels.
func (inv inventory) by(kind, label string) map[string]map[string]string {
	m := map[string]map[string]string{}
	for _, v := range inv.volumes {
		if v.Labels[labelKind] == kind {
			m[v.Labels[label]] = v.Labels
		}
	}
	return m
}

// List lists the sandboxes of the Runner's owner, of whichever worker, oldest
// first.
func (r *Runner) List(ctx context.Context) ([]Sandbox, error) {
	inv, err := r.inventory(ctx)
	if err != nil {
		return nil, err
	}
	leases, markers := inv.by(kindLease, labelContainer), inv.by(kindMarker, labelVolume)
	list := make([]Sandbox, 0, len(inv.containers))
	for _, c := range inv.containers {
		b := Sandbox{
			ID: c.ID, State: c.State, Owner: c.Labels[labelOwner], Image: c.ImageID,
			Runtime: c.Labels[labelRuntime], Created: time.Unix(c.Created, 0),
		}
		if len(c.Names) > 0 {
			b.Name = strings.TrimPrefix(c.Names[0], "/")
		}
		var marker map[string]string
		for _, m := range c.Mounts {
			if got := markers[m.Name]; got != nil {
				marker = got
				b.Box = marker[labelBox]
			}
		}
		lease := leases[c.ID]
		if lease != nil {
			b.fill(lease)
		}
		switch {
		case c.State != "running":
		case lease != nil:
		case marker != nil:
			b.State = "kept"
		default:
			b.State = "idle"
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Sandbox) int { return a.Created.Compare(b.Created) })
	return list, nil
}

func (b *Sandbox) fill(lease map[string]string) {
	b.Tenant, b.Run, b.Step, b.Key = lease[labelTenant], lease[labelRun], lease[labelStep], lease[labelKey]
	if lease[labelBox] != "" {
		b.Box = lease[labelBox]
	}
	if n, err := strconv.ParseInt(lease[labelAttempt], 10, 32); err == nil {
		b.Attempt = int32(n)
	}
	b.Expires = unix(lease[labelExpires])
}

// unix reads a label that holds a point in time; zero if it does not.
func unix(label string) time.Time {
	if n, err := strconv.ParseInt(label, 10, 64); err == nil {
		return time.Unix(n, 0)
	}
	return time.Time{}
}

// find gives the sandbox of that id, name, or beginning of an id.
func (r *Runner) find(ctx context.Context, id string) (Sandbox, error) {
	list, err := r.List(ctx)
	if err != nil {
		return Sandbox{}, err
	}
	var found []Sandbox
	for _, b := range list {
		if b.ID == id || b.Name == id {
			return b, nil
		}
		if id != "" && strings.HasPrefix(b.ID, id) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 0:
		return Sandbox{}, wflo.Invalid("sandbox", fmt.Sprintf("%.80q does not exist", id), "list them with wflo sandbox ls")
	case 1:
		return found[0], nil
	}
	return Sandbox{}, wflo.Invalid("sandbox", fmt.Sprintf("%.80q is the beginning of %d ids", id, len(found)), "give more of it")
}

// Kill ends a sandbox, by its id, its name, or a beginning of its id that only
// it has. A program in it comes out as lost, and Temporal runs it again unless
// its run is cancelled.
func (r *Runner) Kill(ctx context.Context, id string) error {
	b, err := r.find(ctx, id)
	if err != nil {
		return err
	}
	return r.remove(ctx, b.ID)
}

// Stats looks at a running sandbox twice, a fifth of a second apart.
func (r *Runner) Stats(ctx context.Context, id string) (Stats, error) {
	b, err := r.find(ctx, id)
	if err != nil {
		return Stats{}, err
	}
	first, err := r.sample(ctx, b.ID)
	for i := 0; i < 4 && err == nil; i++ {
		err = pause(ctx)
	}
	if err != nil {
		return Stats{}, err
	}
	last, err := r.sample(ctx, b.ID)
	if err != nil {
		return Stats{}, err
	}
	s := Stats{
		ID: b.ID, Memory: int64(last.MemoryStats.Usage), MemoryLimit: int64(last.MemoryStats.Limit),
		PIDs: int64(last.PidsStats.Current), PIDLimit: int64(last.PidsStats.Limit),
		CPUTime: time.Duration(last.CPUStats.CPUUsage.TotalUsage),
	}
	if passed := last.Read.Sub(first.Read); passed > 0 {
		s.CPUPercent = 100 * float64(last.CPUStats.CPUUsage.TotalUsage-first.CPUStats.CPUUsage.TotalUsage) / float64(passed)
	}
	return s, nil
}

func (r *Runner) sample(ctx context.Context, id string) (container.StatsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	resp, err := r.engine.ContainerStatsOneShot(ctx, id)
	if err != nil {
		return container.StatsResponse{}, unreachable("measure container", err)
	}
	defer resp.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("measure container: %w", err)
	}
	return s, nil
}

// What has to be how old before it counts as left behind: its owner may be
// between two steps.
const (
	deadFor   = time.Minute         // a container that has ended
	unborn    = 5 * time.Minute     // one that was never started
	unclaimed = 5 * time.Minute     // a volume that nothing refers to
	outdated  = 30 * 24 * time.Hour // the PID 1 of another version: a worker of it may still run, without sandboxes at the moment
)

// Collect removes what nobody owns any more: containers that have ended or never
// started, leases of containers that are gone, workspaces of no box. What this
// process uses is never touched, and what other workers use is not found: their
// containers run. Running sandboxes of dead workers need no removal, they end
// themselves. With dryRun it only says what it would remove.
func (r *Runner) Collect(ctx context.Context, dryRun bool) (Collected, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*r.config.EngineTimeout) // many requests
	defer cancel()
	inv, err := r.inventory(ctx)
	if err != nil {
		return Collected{}, err
	}
	var all error
	c := Collected{Containers: []string{}, Volumes: []string{}}
	gone := map[string]bool{}
	for _, id := range r.deadContainers(ctx, inv) {
		gone[id] = true
		c.Containers = append(c.Containers, id)
		if !dryRun {
			all = errors.Join(all, r.remove(ctx, id))
		}
	}
	for _, name := range deadVolumes(inv, gone, time.Now()) {
		c.Volumes = append(c.Volumes, name)
		if !dryRun {
			if err := r.engine.VolumeRemove(ctx, name, false); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
				all = errors.Join(all, unreachable("remove volume", err))
			}
		}
	}
	if !dryRun {
		all = errors.Join(all, r.removeOldPID1(ctx))
	}
	return c, all
}

func (r *Runner) deadContainers(ctx context.Context, inv inventory) []string {
	mine := map[string]bool{}
	r.mu.Lock()
	for s := range r.live {
		mine[s.id] = true
	}
	r.mu.Unlock()
	var dead []string
	for _, c := range inv.containers {
		if mine[c.ID] {
			continue
		}
		switch c.State {
		case "created":
			if time.Since(time.Unix(c.Created, 0)) > unborn {
				dead = append(dead, c.ID)
			}
		case "exited", "dead":
			if r.endedFor(ctx, c.ID) > deadFor {
				dead = append(dead, c.ID)
			}
		}
	}
	return dead
}

// endedFor says how long ago a container ended; zero when that is not known.
func (r *Runner) endedFor(ctx context.Context, id string) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	c, err := r.engine.ContainerInspect(ctx, id)
	if err != nil || c.State == nil {
		return 0
	}
	at, err := time.Parse(time.RFC3339Nano, c.State.FinishedAt)
	if err != nil {
		return 0
	}
	return time.Since(at)
}

// deadVolumes lists leases and workspaces that nothing refers to, and markers that
// no box leads to.
func deadVolumes(inv inventory, gone map[string]bool, now time.Time) []string {
	containers, mounted := map[string]bool{}, map[string]bool{}
	for _, c := range inv.containers {
		if gone[c.ID] {
			continue
		}
		containers[c.ID] = true
		for _, m := range c.Mounts {
			mounted[m.Name] = true
		}
	}
	workspaces, markers := lead(slices.Concat(inv.volumes, inv.late))
	var dead []string
	for _, v := range inv.volumes {
		age := now.Sub(unix(v.Labels[labelCreated]))
		switch v.Labels[labelKind] {
		case kindLease:
			expires := unix(v.Labels[labelExpires])
			if age > deadFor && (!containers[v.Labels[labelContainer]] || now.After(expires)) {
				dead = append(dead, v.Name)
			}
		case kindWorkspace:
			if age > unclaimed && !mounted[v.Name] && !workspaces[v.Name] {
				dead = append(dead, v.Name)
			}
		case kindMarker:
			if age > unclaimed && !markers[v.Name] {
				dead = append(dead, v.Name)
			}
		}
	}
	return dead
}

// removeOldPID1 removes the PID 1 of other versions. One that is in use stays.
func (r *Runner) removeOldPID1(ctx context.Context) error {
	current := ""
	if e := r.known(); e != nil {
		current = e.facts.pid1
	}
	list, err := r.engine.VolumeList(ctx, volume.ListOptions{Filters: byKind(kindPID1)})
	if err != nil {
		return unreachable("list volumes", err)
	}
	for _, v := range list.Volumes {
		if v.Name == current || time.Since(unix(v.Labels[labelCreated])) < outdated {
			continue
		}
		if err := r.engine.VolumeRemove(ctx, v.Name, false); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return unreachable("remove volume", err)
		}
	}
	return nil
}
