package wflo

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func testGate() Gate {
	g := Gate{
		ID: "refunds", Epoch: 1, WorkflowID: "w", FirstRunID: "r", Nonce: "n", Status: GateOpen,
		Approval: Approval{Gate: "refunds", Action: "refund 3 charges", Payload: json.RawMessage(`{"total":"12.00"}`), Approvers: []string{"ann"}},
	}
	g.Digest = g.ComputeDigest()
	return g
}

func TestAdmit(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	g := testGate()
	good := Decision{Gate: g.ID, Epoch: g.Epoch, Digest: g.Digest, Verdict: VerdictApprove, By: "ann"}
	signed := Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(pub)}}
	open := Terms{AllowUnsigned: true}
	with := func(change func(*Decision)) Decision {
		d := good
		change(&d)
		return d
	}
	tests := []struct {
		name  string
		d     Decision
		terms Terms
		want  string // part of the refusal; empty means admitted
	}{
		{"unsigned where allowed", good, open, ""},
		{"signed", good.Sign("console", key), signed, ""},
		{"signed, unsigned allowed too", good.Sign("console", key), Terms{Keys: signed.Keys, AllowUnsigned: true}, ""},
		{"unsigned where keys are needed", good, signed, "signature is missing"},
		{"nobody is trusted", good, Terms{}, "signature is missing"},
		{"stranger's key", good.Sign("console", stranger), signed, "does not verify"},
		{"unknown key name", good.Sign("other", key), signed, "not one that the worker trusts"},
		{"bad signature is refused even where unsigned is allowed", good.Sign("console", stranger), Terms{Keys: signed.Keys, AllowUnsigned: true}, "does not verify"},
		{"verdict changed after signing", func() Decision { d := good.Sign("console", key); d.Verdict = VerdictReject; return d }(), signed, "does not verify"},
		{"signer's name changed after signing", func() Decision { d := good.Sign("console", key); d.Reason = "x"; return d }(), signed, "does not verify"},
		{"other gate", with(func(d *Decision) { d.Gate = "other" }), open, "the gate is"},
		{"older epoch", with(func(d *Decision) { d.Epoch = 0 }), open, "epoch"},
		{"other payload", with(func(d *Decision) { d.Digest = strings.Repeat("0", 64) }), open, "digest"},
		{"no name", with(func(d *Decision) { d.By = "" }), open, "by is empty"},
		{"not an approver", with(func(d *Decision) { d.By = "bob" }), open, "not an approver"},
		{"unknown verdict", with(func(d *Decision) { d.Verdict = "maybe" }), open, "verdict"},
		{"an answer where a verdict is asked", with(func(d *Decision) { d.Verdict = VerdictRespond }), open, "verdict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := g.Admit(tt.d, tt.terms, time.Now())
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Admit = %v; want a refusal with %q", err, tt.want)
			}
		})
	}
	g.Status = GateRejected
	if err := g.Admit(good, open, time.Now()); err == nil || !strings.Contains(err.Error(), "late") {
		t.Errorf("a late decision gave %v", err)
	}
}

// TestDigestBindsPeople: who is behind the run is a part of what people agree to, in
// gates that are made today.
func TestDigestBindsPeople(t *testing.T) {
	g := ask(func(a *Approval) { a.FourEyes = true })
	for name, requesters := range map[string][]string{"none": nil, "one": {"ann"}, "one more": {"ann", "boss", "cid"}, "another order": {"boss", "ann"}, "run together": {"annboss"}} {
		other := g
		if other.Requesters = requesters; other.ComputeDigest() == g.Digest {
			t.Errorf("the digest does not tell %v from %v (%s)", g.Requesters, requesters, name)
		}
	}
	old := g
	old.Version = 2
	if old.Requesters = nil; old.ComputeDigest() != old.Seal("nonce").Digest {
		t.Error("gates of recorded histories have another digest than they had")
	}
}

// TestDigestBinds changes each thing that a person is shown, one by one.
func TestDigestBinds(t *testing.T) {
	base := testGate().Digest
	for name, change := range map[string]func(*Gate){
		"workflow": func(g *Gate) { g.WorkflowID = "w2" },
		"run":      func(g *Gate) { g.FirstRunID = "r2" },
		"gate":     func(g *Gate) { g.ID = "refunds#2" },
		"epoch":    func(g *Gate) { g.Epoch = 2 },
		"nonce":    func(g *Gate) { g.Nonce = "n2" },
		"action":   func(g *Gate) { g.Approval.Action = "refund 4 charges" },
		"details":  func(g *Gate) { g.Approval.Details = "more" },
		"payload":  func(g *Gate) { g.Approval.Payload = json.RawMessage(`{"total":"99.00"}`) },
	} {
		g := testGate()
		change(&g)
		if g.ComputeDigest() == base {
			t.Errorf("the digest does not cover the %s", name)
		}
	}
}

func TestApprovalValidate(t *testing.T) {
	for name, a := range map[string]Approval{
		"no gate":                  {Action: "x"},
		"no action":                {Gate: "g"},
		"negative":                 {Gate: "g", Action: "x", Timeout: -1},
		"not JSON":                 {Gate: "g", Action: "x", Payload: json.RawMessage(`{`)},
		"bad answer":               {Gate: "g", Action: "x", Answers: []Verdict{"maybe"}},
		"empty answer":             {Gate: "g", Action: "x", Answers: []Verdict{""}},
		"long gate":                {Gate: strings.Repeat("g", maxLine+1), Action: "x"},
		"long action":              {Gate: "g", Action: strings.Repeat("x", maxLine+1)},
		"long details":             {Gate: "g", Action: "x", Details: strings.Repeat("x", maxDetails+1)},
		"long form":                {Gate: "g", Action: "x", Form: json.RawMessage(`"` + strings.Repeat("x", maxForm) + `"`)},
		"many factors":             {Gate: "g", Action: "x", Factors: slices.Repeat([]Factor{{Approvers: []string{"ann"}}}, MaxFactors+1)},
		"many channels":            {Gate: "g", Action: "x", Notify: slices.Repeat([]string{"slack://ops"}, MaxChannels+1)},
		"many channels of a level": {Gate: "g", Action: "x", Escalation: []Level{{Notify: slices.Repeat([]string{"slack://ops"}, MaxChannels+1)}}},
		"long channel":             {Gate: "g", Action: "x", Notify: []string{strings.Repeat("s", maxName+1)}},
	} {
		if err := a.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Validate = %v; want ErrInvalid", name, err)
		}
	}
}

func FuzzDecision(f *testing.F) {
	f.Add([]byte(`{"gate":"refunds","epoch":1,"verdict":"approve","by":"ann"}`))
	f.Add([]byte(`{"digest":"\u0000","signature":"AAAA","key":"console"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Decision
		if json.Unmarshal(b, &d) != nil {
			return
		}
		g := testGate()
		g.Digest = "unguessable"
		if err := g.Admit(d, Terms{AllowUnsigned: true}, time.Now()); err == nil && d.Digest != g.Digest {
			t.Errorf("admitted %s", b)
		}
	})
}
