package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// twoHosts are engines at two addresses, each with a sandbox of its own.
type twoHosts map[string]*fakeSandboxes

func newTwoHosts(t *testing.T) twoHosts {
	t.Setenv("WFLO_OWNER", "blue")
	t.Setenv("WFLO_SANDBOX_HOST", "")
	t.Setenv("WFLO_SANDBOX_HOSTS", "north=unix:///n.sock,south=unix:///s.sock")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("TEMPORAL_CONFIG_FILE", "")
	h := twoHosts{}
	for i, name := range []string{"n", "s"} {
		id := name + "123456789abcdef"
		h["unix:///"+name+".sock"] = &fakeSandboxes{
			list:     []docker.Sandbox{{ID: id, State: "running", Owner: "blue", Run: "refund", Created: time.Now().Add(-time.Duration(i+1) * time.Minute)}},
			stats:    map[string]docker.Stats{id: {ID: id, PIDs: int64(i) + 7}},
			got:      docker.Collected{Containers: []string{id}},
			defences: []docker.Defence{{Name: "engine", OK: true, Required: true, Detail: "version " + name}},
			res:      sandbox.Result{Outcome: sandbox.Succeeded},
		}
	}
	return h
}

func (h twoHosts) connect(_ context.Context, c docker.Config) (Sandboxes, error) {
	f := h[c.Host]
	f.config = c
	return f, nil
}

func (h twoHosts) invoke(t *testing.T, line ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := Main(t.Context(), Deps{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Sandboxes: h.connect}, line)
	return result{code, out.String(), errOut.String()}
}

// TestSandboxHosts: each command is about all hosts of the environment, or the one that
// --host names.
func TestSandboxHosts(t *testing.T) {
	h := newTwoHosts(t)
	north, south := h["unix:///n.sock"], h["unix:///s.sock"]
	h.invoke(t, "sandbox", "ls").want(t, 0, []string{"HOST\n", "n123456789ab", "north\n", "s123456789ab", "south\n"}, nil)
	h.invoke(t, "sandbox", "ls", "-o", "json", "--jq", ".[].host").want(t, 0, []string{"north", "south"}, nil)
	if r := h.invoke(t, "sandbox", "ls", "--host", "south"); r.code != 0 || strings.Contains(r.out, "north") || !strings.Contains(r.out, "south") {
		t.Errorf("--host south: %d, %s%s", r.code, r.out, r.errOut)
	}
	h.invoke(t, "sandbox", "stats").want(t, 0, []string{"HOST\n", "7 / 0", "north\n", "8 / 0", "south\n"}, nil)
	h.invoke(t, "sandbox", "gc", "--dry-run").want(t, 0, []string{"container n123456789ab", "container s123456789ab"}, nil)
	h.invoke(t, "sandbox", "kill", "s12").want(t, 0, []string{"killed s123456789ab\n"}, nil)
	if len(north.killed) != 0 || len(south.killed) != 1 {
		t.Errorf("killed %q and %q", north.killed, south.killed)
	}
	h.invoke(t, "sandbox", "kill", "--run", "refund").want(t, 0, []string{"killed n123456789ab\n", "killed s123456789ab\n"}, nil)
	h.invoke(t, "sandbox", "check").want(t, 0, []string{"HOST", "north  engine   yes    version n", "south  engine   yes    version s"}, nil)
	h.invoke(t, "sandbox", "run", "--host", "south", "-o", "json", "x").want(t, 0, []string{`"host": "south"`}, nil)
	if len(south.spec.Argv) != 1 || len(north.spec.Argv) != 0 {
		t.Errorf("it ran as %q on the other host, and as %q on this one", north.spec.Argv, south.spec.Argv)
	}
	h.invoke(t, "sandbox", "run", "-o", "json", "x").want(t, 0, []string{`"host": "north"`}, nil)
	h.invoke(t, "sandbox", "ls", "--host", "west").want(t, ExitUsage, nil, []string{"west", "north", "south"})
	// Of the ten lines that named hosts which there are, two left out the first one.
	if north.shut != 8 || south.shut != 10 {
		t.Errorf("let go of north %d times, of south %d", north.shut, south.shut)
	}
	t.Setenv("WFLO_SANDBOX_HOST", "unix:///n.sock")
	h.invoke(t, "sandbox", "ls").want(t, ExitError, nil, []string{"WFLO_SANDBOX_HOSTS is set, and WFLO_SANDBOX_HOST as well", "give one of them"})
	t.Setenv("WFLO_SANDBOX_HOSTS", "")
	if r := h.invoke(t, "sandbox", "ls"); r.code != 0 || strings.Contains(r.out, "HOST") {
		t.Errorf("with one engine: %d, %s%s", r.code, r.out, r.errOut)
	}
	h.invoke(t, "sandbox", "ls", "--host", "north").want(t, ExitUsage, nil, []string{"no hosts are named"})
}

// TestSandboxHostAway: a host that does not answer hides nothing of the other, and is
// told with its name.
func TestSandboxHostAway(t *testing.T) {
	h := newTwoHosts(t)
	north := h["unix:///n.sock"]
	north.err, north.list, north.stats, north.defences, north.got = wflo.Errorf(wflo.CodeSandboxUnavailable, "start Docker", "no engine answers"), nil, nil, nil, docker.Collected{}
	away := []string{"host north: no engine answers"}
	h.invoke(t, "sandbox", "ls").want(t, ExitError, []string{"s123456789ab"}, away)
	h.invoke(t, "sandbox", "stats").want(t, ExitError, []string{"s123456789ab"}, away)
	h.invoke(t, "sandbox", "stats", "s123").want(t, 0, []string{"s123456789ab"}, nil)
	h.invoke(t, "sandbox", "gc").want(t, ExitError, []string{"removed container s123456789ab"}, away)
	h.invoke(t, "sandbox", "kill", "s123").want(t, 0, []string{"killed s123456789ab"}, nil)
	h.invoke(t, "sandbox", "kill", "n123").want(t, ExitError, nil, append(away, `"n123" does not exist`))
	h.invoke(t, "sandbox", "kill", "--run", "refund").want(t, ExitError, []string{"killed s123456789ab"}, away)
	h.invoke(t, "sandbox", "kill", "--run", "other").want(t, ExitError, nil, away)
	h.invoke(t, "sandbox", "check").want(t, ExitError, []string{"north  engine   MISSING  no engine answers; start Docker", "south  engine   yes"}, away)
	h.invoke(t, "sandbox", "run", "-o", "json", "x").want(t, 0, []string{`"host": "south"`}, nil)
	h["unix:///s.sock"].err = north.err
	h.invoke(t, "sandbox", "run", "x").want(t, 125, nil, append(away, "host south: no engine answers"))
	// The doctor has a fault for each.
	r := h.invoke(t, "doctor", "--check", "engine")
	r.want(t, ExitError, nil, []string{"engine: host north: engine: no engine answers", "fix: start Docker"})
	if strings.Contains(r.errOut, "host south") { // its list says that all is well
		t.Errorf("the doctor tells of south:\n%s", r.errOut)
	}
}
