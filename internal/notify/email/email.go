// Package email sends notices by SMTP. [New] makes the channel. A mail shows what is
// asked and links to the console; opening the link decides nothing, because mail
// scanners open links too.
package email

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

const (
	// maxTo bounds how many recipients one channel has.
	maxTo = 50
	// defaultTimeout bounds a connection from its dial to its end.
	defaultTimeout = 15 * time.Second
	// submission is the port of mail submission (RFC 6409), submissions that with
	// TLS from the first byte (RFC 8314).
	submission, submissions = 587, 465
)

// Security says how a connection is encrypted.
type Security string

// How a connection is encrypted.
const (
	// StartTLS begins in plain text and goes on only with TLS.
	StartTLS Security = "starttls"
	// TLS is TLS from the first byte.
	TLS Security = "tls"
	// Plain takes what the server offers, which may be nothing. For a relay on the
	// same machine, or with AllowPlain in a network of one's own.
	Plain Security = "plain"
)

// Config says which server takes the mails, and for whom they are.
type Config struct {
	// Host and Port are the server's. Port zero means 587, or 465 with TLS.
	Host string
	Port int
	// Security is StartTLS when empty.
	Security Security
	// AllowPlain lets Plain go to other machines too. It never sends a password.
	AllowPlain bool
	// User and Password log in; both empty for no login. Password is a secret.
	User, Password string
	// From is the sender, such as "wflo <wflo@example.com>".
	From string
	// To are the recipients.
	To []Recipient
	// Console is the address of the console, for links; empty for none.
	Console string
	// TLS holds the roots that verify the server; nil means the system's.
	TLS *tls.Config
	// Outbound is where connections may go. AllowHTTP has no meaning here.
	Outbound outbound.Config
	// Logger gets the recipients that the server refuses while others take the
	// mail; nil for none.
	Logger *slog.Logger
}

// Recipient is who gets mails.
type Recipient struct {
	Address string
	// Subject is the user whose address it is, who is told where four eyes are
	// needed and theirs do not count. It may be empty.
	Subject string
}

// Validate says what is wrong with the configuration, if anything. It does not
// repeat the password.
func (c Config) Validate() error {
	switch {
	case c.Host == "" || strings.ContainsAny(c.Host, " \t\r\n/@"):
		return wflo.Invalid("email.host", fmt.Sprintf("is %q", c.Host), "give the name of the SMTP server")
	case c.Port < 0 || c.Port > 65535:
		return wflo.Invalid("email.port", fmt.Sprintf("is %d", c.Port), "use 0 for 587, or 465 with tls")
	case c.Security != "" && c.Security != StartTLS && c.Security != TLS && c.Security != Plain:
		return wflo.Invalid("email.security", fmt.Sprintf("is %q", string(c.Security)), "use starttls, tls or plain")
	case c.Security == Plain && !c.AllowPlain && !loopback(c.Host):
		return wflo.Invalid("email.security", "is plain, and the server is another machine", "use starttls, or allow plain text if the network is yours")
	case (c.User == "") != (c.Password == ""):
		return wflo.Invalid("email.user", "and password go together", "set both, or neither")
	case c.Security == Plain && c.Password != "":
		return wflo.Invalid("email.password", "would be sent readable", "use starttls or tls")
	case len(c.To) == 0 || len(c.To) > maxTo:
		return wflo.Invalid("email.to", fmt.Sprintf("has %d recipients", len(c.To)), fmt.Sprintf("give 1 to %d", maxTo))
	}
	if _, err := mail.ParseAddress(c.From); err != nil || hasControl(c.From) {
		return wflo.Invalid("email.from", "is not an address", "write it as wflo <wflo@example.com>")
	}
	for i, r := range c.To {
		a, err := mail.ParseAddress(r.Address)
		if err != nil || a.Address != r.Address || hasControl(r.Address) {
			return wflo.Invalid(fmt.Sprintf("email.to[%d]", i), "is not an address", "write it as ops@example.com")
		}
	}
	if c.Console != "" {
		return outbound.Config{AllowHTTP: true}.CheckURL("email.console", c.Console)
	}
	return nil
}

func hasControl(s string) bool { return render.Line(s) != s }

