package activities_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// runner answers with a function, whatever the specification.
type runner struct {
	sandbox.Runner // what else there is, nobody calls
	run            func(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error)
}

func (r *runner) Run(ctx context.Context, spec sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	return r.run(ctx, spec, watch)
}

// counts is an Observer that remembers what it heard of sandboxes.
type counts struct {
	*telemetry.Metrics
	mu       sync.Mutex
	outcomes []string
	queued   []time.Duration
}

func (c *counts) SandboxRun(_ context.Context, outcome string, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes = append(c.outcomes, outcome)
}

func (c *counts) SandboxQueued(_ context.Context, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queued = append(c.queued, d)
}

// booth runs the sandbox activity in Temporal's activity environment.
type booth struct {
	t       *testing.T
	run     wflo.Run
	box     *activities.Sandbox
	runner  *runner
	counts  *counts
	env     *testsuite.TestActivityEnvironment
	context func(context.Context) context.Context
}

func newBooth(t *testing.T, run func(context.Context, sandbox.Spec, func(sandbox.Stream, []byte)) (sandbox.Result, error)) *booth {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	b := &booth{
		t: t, run: wflo.Run{Namespace: "n", WorkflowID: "w", FirstRunID: "r", Step: "g0/step#1", User: "ann", Team: "books"},
		runner: &runner{run: run}, counts: &counts{Metrics: telemetry.NewMetrics(telemetry.Config{})},
		env: suite.NewTestActivityEnvironment(), context: func(ctx context.Context) context.Context { return ctx },
	}
	b.env.SetTestTimeout(time.Minute)
	b.box = &activities.Sandbox{Runner: b.runner, Observer: b.counts}
	return b
}

// execute runs the activity once.
func (b *booth) execute(spec sandbox.Spec) (res sandbox.Result, failure error) {
	b.t.Helper()
	call := func(ctx context.Context) error {
		res, failure = b.box.Run(wflo.WithRun(b.context(ctx), b.run), spec)
		return nil
	}
	b.env.RegisterActivityWithOptions(call, activity.RegisterOptions{DisableAlreadyRegisteredCheck: true})
	if _, err := b.env.ExecuteActivity(call); err != nil {
		b.t.Fatal(err)
	}
	return res, failure
}

func echo() sandbox.Spec { return sandbox.Spec{Argv: []string{"echo"}} }

