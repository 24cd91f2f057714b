package sandboxtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// HostileOptions say how the Runner was opened and what its runtime may do
// differently. The zero value is for a runtime that shares the host's kernel.
type HostileOptions struct {
	// Virtual says that programs have a kernel of their own, as under gVisor:
	// system calls may then be answered with any error, namespaces, tracing and
	// the kernel's log may work because none of it is the host's, and limits of
	// processes are not known to the program. What a program does to its kernel
	// or to PID 1, which gVisor does not keep from programs of the same user, may
	// end the sandbox.
	Virtual bool
	// Rows says which attacks and tests are made, by their group and name; nil
	// means all.
	Rows func(group, name string) bool
	// Secrets are what the Runner looks secrets up in; see NewSecrets. Without,
	// the tests of secrets fail.
	Secrets Secrets
	// Frame is what the Runner's own process in the sandbox would send to report
	// a good end. Programs print it, besides frames of the suite's own making.
	Frame []byte
	// Leftovers lists what the Runner's executions have on the engine at this
	// moment, such as names of containers, without idle sandboxes that wait for
	// work. Nil checks Runner.Boxes and this host's processes only.
	Leftovers func() []string
}

// Hostile attacks a Runner: some 200 programs try to take what they were not
// given, to get out, to lie about how they ended, to reach others and to leave
// something behind. All the while a neighbour computes in a box of its own, and
// after every group it must be well, its files unchanged, this host's settings
// and canaries untouched, and nothing of the programs left. open is that of
// [Test].
//
// System calls are made by their numbers on x86-64, the only architecture that
// the suite knows.
func Hostile(t *testing.T, open func(t *testing.T) sandbox.Runner, opts HostileOptions) {
	s := &siege{r: open(t), opts: opts, token: "wflo-" + strings.ToLower(rand.Text())}
	s.host = newHost(t, s.token)
	s.neighbour = settle(t, s)
	s.before = s.leftovers()
	for _, group := range []struct {
		name    string
		attacks []attack
		tests   map[string]func(*testing.T, *siege)
	}{
		{"Resources", resourceAttacks, nil},
		{"Ends", endAttacks, nil},
		{"Exhaustion", exhaustionAttacks, nil},
		{"Privilege", privilegeAttacks, nil},
		{"Kernel", kernelAttacks, nil},
		{"Processes", processAttacks, processTests},
		{"Protocol", protocolAttacks, protocolTests},
		{"Network", networkAttacks, nil},
		{"Files", fileAttacks, fileTests},
		{"Leaks", leakAttacks, leakTests},
		{"Control", controlAttacks, controlTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Run("Programs", func(t *testing.T) { s.run(t, group.name, group.attacks, group.tests) })
			s.unharmed(t)
		})
	}
	s.neighbour.leave(t)
}

// siege is one run of the suite.
type siege struct {
	r         sandbox.Runner
	opts      HostileOptions
	token     string // in every program's environment, to find what is left of it
	host      *host
	neighbour *neighbour
	before    []string // what is on the engine with only the neighbour there
}

// attack is a program and what must come of it. Without an outcome it must
// succeed; without stdout it must print "held", and "breach" it never may.
type attack struct {
	name    string
	spec    sandbox.Spec
	outcome sandbox.Outcome
	either  []sandbox.Outcome // instead of outcome, where it is a race that nobody can lose
	code    int               // for Nonzero
	signal  int               // for Signalled
	hit     string            // a limit in Result.Hit
	stdout  string            // contained in stdout
	stderr  string            // contained in stderr
	oom     bool
	// virtual are outcomes besides on a kernel of its own, whatever the program
	// had said by then.
	virtual []sandbox.Outcome
	// holds is for programs that say "ready" when they have all that they can
	// get, and keep it: the neighbour must live with that. They are cancelled.
	holds bool
}

