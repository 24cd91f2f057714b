package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	testUser   = "wflo-test"
	testSecret = "canary-secret-of-the-test"
)

// server is a MinIO of its own on a loopback port.
type server struct {
	addr, dir string
	cmd       *exec.Cmd
}

var shared *server

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wflo-minio-")
	if err == nil {
		shared, err = startServer(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := errors.Join(shared.kill(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func startServer(dir string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{addr: l.Addr().String(), dir: dir}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return s, s.start()
}

// start starts the server on its port and its directory, and waits until it answers.
func (s *server) start() error {
	program, err := filepath.Abs("../../../bin/minio")
	if err != nil {
		return err
	}
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("these tests talk to a real S3 server: %w\nhint: make bin/minio", err)
	}
	s.cmd = exec.Command(program, "server", "--quiet", "--address", s.addr, s.dir)
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+testUser, "MINIO_ROOT_PASSWORD="+testSecret, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start minio: %w", err)
	}
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := http.Get("http://" + s.addr + "/minio/health/cluster"); err == nil {
			if err := resp.Body.Close(); err != nil {
				return err
			}
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-end.C:
			return errors.Join(errors.New("minio does not answer"), s.kill())
		}
	}
}

func (s *server) kill() error {
	err := s.cmd.Process.Kill()
	if err == nil {
		_ = s.cmd.Wait() // it says that it was killed
	}
	return err
}

var buckets atomic.Int64

func (s *server) admin(t testing.TB) *minio.Client {
	t.Helper()
	c, err := minio.New(s.addr, &minio.Options{Creds: credentials.NewStaticV4(testUser, testSecret, "")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) bucket(t testing.TB) string {
	t.Helper()
	name := "blobs-" + strconv.FormatInt(buckets.Add(1), 10)
	if err := s.admin(t).MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// config is that of a bucket on the server, or behind a proxy of it.
func config(addr, bucket string) Config {
	return Config{URL: "s3://" + bucket + "/some/where?region=us-east-1&endpoint=http://" + addr, AccessKeyID: testUser, SecretAccessKey: testSecret}
}

func mustOpen(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
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

// proxy stands between a store and the server. on sees each request before it is passed
// on; it answers it itself by returning a response, and sees the real one through
// forward.
type proxy struct {
	addr string
	on   atomic.Pointer[func(r *http.Request, forward func() *http.Response) *http.Response]
}

func startProxy(t *testing.T, to *server) *proxy {
	t.Helper()
	p := &proxy{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	transport := &http.Transport{DisableCompression: true}
	serve := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forward := func() *http.Response {
			out := r.Clone(r.Context()) // the Host stays as it was signed
			out.URL.Scheme, out.URL.Host, out.RequestURI = "http", to.addr, ""
			resp, err := transport.RoundTrip(out)
			if err != nil {
				return answer(http.StatusBadGateway, err.Error())
			}
			return resp
		}
		var resp *http.Response
		if on := p.on.Load(); on != nil {
			resp = (*on)(r, forward)
		} else {
			resp = forward()
		}
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, err := io.Copy(w, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			panic(http.ErrAbortHandler)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- serve.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := serve.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-done
		transport.CloseIdleConnections()
	})
	return p
}

func (p *proxy) do(f func(r *http.Request, forward func() *http.Response) *http.Response) {
	p.on.Store(&f)
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

func refusal(status int, code string) *http.Response {
	r := answer(status, "<?xml version=\"1.0\"?><Error><Code>"+code+"</Code><Message>no</Message></Error>")
	r.Header.Set("Content-Type", "application/xml")
	return r
}

// isBlob says that a request is about a blob and not about a marker or the bucket.
func isBlob(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }
