package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
)

func freshKey(t testing.TB, id string) string {
	t.Helper()
	line, err := NewKey(id)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func codec(t testing.TB, keys ...string) *Codec {
	t.Helper()
	c, err := New(Config{Keys: strings.Join(keys, ",")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func payload(data string) *commonpb.Payload {
	return &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain"), "messageType": []byte("of.mine")}, Data: []byte(data)}
}

func one(t testing.TB, out []*commonpb.Payload, err error) *commonpb.Payload {
	t.Helper()
	if err != nil || len(out) != 1 {
		t.Fatalf("%d payloads, %v", len(out), err)
	}
	return out[0]
}

func sealedBy(t testing.TB, c *Codec, p *commonpb.Payload) *commonpb.Payload {
	t.Helper()
	out, err := c.Encode([]*commonpb.Payload{p})
	return one(t, out, err)
}

func TestSealAndOpen(t *testing.T) {
	c := codec(t, freshKey(t, "a"))
	for _, p := range []*commonpb.Payload{payload(`"secret"`), payload(""), {}, payload(strings.Repeat("x", 1<<20))} {
		before := proto.Clone(p)
		s := sealedBy(t, c, p)
		if len(p.Data) > 0 && bytes.Contains(s.Data, p.Data) {
			t.Error("the content shows")
		}
		for k, v := range s.Metadata {
			if k == "messageType" || bytes.Contains(v, []byte("json")) {
				t.Errorf("metadata %s=%s shows", k, v)
			}
		}
		out, err := c.Decode([]*commonpb.Payload{s})
		if !proto.Equal(before, one(t, out, err)) {
			t.Errorf("%d bytes came back changed", len(p.Data))
		}
		if !proto.Equal(before, p) {
			t.Errorf("the argument of %d bytes was changed", len(p.Data))
		}
		if again := sealedBy(t, c, s); again != s {
			t.Error("sealed twice")
		}
		if bytes.Equal(sealedBy(t, c, p).Data, s.Data) {
			t.Error("two seals are alike")
		}
	}
}

// Keys are rotated by putting a new one in front: old payloads are opened, new ones sealed
// with the new key, and a reader that is behind says which key it lacks.
func TestRotation(t *testing.T) {
	first, second := freshKey(t, "first"), freshKey(t, "second")
	before, during, after := codec(t, first), codec(t, first, second), codec(t, second, first)
	old, fresh := sealedBy(t, before, payload("1")), sealedBy(t, after, payload("2"))
	for _, c := range []*Codec{during, after} {
		if _, err := c.Decode([]*commonpb.Payload{old, fresh}); err != nil {
			t.Error(err)
		}
	}
	if id := string(fresh.Metadata[MetadataKeyID]); id != "second" {
		t.Error("sealed with", id)
	}
	_, err := before.Decode([]*commonpb.Payload{fresh})
	var e *wflo.Error
	if !errors.As(err, &e) || e.Code != wflo.CodeMissingKey || !strings.Contains(err.Error(), `"second"`) || e.Hint == "" {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"second", "first"}, after.Keys().IDs()); diff != "" {
		t.Error(diff)
	}
}

func TestChanged(t *testing.T) {
	key := freshKey(t, "a")
	secret := strings.TrimPrefix(key, "a:")
	other := codec(t, "b:"+secret, key)
	c := codec(t, key)
	s := sealedBy(t, c, payload("secret"))
	refuse := func(what string, p *commonpb.Payload, with *Codec) {
		t.Helper()
		_, err := with.Decode([]*commonpb.Payload{p})
		var e *wflo.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the key is in the error", what)
		}
	}
	for i := range s.Data {
		p := proto.CloneOf(s)
		p.Data[i] ^= 1
		refuse(fmt.Sprint("byte ", i), p, c)
	}
	for n := range len(s.Data) {
		p := proto.CloneOf(s)
		p.Data = p.Data[:n]
		refuse(fmt.Sprint("cut at ", n), p, c)
	}
	relabelled := proto.CloneOf(s)
	relabelled.Metadata[MetadataKeyID] = []byte("b")
	refuse("same key under another ID", relabelled, other)
	for _, id := range []string{"", "a\x1b[31m", "A", strings.Repeat("a", 33)} {
		p := proto.CloneOf(s)
		p.Metadata[MetadataKeyID] = []byte(id)
		_, err := c.Decode([]*commonpb.Payload{p})
		if err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", id, err)
		}
	}
	refuse("the same ID for another key", s, codec(t, freshKey(t, "a")))
	refuse("no keys at all", s, codec(t))
}

func TestPlain(t *testing.T) {
	keys := freshKey(t, "a")
	p := payload("from before")
	out, err := codec(t, keys).Decode([]*commonpb.Payload{p})
	if one(t, out, err) != p {
		t.Error("changed")
	}
	strict, err := New(Config{Keys: keys, RefusePlain: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Decode([]*commonpb.Payload{p}); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Error(err)
	}
	if err := strict.Converter(nil).FromPayload(refused(), new(string)); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Error(err)
	}
	if _, err := New(Config{RefusePlain: true}); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Error("without a key:", err)
	}
	none := codec(t)
	out, err = none.Encode([]*commonpb.Payload{p})
	if one(t, out, err) != p {
		t.Error("sealed without a key")
	}
}

