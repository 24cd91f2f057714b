package config

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// maxKeyFile bounds a key's file, in bytes: one of Ed25519 has 119.
const maxKeyFile = 64 << 10

// ReadKey reads an Ed25519 private key, as wflo keygen makes it. Its name is the
// file's without the extension. A file that others can read is refused, as ssh does. One
// that belongs to root may be readable by a group of this process, which is not root
// itself: that is how Kubernetes gives a Secret to a pod with an fsGroup.
func ReadKey(path string) (name string, key ed25519.PrivateKey, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "name a readable file, or make one with: wflo keygen "+path, "read key: %w", err)
	}
	defer f.Close()
	// Of what was opened, not of the path: that may be another file by then.
	info, err := f.Stat()
	if err != nil {
		return "", nil, fmt.Errorf("read key: %w", err)
	}
	if !keptPrivate(info.Mode().Perm(), ownerOf(info), ourselves()) {
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "chmod 600 "+path, "key %s can be read by others (mode %#o)", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "name a readable file", "read key: %w", err)
	}
	if key, err = parseKey(data); err != nil {
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "make one with: wflo keygen FILE", "key %s: %w", path, err)
	}
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base)), key, nil
}

// owner is whose a file is.
type owner struct {
	user, group int
	// known is false where files have no such owners, nor permissions.
	known bool
}

// process is who reads it: its effective user, and all of its groups.
type process struct {
	user   int
	groups []int
}

// keptPrivate says whether a key's file with these permissions is read by nobody whom we do
// not expect. A group may read it where root alone can change the file and its mode, and
// where the group is one of a process that needs it to read: root would not, so for root
// the bit is a mistake.
func keptPrivate(mode fs.FileMode, of owner, us process) bool {
	switch {
	case !of.known || mode&0o077 == 0:
		return true
	case mode&0o037 != 0:
		return false
	}
	return of.user == 0 && us.user != 0 && slices.Contains(us.groups, of.group)
}

// parseKey reads a PKCS #8 PEM block. Its errors never quote the data.
func parseKey(data []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("is not a PEM private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("is not a PKCS #8 private key")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("is not an Ed25519 key")
	}
	return key, nil
}

func base64Of(text string) ([]byte, error) { return base64.StdEncoding.DecodeString(text) }
