// Package egress is the door of a sandbox's network: a proxy that lets a program
// reach what its specification allows, and nothing else.
//
// A sandbox has no network at all. PID 1 in it listens on [Listen], and every
// connection that a program makes there travels to the worker inside the
// worker's own stream. The worker hands each one to [Session.Serve]; there is one
// [Session] per execution, so who is asking cannot be forged. The two things to
// call are [Proxy.Open] before the program starts and [Session.Close] after it.
//
// What the package refuses: destinations that are not listed; names that lead to
// addresses of the worker's own network, whatever the list says, unless the
// operator opened the range; requests that two parsers could read differently;
// TLS for another name than the one that was allowed; and to open a session whose
// secrets it does not have. Names are resolved here, once per connection, and
// exactly the address that was checked is dialled.
//
// Secrets of [sandbox.Injection] are set on requests here, in the worker. For
// that, TLS to those destinations, and to no others, ends here: the session has a
// certificate authority of its own, whose key never leaves the worker's memory
// and whose certificates are good for those hosts only.
package egress

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

const (
	// Listen is where programs in the sandbox find the proxy.
	Listen = "127.0.0.1:3128"
	// CAFile is where the sandbox must have the bytes of Session.CA, if there
	// are any: [Session.Environment] names it.
	CAFile = "/run/wflo/ca.pem"
)

// Resolver looks up addresses, as [net.Resolver] does. A name that has a dot
// comes with one at its end too, so that no search list applies to it.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config configures a Proxy. The zero value is a working default that injects
// nothing.
type Config struct {
	// Secrets has the values of injections; nil knows none.
	Secrets sandbox.Secrets
	// Private are ranges of the worker's network that programs may reach if
	// their list names them, such as that of an internal mirror; none by default.
	// Everything that is not a public address is refused otherwise.
	Private []netip.Prefix
	// Resolver resolves names; nil means net.DefaultResolver.
	Resolver Resolver
	// Dial connects to an address that was checked, "ADDRESS:PORT"; nil means a
	// net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// RootCAs judge the certificates of destinations that get a secret; nil
	// means the system's.
	RootCAs *x509.CertPool
	// Roots are the certificates, in PEM, that programs shall trust besides the
	// session's own authority; nil means this system's, read when the Proxy is made.
	Roots []byte
	// Limits bound a session.
	Limits Limits
	// Logger gets refusals at level Info; nil discards.
	Logger *slog.Logger
}

// Limits bound one session. Zero means the default.
type Limits struct {
	// Connections is how many a program may have open at once; default 64.
	Connections int
	// HeaderBytes is the most that the head of a request or a response may
	// have, and a TLS ClientHello; default 32 KiB, at least 4 KiB.
	HeaderBytes int
	// HeaderTimeout bounds how long a program takes for such a head, once begun,
	// and every handshake; default 15 s.
	HeaderTimeout time.Duration
	// DialTimeout bounds looking a name up and connecting; default 15 s.
	DialTimeout time.Duration
	// IdleTimeout ends a connection on which nothing moves, and is how long a
	// destination may take to answer; default 5 min.
	IdleTimeout time.Duration
	// Bytes is how many a session may exchange with destinations, both ways,
	// before it is ended; zero means no bound. What is under way when the bound is
	// reached may pass it by a buffer per connection.
	Bytes int64
}

func (l Limits) withDefaults() (Limits, error) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"connections", int64(l.Connections)}, {"header_bytes", int64(l.HeaderBytes)}, {"header_timeout", int64(l.HeaderTimeout)},
		{"dial_timeout", int64(l.DialTimeout)}, {"idle_timeout", int64(l.IdleTimeout)}, {"bytes", l.Bytes},
	} {
		if f.value < 0 {
			return l, wflo.Invalid("egress.limits."+f.name, "is negative", "use 0 for the default")
		}
	}
	if l.HeaderBytes != 0 && l.HeaderBytes < 4<<10 {
		return l, wflo.Invalid("egress.limits.header_bytes", fmt.Sprintf("is %d", l.HeaderBytes), "use at least 4096, or 0 for the default")
	}
	l.Connections = or(l.Connections, 64)
	l.HeaderBytes = or(l.HeaderBytes, 32<<10)
	l.HeaderTimeout = or(l.HeaderTimeout, 15*time.Second)
	l.DialTimeout = or(l.DialTimeout, 15*time.Second)
	l.IdleTimeout = or(l.IdleTimeout, 5*time.Minute)
	return l, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Proxy opens sessions. Its methods may be called at the same time.
type Proxy struct {
	config Config
	roots  []byte
}

// New checks the configuration. A range or a limit that makes no sense is an
// *wflo.Error with CodeInvalid.
func New(c Config) (*Proxy, error) {
	for i, p := range c.Private {
		if !p.IsValid() || p.Bits() == 0 || p.Addr().Is4In6() {
			return nil, wflo.Invalid(fmt.Sprintf("egress.private[%d]", i), fmt.Sprintf("is %s", p), "write a range such as 10.1.2.0/24")
		}
	}
	var err error
	if c.Limits, err = c.Limits.withDefaults(); err != nil {
		return nil, err
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{config: c, roots: c.Roots}
	if p.roots == nil {
		p.roots = systemRoots()
	}
	return p, nil
}

// systemRoots reads what crypto/x509 would, which cannot be got back from a pool.
// A system without any leaves programs with the session's authority alone: what
// cannot be verified does not count.
func systemRoots() []byte {
	for _, name := range []string{
		os.Getenv("SSL_CERT_FILE"),
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
		"/etc/ssl/ca-bundle.pem",                            // SUSE
		"/etc/ssl/cert.pem",                                 // macOS, BSD
	} {
		if name == "" {
			continue
		}
		if pem, err := os.ReadFile(name); err == nil {
			return pem
		}
	}
	return nil
}
