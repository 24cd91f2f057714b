package wflo

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"time"
)

const (
	// decisionAge is how old a signed decision may be when it arrives.
	decisionAge = 10 * time.Minute
	// decisionSkew is how far the signer's clock may be off.
	decisionSkew = 5 * time.Minute
)

// Terms are the worker's conditions for decisions. They are recorded in history
// when the gate opens, so that a replay judges as the first run did. A worker looks
// at its present ones again before an approved activity acts.
type Terms struct {
	// Keys maps a key's name to its Ed25519 public key in base64. A decision
	// signed by one of them is authentic, whoever it names: the keys of consoles
	// and other programs that know who is there.
	Keys map[string]string `json:"keys,omitempty"`
	// Signers are the keys of persons, by name. Each proves one subject only.
	Signers map[string]Signer `json:"signers,omitempty"`
	// Groups lists the members of groups that the worker's configuration knows, for
	// decisions whose signer does not say. Groups of a provider need not be here.
	Groups map[string][]string `json:"groups,omitempty"`
	// AllowUnsigned lets decisions without a signature count: for development,
	// and for approval tools that send raw signals.
	AllowUnsigned bool `json:"allow_unsigned,omitempty"`
	// UnsignedGates are patterns of gates, as path.Match has them, where decisions
	// without a signature count.
	UnsignedGates []string `json:"unsigned_gates,omitempty"`
}

// Signer is the key of one person.
type Signer struct {
	// Public is the Ed25519 public key in base64.
	Public string `json:"public"`
	// Subject is the only one whose decisions it may sign.
	Subject string `json:"subject"`
	// Groups are the subject's.
	Groups []string `json:"groups,omitempty"`
}

// Trusts says whether any decision could count at a gate.
func (t Terms) Trusts(gate string) bool {
	return len(t.Keys) > 0 || len(t.Signers) > 0 || t.unsigned(gate)
}

func (t Terms) unsigned(gate string) bool {
	return t.AllowUnsigned || slices.ContainsFunc(t.UnsignedGates, func(pattern string) bool {
		ok, err := path.Match(pattern, gate)
		return ok && err == nil
	})
}

// Verify says why the decision does not prove who made it, or nil when it does.
// signed refuses decisions without a signature whatever the terms say. The groups
// are those that count for the decision: what its signer says, and those that list
// its subject.
func (t Terms) Verify(d Decision, signed bool) (groups []string, err error) {
	groups, err = t.prove(d, signed)
	if err != nil {
		return nil, err
	}
	for _, name := range sortedNames(t.Groups) {
		if slices.Contains(t.Groups[name], d.By) && !slices.Contains(groups, name) {
			groups = append(groups, name)
		}
	}
	return groups, nil
}

func (t Terms) prove(d Decision, signed bool) (groups []string, err error) {
	if d.Signature == "" {
		if t.unsigned(d.Gate) && !signed {
			return slices.Clone(d.Groups), nil
		}
		return nil, Invalid("decision.signature", "is missing", "decide with wflo approve or the console, or let the worker allow unsigned decisions")
	}
	public, groups := t.Keys[d.Key], slices.Clone(d.Groups)
	if public == "" {
		s := t.Signers[d.Key]
		if s.Public != "" && d.By != s.Subject {
			return nil, Invalid("decision.by", fmt.Sprintf("is %q, and the key %q proves somebody else", d.By, d.Key), "decide in your own name")
		}
		// What a person says of their own groups does not count.
		public, groups = s.Public, slices.Clone(s.Groups)
	}
	pub, err := base64.StdEncoding.DecodeString(public)
	if err != nil || len(pub) != ed25519.PublicKeySize {
		return nil, Invalid("decision.key", fmt.Sprintf("%q is not one that the worker trusts", d.Key), "add its public key to the worker's approver keys")
	}
	sig, err := base64.StdEncoding.DecodeString(d.Signature)
	if err != nil || !proofs.verify(pub, d.SignedBytes(), sig) {
		return nil, Invalid("decision.signature", "does not verify", "sign the decision again; it was changed or the key is another")
	}
	return groups, nil
}

// fresh refuses a signed decision that was held back, or is from the future.
func (d Decision) fresh(now time.Time) error {
	switch {
	case d.Signature == "":
		return nil
	case d.At.IsZero():
		return Invalid("decision.at", "is missing", "say when the decision was signed")
	case d.At.After(now.Add(decisionSkew)):
		return Invalid("decision.at", "is in the future: "+d.At.UTC().Format(time.RFC3339), "set the clock of whoever signs it")
	case d.At.Before(now.Add(-decisionAge - decisionSkew)):
		return Invalid("decision.at", "is too old: "+d.At.UTC().Format(time.RFC3339), "decide again; a signed decision counts for ten minutes")
	}
	return nil
}

// Limit keeps the groups that a gate's approvers name, because the terms go into
// history and a directory has no place there.
func (t Terms) Limit(a Approval) Terms {
	groups := map[string][]string{}
	for _, approver := range a.allApprovers() {
		if g, ok := GroupOf(approver); ok && t.Groups[g] != nil {
			groups[g] = t.Groups[g]
		}
	}
	t.Groups = nil
	if len(groups) > 0 {
		t.Groups = groups
	}
	return t
}
