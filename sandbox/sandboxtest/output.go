package sandboxtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func testOutput(t *testing.T, r sandbox.Runner) {
	if res := run(t, r, bash(`printf '\377\376a\000b\033[2J'`)); res.Stdout != "\uFFFD\uFFFDa\x00b\x1b[2J" && res.Stdout != "\uFFFDa\x00b\x1b[2J" {
		t.Errorf("binary output = %q", res.Stdout)
	}
	cut := python("print('é' * 1000, end='')")
	cut.Limits.Output = sandbox.KiB + 1
	res := run(t, r, cut)
	if got := strings.Count(res.Stdout, "é"); res.StdoutTruncated < 2000-1025 || got < 480 || got > 512 || strings.Contains(res.Stdout, "\uFFFD\uFFFD\uFFFD") {
		t.Errorf("cut in a character: kept %d of them, dropped %d bytes; want up to 1025 bytes of 2000", got, res.StdoutTruncated)
	}
	if res := run(t, r, bash("printf 'no newline'")); res.Stdout != "no newline" || res.StdoutTruncated != 0 {
		t.Errorf("stdout = %q, %d dropped", res.Stdout, res.StdoutTruncated)
	}
	exact := bash("head -c 1024 /dev/zero | tr '\\0' x")
	exact.Limits.Output = sandbox.KiB
	if res := run(t, r, exact); res.Stdout != strings.Repeat("x", 1024) || res.StdoutTruncated != 0 {
		t.Errorf("as much as is kept: %d bytes, %d dropped", len(res.Stdout), res.StdoutTruncated)
	}
}

// testHeadAndTail floods both streams: the beginning and the end of each are
// kept, a line between them says that there was more.
func testHeadAndTail(t *testing.T, r sandbox.Runner) {
	const kept, lines = 64 * sandbox.KiB, 100_000
	spec := bash(fmt.Sprintf("seq -f %%09.0f %d; seq -f %%09.0f %d >&2", lines, lines/2))
	spec.Limits = sandbox.Limits{Output: kept, CPUs: 2}
	res := run(t, r, spec)
	for _, c := range []struct {
		name, got string
		dropped   int64
		lines     int
	}{{"stdout", res.Stdout, res.StdoutTruncated, lines}, {"stderr", res.Stderr, res.StderrTruncated, lines / 2}} {
		var b strings.Builder
		for i := range c.lines {
			fmt.Fprintf(&b, "%09d\n", i+1)
		}
		all := b.String()
		head, tail := shared(all, c.got)
		between := len(c.got) - head - tail
		if head < kept/4 || tail < kept/4 || between <= 0 || between > 200 {
			t.Errorf("%s: %d bytes of the beginning and %d of the end are kept, %d between; want at least %d, and a line", c.name, head, tail, between, kept/4)
			continue
		}
		if total := int64(head+tail) + c.dropped; total < int64(len(all)) || total > int64(len(all))+20 {
			t.Errorf("%s: %d kept and %d dropped are not the %d that there were", c.name, head+tail, c.dropped, len(all))
		}
		if line := c.got[head : len(c.got)-tail]; !strings.ContainsAny(line, "0123456789") {
			t.Errorf("%s: %q does not say how much is left out", c.name, line)
		}
	}
}

// shared counts the bytes that two texts have in common at their beginnings and
// at their ends.
func shared(a, b string) (head, tail int) {
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return head, tail
}

// testWatchAll hashes 32 MiB that are watched and not kept, and sends as many in.
func testWatchAll(t *testing.T, r sandbox.Runner) {
	const size = 32 * sandbox.MiB
	data := make([]byte, size)
	state := uint32(1)
	for i := range data {
		state = state*1664525 + 1013904223
		data[i] = byte(state >> 24)
	}
	sum := sha256.Sum256(data)
	spec := sandbox.Spec{Argv: []string{"python3", "-c", `
import hashlib, sys
h = hashlib.sha256()
while True:
    p = sys.stdin.buffer.read(100003)
    if not p: break
    h.update(p); sys.stdout.buffer.write(p)
sys.stdout.flush(); print(h.hexdigest(), end="", file=sys.stderr)`}, Stdin: data, Limits: sandbox.Limits{CPUs: 2, Output: 4 * sandbox.KiB}}
	h, n := sha256.New(), 0
	res, err := r.Run(t.Context(), spec, func(s sandbox.Stream, p []byte) {
		if s == sandbox.Stdout {
			h.Write(p)
			n += len(p)
		}
	})
	if err != nil || !res.OK() || res.Stderr != hex.EncodeToString(sum[:]) {
		t.Errorf("Run = %s, %q, %v, want %x of what came in", res.Outcome, res.Stderr, err, sum)
	}
	if !bytes.Equal(h.Sum(nil), sum[:]) {
		t.Errorf("watched %d bytes of %d, or others", n, size)
	}
	if len(res.Stdout) > 3*(4*sandbox.KiB+200) || res.StdoutTruncated < size-4*sandbox.KiB-200 {
		t.Errorf("kept %d bytes, dropped %d", len(res.Stdout), res.StdoutTruncated)
	}
}

