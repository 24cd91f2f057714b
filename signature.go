package wflo

import (
	"crypto/ed25519"
	"crypto/sha256"
	"sync"
)

// proofs remembers signatures that verified: the gate's validator, its handler and the
// count of its votes look at the same decision, and verifying is most of what that costs.
// A signature verifies always or never, so workflow code may ask.
var proofs proofMemo

// mostProofs bounds what is remembered: some 160 bytes each.
const mostProofs = 4096

type proof struct {
	public    [ed25519.PublicKeySize]byte
	signature [ed25519.SignatureSize]byte
	message   [sha256.Size]byte
}

// proofMemo may be used at the same time. The zero value is ready.
type proofMemo struct {
	mu   sync.Mutex
	held map[proof]struct{}
}

// verify says that the signature of the message, a SHA-256, is by the key.
func (m *proofMemo) verify(public ed25519.PublicKey, message, signature []byte) bool {
	if len(public) != ed25519.PublicKeySize || len(signature) != ed25519.SignatureSize || len(message) != sha256.Size {
		return false
	}
	p := proof{[ed25519.PublicKeySize]byte(public), [ed25519.SignatureSize]byte(signature), [sha256.Size]byte(message)}
	m.mu.Lock()
	_, known := m.held[p]
	m.mu.Unlock()
	if known {
		return true
	}
	if !ed25519.Verify(public, message, signature) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held == nil || len(m.held) >= mostProofs {
		m.held = map[proof]struct{}{}
	}
	m.held[p] = struct{}{}
	return true
}