// run makes the attacks and tests at the same time, as many as the test binary's
// -parallel allows.
func (s *siege) run(t *testing.T, group string, attacks []attack, tests map[string]func(*testing.T, *siege)) {
	wanted := func(name string) bool { return s.opts.Rows == nil || s.opts.Rows(group, name) }
	for _, a := range attacks {
		if !wanted(a.name) {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s.make(t, a)
		})
	}
	for name, test := range tests {
		if !wanted(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

func (s *siege) make(t *testing.T, a attack) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watch func(sandbox.Stream, []byte)
	if a.holds {
		watch = onceReady(func() {
			if err := s.neighbour.alive(ctx); err != nil {
				t.Errorf("while the program holds on: %v", err)
			}
			cancel()
		})
	}
	begin := time.Now()
	res, err := s.r.Run(ctx, s.arm(a.spec), watch)
	if err != nil {
		t.Fatalf("Run after %v: %v: no program may look like a fault of the machinery", time.Since(begin), err)
	}
	if s.opts.Virtual && slices.Contains(a.virtual, res.Outcome) {
		a = attack{outcome: res.Outcome, code: res.ExitCode, stdout: a.said(res)}
	}
	for _, wrong := range append(judge(a, res), s.host.leaked(res)...) {
		t.Error(wrong)
	}
	if t.Failed() {
		t.Logf("%s, code %d, signal %d, reason %q, hit %q, after %v\nstdout: %.1500q\nstderr: %.1500q",
			res.Outcome, res.ExitCode, res.Signal, res.Reason, res.Hit, res.Duration, res.Stdout, res.Stderr)
	}
}

// said is what a program has to have said that ended as only a kernel of its own
// lets it: if it went well, that it is well.
func (a attack) said(res sandbox.Result) string {
	if res.Outcome == sandbox.Succeeded {
		return "held\n"
	}
	return ""
}

// arm adds to a specification what every program of the suite gets: the token
// and where the canaries are, but not what they say.
func (s *siege) arm(spec sandbox.Spec) sandbox.Spec {
	env := map[string]string{"TOKEN": s.token}
	maps.Copy(env, s.host.places)
	if s.opts.Virtual {
		env["VIRTUAL"] = "yes"
	}
	maps.Copy(env, spec.Env)
	spec.Env = env
	if spec.Limits.Timeout == 0 {
		spec.Limits.Timeout = time.Minute // a wall that is missing must not hold up the rest
	}
	return spec
}

// exec runs a program of the siege and fails the test on an error.
func (s *siege) exec(t *testing.T, spec sandbox.Spec) sandbox.Result {
	t.Helper()
	res, err := s.r.Run(t.Context(), s.arm(spec), nil)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	for _, wrong := range s.host.leaked(res) {
		t.Error(wrong)
	}
	return res
}

// judge says what is wrong with a result.
func judge(a attack, res sandbox.Result) []string {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	want, stdout := a.either, a.stdout
	switch {
	case a.holds:
		want, stdout = []sandbox.Outcome{sandbox.Cancelled}, "ready"
	case a.outcome != "":
		want = []sandbox.Outcome{a.outcome}
	case len(want) == 0:
		want = []sandbox.Outcome{sandbox.Succeeded}
	}
	if stdout == "" && slices.Equal(want, []sandbox.Outcome{sandbox.Succeeded}) {
		stdout = "held\n"
	}
	if !slices.Contains(want, res.Outcome) {
		complain("ended as %s, want %v", res.Outcome, want)
	}
	if res.Outcome == sandbox.Nonzero && res.ExitCode != a.code && a.code != 0 {
		complain("exit code %d, want %d", res.ExitCode, a.code)
	}
	if res.Outcome == sandbox.Signalled && a.signal != 0 && res.Signal != a.signal {
		complain("signal %d, want %d", res.Signal, a.signal)
	}
	if a.hit != "" && !slices.Contains(res.Hit, a.hit) {
		complain("limits hit %q, want %q among them", res.Hit, a.hit)
	}
	if a.oom && !res.OOM {
		complain("no word of the kernel's killing for memory")
	}
	for what, got := range map[string][2]string{"stdout": {res.Stdout, stdout}, "stderr": {res.Stderr, a.stderr}} {
		if !strings.Contains(got[0], got[1]) {
			complain("%s does not hold %q", what, got[1])
		}
		if strings.Contains(got[0], "breach") {
			complain("%s tells of a breach", what)
		}
		if !utf8.ValidString(got[0]) {
			complain("%s is not valid UTF-8", what)
		}
	}
	return wrong
}

// unharmed checks that the group has changed nothing but itself.
func (s *siege) unharmed(t *testing.T) {
	t.Helper()
	if err := s.neighbour.alive(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.neighbour.untouched(t.Context()); err != nil {
		t.Error(err)
	}
	for _, wrong := range s.host.changes() {
		t.Error(wrong)
	}
	boxes, err := s.r.Boxes(t.Context())
	if err != nil || !slices.Equal(boxes, []string{s.neighbour.box}) {
		t.Errorf("Boxes = %.500q, %v, want the neighbour's", boxes, err)
	}
	// What is thrown away may be thrown away in the background.
	var left []string
	if !eventually(t.Context(), func() bool {
		left = append(added(s.before, s.leftovers()), s.host.processes(s.neighbour.mark)...)
		return len(left) == 0
	}) {
		t.Errorf("left on the host: %q", left)
	}
}

func (s *siege) leftovers() []string {
	if s.opts.Leftovers == nil {
		return nil
	}
	return s.opts.Leftovers()
}

// added lists what is in after and not in before.
func added(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(after), func(name string) bool { return slices.Contains(before, name) })
}

// eventually waits until a condition holds, three times as long as patience at
// most, and says whether it came to hold.
func eventually(ctx context.Context, holds func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(3 * patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-deadline.C:
			return holds()
		case <-tick.C:
		}
	}
	return true
}

// onceReady calls then once, when the program has said that it is ready.
func onceReady(then func()) func(sandbox.Stream, []byte) {
	var said []byte
	done := false
	return func(stream sandbox.Stream, p []byte) {
		if done || stream != sandbox.Stdout {
			return
		}
		said = append(said, p...)
		if strings.Contains(string(said), "ready") {
			done = true
			then()
		}
	}
}
