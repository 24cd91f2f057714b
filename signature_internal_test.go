package wflo

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"testing"
)

// TestProofs: a signature that verified once proves nothing for another message, key
// or signature, and the memory is bounded.
func TestProofs(t *testing.T) {
	key := func(seed byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
	}
	public := func(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }
	sum := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	ann, bob := key(1), key(2)
	sig := ed25519.Sign(ann, sum("yes"))
	forged := slices.Clone(sig)
	forged[0] ^= 1
	var m proofMemo
	for range 2 { // the second time from memory
		for _, c := range []struct {
			name      string
			public    ed25519.PublicKey
			message   []byte
			signature []byte
			want      bool
		}{
			{"genuine", public(ann), sum("yes"), sig, true},
			{"another message", public(ann), sum("no"), sig, false},
			{"another key", public(bob), sum("yes"), sig, false},
			{"another signature", public(ann), sum("yes"), forged, false},
			{"a long signature", public(ann), sum("yes"), append(slices.Clone(sig), 0), false},
			{"a short signature", public(ann), sum("yes"), sig[:63], false},
			{"no message", public(ann), nil, sig, false},
			{"no key", nil, sum("yes"), sig, false},
		} {
			if got := m.verify(c.public, c.message, c.signature); got != c.want {
				t.Errorf("%s: %v", c.name, got)
			}
		}
	}
	if len(m.held) != 1 {
		t.Errorf("%d proofs are held, want the genuine one", len(m.held))
	}
	for i := range mostProofs + 1 {
		m.held[proof{message: [32]byte{byte(i), byte(i >> 8), 1}}] = struct{}{}
	}
	if !m.verify(public(bob), sum("more"), ed25519.Sign(bob, sum("more"))) || len(m.held) != 1 {
		t.Errorf("%d proofs are held of at most %d", len(m.held), mostProofs)
	}
}
