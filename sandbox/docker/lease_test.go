package docker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// patient is a program that counts its runs, says so, and waits for a word in
// its workspace.
func patient(box, key string) sandbox.Spec {
	spec := shell("echo run >> runs; echo begun; until [ -e go ]; do sleep 0.02; done; echo over")
	spec.Box, spec.Key = box, key
	return spec
}

// listen gives a watcher and a channel that is closed when the output holds
// text.
func listen(text string) (watch func(sandbox.Stream, []byte), heard chan struct{}) {
	heard = make(chan struct{})
	var all strings.Builder
	var once sync.Once
	return func(_ sandbox.Stream, p []byte) {
		all.Write(p)
		if strings.Contains(all.String(), text) {
			once.Do(func() { close(heard) })
		}
	}, heard
}

// outcome is what Run returned.
type outcome struct {
	res sandbox.Result
	err error
}

func start(ctx context.Context, r *Runner, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) chan outcome {
	ended := make(chan outcome, 1)
	go func() {
		res, err := r.Run(ctx, spec, watch)
		ended <- outcome{res, err}
	}()
	return ended
}

// goOn gives patient programs of a box the word, in a sandbox of its own.
func goOn(t *testing.T, r *Runner, box string) {
	t.Helper()
	if err := r.WriteFiles(t.Context(), box, []wflo.File{{Name: "go"}}); err != nil {
		t.Fatal(err)
	}
}

// byKey gives the sandbox that has the execution of a key.
func byKey(t testing.TB, r *Runner, key string) Sandbox {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if b.Key == key {
			return b
		}
	}
	t.Fatalf("no sandbox has %q, but there are %+v", key, list)
	return Sandbox{}
}

// ranOnce looks whether the program of a box ran once.
func ranOnce(t *testing.T, r *Runner, box string) {
	t.Helper()
	if data, err := r.ReadFile(t.Context(), box, "runs", 1000); err != nil || string(data) != "run\n" {
		t.Errorf("the program left %q, %v, want one run", data, err)
	}
}

// TestKeyAgain holds that a key is free again when its execution is over.
func TestKeyAgain(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "again")
	spec := shell("echo run >> runs; wc -l < runs")
	spec.Box, spec.Key = box, "k"
	for _, want := range []string{"1\n", "2\n"} {
		if res := must(t, r, spec); res.Stdout != want || res.Adopted {
			t.Errorf("run = %q, adopted %v, want %q", res.Stdout, res.Adopted, want)
		}
		settle(r)
	}
}

// TestAdoption holds that a worker that takes over from one that was killed
// gets the whole output once, and that the program never notices.
func TestAdoption(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "adopted")
	w := hire(t, orders{Owner: r.config.Owner, Spec: patient(box, "k"), Pool: -1})
	w.says("begun")
	w.kill()
	watch, begun := listen("begun")
	second := start(t.Context(), r, patient(box, "k"), watch)
	<-begun
	goOn(t, r, box)
	got := <-second
	if got.err != nil || !got.res.OK() || !got.res.Adopted || got.res.Stdout != "begun\nover\n" {
		t.Errorf("got %+v, %v, want the whole output, adopted", got.res, got.err)
	}
	ranOnce(t, r, box)
}

