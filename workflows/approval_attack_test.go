package workflows_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest"
)

// signers is a worker that takes decisions of one console only, and that console.
func signers(t *testing.T) (func(*plugin.Config), func(wflo.Decision, time.Time) wflo.Decision) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := func(c *plugin.Config) {
		c.Approvals = wflo.Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(public)}}
	}
	return cfg, func(d wflo.Decision, at time.Time) wflo.Decision {
		d.At = at
		return d.Sign("console", private)
	}
}

// TestSignatures refuses what is forged, changed, held back or meant for another gate.
func TestSignatures(t *testing.T) {
	cfg, sign := signers(t)
	_, other, _ := ed25519.GenerateKey(nil)
	tests := map[string]struct {
		make func(g wflo.Gate, now time.Time) wflo.Decision
		ok   bool
	}{
		"right": {func(g wflo.Gate, now time.Time) wflo.Decision { return sign(wflotest.Approve(g, "ann"), now) }, true},
		"none":  {func(g wflo.Gate, _ time.Time) wflo.Decision { return wflotest.Approve(g, "ann") }, false},
		"of another key": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.At = now
			return d.Sign("console", other)
		}, false},
		"of an unknown key": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.At = now
			return d.Sign("evil", other)
		}, false},
		"of another person": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := sign(wflotest.Approve(g, "ann"), now)
			d.By = "bob"
			return d
		}, false},
		"of a rejection": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := sign(wflotest.Reject(g, "ann", ""), now)
			d.Verdict = wflo.VerdictApprove
			return d
		}, false},
		"with groups added": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := sign(wflotest.Approve(g, "ann"), now)
			d.Groups = []string{"admins"}
			return d
		}, false},
		"held back": {func(g wflo.Gate, now time.Time) wflo.Decision {
			return sign(wflotest.Approve(g, "ann"), now.Add(-time.Hour))
		}, false},
		"from the future": {func(g wflo.Gate, now time.Time) wflo.Decision {
			return sign(wflotest.Approve(g, "ann"), now.Add(time.Hour))
		}, false},
		"a clock that is off": {func(g wflo.Gate, now time.Time) wflo.Decision {
			return sign(wflotest.Approve(g, "ann"), now.Add(4*time.Minute))
		}, true},
		"no nonce": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.Nonce = ""
			return sign(d, now)
		}, false},
		"another nonce": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.Nonce = strings.Repeat("0", 32)
			return sign(d, now)
		}, false},
		"another payload": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.PayloadSHA256 = strings.Repeat("0", 64)
			return sign(d, now)
		}, false},
		"another digest": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.Digest = strings.Repeat("0", 64)
			return sign(d, now)
		}, false},
		"another epoch": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.Epoch = 1
			return sign(d, now)
		}, false},
		"another gate": {func(g wflo.Gate, now time.Time) wflo.Decision {
			d := wflotest.Approve(g, "ann")
			d.Gate = "refunds#2"
			return sign(d, now)
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env, j := newEnv(t, wflotest.Config{Decide: unanswered, Plugin: cfg})
			env.After(time.Minute, "refunds", func(g wflo.Gate) wflo.Decision { return tt.make(g, env.Now()) })
			err := env.Run(asking(refund()))
			if tt.ok && err != nil || tt.ok != (len(j.lines) == 1) {
				t.Errorf("%v, acted %v", err, j.lines)
			}
			if !tt.ok {
				wantCode(t, err, wflo.CodeApprovalTimeout)
			}
		})
	}
}

