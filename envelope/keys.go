package envelope

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

const (
	keyBytes = 32
	maxID    = 32
)

// Keys seal and open payloads. ParseKeys makes them; the zero value has none.
type Keys struct {
	first string
	order []string
	all   map[string]sealer
}

// ParseKeys reads ID:BASE64 pairs, of 32 bytes each, which commas or line ends separate:
// the value of WFLO_PAYLOAD_KEYS, or a file. The first key seals, all of them open. Keys
// of blobs are written alike. What is wrong is an *wflo.Error with CodeMissingKey that
// quotes no key.
func ParseKeys(text string) (Keys, error) {
	const hint = "write ID:BASE64, as printed by: wflo codec keys new"
	k := Keys{all: map[string]sealer{}}
	pairs := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' })
	for i, pair := range pairs {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		id, encoded, ok := strings.Cut(pair, ":")
		if !ok || !validID(id) {
			return Keys{}, wflo.Errorf(wflo.CodeMissingKey, hint, "payload key number %d does not begin with an ID of 1 to %d lower-case letters, digits, - and _", i+1, maxID)
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(raw) != keyBytes {
			return Keys{}, wflo.Errorf(wflo.CodeMissingKey, hint, "payload key %s is not %d bytes in base64", id, keyBytes)
		}
		if _, ok := k.all[id]; ok {
			return Keys{}, wflo.Errorf(wflo.CodeMissingKey, "give each key an ID of its own", "payload key %s is there twice", id)
		}
		s, err := newSealer(raw)
		if err != nil {
			return Keys{}, fmt.Errorf("payload key %s: %w", id, err)
		}
		k.all[id], k.order = s, append(k.order, id)
	}
	if len(k.order) == 0 {
		return Keys{}, wflo.Errorf(wflo.CodeMissingKey, hint, "there is no payload key")
	}
	k.first = k.order[0]
	return k, nil
}

// Writes is the ID of the key that seals, or "" when there is none.
func (k Keys) Writes() string { return k.first }

// IDs are all keys' IDs in their order.
func (k Keys) IDs() []string { return slices.Clone(k.order) }

// NewKey makes a random key, written as ParseKeys reads it. An empty id becomes one with
// today's date.
func NewKey(id string) (string, error) {
	if id == "" {
		id = "k" + time.Now().UTC().Format("20060102")
	}
	if !validID(id) {
		return "", wflo.Invalid("the ID", fmt.Sprintf("is %.40q", id), fmt.Sprintf("use 1 to %d lower-case letters, digits, - and _", maxID))
	}
	raw := make([]byte, keyBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return id + ":" + base64.StdEncoding.EncodeToString(raw), nil
}

func validID(id string) bool {
	return id != "" && len(id) <= maxID && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
