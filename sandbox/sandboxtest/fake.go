// Package sandboxtest tests what runs sandboxes and what uses them. [Fake] is a
// Runner without an engine for those who use one; [Test] is the suite that every
// real Runner must pass, [TestFiles] the part of it that a fake passes too, and
// [Hostile] besieges a Runner with programs that want more than they were given.
//
// The suites expect the standard image (bash, coreutils, python3, node) and
// refuse nothing for being slow: an engine that is not there fails them. The
// programs of Hostile are in tables by what they are after (resources.go,
// kernel.go, network.go and so on); a new trick is a new row, which prints
// "breach" where it succeeds.
package sandboxtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Fake is a Runner that runs nothing: a function decides what came out, and
// workspaces are in memory. The zero value succeeds with no output. It may be
// used from many goroutines; set Do before the first call.
type Fake struct {
	// Do decides the result of a valid specification, whose files are in the
	// workspace already; it may call the Fake's other methods. Its ctx ends when
	// the caller's does or when the box is closed, and the outcome is then
	// Cancelled whatever Do returns. Nil succeeds.
	Do func(ctx context.Context, spec sandbox.Spec) (sandbox.Result, error)

	mu      sync.Mutex
	specs   []sandbox.Spec
	boxes   map[string]*fakeBox
	running map[*fakeRun]struct{}
	busy    map[string]chan struct{} // by box, while it is saved or replaced
}

// fakeRun is one execution.
type fakeRun struct {
	box    string
	cancel context.CancelFunc
	done   chan struct{}
}

var _ sandbox.Archiver = (*Fake)(nil)

// Specs lists what was run so far, defaults filled in, in order of the calls.
func (f *Fake) Specs() []sandbox.Spec {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.specs)
}

// Run calls Do and gives watch the output in one piece per stream.
func (f *Fake) Run(ctx context.Context, spec sandbox.Spec, watch func(s sandbox.Stream, p []byte)) (sandbox.Result, error) {
	if err := spec.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	spec = spec.WithDefaults()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	run := &fakeRun{box: spec.Box, cancel: cancel, done: make(chan struct{})}
	if !f.begin(ctx, run, spec) {
		return sandbox.Result{Outcome: sandbox.Cancelled}, nil
	}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.running, run)
		close(run.done)
	}()
	res, err := sandbox.Result{Outcome: sandbox.Succeeded}, error(nil)
	if f.Do != nil && ctx.Err() == nil {
		res, err = f.Do(ctx, spec)
	}
	if ctx.Err() != nil {
		return sandbox.Result{Outcome: sandbox.Cancelled, ExitCode: 137, Stdout: res.Stdout, Stderr: res.Stderr}, nil
	}
	if err != nil {
		return sandbox.Result{}, err
	}
	if watch != nil {
		for s, text := range map[sandbox.Stream]string{sandbox.Stdout: res.Stdout, sandbox.Stderr: res.Stderr} {
			if text != "" {
				watch(s, []byte(text))
			}
		}
	}
	return res, nil
}

// begin waits until a box's workspace is neither saved nor replaced. It says no
// when ctx ended before.
func (f *Fake) begin(ctx context.Context, run *fakeRun, spec sandbox.Spec) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.busy[run.box] != nil {
		busy := f.busy[run.box]
		f.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return false
		}
	}
	if f.running == nil {
		f.running = map[*fakeRun]struct{}{}
	}
	f.specs = append(f.specs, spec)
	f.running[run] = struct{}{}
	if spec.Box != "" {
		f.box(spec.Box).write(spec.Files)
	}
	return true
}

// box gives a box, made if need be.
func (f *Fake) box(name string) *fakeBox {
	if f.boxes == nil {
		f.boxes = map[string]*fakeBox{}
	}
	if f.boxes[name] == nil {
		f.boxes[name] = &fakeBox{nodes: map[string]*fakeNode{}}
	}
	return f.boxes[name]
}

// ReadFile reads a file of the box.
func (f *Fake) ReadFile(ctx context.Context, box, name string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := sandbox.ValidateBox(box); err != nil {
		return nil, err
	}
	if err := sandbox.ValidateName(name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.boxes[box].file(name)
	switch {
	case n == nil:
		return nil, wflo.Invalid("file", fmt.Sprintf("%q is not in the workspace of %q", name, box), "write it first")
	case n.entry.Size > limit:
		return nil, wflo.Invalid("file", fmt.Sprintf("%q has more than %d bytes", name, limit), "raise the limit")
	}
	return n.whole(), nil
}

// WriteFiles puts files into the box.
func (f *Fake) WriteFiles(ctx context.Context, box string, files []wflo.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	if err := sandbox.ValidateFiles(files); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.box(box).write(files)
	return nil
}

// Close cancels the box's executions and forgets its files.
func (f *Fake) Close(ctx context.Context, box string) error {
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for run := range f.running {
		if run.box == box {
			run.cancel()
		}
	}
	delete(f.boxes, box)
	return nil
}

// Boxes lists the boxes that were not closed.
func (f *Fake) Boxes(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.boxes)), nil
}
