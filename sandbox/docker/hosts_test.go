package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// fakeHost is a host whose workspaces are lines of text. A program adds its first
// argument as a line.
type fakeHost struct {
	name string

	mu     sync.Mutex
	down   bool
	boxes  map[string][]string
	during func() // while a program runs
	// cancels says how programs end before they begin: with or without a workspace.
	cancels func(box string) (made bool)
}

var errDown = wflo.Errorf(wflo.CodeSandboxUnavailable, "start it", "no container engine answers")

func (f *fakeHost) Ping(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return errDown
	}
	return nil
}

func (f *fakeHost) HasBox(ctx context.Context, box string) (bool, error) {
	if err := f.Ping(ctx); err != nil {
		return false, err
	}
	_, ok := f.files(box)
	return ok, nil
}

func (f *fakeHost) files(box string) ([]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines, ok := f.boxes[box]
	return slices.Clone(lines), ok
}

func (f *fakeHost) Run(ctx context.Context, spec sandbox.Spec, _ func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	if f.during != nil {
		f.during()
	}
	if err := f.Ping(ctx); err != nil {
		return sandbox.Result{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancels != nil {
		if f.cancels(spec.Box) {
			f.boxes[spec.Box] = append(f.boxes[spec.Box], "half")
		}
		return sandbox.Result{Outcome: sandbox.Cancelled}, nil
	}
	if spec.Box != "" {
		f.boxes[spec.Box] = append(f.boxes[spec.Box], spec.Argv[0])
	}
	return sandbox.Result{Outcome: sandbox.Succeeded, Stdout: strings.Join(f.boxes[spec.Box], " ")}, nil
}

func (f *fakeHost) ReadFile(_ context.Context, box, _ string, _ int64) ([]byte, error) {
	lines, _ := f.files(box)
	return []byte(strings.Join(lines, " ")), nil
}

func (f *fakeHost) WriteFiles(ctx context.Context, box string, files []wflo.File) error {
	_, err := f.Run(ctx, sandbox.Spec{Box: box, Argv: []string{files[0].Name}}, nil)
	return err
}

func (f *fakeHost) Close(ctx context.Context, box string) error {
	if err := f.Ping(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.boxes, box)
	return nil
}

func (f *fakeHost) Boxes(context.Context) (all []string, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for box := range f.boxes {
		all = append(all, box)
	}
	return all, nil
}

func (f *fakeHost) Save(context.Context, string, sandbox.TreeLimits, sandbox.TreeSaver) (bool, bool, error) {
	return true, true, nil
}

func (f *fakeHost) Replace(ctx context.Context, box, key string, _ sandbox.TreeSource) error {
	if err := f.Ping(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boxes[box] = []string{key}
	return nil
}

func (f *fakeHost) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// fakeStore keeps workspaces of one host as their lines.
type fakeStore struct {
	host *fakeHost
	fail bool
}

func (s *fakeStore) Keep(_ context.Context, box string, _ *wflo.SnapshotPart) (wflo.SnapshotPart, bool, error) {
	if s.fail {
		return wflo.SnapshotPart{}, false, fs.ErrClosed
	}
	lines, ok := s.host.files(box)
	return wflo.SnapshotPart{Kind: wflo.PartWorkspace, Blobs: lines}, ok, nil
}

func (s *fakeStore) Bring(_ context.Context, box, _ string, p wflo.SnapshotPart) error {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	s.host.boxes[box] = slices.Clone(p.Blobs)
	return nil
}

// fakePlaces are places in memory.
type fakePlaces struct {
	mu  sync.Mutex
	all map[string]sandbox.Place
	// listed is called with what was listed, before anybody has it.
	listed func([]sandbox.Place)
}

func (s *fakePlaces) Place(_ context.Context, box string) (sandbox.Place, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.all[box]
	return p, ok, nil
}

func (s *fakePlaces) PutPlace(_ context.Context, p sandbox.Place) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[p.Box].Version != p.Version {
		return false, nil
	}
	p.Version++
	s.all[p.Box] = p
	return true, nil
}

func (s *fakePlaces) DropPlace(_ context.Context, box string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, box)
	return nil
}

func (s *fakePlaces) ListPlaces(_ context.Context, after string, limit int) (all []sandbox.Place, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		if p.Box > after {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b sandbox.Place) int { return strings.Compare(a.Box, b.Box) })
	all = slices.Clone(all[:min(limit, len(all))])
	if s.listed != nil {
		s.listed(all)
	}
	return all, nil
}

// fleet is what the tests of Hosts look at.
type fleet struct {
	*testing.T
	hosts  map[string]*fakeHost
	stores map[string]*fakeStore
	places *fakePlaces
	config HostsConfig
	*Hosts
}

