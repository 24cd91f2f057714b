package email

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "canary-password"

// server is a mail server that keeps what it gets.
type server struct {
	t     *testing.T
	port  int
	roots *x509.CertPool
	mu    sync.Mutex
	mails []received
	// refuse gives what RCPT answers, by address; data what the end of DATA does.
	refuse map[string]*smtp.SMTPError
	data   *smtp.SMTPError
	login  bool // required
	hang   chan struct{}
}

type received struct {
	from, to string
	raw      []byte
	tls      bool
	user     string
}

type session struct {
	s    *server
	conn *smtp.Conn
	mail received
}

func (x *session) Reset()        { x.mail = received{user: x.mail.user} }
func (x *session) Logout() error { return nil }
func (x *session) Mail(from string, _ *smtp.MailOptions) error {
	if x.s.login && x.mail.user == "" {
		return smtp.ErrAuthRequired
	}
	x.mail.from = from
	return nil
}

func (x *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if err := x.s.refuse[to]; err != nil {
		return err
	}
	x.mail.to = to
	return nil
}

func (x *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if x.s.hang != nil {
		<-x.s.hang
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if x.s.data != nil {
		return x.s.data
	}
	x.mail.raw = raw
	_, x.mail.tls = x.conn.TLSConnectionState()
	x.s.mails = append(x.s.mails, x.mail)
	return nil
}

func (x *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (x *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "wflo" || password != canary {
			return &smtp.SMTPError{Code: 535, Message: "no such login: " + user + " " + password}
		}
		x.mail.user = user
		return nil
	}), nil
}

// serve starts a server. security says what it offers.
func serve(t *testing.T, security Security) *server {
	t.Helper()
	cert, roots := certificate(t)
	s := &server{t: t, roots: roots, refuse: map[string]*smtp.SMTPError{}}
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{s: s, conn: c}, nil }))
	srv.Domain, srv.MaxMessageBytes, srv.ErrorLog = "mx.test", 1<<20, quiet{}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if security == StartTLS {
		srv.TLSConfig = config
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if security == TLS {
		l = tls.NewListener(l, config)
	}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() {
		l.Close() // the server does not know it yet where a test was quicker
		srv.Close()
		<-done
	})
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func (s *server) config() Config {
	return Config{
		Host: "127.0.0.1", Port: s.port, From: "wflo <wflo@example.com>", To: []Recipient{{Address: "alice@example.com"}},
		Console: "https://wflo.example", TLS: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
	}
}

func (s *server) got() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

func open(t *testing.T, c Config) *Channel {
	t.Helper()
	ch, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// parts reads a mail as a mail program does.
func parts(t *testing.T, raw []byte) (mail.Header, string, string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s, %v", kind, err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	var texts []string
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, strings.ReplaceAll(string(data), "\r\n", "\n"))
	}
	if len(texts) != 2 {
		t.Fatalf("%d parts", len(texts))
	}
	return m.Header, texts[0], texts[1]
}

func TestMailsOfAThread(t *testing.T) {
	s := serve(t, StartTLS)
	s.login = true
	config := s.config()
	config.User, config.Password = "wflo", canary
	config.To = []Recipient{{Address: "alice@example.com"}, {Address: "carol@example.com", Subject: "carol"}}
	c := open(t, config)
	g := notifytest.Gate()
	receipt, err := c.Deliver(t.Context(), notifytest.Notice("ops", wflo.NoticeAsked, 0, g))
	if err != nil {
		t.Fatal(err)
	}
	reminder := notifytest.Notice("ops", wflo.NoticeReminder, 1, g)
	reminder.Receipt = receipt
	if again, err := c.Deliver(t.Context(), reminder); err != nil || again != "" {
		t.Fatalf("%q, %v", again, err)
	}
	got := s.got()
	if len(got) != 4 || !got[0].tls || got[0].user != "wflo" || got[0].from != "wflo@example.com" || got[1].to != "carol@example.com" {
		t.Fatalf("got %d mails, first %+v", len(got), got[0])
	}
	header, text, html := parts(t, got[0].raw)
	if header.Get("Message-Id") != "<"+receipt+">" || header.Get("Subject") != "[wflo] Approval needed: refunds" ||
		header.Get("Auto-Submitted") != "auto-generated" || header.Get("In-Reply-To") != "" || header.Get("To") != "<alice@example.com>" {
		t.Errorf("header %v", header)
	}
	m := render.New(notifytest.Notice("ops", wflo.NoticeAsked, 0, g).Notice, "https://wflo.example")
	if !strings.Contains(text, m.Payload.Text) || !strings.Contains(text, m.Link) || !strings.Contains(text, render.AgentLabel) {
		t.Errorf("text %s", text)
	}
	if !strings.Contains(html, `<a href="https://wflo.example/gates/nonce-1">`) || !strings.Contains(html, "Refund 250.00 EUR") || strings.Contains(html, "<form") {
		t.Errorf("html %s", html)
	}
	if _, text, _ := parts(t, got[1].raw); !strings.HasPrefix(text, "carol, this run acts for you") {
		t.Errorf("to whom the run acts for: %s", text)
	}
	if header, _, _ := parts(t, got[2].raw); header.Get("In-Reply-To") != "<"+receipt+">" || header.Get("References") != "<"+receipt+">" || header.Get("Message-Id") == "<"+receipt+">" {
		t.Errorf("header of the reminder %v", header)
	}
}

