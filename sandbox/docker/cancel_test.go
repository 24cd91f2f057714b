package docker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestCancelAtRequests gives up right before and right after each request to the
// engine. Nothing is left, whatever the engine was doing.
func TestCancelAtRequests(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"look", "volume", "create", "attach", "start"} {
		for when, tamper := range map[string]func(*broken, func(string) error){
			"before": func(b *broken, f func(string) error) { b.tamper(f, nil) },
			"after":  func(b *broken, f func(string) error) { b.tamper(nil, f) },
		} {
			t.Run(when+" "+call, func(t *testing.T) {
				r, e := tampered(t, nil)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tamper(e, func(got string) error {
					if got == call {
						cancel()
					}
					return nil
				})
				spec := shell("sleep 1000")
				spec.Box, spec.Key = closing(t, r, "given-up"), "k"
				res, err := r.Run(ctx, spec, nil)
				if err != nil || res.Outcome != sandbox.Cancelled {
					t.Errorf("Run = %s, %v, want cancelled", res.Outcome, err)
				}
				e.tamper(nil, nil)
			})
		}
	}
}

// TestCancelStorm gives up at many points in time: with a pool and without,
// while sandboxes are made, taken, started and used.
func TestCancelStorm(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"cold": -1, "pool": 2} {
		t.Run(name, func(t *testing.T) {
			r := open(t, func(c *Config) { c.Pool.Size = size })
			box := closing(t, r, "storm")
			var wg sync.WaitGroup
			for i, after := range []time.Duration{0, 1, 3, 5, 10, 20, 40, 60, 90, 120, 160, 200, 250, 300, 400, 500} {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
					defer cancel()
					spec := shell("sleep 1000")
					if i%2 == 0 {
						spec.Box = box
					}
					if i%3 == 0 {
						spec.Key = fmt.Sprint(i)
					}
					if res, err := r.Run(ctx, spec, nil); err != nil || res.Outcome != sandbox.Cancelled {
						t.Errorf("after %d ms: %s, %v, want cancelled", after, res.Outcome, err)
					}
				})
			}
			wg.Wait()
			must(t, r, shell("true"))
		})
	}
}

// TestCloseUnderway closes a box under its executions, which come out as
// cancelled; a new box of the name begins empty.
func TestCloseUnderway(t *testing.T) {
	t.Parallel()
	r := open(t, func(c *Config) { c.Pool.Size = 1 })
	box := closing(t, r, "underway")
	var all []chan outcome
	for i := range 3 {
		spec := patient(box, fmt.Sprint(i))
		watch, begun := listen("begun")
		all = append(all, start(t.Context(), r, spec, watch))
		<-begun
	}
	// Two at once, and one that is on its way while the box goes.
	late := make(chan outcome, 1)
	go func() {
		spec := shell("ls")
		spec.Box = box
		res, err := r.Run(t.Context(), spec, nil)
		late <- outcome{res, err}
	}()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := r.Close(t.Context(), box); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	for _, ended := range all {
		if got := <-ended; got.err != nil || got.res.Outcome != sandbox.Cancelled {
			t.Errorf("an execution of a closed box: %s, %v", got.res.Outcome, got.err)
		}
	}
	if got := <-late; got.err != nil || got.res.Outcome != sandbox.Cancelled && !got.res.OK() {
		t.Errorf("an execution while the box goes: %s, %v", got.res.Outcome, got.err)
	}
	if err := r.Close(t.Context(), box); err != nil {
		t.Error(err)
	}
	spec := shell("ls")
	spec.Box = box
	if res := must(t, r, spec); res.Stdout != "" {
		t.Errorf("a new box has %q", res.Stdout)
	}
}
