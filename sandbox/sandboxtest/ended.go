package sandboxtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// testEnded reaches the outcomes that Limits and the kernel give, with what the
// Result says about them.
func testEnded(t *testing.T, r sandbox.Runner, virtual bool) {
	limits := func(change func(*sandbox.Limits)) sandbox.Limits {
		l := tight
		change(&l)
		return l
	}
	spin := bash("while :; do :; done")
	fill := bash("for i in $(seq 64); do head -c 1000000 /dev/zero >f$i || exit 1; done; sleep 600")
	for name, c := range map[string]struct {
		spec    sandbox.Spec
		limits  sandbox.Limits
		outcome sandbox.Outcome
		hit     string
		oom     bool
		reason  bool
		killed  bool // by us or the kernel: signal 9 and code 137
	}{
		"timeout":        {spec: bash("sleep 600"), limits: limits(func(l *sandbox.Limits) { l.Timeout = time.Second }), outcome: sandbox.Timeout, hit: "timeout", killed: true, reason: true},
		"CPU time":       {spec: spin, limits: limits(func(l *sandbox.Limits) { l.CPUTime = 300 * time.Millisecond }), outcome: sandbox.CPUTimeout, hit: "cpu_time", killed: true, reason: true},
		"CPU of all":     {spec: bash("for i in 1 2 3; do (while :; do :; done) & done; wait"), limits: limits(func(l *sandbox.Limits) { l.CPUTime = 300 * time.Millisecond }), outcome: sandbox.CPUTimeout, hit: "cpu_time", killed: true, reason: true},
		"output":         {spec: sandbox.Spec{Argv: []string{"yes"}}, limits: limits(func(l *sandbox.Limits) { l.OutputTotal = sandbox.MiB }), outcome: sandbox.OutputLimit, hit: "output", killed: true, reason: true},
		"output of both": {spec: bash("yes & yes >&2"), limits: limits(func(l *sandbox.Limits) { l.OutputTotal = sandbox.MiB }), outcome: sandbox.OutputLimit, hit: "output", killed: true, reason: true},
		"memory":         {spec: python("x = b'a' * (1 << 30)"), limits: tight, outcome: sandbox.OutOfMemory, hit: "memory", oom: true, killed: true, reason: true},
		"child":          {spec: bash(`python3 -c "x = b'a' * (1 << 30)"; exit 0`), limits: tight, outcome: sandbox.Succeeded, hit: "memory", oom: true},
		"disk":           {spec: fill, limits: tight, outcome: sandbox.DiskFull, hit: "workspace", reason: true},
		"disk of box":    {spec: withBox(fill, box(t, r, "disk")), limits: tight, outcome: sandbox.DiskFull, hit: "workspace", reason: true},
		"temporary":      {spec: bash("for i in 1 2 3 4 5; do head -c 1000000 /dev/zero >/tmp/$i || exit 9; done"), limits: tight, outcome: sandbox.DiskFull, hit: "tmp", reason: true},
		"processes":      {spec: python("import os, time\ntry:\n  for i in range(99):\n    if os.fork() == 0: time.sleep(60)\nexcept OSError: pass"), limits: tight, outcome: sandbox.Succeeded, hit: "pids"},
		"nothing":        {spec: bash("head -c 2000000 /dev/zero >f; head -c 2000000 /dev/zero >/tmp/f; true"), limits: tight, outcome: sandbox.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Limits = c.limits
			res := run(t, r, c.spec)
			switch {
			case virtual && c.oom && res.Outcome == sandbox.Signalled && res.Reason != "":
				return // the engine may miss why a whole sandbox ends
			case virtual && name == "child": // see Options.Virtual
				c.outcome, c.killed, c.reason = sandbox.OutOfMemory, true, true
			case virtual && name == "processes": // nobody counts them
				return
			}
			if res.Outcome != c.outcome || res.OOM != c.oom || c.reason != (res.Reason != "") {
				t.Errorf("ended as %s, OOM %v, reason %q, want %s, %v, a reason: %v\n%.300q %.300q", res.Outcome, res.OOM, res.Reason, c.outcome, c.oom, c.reason, res.Stdout, res.Stderr)
			}
			if c.hit != "" && !slices.Contains(res.Hit, c.hit) || c.hit == "" && len(res.Hit) > 0 {
				t.Errorf("limits hit %q, want %q", res.Hit, c.hit)
			}
			if c.killed && (res.Signal != 9 || res.ExitCode != 137) {
				t.Errorf("signal %d, code %d, want 9 and 137", res.Signal, res.ExitCode)
			}
		})
	}
	if err := r.Close(t.Context(), "disk"); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// testStarts tells apart what cannot be started; each says why.
