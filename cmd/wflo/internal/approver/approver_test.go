package approver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func TestSignedDecisionIsAdmitted(t *testing.T) {
	k, err := Ensure(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := wflo.Gate{ID: "refunds", WorkflowID: "w", Status: wflo.GateOpen, Approval: wflo.Approval{Gate: "refunds", Action: "pay"}, OpenedAt: time.Unix(0, 0)}
	g.Digest = g.ComputeDigest()
	d := wflo.Decision{Gate: g.ID, Digest: g.Digest, Verdict: wflo.VerdictApprove, By: "ann"}.Sign(k.Name, k.Private)
	if err := g.Admit(d, wflo.Terms{Keys: map[string]string{"approver": k.Public()}}, time.Now()); err != nil {
		t.Errorf("Admit: %v", err)
	}
}

func TestEnsureKeepsTheKey(t *testing.T) {
	dir := t.TempDir()
	first, err := Ensure(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Ensure(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Private.Equal(second.Private) || first.Name != "approver" || second.Name != "approver" {
		t.Errorf("keys differ: %s %s, names %s %s", first.Public(), second.Public(), first.Name, second.Name)
	}
	if _, err := Create(filepath.Join(dir, FileName)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a key = %v, want fs.ErrExist", err)
	}
}

func TestRefusesBadKeys(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		data []byte
		mode os.FileMode
		text string
	}{
		"text":   {[]byte("s3cret"), 0o600, "not a PEM private key"},
		"public": {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600, "not a PEM private key"},
		"der":    {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("s3cret")}), 0o600, "not a PKCS #8"},
		"ecdsa":  {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600, "not an Ed25519 key"},
		"open":   {[]byte("s3cret"), 0o644, "can be read by others"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k.key")
			if err := os.WriteFile(path, tc.data, tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			if wflo.CodeOf(err) != wflo.CodeMissingKey || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("Load = %v, want %q without the content", err, tc.text)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of nothing = %v, want fs.ErrNotExist", err)
	}
}
