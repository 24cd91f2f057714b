package outbound

import (
	"net/netip"

	"github.com/wflo-ai/wflo-go/internal/publicnet"
)

// forbidden says what kind of address a channel must not reach addr is, or "". An
// IPv4 address in IPv6's clothes is judged as what it is; one that a gateway would
// translate (NAT64, 6to4, Teredo) is forbidden as a whole.
func (c Config) forbidden(addr netip.Addr) string {
	addr = addr.Unmap()
	for _, p := range c.Allow {
		if p.Contains(addr) {
			return ""
		}
	}
	return publicnet.Problem(addr)
}
