package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestJudge plants what the suite must not let pass.
func TestJudge(t *testing.T) {
	held := sandbox.Result{Outcome: sandbox.Succeeded, Stdout: "held\n"}
	for name, c := range map[string]struct {
		attack attack
		change func(*sandbox.Result)
		wrong  int
	}{
		"held":             {attack{}, func(*sandbox.Result) {}, 0},
		"silent":           {attack{}, func(r *sandbox.Result) { r.Stdout = "" }, 1},
		"breach":           {attack{}, func(r *sandbox.Result) { r.Stdout = "breach: x\nheld\n" }, 1},
		"breach on stderr": {attack{}, func(r *sandbox.Result) { r.Stderr = "breach" }, 1},
		"lost":             {attack{}, func(r *sandbox.Result) { r.Outcome = sandbox.Nonzero }, 1},
		"bytes":            {attack{}, func(r *sandbox.Result) { r.Stderr = "\xff" }, 1},
		"one of two":       {attack{either: []sandbox.Outcome{sandbox.Succeeded, sandbox.DiskFull}}, func(r *sandbox.Result) { r.Outcome, r.Stdout = sandbox.DiskFull, "" }, 0},
		"neither":          {attack{either: []sandbox.Outcome{sandbox.Timeout, sandbox.DiskFull}}, func(*sandbox.Result) {}, 1},
		"another code":     {attack{outcome: sandbox.Nonzero, code: 3}, func(r *sandbox.Result) { r.Outcome, r.ExitCode = sandbox.Nonzero, 4 }, 1},
		"another signal":   {attack{outcome: sandbox.Signalled, signal: 9}, func(r *sandbox.Result) { r.Outcome, r.Signal = sandbox.Signalled, 15 }, 1},
		"limit":            {attack{hit: "pids", oom: true}, func(r *sandbox.Result) { r.Hit, r.OOM = []string{"tmp", "pids"}, true }, 0},
		"no limit":         {attack{hit: "pids", oom: true}, func(r *sandbox.Result) { r.Hit = []string{"tmp"} }, 2},
		"holds":            {attack{holds: true}, func(r *sandbox.Result) { r.Outcome, r.Stdout = sandbox.Cancelled, "ready\n" }, 0},
		"ends":             {attack{holds: true}, func(*sandbox.Result) {}, 2},
	} {
		res := held
		c.change(&res)
		if wrong := judge(c.attack, res); len(wrong) != c.wrong {
			t.Errorf("%s: judge = %q, want %d", name, wrong, c.wrong)
		}
	}
}

func TestLeaked(t *testing.T) {
	h := &host{content: "canary-1", variable: "canary-2"}
	for name, c := range map[string]struct {
		res  sandbox.Result
		want int
	}{
		"clean":    {sandbox.Result{Stdout: "canary-", Artifacts: []wflo.File{{Name: "f", Data: []byte("x")}}}, 0},
		"file":     {sandbox.Result{Stdout: "a canary-1 b"}, 1},
		"variable": {sandbox.Result{Stderr: "canary-2"}, 1},
		"artifact": {sandbox.Result{Artifacts: []wflo.File{{Name: "f", Data: []byte("canary-1 canary-2")}}}, 2},
	} {
		if got := h.leaked(c.res); len(got) != c.want {
			t.Errorf("%s: leaked = %q, want %d", name, got, c.want)
		}
	}
}

// TestNeighbour plays heartbeats, in pieces, to one who listens.
func TestNeighbour(t *testing.T) {
	for name, c := range map[string]struct {
		beats string
		want  string // in the error
	}{
		"well":    {"1 d well\n2 d well\n", ""},
		"starved": {"1 d well\n2 d watches: [Errno 24]\n", "watches"},
		"changed": {"1 other well\n2 d well\n", "other"},
		"missing": {"1 d well\n3 d well\n", "suffers"},
		"gone":    {"1 d well\n", "is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &neighbour{digest: "d", done: make(chan struct{}), beat: make(chan struct{}), err: errors.New("ended")}
			go func() {
				for i := range len(c.beats) {
					n.watch(sandbox.Stdout, []byte(c.beats[i:i+1]))
				}
				close(n.done)
			}()
			err := n.since(t.Context(), 2)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("since = %v, want %q in it", err, c.want)
			}
		})
	}
}

// TestPrograms finds names that are given twice, of which -run would find either.
func TestPrograms(t *testing.T) {
	seen, count := map[string]bool{}, 0
	for group, attacks := range map[string][]attack{
		"resources": resourceAttacks, "ends": endAttacks, "exhaustion": exhaustionAttacks, "privilege": privilegeAttacks, "kernel": kernelAttacks, "processes": processAttacks,
		"protocol": protocolAttacks, "network": networkAttacks, "files": fileAttacks, "leaks": leakAttacks, "control": controlAttacks,
	} {
		for _, a := range attacks {
			if name := group + "/" + a.name; seen[name] || a.name == "" {
				t.Errorf("%s is there twice, or has no name", name)
			} else {
				seen[name] = true
			}
			if err := a.spec.Validate(); err != nil {
				t.Errorf("%s/%s: %v", group, a.name, err)
			}
			count++
		}
	}
	if count < 150 {
		t.Errorf("%d programs, want at least 150", count)
	}
}

func TestSecretsLookup(t *testing.T) {
	s := NewSecrets()
	if v, err := s.Secret(context.Background(), secretToken); err != nil || string(v) != s[secretToken] {
		t.Errorf("Secret = %q, %v", v, err)
	}
	if _, err := s.Secret(context.Background(), "x"); wflo.CodeOf(err) != wflo.CodeMissingKey || strings.Contains(fmt.Sprint(err), s[secretToken]) {
		t.Errorf("Secret = %v, want CodeMissingKey", err)
	}
}
