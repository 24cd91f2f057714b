package docker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	model := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, model, model, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// directory gives one as the docker command wants it, whose certificate is for a use
// and, as a server's, for names.
func (a authority) directory(t *testing.T, ends time.Time, use x509.ExtKeyUsage, names ...string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	model := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: ends,
		ExtKeyUsage: []x509.ExtKeyUsage{use}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if len(names) > 0 {
		model.IPAddresses = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, model, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		caFile: {Type: "CERTIFICATE", Bytes: a.cert.Raw}, certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// overTLS serves the local engine on a loopback port to clients that an authority
// knows, with the certificate in a directory.
func overTLS(t *testing.T, clients authority, dir string) (address string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(clients.cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { pass(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return "tcp://" + l.Addr().String()
}

// pass connects one client with the local engine until either hangs up.
func pass(ctx context.Context, c net.Conn) {
	defer c.Close() //nolint:errcheck // the client may have closed it
	e, err := (&net.Dialer{}).DialContext(ctx, "unix", "/var/run/docker.sock")
	if err != nil {
		return
	}
	defer e.Close() //nolint:errcheck // likewise
	stop := context.AfterFunc(ctx, func() { _, _ = c.Close(), e.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(e, c)
		_ = e.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(c, e)
	_ = c.Close()
	<-done
}

// TestRemoteOverTLS runs a program on an engine that wants certificates, and is told
// what is wrong with wrong ones.
func TestRemoteOverTLS(t *testing.T) {
	t.Setenv("DOCKER_CERT_PATH", "")
	t.Setenv("DOCKER_TLS_VERIFY", "")
	own, other, later := newAuthority(t), newAuthority(t), time.Now().Add(time.Hour)
	server := overTLS(t, own, own.directory(t, later, x509.ExtKeyUsageServerAuth))
	client := own.directory(t, later, x509.ExtKeyUsageClientAuth)
	r := open(t, func(c *Config) { c.Host, c.CertPath = server, client })
	res, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"echo", "over TLS"}}, nil)
	if err != nil || res.Stdout != "over TLS\n" {
		t.Fatalf("%q, %v", res.Stdout, err)
	}
	mixed := func(ca authority, from string) string {
		dir := t.TempDir()
		for _, name := range []string{certFile, keyFile} {
			copyFile(t, filepath.Join(from, name), filepath.Join(dir, name))
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
		if err := os.WriteFile(filepath.Join(dir, caFile), block, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	plain := "tcp://" + plainListener(t)
	for name, tt := range map[string]struct{ host, certs, hint string }{
		"the engine is somebody else's": {server, mixed(other, client), "ca.pem has not signed"},
		"the engine has another name":   {overTLS(t, own, own.directory(t, later, x509.ExtKeyUsageServerAuth, "elsewhere")), client, "for other names"},
		"the engine's has expired":      {overTLS(t, own, own.directory(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth)), client, "not valid at this time"},
		"the engine's is for clients":   {overTLS(t, own, own.directory(t, later, x509.ExtKeyUsageClientAuth)), client, "serverAuth"},
		"the client is a stranger":      {server, mixed(own, other.directory(t, later, x509.ExtKeyUsageClientAuth)), "the engine refuses cert.pem"},
		"the client's has expired":      {server, own.directory(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageClientAuth), "the engine refuses cert.pem"},
		"the client's is for servers":   {server, own.directory(t, later, x509.ExtKeyUsageServerAuth), "the engine refuses cert.pem"},
		"the engine speaks plainly":     {plain, client, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := New(t.Context(), configure(t, func(c *Config) { c.Host, c.CertPath = tt.host, tt.certs }))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Shutdown(context.Background()) //nolint:errcheck // it has nothing
			_, err = r.Check(t.Context())
			_, hint := wflo.Explain(err)
			if !errors.Is(err, wflo.ErrSandboxUnavailable) || !strings.Contains(hint, tt.hint) {
				t.Errorf("%v, with the hint %q; want %q", err, hint, tt.hint)
			}
		})
	}
}

// TestRenewedCertificateIsUsed: what is on disk counts for the next connection.
func TestRenewedCertificateIsUsed(t *testing.T) {
	own := newAuthority(t)
	server := overTLS(t, own, own.directory(t, time.Now().Add(time.Hour), x509.ExtKeyUsageServerAuth))
	dir := own.directory(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageClientAuth)
	cli, err := connectTo(Config{Host: server, CertPath: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close() //nolint:errcheck // nothing is open
	if _, err := cli.Ping(t.Context()); err == nil {
		t.Fatal("an expired certificate was taken")
	}
	renewed := own.directory(t, time.Now().Add(time.Hour), x509.ExtKeyUsageClientAuth)
	for _, name := range []string{certFile, keyFile} {
		copyFile(t, filepath.Join(renewed, name), filepath.Join(dir, name))
	}
	if _, err := cli.Ping(t.Context()); err != nil {
		t.Errorf("the renewed certificate is not used: %v", err)
	}
}

// plainListener serves HTTP without TLS, and has no engine.
func plainListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr().String()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAddresses(t *testing.T) {
	own := newAuthority(t)
	certs := own.directory(t, time.Now().Add(time.Hour), x509.ExtKeyUsageClientAuth)
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, caFile), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env         map[string]string
		host, certs string
		want        string // in the error; empty means that there is none
	}{
		"local":                      {},
		"a socket":                   {host: "unix:///run/other.sock"},
		"loopback":                   {host: "tcp://127.0.0.1:2375"},
		"loopback of IPv6":           {host: "tcp://[::1]:2375"},
		"localhost":                  {host: "tcp://localhost:2375"},
		"TLS":                        {host: "tcp://box.example.com:2376", certs: certs},
		"TLS by variables":           {env: map[string]string{"DOCKER_HOST": "tcp://10.0.0.1:2376", "DOCKER_CERT_PATH": certs}},
		"a network":                  {host: "tcp://10.0.0.1:2375", want: "without TLS"},
		"a network by variable":      {env: map[string]string{"DOCKER_HOST": "tcp://10.0.0.1:2375"}, want: "without TLS"},
		"a name":                     {host: "tcp://localhost.example.com:2375", want: "without TLS"},
		"everywhere":                 {host: "tcp://0.0.0.0:2375", want: "without TLS"},
		"no port":                    {host: "tcp://box", certs: certs, want: "a name with a port"},
		"a password":                 {host: "tcp://me:hunter2@10.0.0.1:2376", certs: certs, want: "a name with a port"},
		"ssh":                        {host: "ssh://box", want: "ssh"},
		"http":                       {host: "http://10.0.0.1:2375", want: "scheme"},
		"no directory":               {host: "tcp://10.0.0.1:2376", certs: filepath.Join(broken, "none"), want: "certificates for the container engine"},
		"no certificate":             {host: "tcp://10.0.0.1:2376", certs: broken, want: "ca.pem has no certificate"},
		"verification switched on":   {env: map[string]string{"DOCKER_HOST": "tcp://10.0.0.1:2376", "DOCKER_TLS_VERIFY": "1", "HOME": broken}, want: "certificates for the container engine"},
		"something that is not read": {host: "tcp://me:hunter2@%zz", want: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
				t.Setenv(v, tt.env[v])
			}
			if home := tt.env["HOME"]; home != "" {
				t.Setenv("HOME", home)
			}
			cli, err := connectTo(Config{Host: tt.host, CertPath: tt.certs})
			if err == nil {
				if cerr := cli.Close(); cerr != nil {
					t.Error(cerr)
				}
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && (!errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
