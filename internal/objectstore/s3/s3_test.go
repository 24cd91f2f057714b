package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func TestBlobStore(t *testing.T) {
	storetest.TestBlobStore(t, false, func(t *testing.T) activities.BlobStore {
		return mustOpen(t, config(shared.addr, shared.bucket(t)))
	})
}

func TestOpenRefuses(t *testing.T) {
	bucket := shared.bucket(t)
	good := config(shared.addr, bucket)
	for name, c := range map[string]struct {
		change func(*Config)
		code   wflo.Code
	}{
		"no URL":            {func(c *Config) { c.URL = "" }, wflo.CodeInvalid},
		"another scheme":    {func(c *Config) { c.URL = "http://bucket" }, wflo.CodeInvalid},
		"no bucket":         {func(c *Config) { c.URL = "s3:///prefix" }, wflo.CodeInvalid},
		"credentials in it": {func(c *Config) { c.URL = "s3://me:" + testSecret + "@bucket" }, wflo.CodeInvalid},
		"unknown parameter": {func(c *Config) { c.URL += "&secret=" + testSecret }, wflo.CodeInvalid},
		"bad endpoint":      {func(c *Config) { c.URL = "s3://b?endpoint=ftp://host" }, wflo.CodeInvalid},
		"endpoint's path":   {func(c *Config) { c.URL = "s3://b?endpoint=https://host/x" }, wflo.CodeInvalid},
		"no TLS":            {func(c *Config) { c.URL = "s3://b?endpoint=http://minio.lan:9000" }, wflo.CodeInvalid},
		"bad bucket":        {func(c *Config) { c.URL = strings.Replace(c.URL, bucket, "no", 1) }, wflo.CodeInvalid},
		"missing bucket":    {func(c *Config) { c.URL = strings.Replace(c.URL, bucket, "not-there", 1) }, wflo.CodeInvalid},
		"half a key":        {func(c *Config) { c.SecretAccessKey = "" }, wflo.CodeMissingKey},
		"unknown key":       {func(c *Config) { c.AccessKeyID = "nobody" }, wflo.CodeMissingKey},
		"wrong secret":      {func(c *Config) { c.SecretAccessKey = testSecret + "x" }, wflo.CodeMissingKey},
		"negative":          {func(c *Config) { c.MaxBytes = -1 }, wflo.CodeInvalid},
	} {
		bad := good
		c.change(&bad)
		_, err := Open(t.Context(), bad)
		if wflo.CodeOf(err) != c.code || wflo.HintOf(err) == "" {
			t.Errorf("%s gave %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: the error has the secret", name)
		}
	}
}

func TestCredentialsFromTheEnvironment(t *testing.T) {
	c := config(shared.addr, shared.bucket(t))
	c.AccessKeyID, c.SecretAccessKey = "", ""
	t.Setenv("AWS_ACCESS_KEY_ID", testUser)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	mustPut(t, mustOpen(t, c), "hello")
}

func TestCredentialsFromAFile(t *testing.T) {
	c := config(shared.addr, shared.bucket(t))
	c.AccessKeyID, c.SecretAccessKey = "", ""
	file := t.TempDir() + "/credentials"
	text := "[default]\naws_access_key_id = " + testUser + "\naws_secret_access_key = " + testSecret + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	mustPut(t, mustOpen(t, c), "hello")
}

func TestMaxBytes(t *testing.T) {
	c := config(shared.addr, shared.bucket(t))
	key := mustPut(t, mustOpen(t, c), "hello")
	c.MaxBytes = 4
	s := mustOpen(t, c)
	if _, err := s.Put(t.Context(), []byte("hello")); wflo.CodeOf(err) != wflo.CodePayloadTooLarge {
		t.Errorf("put gave %v", err)
	}
	if _, err := s.Get(t.Context(), key); wflo.CodeOf(err) != wflo.CodePayloadTooLarge {
		t.Errorf("get gave %v", err)
	}
	mustPut(t, s, "four")
}

