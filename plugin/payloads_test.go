package plugin

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
)

func payloadKey(t *testing.T, id string) string {
	t.Helper()
	line, err := envelope.NewKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// withoutKeys keeps the test's own environment out.
func withoutKeys(t *testing.T) {
	t.Helper()
	for _, name := range []string{"WFLO_CONFIG", "WFLO_PAYLOAD_KEYS", "WFLO_PAYLOAD_KEYS_FILE", "WFLO_PAYLOAD_REFUSE_PLAIN"} {
		t.Setenv(name, "")
	}
}

// The environment counts above the file, for workers as for commands.
func TestPayloadKeysAreFound(t *testing.T) {
	withoutKeys(t)
	dir := t.TempDir()
	conf, keys := filepath.Join(dir, "wflo.yaml"), filepath.Join(dir, "keys")
	for path, text := range map[string]string{conf: "payloads: {keys: {file: " + keys + "}, refuse_plain: true}\n", keys: payloadKey(t, "file") + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, id string, strict bool) {
		t.Helper()
		c, err := PayloadCodec(nil)
		if err != nil || c.Keys().Writes() != id {
			t.Errorf("%s: %q %v", what, c.Keys().Writes(), err)
		}
		worker, err := FromEnv()
		if err != nil || !strings.HasPrefix(worker.Payloads.Keys, id) || worker.Payloads.RefusePlain != strict {
			t.Errorf("%s: a worker: %v", what, err)
		}
	}
	want("nothing", "", false)
	t.Setenv("WFLO_CONFIG", conf)
	want("a file", "file", true)
	t.Setenv("WFLO_PAYLOAD_KEYS", payloadKey(t, "env"))
	t.Setenv("WFLO_PAYLOAD_REFUSE_PLAIN", "false")
	want("both", "env", false)
	t.Setenv("WFLO_PAYLOAD_KEYS", "env:broken")
	if _, err := PayloadCodec(nil); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Error(err)
	}
	if _, err := New(Config{DataDir: t.TempDir(), Database: "memory", Logger: slog.New(slog.DiscardHandler)}); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Error("a worker starts with a broken key:", err)
	}
}

// A client whose keys cannot be read sends nothing: what it sent would be plain.
func TestBrokenKeysSendNothing(t *testing.T) {
	withoutKeys(t)
	t.Setenv("WFLO_PAYLOAD_KEYS_FILE", filepath.Join(t.TempDir(), "none"))
	o := client.Options{HostPort: "127.0.0.1:1", Logger: slog.New(slog.DiscardHandler)}
	if err := ConfigureReader(&o, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DialContext(t.Context(), o); err == nil || !strings.Contains(err.Error(), "WFLO_PAYLOAD_KEYS_FILE") {
		t.Errorf("it dialled: %v", err)
	}
}

// Large payloads are sealed where they are kept, equal ones are kept once, and what was
// kept before there were keys is read.
func TestClaimsAreSealed(t *testing.T) {
	dir := t.TempDir()
	blobs, err := file.Open(file.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	with := Payloads{Keys: payloadKey(t, "a")}
	p := &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"planted words"`)}
	store := func(p2 Payloads) (*claimStore, []converter.StorageDriverClaim) {
		t.Helper()
		below, err := p2.sealed(blobs)
		if err != nil {
			t.Fatal(err)
		}
		s := &claimStore{blobs: below}
		claims, err := s.Store(converter.StorageDriverStoreContext{Context: t.Context()}, []*commonpb.Payload{p})
		if err != nil {
			t.Fatal(err)
		}
		return s, claims
	}
	_, old := store(Payloads{})
	sealed, first := store(with)
	_, second := store(with)
	if first[0].ClaimData[claimKey] != second[0].ClaimData[claimKey] || first[0].ClaimData[claimKey] == old[0].ClaimData[claimKey] {
		t.Error("equal payloads are not kept once, or not sealed")
	}
	read := func(s *claimStore, c []converter.StorageDriverClaim) error {
		out, err := s.Retrieve(converter.StorageDriverRetrieveContext{Context: t.Context()}, c)
		if err == nil && string(out[0].Data) != string(p.Data) {
			t.Errorf("read %q", out[0].Data)
		}
		return err
	}
	for _, c := range [][]converter.StorageDriverClaim{old, first} {
		if err := read(sealed, c); err != nil {
			t.Error(err)
		}
	}
	with.RefusePlain = true
	strict, _ := store(with)
	if err := read(strict, old); err == nil {
		t.Error("a plain blob was read")
	}
	raw, err := blobs.Get(t.Context(), first[0].ClaimData[claimKey])
	if err != nil || strings.Contains(string(raw), "planted") {
		t.Errorf("%q %v", raw, err)
	}
}
