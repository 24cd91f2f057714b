package oidc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	keyBytes = 32
	// cookieName has the prefix by which browsers refuse it from other hosts and
	// without TLS; plainName is for the loopback interface without TLS.
	cookieName = "__Host-wflo_oidc"
	plainName  = "wflo_oidc"
	// maxUsed bounds the memory of finished logins. A code works once at the
	// provider in any case.
	maxUsed = 1 << 16
)

// pending is a login under way. Only the browser holds it, sealed.
type pending struct {
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Back     string    `json:"b"`
	Expires  time.Time `json:"e"`
}

// sealer encrypts what browsers hold, by AES-256-GCM. about keeps what is sealed
// for one client of one provider from being opened for another.
type sealer struct {
	aead  cipher.AEAD
	about []byte
}

func newSealer(key []byte, about string) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, about: []byte(about)}, nil
}

func (s *sealer) seal(p pending) (string, error) {
	plain, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, s.about)), nil //nolint:gosec // it chooses the nonce itself
}

func (s *sealer) open(text string) (pending, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return pending{}, errors.New("the cookie is not ours")
	}
	plain, err := s.aead.Open(nil, nil, sealed, s.about)
	if err != nil {
		return pending{}, errors.New("the cookie is not ours")
	}
	var p pending
	return p, json.Unmarshal(plain, &p)
}

// used remembers finished logins, so that none is finished twice.
type used struct {
	mu    sync.Mutex
	seen  map[[sha256.Size]byte]bool
	order [][sha256.Size]byte
	next  int
}

func newUsed() *used { return &used{seen: map[[sha256.Size]byte]bool{}} }

// first is true once for each state.
func (u *used) first(state string) bool {
	sum := sha256.Sum256([]byte(state))
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.seen[sum] {
		return false
	}
	u.seen[sum] = true
	if len(u.order) < maxUsed {
		u.order = append(u.order, sum)
		return true
	}
	delete(u.seen, u.order[u.next])
	u.order[u.next] = sum
	u.next = (u.next + 1) % maxUsed
	return true
}

// random gives 256 bits, as text.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails: the program ends before
	return base64.RawURLEncoding.EncodeToString(b)
}

// cookie holds a sealed login. It comes along when the provider sends the browser
// back, which SameSite=Strict would not allow.
func (l *Login) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{Name: l.cookieName(), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: l.secure(), SameSite: http.SameSiteLaxMode} //nolint:gosec // without TLS on the loopback interface only
}

func (l *Login) secure() bool { return len(l.cfg.RedirectURL) > 5 && l.cfg.RedirectURL[:6] == "https:" }

func (l *Login) cookieName() string {
	if l.secure() {
		return cookieName
	}
	return plainName
}