func newFleet(t *testing.T, change func(c *HostsConfig)) *fleet {
	t.Helper()
	f := &fleet{T: t, hosts: map[string]*fakeHost{}, stores: map[string]*fakeStore{}, places: &fakePlaces{all: map[string]sandbox.Place{}}}
	f.config = HostsConfig{Places: f.places, Runners: map[string]HostRunner{}, Keepers: map[string]Keeper{},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, name := range []string{"a", "b", "c"} {
		f.hosts[name] = &fakeHost{name: name, boxes: map[string][]string{}}
		f.stores[name] = &fakeStore{host: f.hosts[name]}
		f.config.Runners[name], f.config.Keepers[name] = f.hosts[name], f.stores[name]
	}
	if change != nil {
		change(&f.config)
	}
	f.Hosts = f.worker()
	return f
}

// worker is one more worker over the same hosts.
func (f *fleet) worker() *Hosts {
	f.Helper()
	h, err := NewHosts(f.config)
	if err != nil {
		f.Fatal(err)
	}
	return h
}

const aBox = "w/f"

func (f *fleet) run(h *Hosts, word string) (sandbox.Result, error) {
	return h.Run(f.Context(), sandbox.Spec{Box: aBox, Argv: []string{word}, Key: word}, nil)
}

// must runs a program that has to work, and gives the host.
func (f *fleet) must(h *Hosts, word, want string) string {
	f.Helper()
	res, err := f.run(h, word)
	if err != nil || res.Stdout != want {
		f.Fatalf("%q, %v; want %q", res.Stdout, err, want)
	}
	return res.Host
}

// TestBoxStaysOnItsHost: for every worker, and while other hosts come and go.
func TestBoxStaysOnItsHost(t *testing.T) {
	f := newFleet(t, nil)
	host := f.must(f.Hosts, "one", "one")
	for name, h := range f.hosts {
		h.set(name != host)
	}
	f.must(f.worker(), "two", "one two")
	if err := f.WriteFiles(t.Context(), aBox, []wflo.File{{Name: "three"}}); err != nil {
		t.Fatal(err)
	}
	if got, err := f.ReadFile(t.Context(), aBox, "any", 9); err != nil || string(got) != "one two three" {
		t.Errorf("%q, %v", got, err)
	}
	for _, h := range f.hosts {
		h.set(false)
	}
	if err := f.Close(t.Context(), aBox); err != nil || len(f.places.all) != 0 || len(f.hosts[host].boxes) != 0 {
		t.Errorf("%v, %v, %v", err, f.places.all, f.hosts[host].boxes)
	}
}

// TestBoxesSpread: no host gets them all, and all workers agree on the order.
func TestBoxesSpread(t *testing.T) {
	f := newFleet(t, nil)
	seen := map[string]int{}
	for i := range 300 {
		box := fmt.Sprint("w", i, "/f")
		seen[f.order(box)[0]]++
		if !slices.Equal(f.order(box), f.worker().order(box)) {
			t.Fatal("two workers order hosts in two ways")
		}
	}
	for _, host := range []string{"a", "b", "c"} {
		if seen[host] < 50 {
			t.Errorf("host %s has %d boxes of 300", host, seen[host])
		}
	}
}

// TestBoxMovesWhenItsHostIsGone: with everything that had ended, without what an
// interrupted program left, after the time and not before, and what is left over goes
// when the host is back.
func TestBoxMovesWhenItsHostIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		host := f.must(f.Hosts, "one", "one")
		f.hosts[host].boxes[aBox] = []string{"one", "rubbish"}
		f.hosts[host].set(true)
		begin := time.Now()
		to := f.must(f.Hosts, "two", "one two")
		if waited := time.Since(begin); to == host || waited < time.Minute || waited > 2*time.Minute {
			t.Errorf("it moved from %s to %s after %s", host, to, waited)
		}
		res, err := f.run(f.worker(), "three")
		if err != nil || res.Stdout != "one two three" || !strings.HasPrefix(res.Moved, "from "+host) {
			t.Errorf("%+v, %v", res, err)
		}
		f.hosts[host].set(false)
		boxes, err := f.Boxes(t.Context())
		if err != nil || !slices.Equal(boxes, []string{aBox}) {
			t.Errorf("boxes %v, %v", boxes, err)
		}
		if len(f.hosts[host].boxes) != 0 || len(f.hosts[to].boxes) != 1 {
			t.Errorf("the host that was away has %v, the other %v", f.hosts[host].boxes, f.hosts[to].boxes)
		}
		f.must(f.Hosts, "four", "one two three four")
	})
}

