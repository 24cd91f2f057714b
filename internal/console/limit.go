package console

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// limitSlots is how many addresses a limit tells apart, so that its memory is
// bounded. Two that fall into one slot share its requests.
const limitSlots = 1 << 12

// limit bounds how many requests an address sends.
type limit struct {
	seed  maphash.Seed
	rate  int
	mu    sync.Mutex
	slots [limitSlots]*rate.Limiter
}

func newLimit(perSecond int) *limit {
	if perSecond <= 0 {
		perSecond = 100
	}
	return &limit{seed: maphash.MakeSeed(), rate: perSecond}
}

// allow says whether a request may be answered now.
func (l *limit) allow(r *http.Request) bool {
	i := maphash.String(l.seed, customer(address(r))) % limitSlots
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots[i] == nil {
		l.slots[i] = rate.NewLimiter(rate.Limit(l.rate), 10*l.rate)
	}
	return l.slots[i].Allow()
}

// customer is what one client has of addresses: an IPv4 address, or an IPv6 /64.
func customer(host string) string {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a.String()
	}
	prefix, err := a.Prefix(64)
	if err != nil {
		return ""
	}
	return prefix.String()
}
