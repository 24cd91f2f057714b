package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
)

// runEach runs specifications one after the other and returns what the runner
// got, without what the activity assigns.
func runEach(t *testing.T, specs ...func(ctx workflow.Context) (workflow.Context, sandbox.Spec)) []sandbox.Spec {
	t.Helper()
	env := wflotest.New(t, wflotest.Config{Team: "books"})
	err := env.Run(func(ctx workflow.Context) error {
		for _, make := range specs {
			in, spec := make(ctx)
			if _, err := workflows.RunSandboxed(in, spec); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return env.Ran()
}

func TestWithSandbox(t *testing.T) {
	defaults := sandbox.Spec{
		Image: "python:3.13", Env: map[string]string{"A": "1", "B": "2", "S": "plain"}, Secrets: map[string]string{"TOKEN": "github", "B2": "b"},
		Artifacts: []string{"out/**"}, Network: sandbox.Allow("a.example:443"),
		Security: sandbox.Security{Runtime: sandbox.Runsc, Require: []string{"gvisor"}},
		Limits:   sandbox.Limits{Memory: 64 << 20, CPUs: 2, Timeout: time.Minute, PIDs: 9},
	}
	plain := sandbox.Spec{Argv: []string{"true"}}
	full := sandbox.Spec{
		Argv: []string{"true"}, Image: "node:24", Env: map[string]string{"B": "3", "TOKEN": "mine"}, Secrets: map[string]string{"S": "s"},
		Artifacts: []string{}, Network: sandbox.Allow("b.example:443"),
		Security: sandbox.Security{Runtime: sandbox.Runc, Profile: sandbox.Strict, Require: []string{}},
		Limits:   sandbox.Limits{Memory: 32 << 20, CPUTime: time.Second},
	}
	got := runEach(t,
		func(ctx workflow.Context) (workflow.Context, sandbox.Spec) {
			return workflows.WithSandbox(ctx, defaults), plain
		},
		func(ctx workflow.Context) (workflow.Context, sandbox.Spec) {
			return workflows.WithSandbox(ctx, defaults), full
		},
		func(ctx workflow.Context) (workflow.Context, sandbox.Spec) {
			return workflows.WithSandbox(workflows.WithSandbox(ctx, defaults), sandbox.Spec{}), plain
		},
	)
	first := defaults
	first.Argv = plain.Argv
	second := full
	second.Env = map[string]string{"A": "1", "B": "3", "TOKEN": "mine"}
	second.Secrets = map[string]string{"S": "s", "B2": "b"}
	second.Artifacts, second.Security.Require = nil, nil
	second.Limits.CPUs, second.Limits.Timeout, second.Limits.PIDs = 2, time.Minute, 9
	for i, want := range []sandbox.Spec{first, second, plain} {
		want.Box = got[i].Box
		want = want.WithDefaults()
		got[i].Key, got[i].Origin = "", sandbox.Origin{}
		if i == 1 {
			// Empty lists are lost on the wire; what counts is that the defaults' are.
			got[i].Artifacts, got[i].Security.Require = nil, nil
		}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("execution %d (-want +got):\n%s", i, diff)
		}
	}
	if len(defaults.Env) != 3 || len(defaults.Secrets) != 2 {
		t.Errorf("the defaults changed: %v, %v", defaults.Env, defaults.Secrets)
	}
}

func TestWithSandboxRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		defaults sandbox.Spec
		want     string
	}{
		"a program":      {sandbox.Spec{Argv: []string{"true"}}, "workflows.WithSandbox"},
		"a source":       {sandbox.Spec{Language: sandbox.Bash, Source: "true"}, "workflows.WithSandbox"},
		"files":          {sandbox.Spec{Files: []wflo.File{{Name: "a"}}}, "workflows.WithSandbox"},
		"a key":          {sandbox.Spec{Key: "k"}, "workflows.WithSandbox"},
		"a wrong limit":  {sandbox.Spec{Limits: sandbox.Limits{Memory: 1}}, "limits.memory"},
		"an odd network": {sandbox.Spec{Network: sandbox.Allow("nowhere")}, "spec.network.allow[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			env := wflotest.New(t, wflotest.Config{})
			err := env.Run(func(ctx workflow.Context) error {
				_, err := workflows.RunSandboxed(workflows.WithSandbox(ctx, tt.defaults), sandbox.Spec{Language: sandbox.Bash, Source: "true"})
				return err
			})
			app := wantCode(t, err, wflo.CodeInvalid)
			if !strings.Contains(app.Message(), tt.want) || len(env.Ran()) != 0 {
				t.Errorf("error %q, ran %v", app.Message(), env.Ran())
			}
		})
	}
}