func testStarts(t *testing.T, r sandbox.Runner) {
	name := box(t, r, "starts")
	plant := withBox(bash(`printf '#!/no/such\n' >bad; printf 'echo ran\n' >plain; printf '\177ELF' >broken; printf '#!/bin/sh\necho ran $1\n' >good; printf '#!/bin/sh\n' >locked; mkdir dir; ln -s loop loop; chmod 755 bad plain broken good`), name)
	if res := run(t, r, plant); !res.OK() {
		t.Fatalf("plant: %s %q", res.Outcome, res.Stderr)
	}
	for _, program := range []string{"no-such-program", "/no/such", "./no/such", "/etc", "./dir", "/etc/passwd", "./locked", "./bad", "./broken", "./loop", "/etc/passwd/x", strings.Repeat("x", 300)} {
		res := run(t, r, withBox(sandbox.Spec{Argv: []string{program, "x"}}, name))
		if res.Outcome != sandbox.StartFailed || res.ExitCode != 126 && res.ExitCode != 127 || res.Signal != 0 || !strings.Contains(res.Reason, program[:min(len(program), 40)]) {
			t.Errorf("%.40s: %s, code %d, reason %q, stderr %q; want it not started, with a reason that names it", program, res.Outcome, res.ExitCode, res.Reason, res.Stderr)
		}
	}
	for _, program := range []string{"./good", "/workspace/good", "../workspace/./good"} {
		if res := run(t, r, withBox(sandbox.Spec{Argv: []string{program, "x"}}, name)); res.Stdout != "ran x\n" || res.Reason != "" {
			t.Errorf("%s: %s %q %q %q", program, res.Outcome, res.Reason, res.Stdout, res.Stderr)
		}
	}
	if err := r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// testDefences asks for what the host has and for what it lacks.
func testDefences(t *testing.T, r sandbox.Runner) {
	plain := run(t, r, bash("true"))
	for _, d := range []string{"apparmor", "gvisor", "userns"} {
		spec := bash("echo ran")
		spec.Security.Require = []string{d}
		res, err := r.Run(t.Context(), spec, nil)
		// What is not there is not always missing: nobody misses gVisor who did
		// not ask for it.
		refused := err != nil && wflo.HintOf(err) != "" && strings.Contains(err.Error(), d)
		if lacks := slices.Contains(plain.Missing, d); !refused && (lacks || err != nil || !res.OK() || slices.Contains(res.Missing, d)) {
			t.Errorf("require %s, of which missing are %q: Run = %s, %v", d, plain.Missing, res.Outcome, err)
		}
	}
	for name, security := range map[string]sandbox.Security{
		"runtime": {Runtime: "no-such-runtime"}, "profile": {Profile: sandbox.Engine}, "unknown defence": {Require: []string{"moat"}}, "unknown profile": {Profile: "unconfined"},
	} {
		if res, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"true"}, Security: security}, nil); err == nil || wflo.HintOf(err) == "" {
			t.Errorf("%s: Run = %s, %v, want it refused with a hint", name, res.Outcome, err)
		}
	}
	strict := run(t, r, sandbox.Spec{Argv: []string{"true"}, Security: sandbox.Security{Profile: sandbox.Strict}})
	if !strict.OK() || !slices.Equal(strict.Profiles, plain.Profiles) {
		t.Errorf("the strict profile: %s with %q, want it as by default, %q", strict.Outcome, strict.Profiles, plain.Profiles)
	}
	if !slices.ContainsFunc(plain.Profiles, func(p string) bool { return strings.HasPrefix(p, "seccomp=") }) {
		t.Errorf("profiles %q, want a filter of system calls among them", plain.Profiles)
	}
}

// testOwnLimits runs several executions in one box: each has its limits to
// itself.
func testOwnLimits(t *testing.T, r sandbox.Runner) {
	name := box(t, r, "own limits")
	done := make(chan sandbox.Result)
	for range 4 {
		go func() {
			spec := withBox(python(`
import os, time
for i in range(10):
    if os.fork() == 0:
        time.sleep(60); os._exit(0)
time.sleep(1); print("held")`), name)
			spec.Limits = sandbox.Limits{PIDs: 16, Timeout: time.Minute}
			res, err := r.Run(t.Context(), spec, nil)
			if err != nil {
				t.Errorf("Run: %v", err)
			}
			done <- res
		}()
	}
	for range 4 {
		if res := <-done; res.Stdout != "held\n" {
			t.Errorf("%s, %q, %q %.300q", res.Outcome, res.Reason, res.Stdout, res.Stderr)
		}
	}
	if err := r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}
