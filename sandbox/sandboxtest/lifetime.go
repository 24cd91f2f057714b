package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func testTimeout(t *testing.T, r sandbox.Runner) {
	spec := bash("trap '' TERM INT HUP; echo before; while :; do sleep 600; done")
	spec.Limits.Timeout = time.Second
	begin := time.Now()
	res := run(t, r, spec)
	if res.Outcome != sandbox.Timeout || res.Stdout != "before\n" || res.OOM {
		t.Errorf("ended as %s with %q, OOM %v, want a timeout with the output before it", res.Outcome, res.Stdout, res.OOM)
	}
	if took := time.Since(begin); took < time.Second || took > time.Second+patience {
		t.Errorf("took %v, want a little more than a second", took)
	}
}

// cancelOn cancels when the program says that it is ready.
func cancelOn(cancel func()) func(sandbox.Stream, []byte) {
	return func(_ sandbox.Stream, p []byte) {
		if bytes.Contains(p, []byte("ready")) {
			cancel()
		}
	}
}

func testCancel(t *testing.T, r sandbox.Runner) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begin := time.Now()
	res, err := r.Run(ctx, bash("trap '' TERM; echo ready; sleep 600"), cancelOn(cancel))
	if err != nil || res.Outcome != sandbox.Cancelled || res.Stdout != "ready\n" {
		t.Errorf("Run = %s %q, %v, want it cancelled with its output", res.Outcome, res.Stdout, err)
	}
	if took := time.Since(begin); took > patience {
		t.Errorf("took %v", took)
	}
	// In the middle of making and starting, whenever that is.
	for wait := time.Millisecond; wait < 300*time.Millisecond; wait *= 3 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		res, err := r.Run(ctx, sandbox.Spec{Argv: []string{"sleep", "600"}}, nil)
		cancel()
		if err != nil || res.Outcome != sandbox.Cancelled {
			t.Errorf("cancelled after %v: Run = %s, %v", wait, res.Outcome, err)
		}
	}
}

func testCancelledBefore(t *testing.T, r sandbox.Runner) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if res, err := r.Run(ctx, bash("echo ran"), nil); err != nil || res.Outcome != sandbox.Cancelled || res.Stdout != "" {
		t.Errorf("Run = %+v, %v, want Cancelled and no output", res, err)
	}
}

func testWatch(t *testing.T, r sandbox.Runner) {
	var out, errs bytes.Buffer
	var pieces int
	res, err := r.Run(t.Context(), bash("for i in 1 2 3; do echo out$i; echo err$i >&2; sleep 0.1; done"), func(s sandbox.Stream, p []byte) {
		pieces++
		if s == sandbox.Stdout {
			out.Write(p)
		} else {
			errs.Write(p)
		}
	})
	if err != nil || out.String() != "out1\nout2\nout3\n" || errs.String() != "err1\nerr2\nerr3\n" {
		t.Errorf("watched %q and %q, %v", out.String(), errs.String(), err)
	}
	if out.String() != res.Stdout || errs.String() != res.Stderr {
		t.Errorf("result %q and %q is not what was watched", res.Stdout, res.Stderr)
	}
	if pieces < 3 {
		t.Errorf("%d pieces, want output as it arrives", pieces)
	}
}