// TestOneShot needs no sandbox of the run, and none to be removed at its end.
func TestOneShot(t *testing.T) {
	closed := 0
	env := wflotest.New(t, wflotest.Config{Team: "books"})
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if strings.HasSuffix(info.ActivityType.Name, "Close") {
			closed++
		}
	})
	err := env.Run(func(ctx workflow.Context) error {
		_, err := workflows.RunSandboxed(ctx, sandbox.Spec{Box: sandbox.OneShot, Argv: []string{"true"}})
		return err
	})
	if err != nil || closed != 0 {
		t.Errorf("%v, %d sandboxes closed", err, closed)
	}
	ran := env.Ran()
	if len(ran) != 1 || ran[0].Box != "" || ran[0].Origin.Tenant != "books" || ran[0].Origin.Attempt != 1 || ran[0].Origin.Run != env.Status().Run.ID() {
		t.Errorf("ran %+v", ran)
	}
	err = wflotest.New(t, wflotest.Config{}).Run(func(ctx workflow.Context) error {
		_, err := workflows.RunSandboxed(ctx, sandbox.Spec{Box: "another/run", Argv: []string{"true"}})
		return err
	})
	wantCode(t, err, wflo.CodeInvalid)
}

// TestMachineryIsRetried and what is refused is not.
func TestMachineryIsRetried(t *testing.T) {
	for name, tt := range map[string]struct {
		err   *wflo.Error
		tries int
	}{
		"no engine": {wflo.Errorf(wflo.CodeSandboxUnavailable, "start it", "no engine"), 5},
		"lost":      {wflo.Errorf(wflo.CodeSandboxLost, "look", "gone"), 5},
		"denied":    {wflo.Errorf(wflo.CodePolicyDenied, "ask", "not here"), 1},
		"wrong":     {wflo.Invalid("limits.memory", "is too much", "use less"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			env, fake := refusing(t, nil, tt.err)
			err := env.Run(func(ctx workflow.Context) error {
				_, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"true"}})
				if !errors.Is(err, tt.err.Code.Sentinel()) {
					t.Errorf("the workflow got %v", err)
				}
				return err
			})
			wantCode(t, err, tt.err.Code)
			specs := fake.Specs()
			if len(specs) != tt.tries {
				t.Fatalf("%d attempts, want %d", len(specs), tt.tries)
			}
			last := specs[len(specs)-1]
			if last.Key != specs[0].Key || last.Origin.Attempt != int32(tt.tries) {
				t.Errorf("the last attempt is %d of another key", last.Origin.Attempt)
			}
		})
	}
}

// refusing makes an environment whose runner answers with an error.
func refusing(t *testing.T, script scripted.Script, err error) (*wflotest.Env, *sandboxtest.Fake) {
	t.Helper()
	fake := &sandboxtest.Fake{Do: func(context.Context, sandbox.Spec) (sandbox.Result, error) { return sandbox.Result{}, err }}
	return wflotest.New(t, wflotest.Config{Script: script, Plugin: func(cfg *plugin.Config) { cfg.Sandbox = fake }}), fake
}