// TestSweepSeesThatABoxCameBack: what a sweep read may have changed when it comes to a
// box, whose workspace must not go as that of one that lives elsewhere.
func TestSweepSeesThatABoxCameBack(t *testing.T) {
	f := newFleet(t, nil)
	host := f.must(f.Hosts, "one", "one")
	f.places.listed = func(all []sandbox.Place) {
		for i := range all {
			all[i].Host = "elsewhere"
		}
	}
	if _, err := f.Boxes(t.Context()); err != nil || len(f.hosts[host].boxes) != 1 {
		t.Errorf("host %s has %v, %v", host, f.hosts[host].boxes, err)
	}
}

// TestCancelledBeforeItBegan: a program that was cancelled before its box had a workspace
// has changed nothing, so that nothing is missed when the box has none later. One that
// had a workspace may have changed it, and that is missed.
func TestCancelledBeforeItBegan(t *testing.T) {
	for _, made := range []bool{false, true} {
		t.Run(fmt.Sprint("with a workspace ", made), func(t *testing.T) {
			f := newFleet(t, nil)
			host := f.order(aBox)[0]
			f.stores[host].fail = true
			f.hosts[host].cancels = func(string) bool { return made }
			if res, err := f.run(f.Hosts, "one"); err != nil || res.Outcome != sandbox.Cancelled || res.Host != host {
				t.Fatalf("%+v, %v", res, err)
			}
			f.hosts[host].cancels = nil
			delete(f.hosts[host].boxes, aBox)
			switch _, err := f.run(f.Hosts, "one"); {
			case made && !errors.Is(err, wflo.ErrSandboxLost):
				t.Errorf("what is missed: %v", err)
			case !made && err != nil:
				t.Errorf("again: %v", err)
			}
		})
	}
}

// TestShortAbsence: a host that comes back in time keeps its boxes, and nothing is lost.
func TestShortAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, func(c *HostsConfig) { c.KeepLess = true })
		host := f.must(f.Hosts, "one", "one")
		f.hosts[host].set(true)
		back := time.AfterFunc(30*time.Second, func() { f.hosts[host].set(false) })
		defer back.Stop()
		if got := f.must(f.Hosts, "two", "one two"); got != host {
			t.Errorf("it moved to %s", got)
		}
	})
}

// TestWhatIsNotSavedDoesNotMove: it is an error that says so, until the host is back
// or the run goes back to a snapshot.
func TestWhatIsNotSavedDoesNotMove(t *testing.T) {
	for name, change := range map[string]func(f *fleet){
		"only snapshots are kept": func(f *fleet) { f.c.KeepLess = true },
		"the store is broken":     func(f *fleet) { f.stores["a"].fail, f.stores["b"].fail, f.stores["c"].fail = true, true, true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, nil)
				change(f)
				host := f.must(f.Hosts, "one", "one")
				f.hosts[host].set(true)
				_, err := f.run(f.Hosts, "two")
				if _, hint := wflo.Explain(err); !errors.Is(err, wflo.ErrSandboxLost) || !strings.Contains(hint, "wflo restore") {
					t.Errorf("%v, hint %q", err, hint)
				}
				if err := f.Replace(t.Context(), aBox, "snapshot", nil); err != nil {
					t.Fatal(err)
				}
				if got := f.must(f.Hosts, "two", "snapshot two"); got == host {
					t.Error("it is on the host that is gone")
				}
			})
		})
	}
}

// TestSnapshotsCountAsKept: what is in one moves, what is not does not.
func TestSnapshotsCountAsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, func(c *HostsConfig) { c.KeepLess = true })
		host := f.must(f.Hosts, "one", "one")
		p, _, err := f.Place(t.Context(), aBox)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Saved(t.Context(), p, wflo.SnapshotPart{Blobs: []string{"one"}}); err != nil {
			t.Fatal(err)
		}
		f.hosts[host].set(true)
		f.must(f.Hosts, "two", "one two")
	})
}

// TestHostThatLostItsDisk: a host that comes back empty under its old name does not
// give an empty workspace.
func TestHostThatLostItsDisk(t *testing.T) {
	f := newFleet(t, nil)
	host := f.must(f.Hosts, "one", "one")
	clear(f.hosts[host].boxes)
	if got := f.must(f.Hosts, "two", "one two"); got != host {
		t.Errorf("it moved to %s", got)
	}
	f.stores[host].fail = true
	f.must(f.Hosts, "three", "one two three")
	clear(f.hosts[host].boxes)
	if _, err := f.run(f.Hosts, "four"); !errors.Is(err, wflo.ErrSandboxLost) {
		t.Errorf("%v", err)
	}
}

