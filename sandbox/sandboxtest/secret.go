package sandboxtest

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// testSecrets looks for secrets everywhere but in the program.
func testSecrets(t *testing.T, r sandbox.Runner, known Secrets) {
	if known == nil {
		t.Fatal("open the Runner with the secrets of NewSecrets, and give them in Options.Secrets")
	}
	spec := python(`
import hashlib, os, sys, time
key, token = os.environ["KEY"], os.environ["TOKEN"]
print(hashlib.sha256((key + token).encode()).hexdigest(), "before", token, "after")
print("err", token, "end", file=sys.stderr)
print("twice", token + token, "done")
print("part", token[:-1], "gone")
for part in token[:3], token[3:9], token[9:]: os.write(1, part.encode()); time.sleep(0.1)
os.write(1, b"|split\n")
for c in token: os.write(2, c.encode())
os.write(2, b"|single\n")
os.write(1, b"x" * 65530 + token.encode() + b"\nbounds\n")
os.write(1, key.encode()); os.write(1, b"lines\n")
os.write(1, token[:5].encode())`)
	spec.Secrets = map[string]string{"KEY": secretKey, "TOKEN": secretToken}
	watched := map[sandbox.Stream]string{}
	res, err := r.Run(t.Context(), spec, func(s sandbox.Stream, p []byte) { watched[s] += string(p) })
	if err != nil || !res.OK() {
		t.Fatalf("Run = %s %q, %v", res.Outcome, res.Stderr, err)
	}
	sum := sha256.Sum256([]byte(known[secretKey] + known[secretToken]))
	if !strings.HasPrefix(res.Stdout, hex.EncodeToString(sum[:])+" before ") {
		t.Errorf("the program got other secrets: %.200q", res.Stdout)
	}
	for where, text := range map[string]string{"stdout": res.Stdout, "stderr": res.Stderr, "watched stdout": watched[sandbox.Stdout], "watched stderr": watched[sandbox.Stderr]} {
		for name, value := range known {
			for _, line := range append(strings.Fields(value), value) {
				if len(line) > 10 && strings.Contains(text, line) {
					t.Errorf("%s holds a line of the secret %s", where, name)
				}
			}
		}
	}
	for _, want := range []string{" after\n", "twice ", " done\n", "part ", " gone\n", "|split\n", "\nbounds\n", "lines\n"} {
		if !strings.Contains(res.Stdout, want) {
			t.Errorf("stdout has lost %q", want)
		}
	}
	if !strings.HasSuffix(res.Stdout, known[secretToken][:5]) || !strings.Contains(res.Stderr, "err ") || !strings.Contains(res.Stderr, "|single\n") {
		t.Errorf("more than the secrets is gone: %.300q ... %q, %q", res.Stdout, res.Stdout[max(0, len(res.Stdout)-20):], res.Stderr)
	}
	if res := run(t, r, bash("env; cat /proc/[0-9]*/environ 2>/dev/null")); strings.Contains(res.Stdout, known[secretToken]) || strings.Contains(res.Stdout, "TOKEN=") {
		t.Errorf("a later execution sees the secret")
	}
	unknown := bash("echo ran")
	unknown.Secrets = map[string]string{"X": "no-such-secret"}
	if res, err := r.Run(t.Context(), unknown, nil); wflo.CodeOf(err) != wflo.CodeMissingKey && wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
		t.Errorf("an unknown secret: Run = %s %q, %v, want it refused with a hint", res.Outcome, res.Stdout, err)
	}
}
