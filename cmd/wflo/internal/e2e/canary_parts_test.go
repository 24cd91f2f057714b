//go:build integration

package e2e

import (
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard is what came to a stand-in, without the fields that hold secrets because the
// protocol has them there.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
	used map[string]bool // secrets that opened something, by name
}

func (h *heard) add(used, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.used == nil {
		h.used = map[string]bool{}
	}
	h.used[used] = true
	h.text.WriteString(text + "\n")
}

func (h *heard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

func (h *heard) saw(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.used[name]
}

// postOffice is a mail server that speaks TLS only, and takes mail only of those who
// log in.
type postOffice struct {
	heard
	user, password string
	port, ca       string
}

// newPostOffice starts one. ca is a file with its certificate.
func newPostOffice(t *testing.T, dir, user, password string) *postOffice {
	t.Helper()
	cert, ca := selfSigned(t, dir)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := &postOffice{user: user, password: password, port: port, ca: ca}
	ctx := t.Context()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				stop := make(chan struct{})
				defer close(stop)
				serving.Go(func() {
					select {
					case <-ctx.Done(): // the test is over, whoever still talks
						_ = conn.Close()
					case <-stop:
					}
				})
				s.talk(textproto.NewConn(conn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return s
}

// talk is one connection (RFC 5321 and 4954).
func (s *postOffice) talk(c *textproto.Conn) {
	say := func(format string, args ...any) { _ = c.PrintfLine(format, args...) }
	say("220 mx.example.com ESMTP")
	login, envelope := base64.StdEncoding.EncodeToString([]byte("\x00"+s.user+"\x00"+s.password)), ""
	known := false
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch verb = strings.ToUpper(verb); {
		case verb == "EHLO":
			say("250-mx.example.com")
			say("250 AUTH PLAIN")
		case verb == "AUTH":
			if known = rest == "PLAIN "+login; known {
				say("235 welcome")
			} else {
				say("535 no such login: %s", rest)
			}
		case verb == "QUIT":
			say("221 bye")
			return
		case verb == "NOOP" || verb == "RSET":
			say("250 ok")
		case !known:
			say("530 log in first")
		case verb == "DATA":
			say("354 go on")
			data, err := c.ReadDotBytes()
			if err != nil {
				return
			}
			s.add("login", envelope+string(data))
			envelope = ""
			say("250 kept")
		default:
			envelope += line + "\n"
			say("250 ok")
		}
	}
}

// selfSigned makes a certificate of 127.0.0.1, and its file.
func selfSigned(t *testing.T, dir string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "mail.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// hook is a receiver of webhooks at a path that is a secret, which knows two keys to
// verify with.
type hook struct {
	heard
	url string
}

func newHook(t *testing.T, path string, keys ...[]byte) *hook {
	t.Helper()
	h := &hook{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != path {
			http.NotFound(w, r)
			return
		}
		for i, key := range keys {
			mac := hmac.New(sha256.New, key)
			fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
			signature := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
			if !strings.Contains(r.Header.Get("Webhook-Signature"), signature) {
				http.Error(w, "bad signature", http.StatusUnauthorized)
				return
			}
			h.add(fmt.Sprint("key ", i), "")
		}
		h.add("path", fmt.Sprint(r.Header, string(body)))
	}))
	t.Cleanup(server.Close)
	h.url = server.URL + path
	return h
}

// spanStore is an OTLP collector that wants a key, and keeps what it gets as it comes.
type spanStore struct {
	heard
	url string
}

func newSpanStore(t *testing.T, authorization string) *spanStore {
	t.Helper()
	s := &spanStore{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != authorization {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				t.Errorf("read spans: %v", err)
				return
			}
		}
		data, err := io.ReadAll(body)
		if err != nil {
			t.Errorf("read spans: %v", err)
		}
		r.Header.Del("Authorization")
		s.add("authorization", fmt.Sprint(r.Header, string(data)))
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}
