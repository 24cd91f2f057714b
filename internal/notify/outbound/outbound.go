// Package outbound makes the connections of channels. A channel's address comes
// from a configuration file and its answers from a stranger, so neither may lead
// into the network that the worker stands in: [New] gives an [http.Client] that
// dials public addresses only, decided after the name was resolved, and [Dial] does
// the same for protocols other than HTTP.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/wflo-ai/wflo-go"
)

const (
	// maxBody bounds an answer, in bytes. No channel's answer needs more.
	maxBody = 256 << 10
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 64 << 10
	// maxRedirects bounds how often a server may send a request on to itself.
	maxRedirects = 3
	// maxAddresses is how many addresses of a name are tried.
	maxAddresses = 4
	// defaultTimeout bounds a request from its dial to the end of its answer.
	defaultTimeout = 15 * time.Second
)

// ErrForbidden says that a request was not sent because of where it would have gone.
var ErrForbidden = errors.New("refused by the guard of outgoing connections")

// Resolver finds the addresses of a name. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config says where a channel may connect to. The zero value means public
// addresses over https.
type Config struct {
	// Allow are networks that may be reached although they are not public, such as
	// 10.1.0.0/16 for a relay of one's own.
	Allow []netip.Prefix
	// AllowHTTP takes http addresses too. What is sent over them is readable on
	// the way, the channel's credential included.
	AllowHTTP bool
	// Timeout bounds a request as a whole; zero means 15 s.
	Timeout time.Duration
	// Resolver is asked for addresses; nil means the system's.
	Resolver Resolver
}

// CheckURL says why a channel cannot use an address of its configuration, or nil.
func (c Config) CheckURL(field, address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return wflo.Invalid(field, "is not an address", "write it as https://host/path")
	case u.Scheme != "https" && (u.Scheme != "http" || !c.AllowHTTP):
		return wflo.Invalid(field, fmt.Sprintf("has the scheme %q", u.Scheme), "use https")
	case u.User != nil:
		return wflo.Invalid(field, "holds a user or a password", "give credentials in fields of their own")
	case u.Fragment != "":
		return wflo.Invalid(field, "has a fragment", "leave out # and what follows")
	}
	return nil
}

// New gives a client for the configuration. It uses no proxy, because a proxy
// would do the resolving and the guard would judge the proxy's address.
func New(c Config) *http.Client {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	t := &http.Transport{
		Proxy:                  nil,
		DialContext:            c.Dial,
		TLSHandshakeTimeout:    c.Timeout,
		ResponseHeaderTimeout:  c.Timeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // a small answer could unpack to a large one
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
	}
	return &http.Client{Transport: &guarded{config: c, next: t}, CheckRedirect: checkRedirect, Timeout: c.Timeout}
}

// checkRedirect follows a server to itself only, and only where the request stays
// what it is: a notice that became a GET would look delivered.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d redirects", ErrForbidden, maxRedirects)
	case req.URL.Scheme != first.URL.Scheme || !strings.EqualFold(req.URL.Host, first.URL.Host):
		return fmt.Errorf("%w: a redirect to another server", ErrForbidden)
	case req.Method != first.Method:
		return fmt.Errorf("%w: a redirect that drops the message", ErrForbidden)
	}
	return nil
}

// guarded checks the scheme of each request, and bounds the answers.
type guarded struct {
	config Config
	next   *http.Transport
}

// RoundTrip sends a request that may be sent.
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && (req.URL.Scheme != "http" || !g.config.AllowHTTP) {
		return nil, fmt.Errorf("%w: not https", ErrForbidden)
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{Reader: io.LimitReader(resp.Body, maxBody), Closer: resp.Body}
	return resp, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (g *guarded) CloseIdleConnections() { g.next.CloseIdleConnections() }

type bounded struct {
	io.Reader
	io.Closer
}

// Dial connects to the first address of a name that may be reached. The address
// that was judged is the one that is dialled, so a name that changes its answer in
// between gains nothing.
func (c Config) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: no host and port", ErrForbidden)
	}
	found, err := c.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var refused, failed error
	tried := 0
	for _, addr := range found {
		if what := c.forbidden(addr); what != "" {
			refused = fmt.Errorf("%w: %s has a %s address", ErrForbidden, host, what)
			continue
		}
		if tried++; tried > maxAddresses {
			break
		}
		d := net.Dialer{Timeout: c.Timeout, Control: c.control}
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(addr.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	if failed != nil {
		return nil, failed
	}
	if refused != nil {
		return nil, refused
	}
	return nil, fmt.Errorf("%s has no address", host)
}

func (c Config) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	var r Resolver = net.DefaultResolver
	if c.Resolver != nil {
		r = c.Resolver
	}
	found, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	return found, nil
}

// control judges once more what the socket is about to connect to.
func (c Config) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: not an address", ErrForbidden)
	}
	if what := c.forbidden(to.Addr()); what != "" {
		return fmt.Errorf("%w: a %s address", ErrForbidden, what)
	}
	return nil
}

// Reason is why a request failed, without its address: addresses of webhooks are
// credentials, and the errors of net/http repeat them.
func Reason(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Answer is what a server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 256 KiB
}

// Send sends a request and reads the answer. Its errors are fit to be stored.
func Send(client *http.Client, req *http.Request) (Answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, Reason(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}