func TestKeys(t *testing.T) {
	a, b := freshKey(t, "a"), freshKey(t, "b-2_x")
	for _, text := range []string{a + "," + b, a + "\n" + b + "\n", " " + a + " ,\r\n" + b, a + ",," + b} {
		k, err := ParseKeys(text)
		if err != nil || k.Writes() != "a" || len(k.IDs()) != 2 {
			t.Errorf("%v %v", k.IDs(), err)
		}
	}
	secret := strings.TrimPrefix(a, "a:")
	for _, text := range []string{"", ",", "\n", secret, ":" + secret, "A:" + secret, "a:" + secret[4:], "a:" + secret + "," + "a:" + secret, "a b:" + secret, "a:!" + secret} {
		_, err := ParseKeys(text)
		var e *wflo.Error
		if !errors.As(err, &e) || e.Code != wflo.CodeMissingKey || e.Hint == "" {
			t.Errorf("%q: %v", text, err)
		} else if strings.Contains(err.Error(), secret[:20]) || strings.Contains(err.Error(), secret[4:24]) {
			t.Errorf("the error quotes the key")
		}
	}
	if _, err := NewKey("No"); err == nil {
		t.Error("a bad ID")
	}
	if line := freshKey(t, ""); !strings.HasPrefix(line, "k2") {
		t.Error("no date in the ID")
	}
}

