package config

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"testing"
)

// FuzzParseKey: what is read as a private key signs, and what is not is never quoted.
func FuzzParseKey(f *testing.F) {
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	good := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(bytes.Replace(good, []byte("PRIVATE"), []byte("EC PRIVATE"), 2))
	f.Add(append([]byte("text before it\n"), good...))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := parseKey(data)
		if err != nil {
			if len(data) > 8 && bytes.Contains([]byte(err.Error()), data) {
				t.Errorf("the error quotes the file: %v", err)
			}
			return
		}
		public, ok := key.Public().(ed25519.PublicKey)
		if len(key) != ed25519.PrivateKeySize || !ok || !ed25519.Verify(public, []byte("x"), ed25519.Sign(key, []byte("x"))) {
			t.Errorf("%q is a key of %d bytes that does not sign", data, len(key))
		}
	})
}