func testWorkspace(t *testing.T, r sandbox.Runner) {
	in := func(box, source string) sandbox.Spec {
		s := bash(source)
		s.Box = box
		return s
	}
	one, two := box(t, r, "one/run:1"), box(t, r, "two")
	run(t, r, in(one, "echo kept >f; mkdir d; echo deep >d/f; echo gone >/tmp/f"))
	if res := run(t, r, in(one, "cat f d/f; ls /tmp")); res.Stdout != "kept\ndeep\n" {
		t.Errorf("second execution sees %q, %q", res.Stdout, res.Stderr)
	}
	if res := run(t, r, in(two, "ls")); res.Stdout != "" || !res.OK() {
		t.Errorf("another box sees %q, %q", res.Stdout, res.Stderr)
	}
	if res := run(t, r, bash("ls; touch x")); res.Stdout != "" || !res.OK() {
		t.Errorf("a one-shot sees %q, %q", res.Stdout, res.Stderr)
	}
	if res := run(t, r, bash("ls")); res.Stdout != "" {
		t.Errorf("the next one-shot sees %q", res.Stdout)
	}
	boxes, err := r.Boxes(t.Context())
	if err != nil || fmt.Sprint(boxes) != fmt.Sprint([]string{one, two}) {
		t.Errorf("Boxes = %q, %v, want both", boxes, err)
	}
	for _, name := range []string{one, two} {
		if err := r.Close(t.Context(), name); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if res := run(t, r, in(one, "ls")); res.Stdout != "" {
		t.Errorf("a box of a closed one's name sees %q", res.Stdout)
	}
	if err := r.Close(t.Context(), one); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func testCloseEnds(t *testing.T, r sandbox.Runner) {
	name := box(t, r, "closing")
	ready, done := make(chan struct{}), make(chan sandbox.Result, 1)
	spec := bash("echo ready; sleep 600")
	spec.Box = name
	go func() {
		var once sync.Once
		res, err := r.Run(t.Context(), spec, func(sandbox.Stream, []byte) { once.Do(func() { close(ready) }) })
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		done <- res
	}()
	<-ready
	if err := r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
	if res := <-done; res.Outcome != sandbox.Cancelled {
		t.Errorf("the running execution ended as %s, want cancelled", res.Outcome)
	}
	if err := r.Close(t.Context(), name); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func testConcurrent(t *testing.T, r sandbox.Runner) {
	name := box(t, r, "shared")
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			spec := bash(fmt.Sprintf("echo %d | tee f%d", i, i))
			if i%3 != 0 {
				spec.Box = name
			}
			res, err := r.Run(t.Context(), spec, nil)
			if err != nil || res.Stdout != fmt.Sprintln(i) {
				t.Errorf("%d: Run = %s %q %q, %v", i, res.Outcome, res.Stdout, res.Stderr, err)
			}
		})
	}
	wg.Wait()
	spec := bash("ls | tr '\\n' ' '")
	spec.Box = name
	if res := run(t, r, spec); res.Stdout != "f1 f2 f4 f5 " {
		t.Errorf("the box holds %q", res.Stdout)
	}
	if err := r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// testQueue starts more than a small host has room for. Whether one has to wait
// is not for us to say; what is said about it must be in order.
func testQueue(t *testing.T, r sandbox.Runner) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var states []sandbox.QueueState
			ctx := sandbox.WithQueueWatch(t.Context(), func(s sandbox.QueueState) { states = append(states, s) })
			begin := time.Now()
			res, err := r.Run(ctx, sandbox.Spec{Argv: []string{"sleep", "0.2"}}, nil)
			took := time.Since(begin)
			if err != nil || !res.OK() || res.Queued < 0 || res.Queued+res.Duration > took {
				t.Errorf("Run = %s, %v: queued for %v and ran for %v of %v", res.Outcome, err, res.Queued, res.Duration, took)
			}
			for i, s := range states {
				if last := i == len(states)-1; s.Waiting == last || s.Waiting && s.Reason == "" || s.Position < 0 {
					t.Errorf("states %+v, want some that wait for something, and one that does not", states)
				}
			}
		})
	}
	wg.Wait()
}

