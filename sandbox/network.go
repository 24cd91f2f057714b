package sandbox

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/wflo-ai/wflo-go"
)

// The modes of a Network.
const (
	NetworkNone  = ""      // nothing, not even names
	NetworkAllow = "allow" // what Network.Allow lists, through the worker's proxy
	NetworkOpen  = "open"  // the engine's network; the worker's configuration must admit it
)

// Network is what a program may reach. The zero value is nothing. Make it with
// [Allow] or [Open].
type Network struct {
	Mode string `json:"mode,omitempty"`
	// Allow lists destinations as HOST:PORT. HOST is a name, "*.name" for
	// everything below a name, or an address; PORT is a number. Programs reach
	// them by HTTP, HTTPS or CONNECT through the proxy that HTTP_PROXY and
	// HTTPS_PROXY name.
	Allow []string `json:"allow,omitempty"`
	// Inject adds headers to requests on the way out, with values that the
	// program never sees.
	Inject []Injection `json:"inject,omitempty"`
}

// Injection sets a header on every request to a destination.
type Injection struct {
	To     string `json:"to"`     // HOST:PORT without a wildcard; it need not be in Allow too
	Header string `json:"header"` // such as Authorization
	Secret string `json:"secret"` // the secret's name
	// Format holds the value, with one %s for the secret; empty means "%s".
	Format string `json:"format,omitempty"`
}

// Allow lets a program reach the destinations and nothing else, for instance
// Allow("api.github.com:443", "*.pypi.org:443").
func Allow(destinations ...string) Network {
	return Network{Mode: NetworkAllow, Allow: destinations}
}

// Open gives a program the engine's network.
func Open() Network { return Network{Mode: NetworkOpen} }

// MaxDestinations is how many destinations and injections a Network may list.
const MaxDestinations = 256

// Validate says what is wrong, if anything.
func (n Network) Validate() error {
	switch n.Mode {
	case NetworkNone, NetworkOpen:
		if len(n.Allow)+len(n.Inject) > 0 {
			return wflo.Invalid("spec.network.allow", "comes with mode "+strconv.Quote(n.Mode), `use mode "allow", as sandbox.Allow does`)
		}
		return nil
	case NetworkAllow:
	default:
		return wflo.Invalid("spec.network.mode", fmt.Sprintf("is %.40q", n.Mode), `use "allow" or "open", or nothing for none`)
	}
	if len(n.Allow)+len(n.Inject) > MaxDestinations {
		return wflo.Invalid("spec.network.allow", fmt.Sprintf("has %d destinations", len(n.Allow)+len(n.Inject)), fmt.Sprintf("use at most %d; *.name covers many", MaxDestinations))
	}
	for i, d := range n.Allow {
		if _, err := ParseDestination(d); err != nil {
			return wflo.Invalid(fmt.Sprintf("spec.network.allow[%d]", i), err.Error(), "write it as api.example.com:443 or *.example.com:443")
		}
	}
	for i, in := range n.Inject {
		if err := in.validate(fmt.Sprintf("spec.network.inject[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// framing are the headers that say where a message goes, where it ends or what
// becomes of its connection. They are the proxy's to set.
var framing = []string{
	"accept-encoding", "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
	"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

func (in Injection) validate(field string) error {
	d, err := ParseDestination(in.To)
	switch {
	case err != nil:
		return wflo.Invalid(field+".to", err.Error(), "write it as api.example.com:443")
	case d.Below:
		return wflo.Invalid(field+".to", fmt.Sprintf("is %q", in.To), "name one host: a wildcard could hand the secret to a host that somebody else chose")
	case !headerName.MatchString(in.Header):
		return wflo.Invalid(field+".header", fmt.Sprintf("is %.40q", in.Header), "name a header, such as Authorization")
	case slices.Contains(framing, strings.ToLower(in.Header)):
		return wflo.Invalid(field+".header", fmt.Sprintf("is %.40q, which the proxy sets itself", in.Header), "name a header that only the destination reads, such as Authorization")
	case in.Secret == "":
		return wflo.Invalid(field+".secret", "is empty", "name a secret of the worker")
	case in.Format != "" && (strings.Count(in.Format, "%") != 1 || !strings.Contains(in.Format, "%s")) || !plain(in.Format):
		return wflo.Invalid(field+".format", fmt.Sprintf("is %.40q", in.Format), "write it with one %s, such as Bearer %s")
	}
	return nil
}

// Destination is one entry of an allow-list.
type Destination struct {
	Host  string // lower case, without a dot at the end, or an address
	Below bool   // everything below Host, but not Host itself
	Port  uint16
}

var hostName = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ParseDestination reads HOST:PORT, *.NAME:PORT or [ADDRESS]:PORT. Names are
// compared without regard to case; names outside ASCII are written in Punycode.
func ParseDestination(s string) (Destination, error) {
	// Lower case would make ASCII of some other letters, such as the Kelvin sign.
	if strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
		return Destination{}, fmt.Errorf("is %.80q, which is not ASCII", s)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Destination{}, fmt.Errorf("is %.80q, without a port", s)
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 || s[i+1] == '0' {
		return Destination{}, fmt.Errorf("is %.80q, whose port is not 1 to 65535", s)
	}
	d := Destination{Host: strings.ToLower(s[:i]), Port: uint16(port)}
	if inner, ok := strings.CutPrefix(d.Host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return Destination{}, fmt.Errorf("is %.80q, which holds no IPv6 address", s)
		}
		d.Host = addr.String()
		return d, nil
	}
	d.Host, d.Below = strings.CutPrefix(d.Host, "*.")
	d.Host = strings.TrimSuffix(d.Host, ".")
	if addr, err := netip.ParseAddr(d.Host); err == nil && addr.Is4() && !d.Below {
		return d, nil
	}
	if !hostName.MatchString(d.Host) || len(d.Host) > 253 || numeric(d.Host) {
		return Destination{}, fmt.Errorf("is %.80q, whose host is neither a name nor an address", s)
	}
	if d.Below && !strings.Contains(d.Host, ".") {
		return Destination{}, fmt.Errorf("is %.80q, which covers a whole top-level domain", s)
	}
	return d, nil
}

// numeric says that a host would be read as an address by some programs, such
// as 127.1, 2130706433 or 0x7f.1: its last part begins with a digit.
func numeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && last[0] >= '0' && last[0] <= '9'
}

// Matches says whether the destination covers a host, as ParseDestination would
// write it, and a port.
func (d Destination) Matches(host string, port uint16) bool {
	if d.Port != port {
		return false
	}
	if d.Below {
		return strings.HasSuffix(host, "."+d.Host)
	}
	return host == d.Host
}

// String writes the destination as ParseDestination reads it.
func (d Destination) String() string {
	host := d.Host
	switch {
	case d.Below:
		host = "*." + host
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(d.Port))
}