// The same notice has the same ID, whoever sends it again.
func TestMessageIDIsStable(t *testing.T) {
	s := serve(t, StartTLS)
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())
	for range 2 { // two workers, of which the first died after sending
		if _, err := open(t, s.config()).Deliver(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	got := s.got()
	first, _, _ := parts(t, got[0].raw)
	second, _, _ := parts(t, got[1].raw)
	if len(got) != 2 || first.Get("Message-Id") == "" || first.Get("Message-Id") != second.Get("Message-Id") {
		t.Errorf("IDs %s and %s", first.Get("Message-Id"), second.Get("Message-Id"))
	}
}

func TestHostileTextStaysText(t *testing.T) {
	s := serve(t, StartTLS)
	g := notifytest.Gate()
	g.Approval.Action = "<script>alert(1)</script>\r\nBcc: eve@example.com"
	g.Approval.Details = "</blockquote><a href='https://evil.example'>Approve</a>\u202e"
	g.Approval.Payload, _ = json.Marshal(map[string]string{"x": "</pre><img src=//evil.example>\u200b"})
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, g)
	n.Title = "x\r\nBcc: eve@example.com\r\n\r\n<b>body</b>"
	n.Receipt = "x>\r\nBcc: eve@example.com"
	if _, err := open(t, s.config()).Deliver(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	got := s.got()
	header, text, html := parts(t, got[0].raw)
	if len(got) != 1 || header.Get("Bcc") != "" || header.Get("In-Reply-To") != "" {
		t.Errorf("header %v", header)
	}
	for _, bad := range []string{"<script", "<img", "<b>", "<a href='", "\u202e", "\u200b"} {
		if strings.Contains(html, bad) {
			t.Errorf("the HTML part holds %q", bad)
		}
	}
	if strings.ContainsAny(text, "\u202e\u200b") {
		t.Errorf("text %q", text)
	}
}

func TestWithoutTLSNothingIsSent(t *testing.T) {
	s := serve(t, Plain)
	config := s.config()
	config.User, config.Password = "wflo", canary
	_, err := open(t, config).Deliver(t.Context(), notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate()))
	if err == nil || !strings.Contains(err.Error(), "no STARTTLS") || len(s.got()) != 0 {
		t.Errorf("%d mails, %v", len(s.got()), err)
	}
	relay := s.config()
	relay.Security = Plain
	if _, err := open(t, relay).Deliver(t.Context(), notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())); err != nil || s.got()[0].tls {
		t.Errorf("a relay on this machine: %v", err)
	}
}

func TestTLSFromTheFirstByteAndItsCertificate(t *testing.T) {
	s := serve(t, TLS)
	s.login = true
	config := s.config()
	config.Security, config.User, config.Password = TLS, "wflo", canary
	if _, err := open(t, config).Deliver(t.Context(), notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())); err != nil || len(s.got()) != 1 || !s.got()[0].tls {
		t.Fatalf("%v", err)
	}
	for _, security := range []Security{TLS, StartTLS} {
		s := serve(t, security)
		config := s.config()
		config.Security, config.TLS = security, nil // the system does not know the server
		if _, err := open(t, config).Deliver(t.Context(), notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())); err == nil || len(s.got()) != 0 {
			t.Errorf("%s with an unknown certificate: %v", security, err)
		}
	}
}