func TestReadEnv(t *testing.T) {
	key := freshKey(t, "a")
	dir := t.TempDir()
	file := write(t, dir, "keys", key+"\n")
	empty := write(t, dir, "empty", "")
	for _, c := range []struct{ keys, file, plain, want string }{
		{"", "", "", ""}, {key, "", "", "a"}, {"", file, "", "a"}, {key, dir + "/none", "true", "a"}, {"", file, "false", "a"},
	} {
		t.Setenv("WFLO_PAYLOAD_KEYS", c.keys)
		t.Setenv("WFLO_PAYLOAD_KEYS_FILE", c.file)
		t.Setenv("WFLO_PAYLOAD_REFUSE_PLAIN", c.plain)
		cfg, err := ReadEnv()
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := New(cfg)
		if err != nil || got.Keys().Writes() != c.want || got.refusePlain != (c.plain == "true") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []struct{ file, plain string }{{dir + "/none", ""}, {empty, ""}, {file, "yes"}} {
		t.Setenv("WFLO_PAYLOAD_KEYS", "")
		t.Setenv("WFLO_PAYLOAD_KEYS_FILE", c.file)
		t.Setenv("WFLO_PAYLOAD_REFUSE_PLAIN", c.plain)
		if _, err := ReadEnv(); wflo.CodeOf(err) == "" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// The vectors are those of the specification.
func TestXAESVectors(t *testing.T) {
	for _, v := range []struct {
		key                byte
		message, data, out string
	}{
		{1, "XAES-256-GCM", "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "XAES-256-GCM", "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		s, err := newXAES(bytes.Repeat([]byte{v.key}, keyBytes))
		if err != nil {
			t.Fatal(err)
		}
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		out := s.sealWith(bytes.Clone(nonce), []byte(v.message), []byte(v.data))
		if got := hex.EncodeToString(out[nonceSize:]); got != v.out {
			t.Errorf("key %d: %s", v.key, got)
		}
		if back, err := s.open(out, []byte(v.data)); err != nil || string(back) != v.message {
			t.Error(err)
		}
	}
}

// Code of a workflow must not see an error: the SDK would end the run.
func TestWorkflowsPanic(t *testing.T) {
	s := sealedBy(t, codec(t, freshKey(t, "a")), payload(`"x"`))
	dc := codec(t).Converter(nil)
	if err := dc.FromPayload(s, new(string)); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Error(err)
	}
	if text := dc.ToString(s); !strings.Contains(text, `"a"`) {
		t.Error(text)
	}
	in := dc.(converter.ContextAware).WithWorkflowContext(nil)
	defer func() {
		if err, _ := recover().(error); wflo.CodeOf(err) != wflo.CodeMissingKey {
			t.Error("no panic, or another one:", err)
		}
	}()
	_ = in.FromPayloads(&commonpb.Payloads{Payloads: []*commonpb.Payload{s}}, new(string))
	t.Error("it went on")
}

func FuzzDecode(f *testing.F) {
	c := codec(f, freshKey(f, "a"))
	s := sealedBy(f, c, payload("secret"))
	f.Add([]byte("a"), s.Data)
	f.Add([]byte("b"), s.Data)
	f.Add([]byte(""), []byte{})
	f.Add([]byte("a"), bytes.Repeat([]byte{0}, nonceSize+tagSize))
	f.Fuzz(func(t *testing.T, id, data []byte) {
		out, err := c.Decode([]*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte(Encoding), MetadataKeyID: id}, Data: data}})
		if err == nil && (string(id) != "a" || !bytes.Equal(data, s.Data)) {
			t.Errorf("a forgery was opened: %v", out)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	key := freshKey(f, "a")
	f.Add(key)
	f.Add(key + "," + freshKey(f, "b"))
	f.Add("a:\x00,b")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKeys(text)
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeMissingKey {
				t.Error(err)
			}
			return
		}
		for _, id := range k.IDs() {
			if !validID(id) {
				t.Errorf("ID %q", id)
			}
		}
		if k.Writes() != k.IDs()[0] {
			t.Error("another key than the first one seals")
		}
	})
}

// Compare encode+decode with gcm, which is the cipher alone, and copy, which is memory.
func BenchmarkPayload(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		p := payload(strings.Repeat("x", size))
		name := func(what string) string { return fmt.Sprintf("%s/%dKiB", what, size>>10) }
		b.Run(name("codec"), func(b *testing.B) {
			c := codec(b, freshKey(b, "a"))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				s, err := c.Encode([]*commonpb.Payload{p})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := c.Decode(s); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name("gcm"), func(b *testing.B) {
			block, err := aes.NewCipher(make([]byte, keyBytes))
			if err != nil {
				b.Fatal(err)
			}
			aead, err := cipher.NewGCM(block)
			if err != nil {
				b.Fatal(err)
			}
			nonce := make([]byte, 12)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := aead.Open(nil, nonce, aead.Seal(nil, nonce, p.Data, nil), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name("copy"), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_ = bytes.Clone(bytes.Clone(p.Data))
			}
		})
	}
}
