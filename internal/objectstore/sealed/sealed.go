// Package sealed encrypts blobs before another store keeps them. [Open] wraps a store
// into a [Store], which implements activities.BlobStore; [ParseKeys] reads the keys.
//
// A blob is sealed with AES-256-GCM. Its nonce is made of its content and the key, so
// that equal blobs are equal when they are sealed, and stored once: whoever reads the
// store sees that two blobs are equal and how large they are, and nothing else. The key
// of a blob is the hash of what is stored.
//
// The package refuses blobs that are not sealed, that are sealed with a key that it does
// not have, and that were changed. Keys are in no error.
package sealed

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

var _ activities.BlobStore = (*Store)(nil)

// A sealed blob is the magic, the length of the key's ID in one byte, the ID, the nonce,
// and the encrypted content with its tag of 16 bytes.
const (
	magic     = "WFLOBLB\x01" // the last byte is the version
	domain    = "wflo.blob.v1"
	keyBytes  = 32
	nonceSize = 12
	tagSize   = 16
	maxID     = 32
)

// MaxOverhead is how many bytes sealing adds at most: the limit of the store below must
// be larger than that of the values by this much.
const MaxOverhead = len(magic) + 1 + maxID + nonceSize + tagSize

// Keys seal and open blobs. ParseKeys makes them.
type Keys struct {
	first string
	all   map[string]sealer
}

type sealer struct {
	aead  cipher.AEAD
	nonce []byte // the key that nonces are made with
}

// ParseKeys reads ID:BASE64 pairs, of 32 bytes each, which commas or line ends separate:
// the value of WFLO_BLOB_KEYS, or a file. The first key seals, all of them open. What is
// wrong is an *wflo.Error with CodeMissingKey that quotes no key.
func ParseKeys(text string) (Keys, error) {
	const hint = "write ID:BASE64, with 32 bytes from: openssl rand -base64 32"
	k := Keys{all: map[string]sealer{}}
	pairs := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' })
	for i, pair := range pairs {
		id, encoded, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if !ok || !validID(id) {
			return Keys{}, wflo.Errorf(wflo.CodeMissingKey, hint, "blob key number %d does not begin with an ID of 1 to %d lower-case letters, digits, - and _", i+1, maxID)
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(raw) != keyBytes {
			return Keys{}, wflo.Errorf(wflo.CodeMissingKey, hint, "blob key %s is not %d bytes in base64", id, keyBytes)
		}
		if _, ok := k.all[id]; ok {
			return Keys{}, wflo.Errorf(wflo.CodeMissingKey, "give each key an ID of its own", "blob key %s is there twice", id)
		}
		s, err := newSealer(raw)
		if err != nil {
			return Keys{}, fmt.Errorf("blob key %s: %w", id, err)
		}
		if k.all[id] = s; i == 0 {
			k.first = id
		}
	}
	if k.first == "" {
		return Keys{}, wflo.Errorf(wflo.CodeMissingKey, hint, "there is no blob key")
	}
	return k, nil
}

// IDs lists the keys' IDs in order.
func (k Keys) IDs() []string {
	var ids []string
	for id := range k.all {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func validID(id string) bool {
	return id != "" && len(id) <= maxID && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// newSealer derives a key for each of the two uses: one key for both AES and HMAC is
// nothing that anybody has proved to be safe.
func newSealer(key []byte) (sealer, error) {
	encrypt, err := hkdf.Key(sha256.New, key, nil, domain+" encrypt", keyBytes)
	if err != nil {
		return sealer{}, err
	}
	nonce, err := hkdf.Key(sha256.New, key, nil, domain+" nonce", keyBytes)
	if err != nil {
		return sealer{}, err
	}
	block, err := aes.NewCipher(encrypt)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealer{aead: aead, nonce: nonce}, err
}

// Config says what is sealed with what.
type Config struct {
	// Blobs keeps what is sealed. Required; its owner closes it.
	Blobs activities.BlobStore
	// Keys seal and open. Required.
	Keys Keys
	// AllowPlain reads blobs that are not sealed, too: for as long as a store has some
	// from before it had keys.
	AllowPlain bool
}

// Store is an activities.BlobStore that seals. Its methods may be called at the same
// time.
type Store struct {
	below activities.BlobStore
	keys  Keys
	plain bool
}

// Open wraps a store.
func Open(c Config) (*Store, error) {
	if c.Blobs == nil {
		return nil, wflo.Invalid("sealed.blobs", "is nil", "give the store that keeps what is sealed")
	}
	if c.Keys.first == "" {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "set WFLO_BLOB_KEYS", "there is no key to seal blobs with")
	}
	return &Store{below: c.Blobs, keys: c.Keys, plain: c.AllowPlain}, nil
}

// Put implements activities.Blobs. The key is that of the sealed blob.
func (s *Store) Put(ctx context.Context, data []byte) (string, error) {
	return s.below.Put(ctx, s.keys.seal(data))
}

// Get implements activities.Blobs. A key that is not there is an *wflo.Error with
// CodeMissingKey that names it; a blob that is not sealed is one with CodeConflict.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	stored, err := s.below.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(stored[:min(len(stored), len(magic))]), magic) {
		if s.plain {
			return stored, nil
		}
		return nil, wflo.Errorf(wflo.CodeConflict, "find out who stored it; where the store had no keys at first, allow plain blobs for a while", "blob %s is not sealed", key)
	}
	data, err := s.keys.open(stored)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", key, err)
	}
	return data, nil
}

// List implements activities.BlobStore. Sizes are those of what is stored.
func (s *Store) List(ctx context.Context, before time.Time, each func(key string, size int64) error) error {
	return s.below.List(ctx, before, each)
}

// Delete implements activities.BlobStore.
func (s *Store) Delete(ctx context.Context, key string, before time.Time) error {
	return s.below.Delete(ctx, key, before)
}

func header(id string) []byte {
	return append(append([]byte(magic), byte(len(id))), id...) // an ID has 32 bytes at most
}

// authenticated is what is sealed along: what the bytes are for, in which version and
// under which key.
func authenticated(header []byte) []byte { return append([]byte(domain+"\x00"), header...) }

func (k Keys) seal(data []byte) []byte {
	s, head := k.all[k.first], header(k.first)
	mac := hmac.New(sha256.New, s.nonce)
	mac.Write(data)
	nonce := mac.Sum(nil)[:nonceSize]
	out := make([]byte, 0, len(head)+nonceSize+len(data)+tagSize)
	out = append(append(out, head...), nonce...)
	return s.aead.Seal(out, nonce, data, authenticated(head))
}

// open undoes seal of what begins with the magic.
func (k Keys) open(stored []byte) ([]byte, error) {
	damaged := func() error {
		return wflo.Errorf(wflo.CodeConflict, "restore the store from a backup, and find out who changed it", "it is damaged, or another key has the same ID")
	}
	rest := stored[len(magic):]
	if len(rest) == 0 || len(rest) < 1+int(rest[0])+nonceSize+tagSize || !validID(string(rest[1:1+int(rest[0])])) {
		return nil, damaged()
	}
	id := string(rest[1 : 1+int(rest[0])])
	s, ok := k.all[id]
	if !ok {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "add the key to WFLO_BLOB_KEYS again: keys stay as long as blobs that they sealed", "it is sealed with the key %s, which is not there", id)
	}
	rest = rest[1+len(id):]
	data, err := s.aead.Open(nil, rest[:nonceSize], rest[nonceSize:], authenticated(header(id)))
	if err != nil {
		return nil, damaged()
	}
	return data, nil
}