// TestAdoptionOfEnded holds that a result that a dead worker never got is
// waiting for the next.
func TestAdoptionOfEnded(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "ended")
	spec := patient(box, "k")
	w := hire(t, orders{Owner: r.config.Owner, Spec: spec, Pool: -1})
	w.says("begun")
	w.kill()
	conn, err := dial(t).ContainerAttach(t.Context(), byKey(t, r, "k").ID, container.AttachOptions{Stream: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	goOn(t, r, box)
	frames := frame.NewReader(&demux{r: conn.Reader, noise: func([]byte) {}})
	for f := (frame.Frame{}); f.Type != frame.Exit; {
		if f, err = frames.Read(); err != nil {
			t.Fatal(err)
		}
	}
	res := must(t, r, spec)
	if !res.Adopted || res.Stdout != "begun\nover\n" {
		t.Errorf("got %q, adopted %v, want the whole output, adopted", res.Stdout, res.Adopted)
	}
	ranOnce(t, r, box)
}

// TestAdoptionCancelled holds that an adopted program dies with the wish of the
// worker that adopted it.
func TestAdoptionCancelled(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "cancelled")
	w := hire(t, orders{Owner: r.config.Owner, Spec: patient(box, "k"), Pool: -1})
	w.says("begun")
	w.kill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, begun := listen("begun")
	second := start(ctx, r, patient(box, "k"), watch)
	<-begun
	cancel()
	if got := <-second; got.err != nil || got.res.Outcome != sandbox.Cancelled {
		t.Errorf("got %s, %v, want cancelled", got.res.Outcome, got.err)
	}
}

// TestUnadoptable holds that an execution of the same key that cannot be adopted
// is ended, and the program run again.
func TestUnadoptable(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	cli := dial(t)
	box := closing(t, r, "unadoptable")
	w := hire(t, orders{Owner: r.config.Owner, Spec: patient(box, "k"), Pool: -1})
	w.says("begun")
	w.kill()
	if err := cli.ContainerKill(t.Context(), byKey(t, r, "k").ID, "KILL"); err != nil {
		t.Fatal(err)
	}
	watch, begun := listen("begun")
	second := start(t.Context(), r, patient(box, "k"), watch)
	<-begun
	goOn(t, r, box)
	if got := <-second; got.err != nil || !got.res.OK() || got.res.Adopted {
		t.Errorf("got %s, adopted %v, %v, want a run of its own", got.res.Outcome, got.res.Adopted, got.err)
	}
}

// TestOrphan holds that a sandbox whose worker was killed ends itself: PID 1
// waits for a minute of silence, and so does this test.
func TestOrphan(t *testing.T) {
	t.Parallel()
	cli := dial(t)
	owner := configure(t, nil).Owner
	// A program goes on to its timeout, because another worker may adopt it.
	spec := shell("echo begun; sleep 1000")
	spec.Limits.Timeout = 20 * time.Second
	w := hire(t, orders{Owner: owner, Spec: spec, Pool: 1})
	w.says("begun")
	w.kill()
	if n := running(t, cli, owner); n < 1 {
		t.Fatalf("%d sandboxes run, want at least that of the program", n)
	}
	until(t, "sandboxes of a dead worker", func() bool { return running(t, cli, owner) == 0 })
	all, err := cli.ContainerList(t.Context(), container.ListOptions{All: true, Filters: byLabel(owner)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if err := cli.ContainerRemove(t.Context(), c.ID, container.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
	r := &Runner{engine: cli, config: Config{Owner: owner, EngineTimeout: time.Minute}}
	inv, err := r.inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// What is left is found by any worker of the owner, when it is old enough.
	dead := deadVolumes(inv, nil, time.Now().Add(2*unclaimed))
	if len(dead) != len(inv.volumes) {
		t.Errorf("%d of %d volumes count as left behind", len(dead), len(inv.volumes))
	}
	for _, name := range dead {
		if err := cli.VolumeRemove(t.Context(), name, false); err != nil {
			t.Error(err)
		}
	}
	clean(t, owner)
}

// TestLeaseOfAnother holds that a lease that does not make sense runs nothing.
func TestLeaseOfAnother(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	name := r.named(kindLease, "k")
	if _, err := r.volume(t.Context(), name, map[string]string{labelKind: kindLease, labelKey: "another"}); err != nil {
		t.Fatal(err)
	}
	spec := shell("true")
	spec.Key = "k"
	if _, err := r.Run(t.Context(), spec, nil); err == nil || errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("Run with a damaged lease: %v", err)
	}
	if err := r.removeVolume(t.Context(), name); err != nil {
		t.Error(err)
	}
}