// TestListReadsAllPages puts more objects than a page of the protocol has.
func TestListReadsAllPages(t *testing.T) {
	bucket := shared.bucket(t)
	s := mustOpen(t, config(shared.addr, bucket))
	admin := shared.admin(t)
	const n = 1203
	objects := make(chan minio.SnowballObject, n)
	for i := range n {
		objects <- minio.SnowballObject{Key: s.place.blob(fmt.Sprintf("%064x", i)), Size: 1, ModTime: time.Now(), Content: strings.NewReader("x")}
	}
	close(objects)
	if err := admin.PutObjectsSnowball(t.Context(), bucket, minio.SnowballOptions{InMemory: true}, objects); err != nil {
		t.Fatal(err)
	}
	got := 0
	if err := s.List(t.Context(), time.Now().Add(time.Hour), func(string, int64) error { got++; return nil }); err != nil || got != n {
		t.Errorf("listed %d, %v; want %d", got, err, n)
	}
}

// TestDamagedBlob is an error that names the key, and healed by storing it again.
func TestDamagedBlob(t *testing.T) {
	bucket := shared.bucket(t)
	s := mustOpen(t, config(shared.addr, bucket))
	for _, damage := range []string{"jello", "", "hello, world"} {
		key := mustPut(t, s, "hello")
		if _, err := shared.admin(t).PutObject(t.Context(), bucket, s.place.blob(key), strings.NewReader(damage), int64(len(damage)), minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), key)
		if err == nil || got != nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "damaged") || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %q, %v", got, err)
		}
		mustPut(t, s, "hello")
		if got, err := s.Get(t.Context(), key); err != nil || string(got) != "hello" {
			t.Errorf("after storing it again: %q, %v", got, err)
		}
	}
}

// TestStoredAgainIsNotSentAgain counts what goes over the wire, and that the blob is
// new to the server's clock.
func TestStoredAgainIsNotSentAgain(t *testing.T) {
	p := startProxy(t, shared)
	s := mustOpen(t, config(p.addr, shared.bucket(t)))
	var sent, copies atomic.Int64
	p.do(func(r *http.Request, forward func() *http.Response) *http.Response {
		if isBlob(r) && r.Method == http.MethodPut {
			sent.Add(r.ContentLength)
			if r.Header.Get("X-Amz-Copy-Source") != "" {
				copies.Add(1)
			}
		}
		return forward()
	})
	data := strings.Repeat("x", 100_000)
	key := mustPut(t, s, data)
	first := sent.Load()
	mustPut(t, s, data)
	if sent.Load() != first || copies.Load() != 1 {
		t.Errorf("%d bytes at first, %d more when stored again with %d copies; want no more and 1 copy", first, sent.Load()-first, copies.Load())
	}
	if got, err := s.Get(t.Context(), key); err != nil || string(got) != data {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestStoredWhileDeleted holds a deletion back between its look at an old blob and the
// removal. Somebody who stores the blob meanwhile must have it in the end.
func TestStoredWhileDeleted(t *testing.T) {
	p := startProxy(t, shared)
	bucket := shared.bucket(t)
	cleaner, s := mustOpen(t, config(p.addr, bucket)), mustOpen(t, config(shared.addr, bucket))
	key := mustPut(t, s, "hello")
	reached, pass := make(chan struct{}), make(chan struct{})
	p.do(func(r *http.Request, forward func() *http.Response) *http.Response {
		if isBlob(r) && r.Method == http.MethodDelete {
			close(reached)
			<-pass
		}
		return forward()
	})
	deleted, stored := make(chan error, 1), make(chan error, 1)
	go func() { deleted <- cleaner.Delete(t.Context(), key, time.Now().Add(time.Hour)) }()
	<-reached
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := s.Put(ctx, []byte("hello"))
		stored <- err
	}()
	select {
	case err := <-stored:
		t.Errorf("Put came back with %v while the blob was being deleted", err)
	case <-seesMarker(t, s, key):
	}
	close(pass)
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	if err := <-stored; err != nil {
		t.Error(err)
	}
	cancel()
	if got, err := s.Get(t.Context(), key); err != nil || string(got) != "hello" {
		t.Errorf("Put said that it is stored, Get gave %q, %v", got, err)
	}
}

// seesMarker is closed when a look at the markers finds one, after its pause.
func seesMarker(t *testing.T, s *Store, key string) <-chan struct{} {
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		if deleting, err := s.deleting(t.Context(), key, &watched{}); err != nil || !deleting {
			t.Errorf("no marker: %v, %v", deleting, err)
		}
	}()
	return seen
}

