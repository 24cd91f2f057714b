//go:build integration

package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// canaries are secrets by what they are called, each in all the forms in which it
// could come out.
type canaries map[string][][]byte

// plant adds a secret.
func (c canaries) plant(name, secret string) string {
	c[name] = append(c[name], forms([]byte(secret))...)
	return secret
}

// forms are a secret as it is, in hexadecimal, and inside of anything that was
// written as base64, which has three ways to fall on it.
func forms(secret []byte) [][]byte {
	low := hex.EncodeToString(secret)
	all := [][]byte{secret, []byte(low), []byte(strings.ToUpper(low))}
	for before := range 3 {
		whole := make([]byte, before, before+len(secret))
		whole = append(whole, secret...)
		whole = whole[:len(whole)/3*3] // the last letters depend on what follows
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			text := []byte(e.EncodeToString(whole))
			// The first letters depend on what goes before.
			all = append(all, text[(before*8+5)/6:])
		}
	}
	return all
}

// plantKey adds the private half of a key that wflo keygen made.
func (c canaries) plantKey(t *testing.T, name, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s is no PEM", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		t.Fatalf("%s is a %T", path, parsed)
	}
	c[name] = forms(key.Seed())
}

// in says which secrets a text has.
func (c canaries) in(text []byte) (found []string) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if slices.ContainsFunc(c[name], func(form []byte) bool { return bytes.Contains(text, form) }) {
			found = append(found, name)
		}
	}
	return found
}

// wantNone looks for all secrets in a place. The mark is what the place must have in
// any case: without it the search looked at the wrong thing.
func (c canaries) wantNone(t *testing.T, place, text, mark string) {
	t.Helper()
	if !strings.Contains(text, mark) || text == "" {
		t.Errorf("%s lacks %q, which belongs there: %d bytes, %.300q", place, mark, len(text), text)
	}
	if found := c.in([]byte(text)); len(found) > 0 {
		t.Errorf("%s has secrets: %v", place, found)
	}
}

// TestCanarySearch: what looks for secrets finds them however they are written, and
// nothing else.
func TestCanarySearch(t *testing.T) {
	t.Parallel()
	const secret = "canary-that-is-found-4711"
	c := canaries{}
	c.plant("one", secret)
	c.plant("another", "canary-that-is-nowhere-4711")
	texts := map[string]string{"plain": "a=" + secret + ";", "hexadecimal": `\x` + hex.EncodeToString([]byte("a="+secret+";"))}
	for i := range 6 {
		around := strings.Repeat("~", i)
		for name, e := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "raw base64 of URLs": base64.RawURLEncoding} {
			texts[name+around] = e.EncodeToString([]byte(around + secret + around))
		}
	}
	for name, text := range texts {
		if got := c.in([]byte(text)); !slices.Equal(got, []string{"one"}) {
			t.Errorf("%s: found %v in %q", name, got, text)
		}
	}
	if got := c.in([]byte("canary-that-is canary-that-is-foun d")); got != nil {
		t.Errorf("found %v", got)
	}
}