// testLinks plants what a hostile program can plant, and reads and writes over it.
func testLinks(t *testing.T, r sandbox.Runner) {
	name := box(t, r, "links")
	spec := bash(`ln -s /etc/passwd link; ln -s /etc dirlink; mkfifo fifo; mkdir dir; ln -s nowhere dangling; ln -s . self
mkdir real; echo x >real/f; ln -s real alias; ln -s /proc/self/environ env; echo ok >ok; mkdir -p deep; ln -s /tmp deep/tmp`)
	spec.Box = name
	if res := run(t, r, spec); !res.OK() {
		t.Fatalf("plant: %s %q", res.Outcome, res.Stderr)
	}
	for _, file := range []string{"link", "dirlink", "dirlink/passwd", "fifo", "dir", "dangling", "self/ok", "alias/f", "env", "ok/x"} {
		if data, err := r.ReadFile(t.Context(), name, file, 1<<20); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("ReadFile(%s) = %.40q, %v, want CodeInvalid", file, data, err)
		}
	}
	err := r.WriteFiles(t.Context(), name, []wflo.File{{Name: "link", Data: []byte("new")}, {Name: "deep/tmp/f", Data: []byte("deep")}})
	if err != nil {
		t.Errorf("WriteFiles over links: %v", err)
	}
	for file, want := range map[string]string{"link": "new", "deep/tmp/f": "deep"} {
		if data, err := r.ReadFile(t.Context(), name, file, 1<<20); err != nil || string(data) != want {
			t.Errorf("ReadFile(%s) = %q, %v, want %q", file, data, err, want)
		}
	}
	if err := r.WriteFiles(t.Context(), name, []wflo.File{{Name: "real", Data: []byte("x")}}); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("WriteFiles over a full directory: %v, want CodeInvalid", err)
	}
	if err := r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestFiles holds the workspace half of a Runner to its contract; a fake passes
// it too.
func TestFiles(t *testing.T, open func(t *testing.T) sandbox.Runner) {
	r := open(t)
	ctx := t.Context()
	name := box(t, r, "files")
	data := []byte{0, 1, 0xff, '\n', 'x'}
	long := bytes.Repeat([]byte("long"), 100000)
	files := []wflo.File{{Name: "a", Data: data}, {Name: "d/e/f", Data: long}, {Name: "empty"}, {Name: "odd name'$(id)", Data: data}}
	if err := r.WriteFiles(ctx, name, files); err != nil {
		t.Fatalf("WriteFiles: %v", err)
	}
	for _, f := range files {
		if got, err := r.ReadFile(ctx, name, f.Name, int64(len(f.Data))); err != nil || !bytes.Equal(got, f.Data) {
			t.Errorf("ReadFile(%s) = %d bytes, %v, want %d", f.Name, len(got), err, len(f.Data))
		}
	}
	if err := r.WriteFiles(ctx, name, []wflo.File{{Name: "a", Data: []byte("b")}}); err != nil {
		t.Errorf("WriteFiles again: %v", err)
	}
	if got, err := r.ReadFile(ctx, name, "a", 100); err != nil || string(got) != "b" {
		t.Errorf("ReadFile = %q, %v, want the new content", got, err)
	}
	for what, err := range map[string]error{
		"too large":     second(r.ReadFile(ctx, name, "d/e/f", 399999)),
		"missing":       second(r.ReadFile(ctx, name, "nope", 100)),
		"missing box":   second(r.ReadFile(ctx, "no-box", "a", 100)),
		"outside":       second(r.ReadFile(ctx, name, "../a", 100)),
		"absolute":      second(r.ReadFile(ctx, name, "/etc/passwd", 100)),
		"no box":        second(r.ReadFile(ctx, "", "a", 100)),
		"write outside": r.WriteFiles(ctx, name, []wflo.File{{Name: "../a"}}),
		"write no box":  r.WriteFiles(ctx, "", files),
		"close no box":  r.Close(ctx, ""),
	} {
		if wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%s: %v, want CodeInvalid", what, err)
		}
	}
	if boxes, err := r.Boxes(ctx); err != nil || strings.Join(boxes, " ") != name {
		t.Errorf("Boxes = %q, %v, want only %s", boxes, err, name)
	}
	for range 2 {
		if err := r.Close(ctx, name); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := second(r.ReadFile(ctx, name, "a", 100)); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("ReadFile after Close: %v, want CodeInvalid", err)
	}
	empty(t, r)
}

func second(_ []byte, err error) error { return err }
