package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// hopByHop are the headers that are about one connection and are never passed on
// (RFC 9110, 7.6.1), with their relatives. Trailers are not passed on either, which
// RFC 9110, 6.5 allows: one could stand for a header that is injected.
var hopByHop = []string{
	"Connection", "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// newTransport makes the client of the session's destinations. Every request has
// a connection of its own: its destination is resolved and checked anew, nothing
// that one answer left behind can be taken for another's, and net/http, which
// prints to the process's log what a destination says unasked on an idle
// connection, has no idle connection to do that for.
func (s *Session) newTransport() *http.Transport {
	c := s.proxy.config
	return &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			up, _, err := s.dialListed(ctx, address)
			if err != nil {
				return nil, err
			}
			return newReticent(up), nil
		},
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			up, to, err := s.dialListed(ctx, address)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, c.Limits.HeaderTimeout)
			defer cancel()
			defer context.AfterFunc(s.ctx, cancel)()
			conn := tls.Client(up, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs, NextProtos: []string{"http/1.1"}, ServerName: to.Host})
			if err := conn.HandshakeContext(ctx); err != nil {
				_ = up.Close()
				return nil, err
			}
			return newReticent(conn), nil
		},
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
		ResponseHeaderTimeout:  c.Limits.IdleTimeout,
		MaxResponseHeaderBytes: int64(c.Limits.HeaderBytes),
		DisableCompression:     true,
		DisableKeepAlives:      true,
	}
}

// dialListed holds what the transport asks for to the list once more.
func (s *Session) dialListed(ctx context.Context, address string) (net.Conn, sandbox.Destination, error) {
	to, err := sandbox.ParseDestination(address)
	if err != nil {
		return nil, to, err
	}
	if bad := s.rules.admit(to); bad != nil {
		return nil, to, bad
	}
	up, err := s.dial(ctx, to)
	return up, to, err
}

// reticent is a connection from which nothing can be read before something was
// written: net/http prints what comes earlier to the process's log.
type reticent struct {
	net.Conn
	once sync.Once
	open chan struct{} // closed by the first Write, or by Close
}

func newReticent(conn net.Conn) *reticent {
	return &reticent{Conn: conn, open: make(chan struct{})}
}

func (r *reticent) Read(p []byte) (int, error) {
	<-r.open
	return r.Conn.Read(p)
}

func (r *reticent) Write(p []byte) (int, error) {
	r.once.Do(func() { close(r.open) })
	return r.Conn.Write(p)
}

func (r *reticent) Close() error {
	err := r.Conn.Close()
	r.once.Do(func() { close(r.open) })
	return err
}

// forward sends a request on, streams the answer back, and says whether another
// request may follow on the connection.
func (l *link) forward(req *http.Request, to sandbox.Destination, scheme string) bool {
	if expect := req.Header.Get("Expect"); expect != "" && !strings.EqualFold(expect, "100-continue") {
		l.refuse(&refusal{status: http.StatusExpectationFailed, to: to.String(), reason: "was asked for with an unknown Expect", fix: "leave the header out"})
		return false
	}
	x := newExchange(l, req)
	defer x.end()
	out := outgoing(x, req, to, scheme, l.session.rules.inject[to])
	resp, err := l.session.transport.RoundTrip(out)
	if err == nil && (resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode == http.StatusProxyAuthRequired) {
		_ = resp.Body.Close()
		err = unreachable(to, "answers like a proxy")
	}
	if err != nil {
		gone := x.ctx.Err() != nil
		l.busy = !x.end()
		if !gone {
			l.refuseError(to, err)
		}
		return false
	}
	defer resp.Body.Close()
	x.answered()
	again := l.answer(x, req, resp, hidden(l.session.rules.inject[to]))
	return x.end() && again
}

