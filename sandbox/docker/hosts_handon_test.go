package docker

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// told is a host that remembers what it was given and answers as it was told to.
type told struct {
	*fakeHost
	ctx  context.Context
	spec sandbox.Spec
	res  sandbox.Result
	err  error
}

func (h *told) Run(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	h.ctx, h.spec = ctx, spec
	watch(sandbox.Stderr, []byte("piece"))
	return h.res, h.err
}

// whole fails the test for a field that has its zero value: a new one has to be in the
// test too.
func whole(t *testing.T, v any) {
	t.Helper()
	for s, i := reflect.ValueOf(v), 0; i < s.NumField(); i++ {
		if s.Field(i).IsZero() {
			t.Errorf("%s.%s is not tried", s.Type(), s.Type().Field(i).Name)
		}
	}
}

// everything is a specification and a result with all fields.
func everything() (sandbox.Spec, sandbox.Result) {
	spec := sandbox.Spec{
		Key: "k", Image: "wflo/sandbox:1", Language: sandbox.Bash, Source: "true", Stdin: []byte("in"), Env: map[string]string{"A": "b"},
		Secrets: map[string]string{"S": "s"}, Files: []wflo.File{{Name: "f", Data: []byte("x")}}, Artifacts: []string{"*"}, Limits: sandbox.Limits{PIDs: 3},
		Network: sandbox.Allow("example.com:443"), Security: sandbox.Security{Require: []string{"apparmor"}}, Origin: sandbox.Origin{Tenant: "t"},
	}
	res := sandbox.Result{
		Outcome: sandbox.Nonzero, ExitCode: 3, Signal: 9, Stdout: "o", Stderr: "e", StdoutTruncated: 1, StderrTruncated: 2, Reason: "why", OOM: true,
		Hit: []string{"pids"}, Duration: 1, PeakMemory: 2, CPUTime: 3, Queued: 4, Changed: []sandbox.Change{{Name: "c"}}, ChangedMore: 5,
		Artifacts: []wflo.File{{Name: "a"}}, ArtifactsMissed: []string{"m"}, Traffic: &sandbox.Traffic{Flows: []sandbox.Flow{{To: "x:1"}}},
		Sandbox: "id", Image: "sha256:1", Runtime: "runc", Host: "its own idea", Moved: "its own idea", Profiles: []string{"seccomp=strict"},
		Missing: []string{"apparmor"}, Warm: true, Adopted: true,
	}
	return spec, res
}

// TestHostsHandOn: what a host is asked to run is what the caller asked for, and what it
// says is what the caller hears, but for where it ran. With it, what the suite says of
// programs on one host holds for several.
func TestHostsHandOn(t *testing.T) {
	type key struct{}
	for name, boxed := range map[string]string{"box": aBox, "one-shot": ""} {
		for _, failed := range []error{nil, errors.New("broken")} {
			t.Run(name, func(t *testing.T) {
				spec, res := everything()
				whole(t, res)
				if spec.Argv = nil; boxed == "" { // a program has either
					spec.Argv, spec.Language, spec.Source = []string{"true"}, "", ""
				}
				spec.Box = boxed
				h := &told{fakeHost: &fakeHost{boxes: map[string][]string{}}, res: res, err: failed}
				f := newFleet(t, func(c *HostsConfig) { c.Runners, c.Keepers = map[string]HostRunner{"only": h}, nil })
				ctx, cancel := context.WithDeadline(context.WithValue(t.Context(), key{}, "value"), time.Now().Add(time.Hour))
				defer cancel()
				var seen string
				got, err := f.Hosts.Run(ctx, spec, func(s sandbox.Stream, p []byte) { seen += string(s) + " " + string(p) })
				if !errors.Is(err, failed) || seen != "stderr piece" {
					t.Errorf("%v, watched %q", err, seen)
				}
				if diff := cmp.Diff(spec, h.spec); diff != "" {
					t.Errorf("the host was asked for something else (-want +got):\n%s", diff)
				}
				until, ok := h.ctx.Deadline()
				if want, _ := ctx.Deadline(); h.ctx.Value(key{}) != "value" || !ok || !until.Equal(want) {
					t.Error("the host has another context")
				}
				if cancel(); h.ctx.Err() == nil {
					t.Error("the host does not hear that the caller is gone")
				}
				if failed != nil && boxed != "" {
					return // an error tells all
				}
				if res.Host = "only"; got.Moved == "" {
					t.Error("what the host said of a move is lost")
				}
				if diff := cmp.Diff(res, got); diff != "" {
					t.Errorf("the caller hears something else (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestMovesAreTold: each one once, after it, also to whoever is not reached at once; and a
// box that cannot be put on record goes on all the same.
func TestMovesAreTold(t *testing.T) {
	for name, failures := range map[string]int{"at once": 0, "at last": noteTries - 1, "never": noteTries + 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []sandbox.Place
				tries := 0
				f := newFleet(t, func(c *HostsConfig) {
					c.Moved = func(ctx context.Context, p sandbox.Place) error {
						if tries++; tries <= failures {
							return errDown
						}
						if now, _, err := c.Places.Place(ctx, p.Box); err != nil || now.Host != p.Host {
							t.Errorf("told of %s, and it is on %s, %v", p.Host, now.Host, err)
						}
						told = append(told, p)
						return nil
					}
				})
				from := f.must(f.Hosts, "one", "one")
				f.hosts[from].set(true)
				to := f.must(f.Hosts, "two", "one two")
				f.must(f.worker(), "three", "one two three")
				if failures > noteTries {
					if len(told) != 0 || tries != noteTries {
						t.Errorf("told %v, after %d tries", told, tries)
					}
					return
				}
				if len(told) != 1 || told[0].From != from || told[0].Host != to || told[0].Moves != 1 || told[0].Box != aBox {
					t.Errorf("told %+v of a move from %s to %s", told, from, to)
				}
			})
		})
	}
}

// TestEverythingIsTried: the specification of TestHostsHandOn has all fields, but for
// those that exclude each other.
func TestEverythingIsTried(t *testing.T) {
	spec, _ := everything()
	spec.Box, spec.Argv = aBox, []string{"true"}
	whole(t, spec)
}
