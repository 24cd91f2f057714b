// Package approver keeps the Ed25519 keys that prove who decided at an approval
// gate: [Create] makes a pair, [Load] reads the private half for signing with
// wflo.Decision.Sign, and [Key.Public] is what the worker's key list holds.
//
// A key is a PKCS #8 PEM file that only its owner may read; the package refuses
// to use one that others can read, as ssh does. Its name is the file's name
// without the extension.
package approver

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/config"
)

// FileName is the key that `wflo dev` makes in its data directory, and that
// `wflo approve` finds there.
const FileName = "approver.key"

// Key signs decisions.
type Key struct {
	// Name is how the worker's key list calls it.
	Name    string
	Private ed25519.PrivateKey
}

// Public is the public half in base64, as wflo.Terms.Keys wants it.
func (k Key) Public() string {
	return base64.StdEncoding.EncodeToString(k.Private.Public().(ed25519.PublicKey))
}

// Load reads a private key. A file that is missing matches fs.ErrNotExist.
func Load(path string) (Key, error) {
	name, private, err := config.ReadKey(path)
	if err != nil {
		return Key{}, fmt.Errorf("approver key: %w", err)
	}
	return Key{Name: name, Private: private}, nil
}

// Create makes a new key at path, readable by its owner only. It never
// overwrites: an existing file is an error that matches fs.ErrExist.
func Create(path string) (Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, fmt.Errorf("encode key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Key{}, wflo.Errorf(wflo.CodeConflict, "choose another file", "approver key: %w", err)
	}
	if err := errors.Join(pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), f.Close()); err != nil {
		return Key{}, fmt.Errorf("write %s: %w", path, err)
	}
	return Key{Name: keyName(path), Private: private}, nil
}

// Ensure loads the key of a data directory and makes it when there is none.
func Ensure(dir string) (Key, error) {
	path := filepath.Join(dir, FileName)
	k, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	k, err = Create(path)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return Load(path)
	}
	return k, err
}

func keyName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
