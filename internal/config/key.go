package config

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// ReadKey reads an Ed25519 private key, as wflo keygen makes it. Its name is the
// file's without the extension. A file that others can read is refused, as ssh does.
func ReadKey(path string) (name string, key ed25519.PrivateKey, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "make one with: wflo keygen "+path, "read key: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 { // which has no such bits
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "chmod 600 "+path, "key %s can be read by others (mode %#o)", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "name a readable file", "read key: %w", err)
	}
	if key, err = parseKey(data); err != nil {
		return "", nil, wflo.Errorf(wflo.CodeMissingKey, "make one with: wflo keygen FILE", "key %s: %w", path, err)
	}
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base)), key, nil
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
