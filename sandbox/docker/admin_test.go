package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"
	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestAdmin looks at sandboxes in each of their states, from the Runner that made
// them and from an operator's.
func TestAdmin(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size = 1 })
	operator, err := New(t.Context(), Config{Owner: AnyOwner})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := operator.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := operator.Run(t.Context(), shell("true"), nil); wflo.CodeOf(err) != wflo.CodePolicyDenied {
		t.Errorf("an operator's Runner runs: %v", err)
	}
	boxed := shell("true")
	boxed.Box = closing(t, r, "admin")
	must(t, r, boxed)
	spec := shell("echo begun; while :; do :; done")
	spec.Key, spec.Limits.PIDs = "k", 50
	spec.Origin = sandbox.Origin{Tenant: "team", Run: "run", Step: "step", Attempt: 3}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, begun := listen("begun")
	ended := start(ctx, r, spec, watch)
	<-begun
	until(t, "the pool", r.pool.stocked)
	made, err := dial(t).ContainerCreate(t.Context(), &container.Config{Image: DefaultImage, Labels: map[string]string{labelOwner: r.config.Owner}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for who, from := range map[string]*Runner{"owner": r, "operator": operator} {
		states := map[string]int{}
		list, err := from.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			if b.Owner != r.config.Owner {
				continue
			}
			states[b.State]++
			switch b.State {
			case "running":
				got := fmt.Sprint(b.Tenant, b.Run, b.Step, b.Attempt, b.Key, b.Box, b.Expires.After(time.Now()))
				if want := fmt.Sprint("team", "run", "step", 3, "k", "", true); got != want {
					t.Errorf("%s: the running sandbox is %q, want %q", who, got, want)
				}
			case "kept":
				if b.Box != "admin" {
					t.Errorf("%s: the kept sandbox has box %q", who, b.Box)
				}
			}
		}
		if states["running"] != 1 || states["kept"] != 1 || states["idle"] < 2 || states["created"] != 1 {
			t.Errorf("%s: states %v", who, states)
		}
	}
	id := byKey(t, r, "k").ID
	s, err := operator.Stats(t.Context(), id[:20])
	if err != nil || s.Memory <= 0 || s.MemoryLimit != 512*sandbox.MiB+pid1Memory || s.PIDs < 2 || s.PIDLimit != 50+pid1PIDs || s.CPUTime <= 0 || s.CPUPercent <= 0 {
		t.Errorf("Stats = %+v, %v", s, err)
	}
	for _, unknown := range []string{"", "nothing", id + "0"} {
		if _, err := r.Stats(t.Context(), unknown); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("Stats of %q: %v", unknown, err)
		}
		if err := r.Kill(t.Context(), unknown); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("Kill of %q: %v", unknown, err)
		}
	}
	if err := operator.Kill(t.Context(), made.ID); err != nil {
		t.Error(err)
	}
	if err := r.Kill(t.Context(), byKey(t, r, "k").Name); err != nil {
		t.Error(err)
	}
	coded(t, (<-ended).err, wflo.CodeSandboxLost)
}

// TestKillOthers holds that a Runner kills nothing of another owner.
func TestKillOthers(t *testing.T) {
	t.Parallel()
	r, other := open(t, nil), open(t, nil)
	spec := shell("true")
	spec.Box = closing(t, other, "theirs")
	id := must(t, other, spec).Sandbox
	if err := r.Kill(t.Context(), id); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("Kill of another's: %v", err)
	}
	if res := must(t, other, spec); res.Sandbox != id {
		t.Error("it is gone")
	}
}

