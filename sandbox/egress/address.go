package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxAddresses is how many addresses of a name are tried.
const maxAddresses = 8

// special are the ranges of IPv4 that are not the public network (IANA's registry
// of special-purpose addresses), and what hides in the public one.
var special = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata"}, // Azure's, public by its looks
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmark"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},

	// IPv6, where only 2000::/3 is public: the names are for what people meet.
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
	{netip.MustParsePrefix("::/96"), "IPv4-compatible or unspecified"},
	{netip.MustParsePrefix("64:ff9b::/96"), "NAT64"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "NAT64"},
	{netip.MustParsePrefix("2001::/32"), "Teredo"},
	{netip.MustParsePrefix("2001::/23"), "reserved"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "private"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

var publicIPv6 = netip.MustParsePrefix("2000::/3")

// forbidden says what kind of address programs must not reach addr is, or "". An
// address that carries another one inside is forbidden as a whole.
func forbidden(addr netip.Addr, private []netip.Prefix, own map[netip.Addr]bool) string {
	if !addr.IsValid() || addr.Zone() != "" {
		return "not an address"
	}
	for _, p := range private {
		if p.Contains(addr) {
			return ""
		}
	}
	if own[addr] {
		return "the worker's own"
	}
	for _, s := range special {
		if s.prefix.Contains(addr) {
			return s.what
		}
	}
	if addr.Is6() && !publicIPv6.Contains(addr) {
		return "reserved"
	}
	return ""
}

// ownAddresses are those of the worker's interfaces: a service that listens on the
// worker's public address is no more for programs than one on loopback.
func ownAddresses() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the worker's addresses: %w", err)
	}
	own := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr().Unmap().WithZone("")] = true
		}
	}
	return own, nil
}

// addresses resolves a destination and gives the addresses of it that may be
// dialled. Of a name with several, those that are forbidden are left out: a name
// that also has an address of the worker's network is reached at the others.
func (s *Session) addresses(ctx context.Context, to sandbox.Destination) ([]netip.AddrPort, error) {
	var found []netip.Addr
	if addr, err := netip.ParseAddr(to.Host); err == nil {
		found = []netip.Addr{addr}
	} else {
		name := to.Host
		if strings.Contains(name, ".") {
			name += "."
		}
		found, err = s.proxy.config.Resolver.LookupNetIP(ctx, "ip", name)
		if err != nil || len(found) == 0 {
			return nil, unreachable(to, "has a name that does not resolve")
		}
		for i := range found {
			// The resolver gives IPv4 addresses in either form.
			found[i] = found[i].Unmap()
		}
	}
	var good []netip.AddrPort
	what := ""
	for _, addr := range found {
		if bad := forbidden(addr, s.proxy.config.Private, s.own); bad != "" {
			what = bad
		} else if len(good) < maxAddresses {
			good = append(good, netip.AddrPortFrom(addr, to.Port))
		}
	}
	if len(good) == 0 {
		return nil, &refusal{
			status: http.StatusForbidden, to: to.String(), reason: "leads to a forbidden address (" + what + ")",
			fix: "if programs shall reach it, the operator of the worker must open its range",
		}
	}
	return good, nil
}

// dial connects to a destination that was found on the list, counting. It looks
// names up for every connection and dials what was checked, so that no answer
// that comes later changes anything.
func (s *Session) dial(ctx context.Context, to sandbox.Destination) (net.Conn, error) {
	if !s.begin() {
		return nil, errClosed
	}
	defer s.running.Done()
	if s.spent() {
		return nil, s.overspent(to)
	}
	ctx, cancel := context.WithTimeout(ctx, s.proxy.config.Limits.DialTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	candidates, err := s.addresses(ctx, to)
	if err != nil {
		return nil, err
	}
	for _, addr := range candidates {
		conn, err := s.proxy.config.Dial(ctx, "tcp", addr.String())
		if err != nil {
			continue
		}
		up := &upstream{Conn: conn, session: s, to: to, flow: s.traffic.flow(to.String())}
		if !s.track(up) {
			_ = conn.Close()
			return nil, errClosed
		}
		up.flow.connections.Add(1)
		return up, nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, unreachable(to, "does not answer")
	}
	return nil, unreachable(to, "does not accept the connection")
}

func unreachable(to sandbox.Destination, reason string) *refusal {
	return &refusal{status: http.StatusBadGateway, to: to.String(), reason: reason, fix: "try again later, or ask whether it is up"}
}
