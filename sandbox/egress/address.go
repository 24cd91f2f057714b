package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/wflo-ai/wflo-go/internal/publicnet"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxAddresses is how many addresses of a name are tried.
const maxAddresses = 8

// forbidden says what kind of address programs must not reach addr is, or "". An
// address that carries another one inside is forbidden as a whole.
func forbidden(addr netip.Addr, private []netip.Prefix, own map[netip.Addr]bool) string {
	for _, p := range private {
		if p.Contains(addr) {
			return ""
		}
	}
	if own[addr] {
		return "the worker's own"
	}
	return publicnet.Problem(addr)
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