// TestHostThatIsNotConfiguredAnyMore gives its boxes up at once.
func TestHostThatIsNotConfiguredAnyMore(t *testing.T) {
	f := newFleet(t, nil)
	host := f.must(f.Hosts, "one", "one")
	delete(f.config.Runners, host)
	if got := f.must(f.worker(), "two", "one two"); got == host {
		t.Error("it is where it was")
	}
}

// TestWhoWasLeftBehindDoesNotCount: a program that goes on where the box has been is
// lost, whatever it says.
func TestWhoWasLeftBehindDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		host := f.must(f.Hosts, "one", "one")
		h := f.hosts[host]
		h.during = func() {
			h.during = nil
			h.set(true)
			f.must(f.worker(), "other", "one other")
			h.set(false)
		}
		if res, err := f.run(f.Hosts, "two"); !errors.Is(err, wflo.ErrSandboxLost) {
			t.Errorf("%+v, %v", res, err)
		}
		f.must(f.Hosts, "two", "one other two")
	})
}

// TestBoxThatReturns does not find what an interrupted program left there before.
func TestBoxThatReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, func(c *HostsConfig) { delete(c.Runners, "c") })
		order := f.order(aBox)
		if ok, err := f.places.PutPlace(t.Context(), sandbox.Place{Box: aBox, Host: order[0]}); err != nil || !ok {
			t.Fatal(err)
		}
		first, second := f.hosts[order[0]], f.hosts[order[1]]
		first.boxes[aBox] = []string{"rubbish"}
		first.set(true)
		if _, err := f.ReadFile(t.Context(), aBox, "any", 9); err != nil {
			t.Fatal(err)
		}
		first.set(false)
		second.set(true)
		if got := f.must(f.Hosts, "one", "one"); got != first.name {
			t.Errorf("it is on %s", got)
		}
	})
}

// TestNoHost says so, for boxes and for one-shots.
func TestNoHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		for _, h := range f.hosts {
			h.set(true)
		}
		for _, spec := range []sandbox.Spec{{Box: aBox, Argv: []string{"x"}}, {Argv: []string{"x"}}, {Argv: []string{"x"}, Key: "k", Origin: sandbox.Origin{Attempt: 2}}} {
			_, err := f.Hosts.Run(t.Context(), spec, nil)
			if _, hint := wflo.Explain(err); !errors.Is(err, wflo.ErrSandboxUnavailable) || !strings.Contains(hint, "WFLO_SANDBOX_HOSTS") {
				t.Errorf("%v, hint %q", err, hint)
			}
		}
	})
}

// TestOneShots run where their key says, and elsewhere when that host is away.
func TestOneShots(t *testing.T) {
	f := newFleet(t, nil)
	spec := sandbox.Spec{Argv: []string{"x"}, Key: "k"}
	first, err := f.Hosts.Run(t.Context(), spec, nil)
	if err != nil || first.Host != f.order("k")[0] {
		t.Fatalf("%+v, %v", first, err)
	}
	f.hosts[first.Host].set(true)
	if second, err := f.worker().Run(t.Context(), spec, nil); err != nil || second.Host != f.order("k")[1] {
		t.Errorf("%+v, %v", second, err)
	}
}

// TestOwnersApart: the sweep of one installation does not see another one's boxes.
func TestOwnersApart(t *testing.T) {
	f := newFleet(t, func(c *HostsConfig) { c.Owner = func() string { return "us" } })
	f.must(f.Hosts, "one", "one")
	f.config.Owner = func() string { return "them" }
	for _, h := range f.hosts {
		clear(h.boxes)
	}
	if boxes, err := f.worker().Boxes(t.Context()); err != nil || len(boxes) != 0 {
		t.Errorf("%v, %v", boxes, err)
	}
	if boxes, err := f.Boxes(t.Context()); err != nil || len(boxes) != 1 {
		t.Errorf("%v, %v", boxes, err)
	}
}

func TestHostsRefuse(t *testing.T) {
	ok := HostsConfig{Places: &fakePlaces{}, Runners: map[string]HostRunner{"a": &fakeHost{}}}
	for name, change := range map[string]func(c *HostsConfig){
		"no host":         func(c *HostsConfig) { c.Runners = nil },
		"no place":        func(c *HostsConfig) { c.Places = nil },
		"a negative time": func(c *HostsConfig) { c.Gone = -1 },
		"an odd name":     func(c *HostsConfig) { c.Runners = map[string]HostRunner{"a\n": &fakeHost{}} },
	} {
		c := ok
		change(&c)
		if _, err := NewHosts(c); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h, err := NewHosts(ok)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), sandbox.Spec{Box: "b"}, nil); !errors.Is(err, wflo.ErrInvalid) {
		t.Errorf("a specification without a program: %v", err)
	}
}
