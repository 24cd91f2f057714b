package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// oneFile is a tree of a file of that name.
func oneFile(name string) *sandboxtest.Source {
	return &sandboxtest.Source{
		Entries: []sandbox.TreeEntry{{Name: []byte(name), Kind: sandbox.TreeFile, Mode: 0o644, Size: int64(len(name)), MTime: time.Unix(1e9, 0)}},
		Content: map[string][]byte{name: []byte(name)},
	}
}

// has lists the names of a box's workspace.
func has(t *testing.T, r *Runner, box string) []string {
	t.Helper()
	s := &sandboxtest.Saved{}
	if _, _, err := r.Save(t.Context(), box, sandbox.TreeLimits{}, s); err != nil {
		t.Fatalf("Save: %v", err)
	}
	var names []string
	for _, e := range s.Entries {
		names = append(names, string(e.Name))
	}
	return names
}

// sweep removes what a sweep finds when everything is old enough, and fails the
// test if a workspace of a box is among it.
func sweep(t *testing.T, r *Runner) {
	t.Helper()
	inv, err := r.inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range deadVolumes(inv, nil, time.Now().Add(2*unclaimed)) {
		if err := r.removeVolume(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
}

// TestReplaceBroken breaks each request to the engine that a Replace makes, before
// it is made and after. Whatever happens, the box has the old workspace or the new
// one, whole; the same Replace again brings the new one; and a sweep finds the
// rest.
func TestReplaceBroken(t *testing.T) {
	t.Parallel()
	r, e := tampered(t, nil)
	calls := count(t, r, e)
	if calls < 8 {
		t.Fatalf("a Replace makes %d requests that a test hears of", calls)
	}
	olds, news := 0, 0
	for n := range calls {
		for _, when := range []string{"before", "after"} {
			box := fmt.Sprintf("broken-%d-%s", n, when)
			if err := r.Replace(t.Context(), box, "old", oneFile("old")); err != nil {
				t.Fatal(err)
			}
			settle(r)
			breakAt(e, n, when)
			err := r.Replace(t.Context(), box, "new", oneFile("new"))
			e.tamper(nil, nil)
			settle(r)
			got := has(t, r, box)
			switch {
			case slices.Equal(got, []string{"old"}) && err != nil:
				olds++
			case slices.Equal(got, []string{"new"}):
				news++
			default:
				t.Errorf("request %d, %s: %v, and the box has %q", n, when, err, got)
			}
			if err := r.Replace(t.Context(), box, "new", oneFile("new")); err != nil {
				t.Errorf("request %d, %s: again: %v", n, when, err)
			}
			sweep(t, r)
			if got := has(t, r, box); !slices.Equal(got, []string{"new"}) {
				t.Errorf("request %d, %s: in the end the box has %q", n, when, got)
			}
			if err := r.Close(t.Context(), box); err != nil {
				t.Error(err)
			}
			settle(r)
			sweep(t, r)
		}
	}
	t.Logf("%d requests, broken before and after: %d times the old workspace, %d times the new one", calls, olds, news)
	if olds == 0 || news == 0 {
		t.Error("only one of the two ever came out")
	}
}

// count counts the requests of a Replace over an old workspace.
func count(t *testing.T, r *Runner, e *broken) (calls int) {
	t.Helper()
	if err := r.Replace(t.Context(), "count", "old", oneFile("old")); err != nil {
		t.Fatal(err)
	}
	settle(r)
	e.tamper(func(string) error { calls++; return nil }, nil)
	err := r.Replace(t.Context(), "count", "new", oneFile("new"))
	e.tamper(nil, nil)
	if err = errors.Join(err, r.Close(t.Context(), "count")); err != nil {
		t.Fatal(err)
	}
	settle(r)
	return calls
}

// breakAt breaks the n-th request from now on.
func breakAt(e *broken, n int, when string) {
	at := 0
	hear := func(string) error {
		at++
		if at == n+1 {
			return errEngine
		}
		return nil
	}
	if when == "before" {
		e.tamper(hear, nil)
	} else {
		e.tamper(nil, hear)
	}
}

// TestReplaceCut loses the connection to the sandbox at points of a Replace.
func TestReplaceCut(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "cut")
	if err := r.Replace(t.Context(), box, "old", oneFile("old")); err != nil {
		t.Fatal(err)
	}
	src := &sandboxtest.Source{Content: map[string][]byte{}}
	for i := range 20 {
		more := oneFile(fmt.Sprintf("new%02d", i))
		more.Entries[0].Size = 300_000
		src.Entries = append(src.Entries, more.Entries...)
		src.Content[string(more.Entries[0].Name)] = make([]byte, 300_000)
	}
	for _, at := range []int{0, 7, 19} {
		src.Before = func(i int) error {
			if i != at {
				return nil
			}
			return kill(r)
		}
		err := r.Replace(t.Context(), box, "new", src)
		coded(t, err, wflo.CodeSandboxLost)
		if got := has(t, r, box); !slices.Equal(got, []string{"old"}) {
			t.Errorf("cut at %d: the box has %q", at, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	src.Before = func(int) error { cancel(); return nil }
	if err := r.Replace(ctx, box, "new", src); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Replace: %v", err)
	}
	src.Before = nil
	if err := r.Replace(t.Context(), box, "new", src); err != nil {
		t.Fatal(err)
	}
	if got := has(t, r, box); len(got) != 20 {
		t.Errorf("the box has %q", got)
	}
}

// kill kills the newest sandbox and waits until its session has noticed.
func kill(r *Runner) error {
	r.mu.Lock()
	var newest *session
	for s := range r.live {
		if newest == nil || s.born.After(newest.born) {
			newest = s
		}
	}
	r.mu.Unlock()
	if err := r.kill(context.Background(), newest.id); err != nil {
		return err
	}
	<-newest.over
	return nil
}

// TestReplaceElsewhere holds that other workers see a new workspace at once, and
// that nothing of theirs goes on in the old one.
func TestReplaceElsewhere(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	other, err := New(t.Context(), configure(t, func(c *Config) { c.Owner = r.config.Owner }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	box := closing(t, r, "elsewhere")
	spec := shell("ls; echo more >> new")
	spec.Box = box
	must(t, other, spec) // and keeps its sandbox
	s := &sandboxtest.Saved{}
	if quiesced, ok, err := r.Save(t.Context(), box, sandbox.TreeLimits{}, s); quiesced || !ok || err != nil {
		t.Errorf("Save beside another worker's sandbox = %v, %v, %v", quiesced, ok, err)
	}
	watch, begun := listen("begun")
	ended := start(t.Context(), other, patient(box, "k"), watch)
	<-begun
	if err := r.Replace(t.Context(), box, "new", oneFile("new")); err != nil {
		t.Fatal(err)
	}
	coded(t, (<-ended).err, wflo.CodeSandboxLost)
	if res := must(t, other, spec); res.Stdout != "new\n" {
		t.Errorf("the other worker sees %q", res.Stdout)
	}
	// The other one replaces it in its turn.
	if err := other.Replace(t.Context(), box, "newer", oneFile("newer")); err != nil {
		t.Fatal(err)
	}
	if got := has(t, r, box); !slices.Equal(got, []string{"newer"}) {
		t.Errorf("the box has %q", got)
	}
}

// TestReplaceAtOnce has two workers replace a workspace with the same key, and with
// two, at the same time: one comes out whole.
func TestReplaceAtOnce(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	other, err := New(t.Context(), configure(t, func(c *Config) { c.Owner = r.config.Owner }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	box := closing(t, r, "at-once")
	for i, keys := range [][2]string{{"same", "same"}, {"a", "b"}} {
		done := make(chan error, 1)
		go func() { done <- other.Replace(t.Context(), box, keys[1], oneFile(keys[1])) }()
		mine := r.Replace(t.Context(), box, keys[0], oneFile(keys[0]))
		theirs := <-done
		if mine != nil && theirs != nil {
			t.Errorf("%d: %v and %v", i, mine, theirs)
		}
		if got := has(t, r, box); len(got) != 1 || got[0] != keys[0] && got[0] != keys[1] {
			t.Errorf("%d: the box has %q", i, got)
		}
	}
	settle(r)
	settle(other)
	sweep(t, r)
}

// TestReplaceLate holds that an attempt that was given up does not take a box's
// workspace away from what came after it, however late it ends: over an old
// workspace and over none, after another attempt with its key and without one.
func TestReplaceLate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ before, after []string }{
		"after another attempt of it": {[]string{"old"}, []string{"early", "later"}},
		"before any attempt of it":    {[]string{"old"}, []string{"later"}},
		"over no workspace":           {nil, []string{"early", "later"}},
		"over none, the first":        {nil, []string{"later"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, e := tampered(t, nil)
			other, err := New(t.Context(), configure(t, func(c *Config) { c.Owner = r.config.Owner }))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := other.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			})
			box := closing(t, other, "late")
			bring := func(keys []string) error {
				for _, key := range keys {
					if err := other.Replace(context.Background(), box, key, oneFile(key)); err != nil {
						return fmt.Errorf("replace by %s: %w", key, err)
					}
				}
				return nil
			}
			if err := bring(tt.before); err != nil {
				t.Fatal(err)
			}
			// The others come just before the late one makes its marker, which is its
			// second volume, after that of the files.
			volumes := 0
			e.tamper(func(call string) error {
				if call == "volume" {
					if volumes++; volumes == 2 {
						return bring(tt.after)
					}
				}
				return nil
			}, nil)
			err = r.Replace(t.Context(), box, "early", oneFile("early"))
			e.tamper(nil, nil)
			if !errors.Is(err, errOutrun) {
				t.Errorf("the late attempt: %v", err)
			}
			if got := has(t, other, box); !slices.Equal(got, []string{"later"}) {
				t.Errorf("the box has %q", got)
			}
			settle(r)
			settle(other)
			sweep(t, r)
		})
	}
}

// TestReplaceClosed holds that a box that is closed under a Replace stays closed.
func TestReplaceClosed(t *testing.T) {
	t.Parallel()
	r, e := tampered(t, nil)
	other, err := New(t.Context(), configure(t, func(c *Config) { c.Owner = r.config.Owner }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	const box = "closed"
	if err := r.Replace(t.Context(), box, "old", oneFile("old")); err != nil {
		t.Fatal(err)
	}
	// The other worker closes it just before the new marker is made, which is the
	// second volume, after that of the files.
	volumes := 0
	e.tamper(func(call string) error {
		if call == "volume" {
			if volumes++; volumes == 2 {
				return other.Close(context.Background(), box)
			}
		}
		return nil
	}, nil)
	if err := r.Replace(t.Context(), box, "new", oneFile("new")); !errors.Is(err, errClosed) {
		t.Errorf("Replace of a box that is closed meanwhile: %v", err)
	}
	e.tamper(nil, nil)
	if boxes, err := r.Boxes(t.Context()); err != nil || len(boxes) > 0 {
		t.Errorf("Boxes = %q, %v", boxes, err)
	}
	// By the same worker, Replace gives way.
	src := oneFile("new")
	closed := make(chan error, 1)
	src.Before = func(int) error {
		go func() { closed <- r.Close(context.Background(), box) }()
		until(t, "the box is being closed", func() bool {
			b := r.box(box)
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.closing
		})
		return nil
	}
	if err := r.Replace(t.Context(), box, "new", src); !errors.Is(err, errClosed) {
		t.Errorf("Replace of a box that is closed meanwhile: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestWorkerKilledReplacing kills a worker in the middle of a Replace.
func TestWorkerKilledReplacing(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "killed")
	if err := r.Replace(t.Context(), box, "old", oneFile("old")); err != nil {
		t.Fatal(err)
	}
	w := hire(t, orders{Owner: r.config.Owner, Spec: sandbox.Spec{Box: box}, Pool: -1, Replace: true})
	w.says("half way")
	w.kill()
	if got := has(t, r, box); !slices.Equal(got, []string{"old"}) {
		t.Errorf("the box has %q", got)
	}
	if err := r.Replace(t.Context(), box, "new", oneFile("new")); err != nil {
		t.Fatal(err)
	}
	if got := has(t, r, box); !slices.Equal(got, []string{"new"}) {
		t.Errorf("then the box has %q", got)
	}
	cli := dial(t)
	until(t, "the sandbox of the dead worker", func() bool {
		list, err := cli.ContainerList(t.Context(), container.ListOptions{Filters: byLabel(r.config.Owner)})
		if err != nil {
			t.Fatal(err)
		}
		mine := 0
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range list {
			for s := range r.live {
				if s.id == c.ID {
					mine++
				}
			}
		}
		return len(list) == mine
	})
	inv, err := r.inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range inv.containers {
		if c.State == "exited" {
			if err := r.remove(t.Context(), c.ID); err != nil {
				t.Error(err)
			}
		}
	}
	sweep(t, r)
}