// outgoing makes the request that the destination sees. Nothing of it but method,
// path, query, headers and body is the program's.
func outgoing(x *exchange, req *http.Request, to sandbox.Destination, scheme string, inject []header) *http.Request {
	out := &http.Request{
		Method: req.Method,
		URL: &url.URL{
			Scheme: scheme, Host: to.String(),
			Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery, ForceQuery: req.URL.ForceQuery,
		},
		Host:  to.String(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        passOn(req.Header),
		ContentLength: req.ContentLength,
		Body:          http.NoBody,
	}
	if (scheme == "http" && to.Port == 80) || (scheme == "https" && to.Port == 443) {
		out.Host = strings.TrimSuffix(out.Host, ":"+strconv.Itoa(int(to.Port)))
	}
	if req.ContentLength != 0 {
		out.Body = x
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header.Set("User-Agent", "") // or net/http would send its own
	}
	for _, h := range inject {
		for name := range out.Header {
			if sameName(name, h.name) {
				delete(out.Header, name)
			}
		}
	}
	for _, h := range inject {
		out.Header.Set(h.name, h.value)
		// What comes back compressed cannot be searched for the secret.
		out.Header.Set("Accept-Encoding", "identity")
	}
	return out.WithContext(x.ctx)
}

// passOn copies headers without those that are about the connection.
func passOn(all http.Header) http.Header {
	out := all.Clone()
	for _, list := range all["Connection"] {
		for _, name := range strings.Split(list, ",") {
			delete(out, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	for _, name := range hopByHop {
		delete(out, name)
	}
	return out
}

// answer writes a response, and says whether the connection can be used again.
func (l *link) answer(x *exchange, req *http.Request, resp *http.Response, hide [][]byte) bool {
	headers := passOn(resp.Header)
	delete(headers, "Content-Length")
	maskHeaders(headers, hide)
	again := !req.Close && req.ProtoAtLeast(1, 1) && x.complete()
	var body io.Reader
	framing, chunked := "", false
	length := fmt.Sprintf("Content-Length: %d\r\n", resp.ContentLength)
	switch {
	case req.Method == http.MethodHead:
		if resp.ContentLength >= 0 {
			framing = length
		}
	case resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusNotModified:
	case resp.ContentLength >= 0:
		framing, body = length, resp.Body
	case req.ProtoAtLeast(1, 1):
		framing, body, chunked = "Transfer-Encoding: chunked\r\n", resp.Body, true
	default:
		body = resp.Body
	}
	if !again {
		framing += "Connection: close\r\n"
	}
	w := bufio.NewWriterSize(l.conn, 4<<10)
	fmt.Fprintf(w, "HTTP/1.1 %03d %s\r\n", resp.StatusCode, http.StatusText(resp.StatusCode))
	if headers.Write(w) != nil {
		return false
	}
	_, _ = w.WriteString(framing + "\r\n") // Flush gives the error
	if body == nil {
		return w.Flush() == nil && again
	}
	var m *mask
	if encoding := headers.Get("Content-Encoding"); len(hide) > 0 && (encoding == "" || strings.EqualFold(encoding, "identity")) {
		m = &mask{words: hide}
	}
	return l.copyBody(x, w, body, chunked, m) && again
}

// copyBody streams a body: what arrives leaves at once. A body that breaks off is
// not ended, so that the program sees that it is not whole.
func (l *link) copyBody(x *exchange, w *bufio.Writer, body io.Reader, chunked bool, m *mask) bool {
	var to io.Writer = w
	if chunked {
		// A stream may begin long after its headers.
		if w.Flush() != nil {
			return false
		}
		to = httputil.NewChunkedWriter(w)
	}
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := body.Read(buf[:])
		x.touch()
		data := buf[:n]
		if m != nil {
			data = m.next(data, err != nil)
		}
		if len(data) > 0 {
			if _, failed := to.Write(data); failed != nil || w.Flush() != nil {
				return false
			}
		}
		if err == nil {
			continue
		}
		if err != io.EOF {
			l.noteOverspent(err)
			return false
		}
		if chunked {
			_, _ = w.WriteString("0\r\n\r\n") // Flush gives the error
		}
		return w.Flush() == nil
	}
}

func (l *link) noteOverspent(err error) {
	var r *refusal
	if errors.As(err, &r) {
		l.session.traffic.refuse(l.session.log, r)
	}
}

// explain puts an error of the transport into words of ours: its own could quote
// what was sent.
func explain(err error) string {
	var untrusted *tls.CertificateVerificationError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &untrusted):
		return "has a certificate that the worker does not trust"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "does not answer"
	}
	return "gave no valid answer"
}