// loopback says that a host is this machine. A name other than localhost may be
// anything tomorrow.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// Channel sends mails through one server.
type Channel struct {
	config Config
	domain string // of the sender, for message IDs
	sent   notify.Sent
}

// New makes a Channel.
func New(c Config) (*Channel, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Security == "" {
		c.Security = StartTLS
	}
	if c.Port == 0 {
		c.Port = submission
		if c.Security == TLS {
			c.Port = submissions
		}
	}
	if c.Outbound.Timeout == 0 {
		c.Outbound.Timeout = defaultTimeout
	}
	if loopback(c.Host) { // a relay on the same machine is named on purpose
		c.Outbound.Allow = append(c.Outbound.Allow[:len(c.Outbound.Allow):len(c.Outbound.Allow)],
			netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return nil, wflo.Invalid("email.from", "is not an address", "write it as wflo <wflo@example.com>")
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	return &Channel{config: c, domain: domain}, nil
}

// Deliver sends one mail to each recipient, over one connection. It fails while a
// recipient could not be reached, and those who have the mail are left alone then.
// The receipt is the ID of the thread's first mail.
func (c *Channel) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	// The library leaves a connection open when it cannot log in.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := c.client(ctx)
	if err != nil {
		return "", err
	}
	smtp, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return "", explain("connect", err)
	}
	defer client.CloseWithSMTPClient(smtp) //nolint:errcheck // what was accepted is accepted
	var retry, refused error
	took := 0
	for i, to := range c.config.To {
		if c.sent.Has(n.ID, to.Address) {
			took++
			continue
		}
		msg, err := c.compose(n, to)
		if err != nil {
			return "", err
		}
		err = client.SendWithSMTPClient(smtp, msg)
		if msg.IsDelivered() {
			err = nil // whatever happened after the server took it
		}
		switch err = explain("send", err); {
		case err == nil:
			took++
			c.sent.Add(n.ID, to.Address)
		case errors.Is(err, notify.ErrRefused):
			refused = fmt.Errorf("recipient %d of %d: %w", i+1, len(c.config.To), err)
		default:
			retry = fmt.Errorf("recipient %d of %d: %w", i+1, len(c.config.To), err)
		}
	}
	switch {
	case retry != nil:
		return "", retry
	case refused != nil && took == 0:
		return "", refused
	case refused != nil:
		c.config.Logger.Warn("a recipient does not get a notice", "notice", n.ID, "error", refused)
	}
	if n.Receipt != "" {
		return "", nil
	}
	return c.messageID(n.ID), nil
}

// client makes the library's client for one connection.
func (c *Channel) client(ctx context.Context) (*gomail.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.config.TLS != nil {
		config = c.config.TLS.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	}
	config.ServerName = c.config.Host
	options := []gomail.Option{
		gomail.WithPort(c.config.Port), gomail.WithTimeout(c.config.Outbound.Timeout), gomail.WithTLSConfig(config),
		gomail.WithoutNoop(), gomail.WithDialContextFunc(c.dial(ctx, config)),
	}
	switch c.config.Security {
	case TLS:
		options = append(options, gomail.WithSSL())
	case Plain:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if c.config.Password != "" {
		// The last two refuse to speak without TLS.
		options = append(options, gomail.WithOpportunisticSMTPAuth(
			gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin),
			gomail.WithUsername(c.config.User), gomail.WithPassword(c.config.Password))
	}
	client, err := gomail.NewClient(c.config.Host, options...)
	if err != nil {
		return nil, errors.New("set up the SMTP client: the configuration cannot be used")
	}
	return client, nil
}

// dial connects through the guard. The connection ends with the delivery's context,
// which the library looks at only while it dials.
func (c *Channel) dial(delivery context.Context, config *tls.Config) gomail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := c.config.Outbound.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(delivery, func() { _ = conn.Close() })
		tied := &bound{Conn: conn, stop: stop}
		if c.config.Security != TLS {
			return tied, nil
		}
		secure := tls.Client(tied, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, tied.Close())
		}
		return secure, nil
	}
}

// bound is a connection that ends with a context.
type bound struct {
	net.Conn
	stop func() bool
}

// Close ends the connection and lets go of the context.
func (b *bound) Close() error {
	b.stop()
	return b.Conn.Close()
}
