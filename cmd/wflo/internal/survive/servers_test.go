//go:build integration

package survive

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/internal/objectstore/s3"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"github.com/wflo-ai/wflo-go/plugin"
)

// unique is a name that nobody else has.
func unique(name string) string { return name + "-" + strings.ToLower(rand.Text()[:8]) }

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	clitest.Await(t, what, ok)
}

// restartable is a server that is started again with what it left on disk.
type restartable struct {
	t    *testing.T
	name string
	env  []string
	argv []string
	up   func() bool
	now  *clitest.Program
}

// again starts it, and returns when it answers.
func (r *restartable) again() {
	r.t.Helper()
	r.now = clitest.Start(r.t, r.env, r.argv...)
	await(r.t, r.name, func() bool {
		select {
		case <-r.now.Ended():
			r.t.Fatalf("%s ended:\n%s", r.name, r.now.Said())
		default:
		}
		return r.up()
	})
}

func (r *restartable) kill() { r.now.Kill() }

// listens says that somebody does.
func listens(address string) func() bool {
	return func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
}

// servers are what worlds share: each a process of its own.
type servers struct {
	pg                     *pgtest.Server
	postmaster             *clitest.Postmaster
	redis, minio, temporal *restartable
	redisURL               string
	bucket, payloads       string // where snapshots are, and what is too large for histories
	address                string // Temporal's
	client                 client.Client
}

// Credentials of MinIO. The second one is a canary.
const (
	minioUser   = "survivor"
	minioSecret = "canary-minio-secret-4711"
)

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../../bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v; run make bin/%s", err, name)
	}
	return path
}

func startServers(t *testing.T) *servers {
	t.Helper()
	s := &servers{}
	var err error
	if s.pg, err = pgtest.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { s.postmaster.Stop() })
	s.postmaster = clitest.FindPostmaster(t, s.pg.Database(t))
	s.startRedis(t)
	s.startMinio(t)
	s.startTemporal(t)
	return s
}

func (s *servers) startRedis(t *testing.T) {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("%v: install the package redis-server", err)
	}
	dir := t.TempDir()
	address, port := free(t)
	s.redisURL = "redis://" + address + "/0"
	s.redis = &restartable{t: t, name: "Redis", env: clitest.Environment(dir), up: listens(address), argv: []string{
		program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
	}}
	s.redis.again()
}

func (s *servers) startMinio(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "blobs"), 0o700); err != nil { // its directories are buckets
		t.Fatal(err)
	}
	address, _ := free(t)
	const at = "?region=us-east-1&path_style=true&insecure=true&endpoint=http://"
	s.bucket, s.payloads = "s3://blobs/wflo"+at+address, "s3://blobs/payloads"+at+address
	env := clitest.Environment(t.TempDir(), "MINIO_ROOT_USER="+minioUser, "MINIO_ROOT_PASSWORD="+minioSecret, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	s.minio = &restartable{t: t, name: "MinIO", env: env, argv: []string{tool(t, "minio"), "server", "--quiet", "--address", address, dir}, up: func() bool {
		resp, err := http.Get("http://" + address + "/minio/health/cluster")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	}}
	s.minio.again()
}

func (s *servers) startTemporal(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	var port string
	s.address, port = free(t)
	argv := []string{tool(t, "temporal"), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port, "--log-level", "error",
		"--db-filename", filepath.Join(dir, "temporal.db"), "--dynamic-config-value", "frontend.namespaceRPS.visibility=200"}
	s.temporal = &restartable{t: t, name: "Temporal", env: clitest.Environment(dir), argv: argv, up: func() bool {
		c, err := client.Dial(client.Options{HostPort: s.address})
		if err == nil {
			_, err = c.CheckHealth(context.Background(), nil)
			c.Close()
		}
		return err == nil
	}}
	s.temporal.again()
	s.client = s.dial(t, s.address)
}

// dial gives a client of Temporal's at an address.
func (s *servers) dial(t *testing.T, address string) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: address, Logger: quiet{}, Interceptors: []interceptor.ClientInterceptor{plugin.NewClientInterceptor()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// quiet drops what Temporal's client says about servers that were killed.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

// blob reads blobs of snapshots.
func (s *servers) blob(t *testing.T) func(context.Context, string) ([]byte, error) {
	t.Helper()
	store, err := s3.Open(t.Context(), s3.Config{URL: s.bucket, AccessKeyID: minioUser, SecretAccessKey: minioSecret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store.Get
}
