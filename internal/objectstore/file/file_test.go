package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func mustOpen(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustPut(t testing.TB, s *Store, data string) string {
	t.Helper()
	key, err := s.Put(t.Context(), []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestBlobs(t *testing.T) {
	storetest.TestBlobStore(t, false, func(t *testing.T) activities.BlobStore {
		return mustOpen(t, Config{Dir: filepath.Join(t.TempDir(), "new", "blobs")})
	})
}

func TestOpenRefuses(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no directory": {}, "a file": {Dir: plain}, "below a file": {Dir: filepath.Join(plain, "x")}, "negative": {Dir: t.TempDir(), MaxBytes: -1},
	} {
		if _, err := Open(c); wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func TestDamagedBlobIsAnErrorAndHealed(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	for _, damage := range []string{"jello", "", "hello, world"} {
		key := mustPut(t, s, "hello")
		if err := os.WriteFile(filepath.Join(dir, key[:2], key), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), key)
		if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "damaged") || got != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if errors.Is(err, fs.ErrNotExist) {
			t.Error("a damaged blob counts as missing")
		}
		mustPut(t, s, "hello")
		if got, err := s.Get(t.Context(), key); err != nil || string(got) != "hello" {
			t.Errorf("after storing it again: %q, %v", got, err)
		}
	}
}

func TestOnlyTheOwnerCanRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	mustPut(t, mustOpen(t, Config{Dir: dir}), "hello")
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil || files != 2 {
		t.Errorf("%d files, %v; want the blob and the lock, and no temporary file", files, err)
	}
}

func TestMaxBytes(t *testing.T) {
	dir := t.TempDir()
	key := mustPut(t, mustOpen(t, Config{Dir: dir}), "hello")
	s := mustOpen(t, Config{Dir: dir, MaxBytes: 4})
	if _, err := s.Put(t.Context(), []byte("hello")); wflo.CodeOf(err) != wflo.CodePayloadTooLarge || wflo.HintOf(err) == "" {
		t.Errorf("put gave %v", err)
	}
	if _, err := s.Get(t.Context(), key); wflo.CodeOf(err) != wflo.CodePayloadTooLarge {
		t.Errorf("get gave %v", err)
	}
	mustPut(t, s, "four")
}

func TestLinksDoNotLeadOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	key := Key([]byte("secret"))
	if err := os.WriteFile(filepath.Join(outside, key), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, key[:2])); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), key); err == nil {
		t.Errorf("read %q outside of the directory", got)
	}
	if _, err := s.Put(t.Context(), []byte("secret")); err == nil {
		t.Error("wrote outside of the directory")
	}
}

func TestSweepRemovesOldTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, Config{Dir: dir})
	old, young := filepath.Join(dir, temporary, "old"), filepath.Join(dir, temporary, "young")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Config{Dir: dir})
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old file is there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("another process's file is gone: %v", err)
	}
}

// FuzzGet looks for a key that reaches anything but a blob.
func FuzzGet(f *testing.F) {
	dir := f.TempDir()
	s := mustOpen(f, Config{Dir: dir})
	key := mustPut(f, s, "hello")
	if err := os.WriteFile(filepath.Join(dir, temporary, "secret"), []byte("secret"), 0o600); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{key, "", "../secret", temporary + "/secret", strings.ToUpper(key), key[:2] + "/../" + temporary + "/secret"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, k string) {
		got, err := s.Get(t.Context(), k)
		if (err == nil) != (k == key) || err == nil && string(got) != "hello" {
			t.Errorf("key %q gave %q, %v", k, got, err)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	data := make([]byte, 256<<10)
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprint("again=", again), func(b *testing.B) {
			s := mustOpen(b, Config{Dir: b.TempDir()})
			n := 0
			for b.Loop() {
				if !again {
					n++
					copy(data, fmt.Sprint(n))
				}
				if _, err := s.Put(b.Context(), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
