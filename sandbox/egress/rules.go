package egress

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// plainPort is the one port on which a destination that gets a secret is spoken
// to without TLS. The program must not be the one who chooses that.
const plainPort = 80

// unknown stands for the destination of what names none.
const unknown = "(unknown)"

// refusal is why a request went nowhere. Statuses from 500 are no verdict on the
// destination and are not counted.
type refusal struct {
	status int
	to     string // host:port, printable, or unknown
	reason string // completes "host:port …"
	fix    string
}

func (r *refusal) Error() string { return r.to + " " + r.reason }

// header is a header to set, and what must not be seen of it.
type header struct {
	name, value string
	hide        []string
}

// rules are a network, compiled.
type rules struct {
	allow  []sandbox.Destination
	inject map[sandbox.Destination][]header
}

// secure lists the hosts for which TLS ends in the proxy.
func (r rules) secure() []string {
	var hosts []string
	for to := range r.inject {
		if to.Port != plainPort {
			hosts = append(hosts, to.Host)
		}
	}
	return hosts
}

// admit says whether the list has a destination; an injection is an entry too.
func (r rules) admit(to sandbox.Destination) *refusal {
	if len(r.inject[to]) > 0 {
		return nil
	}
	for _, d := range r.allow {
		if d.Matches(to.Host, to.Port) {
			return nil
		}
	}
	return &refusal{status: http.StatusForbidden, to: to.String(), reason: "is not on the allow-list", fix: "add it to spec.network.allow"}
}

// compile parses a network that is valid, and looks its secrets up.
func (p *Proxy) compile(ctx context.Context, n sandbox.Network) (rules, error) {
	r := rules{inject: map[sandbox.Destination][]header{}}
	for _, entry := range n.Allow {
		to, err := sandbox.ParseDestination(entry)
		if err != nil {
			return r, err
		}
		r.allow = append(r.allow, to)
	}
	for i, in := range n.Inject {
		to, err := sandbox.ParseDestination(in.To)
		if err != nil {
			return r, err
		}
		field := fmt.Sprintf("spec.network.inject[%d]", i)
		h, err := p.header(ctx, field, in)
		if err != nil {
			return r, err
		}
		for _, other := range r.inject[to] {
			if sameName(other.name, h.name) {
				return r, wflo.Invalid(field+".header", fmt.Sprintf("is %s again for %s", h.name, to), "set a header once")
			}
		}
		r.inject[to] = append(r.inject[to], h)
	}
	return r, nil
}

func (p *Proxy) header(ctx context.Context, field string, in sandbox.Injection) (header, error) {
	h := header{name: textproto.CanonicalMIMEHeaderKey(in.Header)}
	if p.config.Secrets == nil {
		return h, wflo.Errorf(wflo.CodeMissingKey, "configure secrets for the worker", "%s.secret is %.80q, and this worker has none", field, in.Secret)
	}
	secret, err := p.config.Secrets.Secret(ctx, in.Secret)
	if err != nil {
		return h, fmt.Errorf("%s: %w", field, err)
	}
	// The value itself is in none of these messages.
	switch {
	case len(secret) == 0:
		return h, wflo.Errorf(wflo.CodeMissingKey, "give it a value", "%s.secret is %.80q, which is empty", field, in.Secret)
	case !headerValue(string(secret)):
		return h, wflo.Invalid(field+".secret", fmt.Sprintf("is %.80q, whose value no header may hold", in.Secret),
			"remove line breaks, also at its end, control characters, and spaces around it")
	}
	format := or(in.Format, "%s")
	h.value = strings.Replace(format, "%s", string(secret), 1)
	if h.value != strings.TrimSpace(h.value) || !headerValue(h.value) {
		return h, wflo.Invalid(field+".format", "makes a value that no header may hold", "write it with one %s, such as Bearer %s")
	}
	if len(secret) >= minHidden {
		h.hide = []string{string(secret)}
	}
	return h, nil
}

func headerValue(s string) bool {
	return s == strings.TrimSpace(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// sameName compares names of headers as the loosest servers do: behind CGI and its
// relatives X-Key and X_Key are one variable.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, "_", "-"), strings.ReplaceAll(b, "_", "-"))
}

// parseTarget reads HOST or HOST:PORT of a request, with the port to assume where
// there is none (zero: there must be one).
func parseTarget(authority string, port uint16) (sandbox.Destination, *refusal) {
	bad := func(reason, fix string) (sandbox.Destination, *refusal) {
		return sandbox.Destination{}, &refusal{status: http.StatusBadRequest, to: printable(authority), reason: reason, fix: fix}
	}
	if strings.Contains(authority, "@") {
		return bad("comes with a user's name", "send credentials as a header")
	}
	for i := range len(authority) {
		if c := authority[i]; c <= ' ' || c >= 0x7f {
			return bad("is not ASCII", "write names outside ASCII in Punycode")
		}
	}
	bare := strings.TrimSuffix(authority, ":")
	hasPort := strings.LastIndexByte(bare, ':') > strings.LastIndexByte(bare, ']')
	if !hasPort && port != 0 {
		bare += ":" + strconv.Itoa(int(port))
	}
	to, err := sandbox.ParseDestination(bare)
	if err != nil || to.Below || len(bare) > 300 {
		return bad("is neither a name nor an address with a port", "write it as api.example.com:443, addresses as 192.0.2.1 or [2001:db8::1]")
	}
	return to, nil
}

// printable makes of what a program sent what may be logged: no credentials, no
// control characters, nothing long.
func printable(authority string) string {
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	if len(authority) > 260 {
		authority = authority[:260]
	}
	clean := strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, authority)
	return or(clean, unknown)
}
