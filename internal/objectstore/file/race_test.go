package file

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// putsEnv makes the test's program a process that stores blobs: it names the directory.
const putsEnv = "WFLO_TEST_PUTS"

const raced = 400

func TestMain(m *testing.M) {
	if dir := os.Getenv(putsEnv); dir != "" {
		if err := putAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// racedBlob is large enough that comparing it leaves time to delete it.
func racedBlob(i int) []byte {
	data := make([]byte, 32<<10)
	copy(data, fmt.Sprint("blob ", i))
	return data
}

// putAll waits for a line, and stores each blob once.
func putAll(dir string) error {
	s, err := Open(Config{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for i := range raced {
		if _, err := s.Put(context.Background(), racedBlob(i)); err != nil {
			return err
		}
	}
	return s.Close()
}

// TestStoredWhileDeleted stores old blobs again, from two processes and two goroutines,
// while others delete what is old: what Put gave a key for is there in the end.
func TestStoredWhileDeleted(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	keys := make([]string, raced)
	past := time.Now().Add(-time.Hour)
	for i := range keys {
		keys[i] = mustPut(t, s, string(racedBlob(i)))
		if err := os.Chtimes(filepath.Join(dir, path(keys[i])), past, past); err != nil {
			t.Fatal(err)
		}
	}
	old := past.Add(time.Minute)
	var starts []func()
	var wait []func() error
	for range 2 {
		start, done := startPuts(t, dir)
		starts, wait = append(starts, start), append(wait, done)
	}
	for _, start := range starts {
		start()
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range keys {
				var err error
				if worker%2 == 0 {
					_, err = s.Put(t.Context(), racedBlob(i))
				} else {
					err = s.Delete(t.Context(), keys[i], old)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, done := range wait {
		if err := done(); err != nil {
			t.Error(err)
		}
	}
	for i, key := range keys {
		if got, err := s.Get(t.Context(), key); err != nil || len(got) != len(racedBlob(i)) {
			t.Errorf("blob %d of which Put said that it is stored: %v", i, err)
		}
	}
}

func startPuts(t *testing.T, dir string) (start func(), done func() error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), putsEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := fmt.Fprintln(in); err != nil {
			t.Error(err)
		}
	}, cmd.Wait
}

func TestDeleteGoesByTime(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	key := mustPut(t, s, "hello")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, path(key)), past, past); err != nil {
		t.Fatal(err)
	}
	stored := func() (n int) {
		if err := s.List(t.Context(), past.Add(time.Minute), func(string, int64) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := stored(); n != 1 {
		t.Fatalf("%d old blobs, want 1", n)
	}
	mustPut(t, s, "hello") // again: it is young now
	if n := stored(); n != 0 {
		t.Errorf("%d old blobs after it was stored again, want none", n)
	}
	if err := s.Delete(t.Context(), key, past.Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), key); err != nil {
		t.Errorf("the blob that was stored again: %v", err)
	}
}

func TestListLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	key := mustPut(t, s, "hello")
	other := Key([]byte("other"))
	if err := os.Mkdir(filepath.Join(dir, other[:2]), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README", key[:2] + "/notes", other[:2] + "/" + key, "tmp/" + key} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, path(other))); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := s.List(t.Context(), time.Now().Add(time.Hour), func(key string, _ int64) error { got = append(got, key); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != key {
		t.Errorf("listed %v, want %s", got, key)
	}
}

// BenchmarkPutLarge stores 30 blobs of 8 MiB, and writes the same to plain files that
// nobody flushes.
func BenchmarkPutLarge(b *testing.B) {
	data := make([]byte, 8<<20)
	for _, plain := range []bool{true, false} {
		b.Run(fmt.Sprint("plain=", plain), func(b *testing.B) {
			dir := b.TempDir()
			s := mustOpen(b, Config{Dir: dir})
			b.SetBytes(30 * 8 << 20)
			n := 0
			for b.Loop() {
				for range 30 {
					n++
					copy(data, fmt.Sprint(n))
					var err error
					if plain {
						err = os.WriteFile(filepath.Join(dir, fmt.Sprint("plain", n)), data, 0o600)
					} else {
						_, err = s.Put(b.Context(), data)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
