package sealed

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
)

func key(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, keyBytes)) }

func mustKeys(t testing.TB, text string) Keys {
	t.Helper()
	k, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func below(t testing.TB) *file.Store {
	t.Helper()
	f, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func mustOpen(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPut(t testing.TB, b activities.Blobs, data string) string {
	t.Helper()
	k, err := b.Put(t.Context(), []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestBlobStore(t *testing.T) {
	storetest.TestBlobStore(t, true, func(t *testing.T) activities.BlobStore {
		return mustOpen(t, Config{Blobs: below(t), Keys: mustKeys(t, "a:"+key(1))})
	})
}

func TestWhatIsStoredTellsNothing(t *testing.T) {
	under := below(t)
	s := mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "a:"+key(1))})
	secret := strings.Repeat("a secret that is long ", 10)
	k := mustPut(t, s, secret)
	stored, err := under.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(secret))
	if bytes.Contains(stored, []byte("secret")) || k == hex.EncodeToString(sum[:]) || len(stored) > len(secret)+MaxOverhead {
		t.Errorf("stored as %s: %q", k, stored)
	}
	if again := mustPut(t, s, secret); again != k {
		t.Errorf("equal content has the keys %s and %s", k, again)
	}
	other := mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "a:"+key(2))})
	if theirs := mustPut(t, other, secret); theirs == k {
		t.Error("another key gives the same blob")
	}
}

func TestRotation(t *testing.T) {
	under := below(t)
	old := mustPut(t, mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "old:"+key(1))}), "hello")
	both := mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "new:"+key(2)+", old:"+key(1)+"\n")})
	young := mustPut(t, both, "hello")
	if young == old {
		t.Error("the old key still seals")
	}
	for _, k := range []string{old, young} {
		if got, err := both.Get(t.Context(), k); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	alone := mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "new:"+key(2))})
	_, err := alone.Get(t.Context(), old)
	if wflo.CodeOf(err) != wflo.CodeMissingKey || !strings.Contains(err.Error(), "key old") || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob of a key that is not there gave %v", err)
	}
	wrong := mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "old:"+key(3))})
	if _, err := wrong.Get(t.Context(), old); wflo.CodeOf(err) != wflo.CodeConflict || strings.Contains(err.Error(), key(3)) {
		t.Errorf("another key of the same ID gave %v", err)
	}
}

func TestPlainBlobsAreRefused(t *testing.T) {
	under := below(t)
	for _, text := range []string{"hello", "", "WFLO", magic[:7] + "\x02 another version"} {
		k := mustPut(t, under, text)
		s := mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "a:"+key(1))})
		if got, err := s.Get(t.Context(), k); wflo.CodeOf(err) != wflo.CodeConflict || got != nil {
			t.Errorf("plain %q gave %q, %v", text, got, err)
		}
		s = mustOpen(t, Config{Blobs: under, Keys: mustKeys(t, "a:"+key(1)), AllowPlain: true})
		if got, err := s.Get(t.Context(), k); err != nil || string(got) != text {
			t.Errorf("plain %q, allowed, gave %q, %v", text, got, err)
		}
	}
}

// TestEveryBitCounts changes each bit of a sealed blob; the store below finds nothing
// wrong, because the blob is stored under the hash of the changed one.
func TestEveryBitCounts(t *testing.T) {
	keys := mustKeys(t, "ab:"+key(1)+",ac:"+key(2))
	whole := keys.seal([]byte("hello"))
	for i := range len(whole) * 8 {
		changed := bytes.Clone(whole)
		changed[i/8] ^= 1 << (i % 8)
		if !bytes.HasPrefix(changed, []byte(magic)) {
			continue // it counts as plain
		}
		if got, err := keys.open(changed); err == nil {
			t.Errorf("bit %d changed gave %q", i, got)
		}
	}
	for n := len(magic); n < len(whole); n++ {
		if got, err := keys.open(whole[:n]); err == nil {
			t.Errorf("the first %d bytes gave %q", n, got)
		}
	}
}

func TestParseKeysRefuses(t *testing.T) {
	secret := key(7)
	for name, text := range map[string]string{
		"none": "", "commas": ",,\n", "no ID": secret, "an empty ID": ":" + secret, "a bad ID": "A B:" + secret, "a long ID": strings.Repeat("a", 33) + ":" + secret,
		"not base64": "a:" + secret[:40] + "!!!!", "too short": "a:" + base64.StdEncoding.EncodeToString(make([]byte, 16)), "twice": "a:" + secret + ",a:" + key(8),
		"the second": "a:" + key(8) + ",b:" + secret[1:],
	} {
		_, err := ParseKeys(text)
		if wflo.CodeOf(err) != wflo.CodeMissingKey || wflo.HintOf(err) == "" {
			t.Errorf("%s gave %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret[:12]) {
			t.Errorf("%s: the error has the key", name)
		}
	}
	if ids := mustKeys(t, "b:"+key(1)+",a:"+key(2)).IDs(); strings.Join(ids, " ") != "a b" {
		t.Errorf("IDs are %v", ids)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(Config{Keys: mustKeys(t, "a:"+key(1))}); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("no store gave %v", err)
	}
	if _, err := Open(Config{Blobs: below(t)}); wflo.CodeOf(err) != wflo.CodeMissingKey {
		t.Errorf("no key gave %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	keys := mustKeys(f, "a:"+key(1))
	f.Add(keys.seal([]byte("hello"))[len(magic):])
	f.Add([]byte{})
	f.Add([]byte{255, 'a'})
	f.Fuzz(func(t *testing.T, rest []byte) {
		stored := append([]byte(magic), rest...)
		data, err := keys.open(stored)
		if err == nil && !bytes.Equal(keys.seal(data), stored) {
			t.Errorf("%x opens as %x, which is not sealed like it", stored, data)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	keys := mustKeys(b, "a:"+key(1))
	data := make([]byte, 8<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		keys.seal(data)
	}
}