// TestAssigned is what a workflow cannot choose.
func TestAssigned(t *testing.T) {
	longStep := "g0/" + strings.Repeat("é", 400)
	tests := []struct {
		name string
		run  func(*wflo.Run)
		spec func(*sandbox.Spec)
		want func(*sandbox.Spec) // starts as the run's box, key and origin
		err  string
	}{
		{name: "the run's box"},
		{name: "the run's box by name", spec: func(s *sandbox.Spec) { s.Box = "w/r" }},
		{name: "one-shot", spec: func(s *sandbox.Spec) { s.Box = sandbox.OneShot }, want: func(s *sandbox.Spec) { s.Box = "" }},
		{
			name: "the root's box", run: func(r *wflo.Run) { r.Root = "parent/p" },
			spec: func(s *sandbox.Spec) { s.Box = "parent/p" }, want: func(s *sandbox.Spec) { s.Box = "parent/p" },
		},
		{name: "another run's box", spec: func(s *sandbox.Spec) { s.Box = "other/run" }, err: `spec.box is "other/run"`},
		{
			name: "identity of its own making",
			spec: func(s *sandbox.Spec) { s.Key, s.Origin = "k", sandbox.Origin{Tenant: "other", Run: "x", Attempt: 9} },
		},
		{name: "no team", run: func(r *wflo.Run) { r.Team = "" }, want: func(s *sandbox.Spec) { s.Origin.Tenant = "ann" }},
		{name: "nobody", run: func(r *wflo.Run) { r.Team, r.User = "", "" }, want: func(s *sandbox.Spec) { s.Origin.Tenant = "" }},
		{
			name: "odd names", run: func(r *wflo.Run) { r.Team, r.Step = "a\nb", longStep },
			want: func(s *sandbox.Spec) {
				s.Origin.Tenant = "a b#7e18f737311b2dc3"
				s.Origin.Step = ""
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got sandbox.Spec
			b := newBooth(t, func(_ context.Context, spec sandbox.Spec, _ func(sandbox.Stream, []byte)) (sandbox.Result, error) {
				got = spec
				return sandbox.Result{Outcome: sandbox.Succeeded}, spec.Validate()
			})
			if tt.run != nil {
				tt.run(&b.run)
			}
			spec, want := echo(), echo()
			if tt.spec != nil {
				tt.spec(&spec)
			}
			_, err := b.execute(spec)
			if tt.err != "" {
				if !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), tt.err) || !strings.Contains(wflo.HintOf(err), "OneShot") || got.Argv != nil {
					t.Errorf("error = %v, ran %v", err, got.Argv)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want.Box, want.Key = "w/r", string(b.run.EffectKey())
			want.Origin = sandbox.Origin{Tenant: "books", Run: "w/r", Step: "g0/step#1", Attempt: 1}
			if tt.want != nil {
				tt.want(&want)
			}
			if want.Origin.Step == "" {
				if !strings.HasPrefix(got.Origin.Step, "g0/éé") || len(got.Origin.Step) > sandbox.MaxName {
					t.Errorf("step is %q", got.Origin.Step)
				}
				want.Origin.Step = got.Origin.Step
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the runner got (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOutcomesAreCounted covers results and errors: dashboards need one word for
// each.
func TestOutcomesAreCounted(t *testing.T) {
	tests := []struct {
		name    string
		res     sandbox.Result
		err     error
		outcome sandbox.Outcome
	}{
		{"fine", sandbox.Result{Outcome: sandbox.Succeeded, Queued: time.Second}, nil, sandbox.Succeeded},
		{"out of memory", sandbox.Result{Outcome: sandbox.OutOfMemory}, nil, sandbox.OutOfMemory},
		{"refused", sandbox.Result{}, wflo.Errorf(wflo.CodePolicyDenied, "ask", "no"), sandbox.Denied},
		{"wrong", sandbox.Result{}, wflo.Invalid("spec", "is wrong", "mend it"), sandbox.Denied},
		{"no engine", sandbox.Result{}, wflo.Errorf(wflo.CodeSandboxUnavailable, "start it", "no engine"), sandbox.Lost},
		{"lost", sandbox.Result{}, wflo.Errorf(wflo.CodeSandboxLost, "look", "gone"), sandbox.Lost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooth(t, func(context.Context, sandbox.Spec, func(sandbox.Stream, []byte)) (sandbox.Result, error) {
				return tt.res, tt.err
			})
			res, err := b.execute(echo())
			if !errors.Is(err, tt.err) || res.Outcome != tt.res.Outcome {
				t.Errorf("Run = %+v, %v", res, err)
			}
			if diff := cmp.Diff([]string{string(tt.outcome)}, b.counts.outcomes); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
			if want := tt.err == nil; (len(b.counts.queued) == 1 && b.counts.queued[0] == tt.res.Queued) != want {
				t.Errorf("queue times %v", b.counts.queued)
			}
		})
	}
}

// TestHeartbeats shows what an operator sees of a program that waits for room,
// and of one that runs.
func TestHeartbeats(t *testing.T) {
	waits := sandbox.QueueState{Waiting: true, Reason: "memory of the host", Position: 2}
	tests := []struct {
		name   string
		happen func(ctx context.Context, watch func(sandbox.Stream, []byte))
		want   step.Progress
	}{
		{"waits", func(ctx context.Context, _ func(sandbox.Stream, []byte)) {
			sandbox.QueueWatch(ctx)(waits)
		}, step.Progress{Queue: &waits}},
		{"runs", func(ctx context.Context, watch func(sandbox.Stream, []byte)) {
			sandbox.QueueWatch(ctx)(waits)
			sandbox.QueueWatch(ctx)(sandbox.QueueState{})
			watch(sandbox.Stdout, []byte("one\n"))
			watch(sandbox.Stderr, []byte("\x1b[31mtwo\xff\n"))
		}, step.Progress{Output: 14, Tail: "one\n[31mtwo\uFFFD\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			beats := make(chan step.Progress, 10)
			var got step.Progress
			b := newBooth(t, func(ctx context.Context, _ sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
				tt.happen(ctx, watch)
				select {
				case got = <-beats:
				case <-ctx.Done():
				}
				return sandbox.Result{Outcome: sandbox.Succeeded}, nil
			})
			b.env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
				var p step.Progress
				if err := details.Get(&p); err != nil {
					t.Errorf("heartbeat: %v", err)
				}
				beats <- p
			})
			if _, err := b.execute(echo()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("heartbeat (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStopAndClose are the two ways in which an execution ends although nobody
// cancelled the activity: both must be run again.
func TestStopAndClose(t *testing.T) {
	stop := make(chan struct{})
	for name, tt := range map[string]struct {
		end  func(b *booth)
		want string
	}{
		"the worker stops":      {func(*booth) { close(stop) }, "the worker stops"},
		"the sandbox is closed": {func(*booth) {}, "was closed"},
	} {
		t.Run(name, func(t *testing.T) {
			var b *booth
			b = newBooth(t, func(ctx context.Context, _ sandbox.Spec, _ func(sandbox.Stream, []byte)) (sandbox.Result, error) {
				tt.end(b)
				if name == "the worker stops" {
					<-ctx.Done()
				}
				return sandbox.Result{Outcome: sandbox.Cancelled}, nil
			})
			if name == "the worker stops" {
				b.env.SetWorkerStopChannel(stop)
			}
			if _, err := b.execute(echo()); err == nil || !strings.Contains(err.Error(), tt.want) || wflo.CodeOf(err) != "" {
				t.Errorf("error = %v; want a plain one about %q", err, tt.want)
			}
		})
	}
}

func TestArtifactsFitTheResult(t *testing.T) {
	file := func(name string, size int) wflo.File { return wflo.File{Name: name, Data: make([]byte, size)} }
	b := newBooth(t, func(context.Context, sandbox.Spec, func(sandbox.Stream, []byte)) (sandbox.Result, error) {
		return sandbox.Result{
			Outcome: sandbox.Succeeded, ArtifactsMissed: []string{"m"},
			Artifacts: []wflo.File{file("a", 200), file("z", 60<<10), file("b", 50<<10), file("c", 300)},
		}, nil
	})
	b.box.MaxResult = 80 << 10
	spec := echo()
	spec.Artifacts = []string{"**"}
	res, err := b.execute(spec)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range res.Artifacts {
		names = append(names, a.Name)
	}
	if diff := cmp.Diff([][]string{{"a", "b", "c"}, {"m", "z"}}, [][]string{names, res.ArtifactsMissed}); diff != "" {
		t.Errorf("brought and missed (-want +got):\n%s", diff)
	}
	ran := false
	b = newBooth(t, func(context.Context, sandbox.Spec, func(sandbox.Stream, []byte)) (sandbox.Result, error) {
		ran = true
		return sandbox.Result{Outcome: sandbox.Succeeded}, nil
	})
	spec.Limits.Artifacts = 4 << 20
	if _, err := b.execute(spec); !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), "limits.artifacts is 4 MiB, and a result carries at most 3 MiB") || ran {
		t.Errorf("error = %v, ran %v", err, ran)
	}
	spec.Limits.Artifacts = 3 << 20
	if _, err := b.execute(spec); err != nil || !ran {
		t.Errorf("error = %v, ran %v", err, ran)
	}
}

func TestSandboxSpan(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	for _, failure := range []error{nil, wflo.Errorf(wflo.CodePolicyDenied, "ask", "no")} {
		b := newBooth(t, func(context.Context, sandbox.Spec, func(sandbox.Stream, []byte)) (sandbox.Result, error) {
			return sandbox.Result{
				Outcome: sandbox.Nonzero, ExitCode: 3, Sandbox: "c0ffee", Image: "sha256:abc", Runtime: "runc", Warm: true, Queued: 1500 * time.Millisecond,
			}, failure
		})
		b.context = func(ctx context.Context) context.Context {
			ctx, span := provider.Tracer("test").Start(ctx, "activity")
			t.Cleanup(func() { span.End() })
			return ctx
		}
		spec := echo()
		spec.Source, spec.Network, spec.Limits.Memory = "", sandbox.Allow("secret.example:443"), 64<<20
		if _, err := b.execute(spec); !errors.Is(err, failure) {
			t.Fatal(err)
		}
	}
	got := map[attribute.Key]string{}
	for _, kv := range recorder.Started()[0].Attributes() {
		got[kv.Key] = kv.Value.String()
		if strings.Contains(kv.Value.String(), "secret.example") {
			t.Errorf("%s tells the user's destinations", kv.Key)
		}
	}
	for key, want := range map[attribute.Key]string{
		"wflo.sandbox.id": "c0ffee", "wflo.sandbox.image": "sha256:abc", "wflo.sandbox.runtime": "runc", "wflo.sandbox.outcome": "nonzero",
		"wflo.sandbox.exit_code": "3", "wflo.sandbox.limit.memory": "67108864", "wflo.sandbox.limit.cpus": "0.5", "wflo.sandbox.limit.pids": "128",
		"wflo.sandbox.limit.timeout_seconds": "300", "wflo.sandbox.network": "allow", "wflo.sandbox.warm": "true",
		"wflo.sandbox.adopted": "false", "wflo.sandbox.queued_seconds": "1.5", "wflo.sandbox.one_shot": "false",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	for _, kv := range recorder.Started()[1].Attributes() {
		if kv.Key == "wflo.sandbox.outcome" && kv.Value.AsString() != string(sandbox.Denied) {
			t.Errorf("a refusal has the outcome %q", kv.Value.AsString())
		}
	}
}

// absent is a Runner whose engine does not answer.
type absent struct{ sandbox.Runner }

func (absent) Close(context.Context, string) error {
	return wflo.Errorf(wflo.CodeSandboxUnavailable, "start it", "no engine answers")
}

// TestCloseWithoutEngine holds that a run whose engine went away can end: what
// it left is the sweep's.
func TestCloseWithoutEngine(t *testing.T) {
	b := newBooth(t, nil)
	b.box.Runner = absent{}
	call := func(ctx context.Context) error {
		_, err := b.box.Close(wflo.WithRun(ctx, b.run), step.None{})
		return err
	}
	b.env.RegisterActivityWithOptions(call, activity.RegisterOptions{DisableAlreadyRegisteredCheck: true})
	if _, err := b.env.ExecuteActivity(call); err != nil {
		t.Errorf("Close = %v, want the end of the run not to wait for the engine", err)
	}
}