func TestDeadVolumes(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	lease := func(name, of string, age, expires time.Duration) *volume.Volume {
		return &volume.Volume{Name: name, Labels: map[string]string{labelKind: kindLease, labelContainer: of, labelCreated: at(-age), labelExpires: at(expires)}}
	}
	files := func(name string, age time.Duration) *volume.Volume {
		return &volume.Volume{Name: name, Labels: map[string]string{labelKind: kindWorkspace, labelCreated: at(-age)}}
	}
	marker := func(name, previous, of string) *volume.Volume {
		return &volume.Volume{Name: name, Labels: map[string]string{labelKind: kindMarker, labelPrevious: previous, labelVolume: of, labelCreated: at(-time.Hour)}}
	}
	inv := inventory{
		containers: []container.Summary{
			{ID: "runs", Mounts: []container.MountPoint{{Name: "mounted"}}},
			{ID: "dead", Mounts: []container.MountPoint{{Name: "of a dead one"}}},
		},
		volumes: []*volume.Volume{
			lease("held", "runs", time.Hour, time.Hour), lease("of nobody", "gone", time.Hour, time.Hour), lease("of a dead container", "dead", time.Hour, time.Hour),
			lease("just made", "gone", deadFor-time.Second, time.Hour), lease("expired", "runs", time.Hour, -time.Second),
			files("mounted", time.Hour), files("of a dead one", time.Hour), files("of a box", time.Hour), files("of nothing", time.Hour),
			files("just made too", unclaimed-time.Second),
			{Name: "marker", Labels: map[string]string{labelKind: kindMarker, labelVolume: "of a box", labelCreated: at(-1000 * time.Hour)}},
			{Name: "unknown", Labels: map[string]string{labelCreated: "nonsense"}},
			// A box whose workspace was replaced twice, and one that was closed meanwhile.
			marker("first", "", "replaced"), marker("second", "replaced", "replaced too"), marker("third", "replaced too", "current"),
			files("replaced", time.Hour), files("replaced too", time.Hour), files("current", time.Hour),
			marker("of a closed box", "long gone", "in vain"), files("in vain", time.Hour), files("marked late", time.Hour),
		},
		late: []*volume.Volume{marker("late", "", "marked late")},
	}
	got := deadVolumes(inv, map[string]bool{"dead": true}, now)
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"expired", "in vain", "of a closed box", "of a dead container", "of a dead one", "of nobody", "of nothing", "replaced", "replaced too",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCollect holds that a sweep removes what is nobody's and old, and says so
// first if that is all it shall do.
func TestCollect(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size = 1 })
	boxed := shell("echo kept > file")
	boxed.Box = closing(t, r, "collect")
	must(t, r, boxed)
	until(t, "the pool", r.pool.stocked)
	cli := dial(t)
	old := fmt.Sprint(time.Now().Add(-time.Hour).Unix())
	var want []string
	for _, kind := range []string{kindLease, kindWorkspace} {
		v, err := cli.VolumeCreate(t.Context(), volume.CreateOptions{Labels: map[string]string{
			labelOwner: r.config.Owner, labelKind: kind, labelCreated: old, labelExpires: old, labelContainer: "gone",
		}})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, v.Name)
	}
	slices.Sort(want)
	for _, dry := range []bool{true, false} {
		got, err := r.Collect(t.Context(), dry)
		slices.Sort(got.Volumes)
		if diff := cmp.Diff(want, got.Volumes); err != nil || diff != "" || len(got.Containers) != 0 {
			t.Errorf("Collect, dry %v: %v, containers %v, volumes (-want +got):\n%s", dry, err, got.Containers, diff)
		}
	}
	if got, err := r.Collect(t.Context(), false); err != nil || len(got.Volumes)+len(got.Containers) != 0 {
		t.Errorf("Collect again: %v, %v", got, err)
	}
	if boxes, err := r.Boxes(t.Context()); err != nil || !slices.Equal(boxes, []string{"collect"}) {
		t.Errorf("Boxes = %q, %v", boxes, err)
	}
	boxed.Argv[2] = "cat file"
	if res := must(t, r, boxed); strings.TrimSpace(res.Stdout) != "kept" {
		t.Errorf("the box has %q", res.Stdout)
	}
}