// TestDeleteSeesWhatWasStoredMeanwhile stores an old blob again after Delete's first
// look at it: the second one finds it new.
func TestDeleteSeesWhatWasStoredMeanwhile(t *testing.T) {
	p := startProxy(t, shared)
	bucket := shared.bucket(t)
	cleaner, s := mustOpen(t, config(p.addr, bucket)), mustOpen(t, config(shared.addr, bucket))
	key := mustPut(t, s, "hello")
	// Before the next store, by its own clock: the first look is made to find it older.
	before := time.Now().Add(-time.Hour)
	var looks atomic.Int64
	p.do(func(r *http.Request, forward func() *http.Response) *http.Response {
		resp := forward()
		if isBlob(r) && r.Method == http.MethodHead && looks.Add(1) == 1 {
			resp.Header.Set("Last-Modified", before.Add(-time.Hour).UTC().Format(http.TimeFormat))
		}
		if isBlob(r) && r.Method == http.MethodDelete {
			t.Error("the blob is deleted")
		}
		return resp
	})
	if err := cleaner.Delete(t.Context(), key, before); err != nil {
		t.Fatal(err)
	}
	if looks.Load() != 2 {
		t.Errorf("%d looks, want 2", looks.Load())
	}
	if got, err := s.Get(t.Context(), key); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestDeletionThatDied leaves a marker, which holds up those who store the blob for a
// while and not for ever.
func TestDeletionThatDied(t *testing.T) {
	bucket := shared.bucket(t)
	s := mustOpen(t, config(shared.addr, bucket))
	s.abandoned = 2 * pause
	key := mustPut(t, s, "hello")
	marker := s.place.markers(key) + "dead"
	if _, err := shared.admin(t).PutObject(t.Context(), bucket, marker, strings.NewReader(""), 0, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), pause/2)
	defer cancel()
	if _, err := s.Put(ctx, []byte("hello")); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("put gave %v", err)
	}
	mustPut(t, s, "hello")
	if _, err := shared.admin(t).StatObject(t.Context(), bucket, marker, minio.StatObjectOptions{}); !isMissing(err) {
		t.Errorf("the marker is there: %v", err)
	}
}

func TestFaults(t *testing.T) {
	p := startProxy(t, shared)
	s := mustOpen(t, config(p.addr, shared.bucket(t)))
	data := strings.Repeat("hello ", 10_000)
	key := mustPut(t, s, data)
	missing := "not there"
	for name, fault := range map[string]func(resp *http.Response) *http.Response{
		"slow down":    func(*http.Response) *http.Response { return refusal(http.StatusServiceUnavailable, "SlowDown") },
		"server error": func(*http.Response) *http.Response { return refusal(http.StatusInternalServerError, "InternalError") },
		"bad gateway":  func(*http.Response) *http.Response { return answer(http.StatusBadGateway, "<html>") },
		"wrong bytes": func(resp *http.Response) *http.Response {
			resp.Body = io.NopCloser(strings.NewReader(strings.Repeat("jello ", 10_000)))
			return resp
		},
		"cut body": func(resp *http.Response) *http.Response {
			resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(resp.Body, 100), broken{}))
			return resp
		},
	} {
		var n atomic.Int64
		p.do(func(r *http.Request, forward func() *http.Response) *http.Response {
			resp := forward()
			if isBlob(r) && n.Add(1) == 1 {
				return fault(resp)
			}
			return resp
		})
		if got, err := s.Get(t.Context(), key); err != nil || string(got) != data {
			t.Errorf("%s once: %d bytes, %v", name, len(got), err)
		}
		n.Store(0)
		if _, err := s.Put(t.Context(), []byte(data)); err != nil && name != "wrong bytes" && name != "cut body" {
			t.Errorf("%s once: put gave %v", name, err)
		}
		p.do(func(r *http.Request, forward func() *http.Response) *http.Response {
			if isBlob(r) {
				return fault(forward())
			}
			return forward()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if got, err := s.Get(ctx, key); err == nil || errors.Is(err, fs.ErrNotExist) || got != nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s for ever: %d bytes, %v", name, len(got), err)
		}
		cancel()
	}
	p.do(func(r *http.Request, forward func() *http.Response) *http.Response {
		if isBlob(r) && r.Method == http.MethodGet {
			return refusal(http.StatusNotFound, "NoSuchKey")
		}
		return forward()
	})
	if _, err := s.Get(t.Context(), mustPut(t, s, missing)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("404 after it was stored gave %v", err)
	}
}