func TestErrors(t *testing.T) {
	s := serve(t, StartTLS)
	n := notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate())
	var log bytes.Buffer
	config := s.config()
	config.To = []Recipient{{Address: "a@example.com"}, {Address: "b@example.com"}}
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c := open(t, config)

	s.refuse["a@example.com"] = &smtp.SMTPError{Code: 452, Message: "a@example.com is full " + canary}
	_, err := c.Deliver(t.Context(), n)
	if err == nil || errors.Is(err, notify.ErrRefused) || err.Error() != "recipient 1 of 2: send: the mail server answered 452" {
		t.Errorf("full: %v", err)
	}
	delete(s.refuse, "a@example.com")
	if _, err := c.Deliver(t.Context(), n); err != nil || len(s.got()) != 2 || s.got()[0].to != "b@example.com" || s.got()[1].to != "a@example.com" {
		t.Errorf("again: %d mails, %v", len(s.got()), err)
	}

	m := notifytest.Notice("ops", wflo.NoticeReminder, 1, notifytest.Gate())
	s.refuse["a@example.com"] = &smtp.SMTPError{Code: 550, Message: "no such user " + canary}
	if _, err := c.Deliver(t.Context(), m); err != nil || !strings.Contains(log.String(), "recipient 1 of 2") || strings.Contains(log.String(), "canary") {
		t.Errorf("one does not exist: %v, log %s", err, log.String())
	}
	s.refuse["b@example.com"] = s.refuse["a@example.com"]
	if _, err := open(t, config).Deliver(t.Context(), m); !errors.Is(err, notify.ErrRefused) || strings.Contains(err.Error(), "canary") {
		t.Errorf("nobody exists: %v", err)
	}

	one := s.config()
	s.data = &smtp.SMTPError{Code: 554, Message: "spam " + canary}
	if _, err := open(t, one).Deliver(t.Context(), n); !errors.Is(err, notify.ErrRefused) || strings.Contains(err.Error(), "canary") {
		t.Errorf("refused content: %v", err)
	}
	one.User, one.Password = "wflo", "wrong-"+canary
	if _, err := open(t, one).Deliver(t.Context(), n); !errors.Is(err, notify.ErrRefused) || strings.Contains(err.Error(), "canary") {
		t.Errorf("wrong password: %v", err)
	}
}

func TestADeliveryEndsWithItsContext(t *testing.T) {
	s := serve(t, StartTLS)
	s.hang = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make(chan error, 1)
	go func() {
		_, err := open(t, s.config()).Deliver(ctx, notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate()))
		arrived <- err
	}()
	s.hang <- struct{}{} // the server has the mail, and its answer is on the way
	cancel()
	<-arrived
	go func() { // a second one that the server never answers
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := open(t, s.config()).Deliver(ctx, notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate()))
		arrived <- err
	}()
	if err := <-arrived; err == nil {
		t.Error("a mail that was never answered counts as sent")
	}
	close(s.hang)
}

func TestTheGuardHoldsForMail(t *testing.T) {
	s := serve(t, StartTLS)
	config := s.config()
	config.Host = "10.255.255.1"
	_, err := open(t, config).Deliver(t.Context(), notifytest.Notice("ops", wflo.NoticeAsked, 0, notifytest.Gate()))
	if err == nil || !strings.Contains(err.Error(), "private") {
		t.Errorf("error %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := Config{Host: "mx.example.com", From: "wflo@example.com", To: []Recipient{{Address: "a@example.com"}}}
	if c, err := New(good); err != nil || c.config.Port != 587 || c.config.Security != StartTLS {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no host":           func(c *Config) { c.Host = "" },
		"host with a break": func(c *Config) { c.Host = "a\r\nb" },
		"port":              func(c *Config) { c.Port = 70000 },
		"security":          func(c *Config) { c.Security = "none" },
		"plain elsewhere":   func(c *Config) { c.Security = Plain },
		"plain password":    func(c *Config) { c.Host, c.Security, c.User, c.Password = "localhost", Plain, "u", canary },
		"half a login":      func(c *Config) { c.Password = canary },
		"nobody":            func(c *Config) { c.To = nil },
		"from":              func(c *Config) { c.From = "wflo" },
		"from with a break": func(c *Config) { c.From = "\"a\r\nBcc: x\" <w@example.com>" },
		"to with a name":    func(c *Config) { c.To = []Recipient{{Address: "A <a@example.com>"}} },
		"to of two":         func(c *Config) { c.To = []Recipient{{Address: "a@example.com, b@example.com"}} },
		"console":           func(c *Config) { c.Console = "wflo" },
	} {
		c := good
		change(&c)
		if err := c.Validate(); !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