// TestReplayedSignature shows a signed decision to the next opening of the same gate
// with the same payload.
func TestReplayedSignature(t *testing.T) {
	cfg, sign := signers(t)
	env, j := newEnv(t, wflotest.Config{Decide: unanswered, Plugin: cfg})
	var first wflo.Decision
	env.After(time.Minute, "refunds", func(g wflo.Gate) wflo.Decision {
		first = sign(wflotest.Approve(g, "ann"), env.Now())
		return first
	})
	env.After(2*time.Minute, "refunds#2", func(wflo.Gate) wflo.Decision { return first })
	env.After(3*time.Minute, "refunds#2", func(wflo.Gate) wflo.Decision { d := first; d.Gate = "refunds#2"; return d })
	wantCode(t, env.Run(func(ctx workflow.Context) (wflo.Decision, error) {
		if d, err := asking(refund())(ctx); err != nil {
			return d, err
		}
		return asking(refund())(ctx)
	}), wflo.CodeApprovalTimeout)
	if len(j.lines) != 1 {
		t.Errorf("acted %v", j.lines)
	}
}

// TestSignalsOfAllKinds sends what cannot be read, and then a decision.
func TestSignalsOfAllKinds(t *testing.T) {
	raw := func(encoding, data string) converter.RawValue {
		return converter.NewRawValue(&commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encoding)}, Data: []byte(data)})
	}
	env, j := newEnv(t, wflotest.Config{Decide: unanswered})
	env.RegisterDelayedCallback(func() {
		for _, arg := range []any{
			nil, 7, "approve", []string{"approve"}, []byte{0xff, 0}, map[string]any{"gate": 7}, raw("json/plain", "{"), raw("json/plain", ""),
			raw("binary/encrypted", "???"), raw("", "{}"), raw("json/plain", `{"gate":"refunds"}`), raw("json/plain", strings.Repeat("[", 1<<20)),
			wflo.Decision{}, wflo.Decision{Gate: "refunds"}, wflo.Decision{Gate: "refunds", Verdict: "\u202e"}, strings.Repeat("x", 2<<20),
		} {
			env.SignalWorkflow(wflo.SignalDecide, arg)
		}
	}, time.Second)
	env.After(time.Minute, "refunds", approve("ann"))
	if err := env.Run(asking(refund())); err != nil || len(j.lines) != 1 {
		t.Errorf("%v, acted %v", err, j.lines)
	}
}

// TestFloodOfSignals sends one signal more than Temporal takes by default, and lets the
// right one through.
func TestFloodOfSignals(t *testing.T) {
	const flood, portion = 10001, 500 // the environment holds no more than 1000 at once
	env, j := newEnv(t, wflotest.Config{Decide: unanswered})
	for part := range flood/portion + 1 {
		env.RegisterDelayedCallback(func() {
			g, _ := env.Gate("refunds")
			bad := wflotest.Approve(g, "ann")
			bad.Digest = "no"
			for range min(portion, flood-part*portion) {
				env.SignalWorkflow(wflo.SignalDecide, bad)
			}
		}, time.Duration(part+1)*time.Minute)
	}
	env.After(40*time.Minute, "refunds", approve("ann"))
	if err := env.Run(asking(refund())); err != nil {
		t.Fatal(err)
	}
	if g, _ := env.Gate("refunds"); g.Refused != flood || len(j.lines) != 1 {
		t.Errorf("refused %d, acted %v", g.Refused, j.lines)
	}
}

// TestEarlyDecisionDoesNotCount: nobody has seen a gate that is not open.
func TestEarlyDecisionDoesNotCount(t *testing.T) {
	env, j := newEnv(t, wflotest.Config{Decide: unanswered})
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(wflo.SignalDecide, wflo.Decision{Gate: "refunds", Verdict: wflo.VerdictApprove, By: "eve"})
	}, time.Second)
	wantCode(t, env.Run(func(ctx workflow.Context) (wflo.Decision, error) {
		if err := workflow.Sleep(ctx, time.Minute); err != nil {
			return wflo.Decision{}, err
		}
		return asking(refund())(ctx)
	}), wflo.CodeApprovalTimeout)
	if g, _ := env.Gate("refunds"); g.Refused != 1 || g.LastRefusal == "" || len(j.lines) != 0 {
		t.Errorf("%+v", g)
	}
}