// TestAgentEndsWhenTheWorkerRefuses: no other program of the model can mend what
// the task chose, and each try costs money.
func TestAgentEndsWhenTheWorkerRefuses(t *testing.T) {
	for _, code := range []wflo.Code{wflo.CodeInvalid, wflo.CodePolicyDenied, wflo.CodeMissingKey, wflo.CodeSandboxLost} {
		t.Run(string(code), func(t *testing.T) {
			env, _ := refusing(t, loopPython, wflo.Errorf(code, "mend it", "refused"))
			wantCode(t, env.Run(wflo.WorkflowAgent, task(wflo.ToolPython)), code)
			if n := len(env.Calls()); n != 1 {
				t.Errorf("%d model calls", n)
			}
		})
	}
}

// TestAgentsBox goes from a task to the runner and to what the model reads.
func TestAgentsBox(t *testing.T) {
	in := task(wflo.ToolPython, wflo.ToolShell, wflo.ToolNode)
	in.Sandbox = wflo.Box{
		Image: "node:24", Memory: 64 << 20, CPUs: 1, PIDs: 9, Timeout: time.Minute, CPUTime: time.Second, Workspace: 1 << 20, Output: 2 << 10,
		Network: []string{"api.github.com:443"}, Secrets: map[string]string{"TOKEN": "github"},
		Runtime: "runsc", Profile: "strict", Require: []string{"gvisor"},
	}
	env := wflotest.New(t, wflotest.Config{
		Script: func(turn scripted.Turn) scripted.Answer {
			if _, _, ok := scripted.LastToolResult(turn, wflo.ToolNode); ok {
				return scripted.Answer{Text: "done"}
			}
			return scripted.CallTool("c1", wflo.ToolNode, map[string]string{"code": "console.log(1)"})
		},
	})
	if err := env.Run(wflo.WorkflowAgent, in); err != nil {
		t.Fatal(err)
	}
	got := env.Ran()[0]
	want := sandbox.Spec{
		Language: sandbox.Node, Source: "console.log(1)", Image: "node:24",
		Secrets: map[string]string{"TOKEN": "github"}, Network: sandbox.Allow("api.github.com:443"),
		Security: sandbox.Security{Runtime: "runsc", Profile: "strict", Require: []string{"gvisor"}},
		Limits: sandbox.Limits{
			Memory: 64 << 20, CPUs: 1, PIDs: 9, Timeout: time.Minute, CPUTime: time.Second, Workspace: 1 << 20, Output: 2 << 10,
		},
		Box: got.Box, Key: got.Key, Origin: got.Origin,
	}.WithDefaults()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the runner got (-want +got):\n%s", diff)
	}
	for _, tool := range env.Calls()[0].Turn.Tools {
		if !strings.Contains(tool.Description, "api.github.com:443") || !strings.Contains(tool.Description, "TOKEN") {
			t.Errorf("%s does not say what programs reach: %s", tool.Name, tool.Description)
		}
	}
}

// TestAgentIsToldHowItEnded is the one line that a model has to judge by.
func TestAgentIsToldHowItEnded(t *testing.T) {
	tests := []struct {
		name   string
		res    sandbox.Result
		want   string
		failed bool
	}{
		{"fine", sandbox.Result{Outcome: sandbox.Succeeded}, "outcome: succeeded (exit code 0)", false},
		{"out of memory", sandbox.Result{
			Outcome: sandbox.OutOfMemory, ExitCode: 137, Reason: "the memory limit of 64 MiB ended it", Hit: []string{"memory", "pids"},
		}, "outcome: out_of_memory (exit code 137); the memory limit of 64 MiB ended it; limits reached: memory, pids", true},
		{"chatty", sandbox.Result{Outcome: sandbox.Succeeded, Stdout: "x", StdoutTruncated: 7, StderrTruncated: 8},
			"outcome: succeeded (exit code 0); 7 bytes in the middle of stdout were dropped, write large output to a file; " +
				"8 bytes in the middle of stderr were dropped, write large output to a file", false},
		{"curious", sandbox.Result{Outcome: sandbox.Nonzero, ExitCode: 1, Traffic: &sandbox.Traffic{Refused: []sandbox.Refusal{
			{To: "evil.example:443", Reason: "not on the allow-list"}, {To: "a\nb:1", Reason: "x"}, {To: "c:1"}, {To: "d:1"}, {To: "e:1"}, {To: "f:1"},
		}}}, "outcome: nonzero (exit code 1); network refused: evil.example:443 (not on the allow-list), a (x), c:1 (), d:1 (), e:1 (), and 1 more", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var told string
			var failed bool
			env := wflotest.New(t, wflotest.Config{
				Script: func(turn scripted.Turn) scripted.Answer {
					if last := turn.Messages[len(turn.Messages)-1]; last.Role == wflo.RoleTool {
						told, failed = last.Text, last.ToolFailed
						return scripted.Answer{Text: "understood"}
					}
					return scripted.CallTool("c1", wflo.ToolPython, map[string]string{"code": "1"})
				},
				Sandbox: func(sandbox.Spec) sandbox.Result { return tt.res },
			})
			if err := env.Run(wflo.WorkflowAgent, task(wflo.ToolPython)); err != nil {
				t.Fatal(err)
			}
			line, _, _ := strings.Cut(strings.TrimPrefix(told, "The tool failed: "), "\n")
			if line != tt.want || (failed != tt.failed && !strings.HasPrefix(told, "The tool failed: ")) {
				t.Errorf("the model read (failed %v) %q\nwant %q", failed, line, tt.want)
			}
		})
	}
}

