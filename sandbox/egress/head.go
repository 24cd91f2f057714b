package egress

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/wflo-ai/wflo-go/sandbox"
)

var (
	errHeadTooLong = errors.New("the head of the request is too long")
	errNotHTTP     = errors.New("not a request")
)

// head is a request's first line and what its headers say about its frame, read
// before net/http reads them and more strictly: what net/http corrects or ignores
// without a word is refused here, so that nobody can read a request otherwise.
type head struct {
	method, target string
	host           string // of the Host header
	hasHost        bool
	hasBody        bool // Content-Length or Transfer-Encoding is there
}

var malformed = &refusal{
	status: http.StatusBadRequest, to: unknown, reason: "was asked for by a malformed request",
	fix: "send HTTP/1.1 as RFC 9112 has it: CONNECT for TLS and other protocols, absolute form for http",
}

// readHead waits for a whole head and leaves it in the reader.
func (l *link) readHead() ([]byte, error) {
	limits := l.session.proxy.config.Limits
	l.dog.arm(limits.IdleTimeout)
	first, err := l.r.Peek(1)
	if err != nil {
		return nil, err
	}
	// Another protocol would never end its head.
	if first[0] < 'A' || first[0] > 'Z' {
		return nil, errNotHTTP
	}
	l.dog.arm(limits.HeaderTimeout)
	defer l.dog.disarm()
	for seen := 0; ; {
		got, err := l.r.Peek(l.r.Buffered())
		if err != nil {
			return nil, err
		}
		if i := bytes.Index(got[max(0, seen-3):], []byte("\r\n\r\n")); i >= 0 {
			return got[:max(0, seen-3)+i+4], nil
		}
		seen = len(got)
		if seen >= l.r.Size() {
			return nil, errHeadTooLong
		}
		if _, err := l.r.Peek(seen + 1); err != nil {
			return nil, err
		}
	}
}

// parseHead reads a head that ends with an empty line.
func parseHead(raw []byte) (head, *refusal) {
	var h head
	lines := strings.Split(strings.TrimSuffix(string(raw), "\r\n\r\n"), "\r\n")
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			return h, malformed
		}
	}
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0" {
		return h, malformed
	}
	h.method, h.target = parts[0], parts[1]
	lengths, encodings := 0, 0
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !fieldName(name) {
			return h, malformed
		}
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "host":
			if h.hasHost {
				return h, malformed
			}
			h.host, h.hasHost = value, true
		case "content-length":
			lengths++
			if value == "" || strings.Trim(value, "0123456789") != "" {
				return h, malformed
			}
		case "transfer-encoding":
			encodings++
			if !strings.EqualFold(value, "chunked") {
				return h, malformed
			}
		}
	}
	h.hasBody = lengths+encodings > 0
	if lengths+encodings > 1 || encodings > 0 && parts[2] != "HTTP/1.1" || !h.hasHost && parts[2] == "HTTP/1.1" {
		return h, malformed
	}
	return h, nil
}

func fieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// destination says where a request that is no CONNECT goes, and with which scheme.
// inside is the destination of the tunnel that it came through, if it did.
func (h head) destination(inside *sandbox.Destination, list rules) (sandbox.Destination, string, *refusal) {
	if inside != nil {
		return h.insideTunnel(*inside)
	}
	scheme, rest, ok := strings.Cut(h.target, "://")
	port, known := map[string]uint16{"http": 80, "https": 443}[strings.ToLower(scheme)]
	if !ok || !known {
		return sandbox.Destination{}, "", malformed
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	to, bad := parseTarget(authority, port)
	if bad != nil {
		return to, "", bad
	}
	if h.hasHost {
		if named, bad := parseTarget(h.host, port); bad != nil || named != to {
			return to, "", &refusal{status: http.StatusBadRequest, to: to.String(), reason: "was asked for under another Host", fix: "send the Host header of the destination"}
		}
	}
	if bad := list.admit(to); bad != nil {
		return to, "", bad
	}
	if len(list.inject[to]) > 0 {
		return to, injectedScheme(to), nil
	}
	if port == 443 {
		return to, "", &refusal{status: http.StatusBadRequest, to: to.String(), reason: "was asked for with https in absolute form", fix: "use CONNECT, as clients do that are set up with HTTPS_PROXY"}
	}
	return to, "http", nil
}

// insideTunnel holds a request to the destination whose tunnel it came through.
func (h head) insideTunnel(to sandbox.Destination) (sandbox.Destination, string, *refusal) {
	if !strings.HasPrefix(h.target, "/") {
		return to, "", malformed
	}
	scheme := injectedScheme(to)
	port := uint16(443)
	if scheme == "http" {
		port = 80
	}
	named, bad := parseTarget(h.host, port)
	// Clients leave out the port that their own scheme implies, so a Host
	// without one stands for the tunnel's.
	if bad != nil || named.Host != to.Host || named.Port != to.Port && named.Port != port {
		return to, "", &refusal{status: http.StatusMisdirectedRequest, to: to.String(), reason: "was asked for under another Host", fix: "open a tunnel to that destination"}
	}
	return to, scheme, nil
}

func injectedScheme(to sandbox.Destination) string {
	if to.Port == plainPort {
		return "http"
	}
	return "https"
}