// testChanged lists what programs did to the workspace.
func testChanged(t *testing.T, r sandbox.Runner) {
	name := box(t, r, "changed")
	first := withBox(bash("mkdir -p d/e; echo new >d/e/f; echo ab >same; echo x >gone; echo moved >from; echo other >given"), name)
	first.Files = []wflo.File{{Name: "given", Data: []byte("g")}, {Name: "kept", Data: []byte("k")}}
	for _, c := range []struct {
		spec sandbox.Spec
		want []sandbox.Change
	}{
		{first, []sandbox.Change{{Name: "d/e/f", Op: "added", Size: 4}, {Name: "from", Op: "added", Size: 6}, {Name: "given", Op: "changed", Size: 6}, {Name: "gone", Op: "added", Size: 2}, {Name: "same", Op: "added", Size: 3}}},
		{withBox(bash("cat d/e/f; echo tmp >t; rm t"), name), nil},
		{withBox(bash("echo longer >>d/e/f; rm gone; mv from to; t=$(stat -c %Y same); echo cd >same; touch -d @$t same"), name), []sandbox.Change{
			{Name: "d/e/f", Op: "changed", Size: 11}, {Name: "from", Op: "removed"}, {Name: "gone", Op: "removed"}, {Name: "same", Op: "changed", Size: 3}, {Name: "to", Op: "added", Size: 6},
		}},
	} {
		res := run(t, r, c.spec)
		if diff := cmp.Diff(c.want, res.Changed); diff != "" || !res.OK() || res.ChangedMore != 0 {
			t.Errorf("%q: %s, %d more, changed (-want +got):\n%s", c.spec.Source, res.Outcome, res.ChangedMore, diff)
		}
	}
	many := run(t, r, withBox(bash("for i in $(seq 1200); do : >n$i; done"), name))
	if len(many.Changed) != sandbox.MaxChanged || many.ChangedMore != 200 || !slices.IsSortedFunc(many.Changed, func(a, b sandbox.Change) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d changes and %d more, want %d, sorted, and 200", len(many.Changed), many.ChangedMore, sandbox.MaxChanged)
	}
	if res := run(t, r, bash("echo x >one")); len(res.Changed) != 1 || res.Changed[0] != (sandbox.Change{Name: "one", Op: "added", Size: 2}) {
		t.Errorf("a one-shot changed %v", res.Changed)
	}
	if err := r.Close(t.Context(), name); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// testArtifacts gets files back by pattern.
func testArtifacts(t *testing.T, r sandbox.Runner, virtual bool) {
	make := `mkdir -p out/deep/er .dot; echo a >out/a.csv; echo b >out/b.txt; echo c >out/deep/c.csv; echo d >out/deep/er/d.csv; echo e >e.csv; : >empty; echo f >.dot/f
ln -s a.csv out/link.csv; mkfifo out/pipe.csv; head -c 2000000 /dev/zero >out/big.bin; printf '\377\000' >bytes`
	together(t, r, virtual, "artifacts", func(in func(sandbox.Spec) sandbox.Spec) {
		for _, c := range []struct {
			patterns     []string
			want, missed string
		}{
			{nil, "", ""},
			{[]string{"nothing/*"}, "", ""},
			{[]string{"out/*.csv"}, "out/a.csv", ""},
			{[]string{"**/*.csv"}, "e.csv out/a.csv out/deep/c.csv out/deep/er/d.csv", ""},
			{[]string{"out/**"}, "out/a.csv out/b.txt out/deep/c.csv out/deep/er/d.csv", "out/big.bin"},
			{[]string{"empty", "e.csv", "e.*", ".dot/*"}, ".dot/f e.csv empty", ""},
			{[]string{"out/big.bin"}, "", "out/big.bin"},
		} {
			spec := in(bash("rm -rf * .dot; " + make))
			spec.Artifacts, spec.Limits.Artifacts = c.patterns, sandbox.MiB
			res := run(t, r, spec)
			var names []string
			for _, f := range res.Artifacts {
				names = append(names, f.Name)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); !res.OK() || got != c.want || strings.Join(res.ArtifactsMissed, " ") != c.missed {
				t.Errorf("%q: %s, %q, missed %q, want %q and %q", c.patterns, res.Outcome, got, res.ArtifactsMissed, c.want, c.missed)
			}
		}
	})
	spec := bash("printf '\\377\\000x' >bytes; mkdir d; echo before the end >d/f; exit 3")
	spec.Artifacts = []string{"bytes", "d/f"}
	res := run(t, r, spec)
	if len(res.Artifacts) != 2 || string(res.Artifacts[0].Data)+string(res.Artifacts[1].Data) != "\xff\x00xbefore the end\n" || res.ExitCode != 3 {
		t.Errorf("artifacts of a program that failed: %q, code %d", res.Artifacts, res.ExitCode)
	}
}
