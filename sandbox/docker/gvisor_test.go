package docker

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// slow are the rows of the hostile suite that take more than 12 s each under
// gVisor, where they say least: they hold on to what gVisor's own memory bounds,
// or wait until a limit ends them that other rows run into sooner. They are made
// with WFLO_TEST_GVISOR=all; see docs/sandbox-hosts.md.
var slow = []string{
	"Resources/zombies", "Resources/orphans are reaped", "Exhaustion/threads, held", "Exhaustion/timers",
	"Exhaustion/asynchronous contexts", "Exhaustion/descriptors on their way", "Processes/a storm of signals for PID 1",
	"Files/a box that is hard to remove",
}

// TestGVisorContract holds sandboxes under gVisor to the suite of what is right.
func TestGVisorContract(t *testing.T) {
	if os.Getenv("WFLO_TEST_GVISOR") == "off" {
		t.Log("gVisor is off on this machine, and TestGVisor holds that it is refused")
		return
	}
	t.Parallel()
	secrets := sandboxtest.NewSecrets()
	sandboxtest.Test(t, func(t *testing.T) sandbox.Runner {
		return open(t, func(c *Config) { c.Secrets = secrets; c.Runtime = sandbox.Runsc })
	}, sandboxtest.Options{Secrets: secrets, Virtual: true})
}

// TestGVisor holds them to that of what is hostile. Without gVisor, which
// WFLO_TEST_GVISOR=off says, it holds that they are refused.
func TestGVisor(t *testing.T) {
	if os.Getenv("WFLO_TEST_GVISOR") == "off" {
		t.Run("Refused", refusesGVisor)
		return
	}
	secrets := sandboxtest.NewSecrets()
	t.Run("Hostile", func(t *testing.T) {
		var r *Runner
		sandboxtest.Hostile(t, func(t *testing.T) sandbox.Runner {
			r = open(t, func(c *Config) { c.Secrets = secrets; c.Runtime = sandbox.Runsc; c.Pool.Size = 4 })
			return r
		}, sandboxtest.HostileOptions{
			Virtual: true, Secrets: secrets, Frame: goodEnd(t),
			Leftovers: func() []string { return leftovers(t, r) },
			Rows: func(group, name string) bool {
				return os.Getenv("WFLO_TEST_GVISOR") == "all" || !slices.Contains(slow, group+"/"+name)
			},
		})
	})
	t.Run("Beside", besideRunc)
}

// BenchmarkGVisor is from the call to the first byte of output, in a sandbox under
// gVisor that is started for it and in one that waits.
func BenchmarkGVisor(b *testing.B) {
	echo := sandbox.Spec{Argv: []string{"echo", "x"}}
	cold := open(b, func(c *Config) { c.Runtime = sandbox.Runsc })
	pool := open(b, func(c *Config) { c.Runtime = sandbox.Runsc; c.Pool.Size = 4 })
	sandboxed(b, pool, echo)
	var started, waiting series
	for b.Loop() {
		first, _ := sandboxed(b, cold, echo)
		started.add(first)
		stocked(b, pool)
		first, _ = sandboxed(b, pool, echo)
		waiting.add(first)
	}
	started.report(b, "cold")
	waiting.report(b, "pool")
}

func refusesGVisor(t *testing.T) {
	spec := shell("true")
	spec.Security.Runtime = sandbox.Runsc
	_, err := open(t, nil).Run(t.Context(), spec, nil)
	coded(t, err, wflo.CodePolicyDenied)
	r := open(t, func(c *Config) { c.Runtimes = []string{sandbox.Runsc} })
	if slices.Contains(r.known().Runtimes, sandbox.Runsc) {
		return // off is for machines without, but nothing says that this is one
	}
	_, err = r.Run(t.Context(), spec, nil)
	coded(t, err, wflo.CodeSandboxUnavailable)
}

// besideRunc names runsc in a specification on a worker that uses another
// runtime otherwise.
func besideRunc(t *testing.T) {
	r := open(t, func(c *Config) { c.Runtimes = []string{sandbox.Runsc} })
	version := shell("cat /proc/version")
	host := must(t, r, version)
	version.Security = sandbox.Security{Runtime: sandbox.Runsc, Require: []string{"gvisor"}}
	own := must(t, r, version)
	if own.Stdout == host.Stdout || own.Runtime != sandbox.Runsc || strings.Join(own.Profiles, " ") != "seccomp=gvisor" {
		t.Errorf("under %q with %q the kernel is %q, and %q under %q", own.Runtime, own.Profiles, own.Stdout, host.Stdout, host.Runtime)
	}
	box := closing(t, r, "spoilt")
	version.Box = box
	if first, second := must(t, r, version), must(t, r, version); first.Sandbox == second.Sandbox {
		t.Errorf("a sandbox under gVisor, whose programs reach its PID 1, is used twice")
	}
	// A name alone is not gVisor.
	e := *r.known()
	e.Runtime = "not-" + sandbox.Runsc
	if wrong, err := r.probe(t.Context(), e, ""); err != nil || len(wrong) != 1 || !strings.Contains(wrong[0], "kernel") {
		t.Errorf("runc by the name of gVisor: %q, %v, want its kernel refused", wrong, err)
	}
}