// broken is a body that ends before it should.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestRefusalsSayWhatToDo(t *testing.T) {
	p := startProxy(t, shared)
	s := mustOpen(t, config(p.addr, shared.bucket(t)))
	for code, c := range map[string]struct {
		status int
		code   wflo.Code
		word   string
	}{
		"AccessDenied":                 {403, wflo.CodeMissingKey, "s3:PutObject"},
		"InvalidAccessKeyId":           {403, wflo.CodeMissingKey, "access key"},
		"RequestTimeTooSkewed":         {403, wflo.CodeInvalid, "clock"},
		"NoSuchBucket":                 {404, wflo.CodeInvalid, "bucket"},
		"AuthorizationHeaderMalformed": {400, wflo.CodeInvalid, "region"},
		"SomethingElse":                {403, wflo.CodeMissingKey, "policy"},
	} {
		p.do(func(r *http.Request, forward func() *http.Response) *http.Response {
			if isBlob(r) && r.Method != http.MethodHead {
				return refusal(c.status, code)
			}
			return forward()
		})
		_, put := s.Put(t.Context(), []byte(code))
		_, get := s.Get(t.Context(), strings.Repeat("0", 64))
		for _, err := range []error{put, get} {
			if wflo.CodeOf(err) != c.code || !strings.Contains(wflo.HintOf(err)+fmt.Sprint(err), c.word) || strings.Contains(err.Error(), testSecret) {
				t.Errorf("%s gave %v", code, err)
			}
		}
	}
}

// TestServerKilledWhileStoring kills the server while blobs are on their way. After it
// is back, each blob is there and whole, or not there; those of which Put said that they
// are stored are there.
func TestServerKilledWhileStoring(t *testing.T) {
	own, err := startServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.kill(); err != nil {
			t.Error(err)
		}
	})
	p := startProxy(t, own)
	s := mustOpen(t, config(p.addr, own.bucket(t)))
	const writers = 4
	kept := make([]map[string][]byte, writers)
	var begun sync.WaitGroup
	begun.Add(writers)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range writers {
		kept[w] = map[string][]byte{}
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				data := bytes.Repeat(fmt.Appendf(nil, "%d %d ", w, i), 200_000)
				if i == 2 {
					begun.Done()
				}
				if key, err := s.Put(ctx, data); err == nil {
					kept[w][key] = data
				}
			}
		})
	}
	begun.Wait()
	if err := own.kill(); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	if err := own.start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, keys := range kept {
		for key, data := range keys {
			n++
			if got, err := s.Get(t.Context(), key); err != nil || !bytes.Equal(got, data) {
				t.Errorf("blob %s that was stored: %d bytes, %v", key, len(got), err)
			}
		}
	}
	if n < 2*writers {
		t.Errorf("%d blobs were stored, want %d at least", n, 2*writers)
	}
	err = s.List(t.Context(), time.Now().Add(time.Hour), func(key string, _ int64) error {
		_, err := s.Get(t.Context(), key)
		return err
	})
	if err != nil {
		t.Errorf("a blob that was cut off: %v", err)
	}
	mustPut(t, s, "after")
}