// TestBoxAgreesWithSpec holds the rules of package wflo, which cannot see those
// of package sandbox, to them.
func TestBoxAgreesWithSpec(t *testing.T) {
	ends := map[string]func(b *wflo.Box, n int64){
		"memory":    func(b *wflo.Box, n int64) { b.Memory = n },
		"pids":      func(b *wflo.Box, n int64) { b.PIDs = n },
		"timeout":   func(b *wflo.Box, n int64) { b.Timeout = time.Duration(n) },
		"cpu_time":  func(b *wflo.Box, n int64) { b.CPUTime = time.Duration(n) },
		"workspace": func(b *wflo.Box, n int64) { b.Workspace = n },
		"output":    func(b *wflo.Box, n int64) { b.Output = n },
		"cpus":      func(b *wflo.Box, n int64) { b.CPUs = float64(n) / 1e6 },
	}
	specOf := func(b wflo.Box) sandbox.Limits {
		return sandbox.Limits{Memory: b.Memory, PIDs: b.PIDs, Timeout: b.Timeout, CPUTime: b.CPUTime, Workspace: b.Workspace, Output: b.Output, CPUs: b.CPUs}
	}
	for name, set := range ends {
		accepted := 0
		for shift := range 56 {
			for _, d := range []int64{-1, 0, 1} {
				for _, n := range []int64{1<<shift + d, int64(10*time.Millisecond)<<(shift/4) + d, int64(24*time.Hour)*int64(shift) + d, 10000*int64(shift) + d} {
					var b wflo.Box
					set(&b, n)
					root, full := b.Validate(), specOf(b).Validate()
					if (root == nil) != (full == nil) {
						t.Errorf("%s %d: package wflo says %v, package sandbox %v", name, n, root, full)
					}
					if root == nil && n != 0 {
						accepted++
					}
				}
			}
		}
		if accepted == 0 {
			t.Errorf("nothing of %s was accepted", name)
		}
	}
}

// TestAgentRefusesItsBox before anything is paid, with rules of both packages.
func TestAgentRefusesItsBox(t *testing.T) {
	for want, box := range map[string]wflo.Box{
		"task.sandbox.memory":                 {Memory: 1},
		"task.sandbox: spec.network.allow[0]": {Network: []string{"127.1:443"}},
		"task.sandbox: spec.image":            {Image: "--privileged"},
		"task.sandbox: spec.security.runtime": {Runtime: "a b"},
	} {
		env := wflotest.New(t, wflotest.Config{})
		in := task(wflo.ToolPython)
		in.Sandbox = box
		app := wantCode(t, env.Run(wflo.WorkflowAgent, in), wflo.CodeInvalid)
		if !strings.Contains(app.Message(), want) || len(env.Calls()) != 0 {
			t.Errorf("error %q after %d calls, want %s", app.Message(), len(env.Calls()), want)
		}
	}
}
