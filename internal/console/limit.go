package console

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"

	"github.com/wflo-ai/wflo-go"
)

// limitSlots is how many addresses a limit tells apart, so that its memory is
// bounded. Two that fall into one slot share its requests.
const limitSlots = 1 << 12

// defaultRate is how many requests a second an address may send.
const defaultRate = 100

// limit bounds how many requests an address, or a person, sends.
type limit struct {
	seed  maphash.Seed
	rate  int
	mu    sync.Mutex
	slots [limitSlots]*rate.Limiter
}

func newLimit(perSecond int) *limit {
	if perSecond <= 0 {
		perSecond = defaultRate
	}
	return &limit{seed: maphash.MakeSeed(), rate: perSecond}
}

// allow says whether a request of an address may be answered now.
func (l *limit) allow(r *http.Request) bool { return l.allowName(customer(address(r))) }

// changing is the limit of changes of one person, whatever address they come from: a
// tenth of what an address may ask for.
func changing(perSecond int) *limit {
	if perSecond <= 0 {
		perSecond = defaultRate
	}
	return newLimit(max(1, perSecond/10))
}

// allowPerson says whether somebody may change something now.
func (l *limit) allowPerson(id wflo.Identity) bool {
	return l.allowName(id.Org + "\x00" + id.Subject)
}

func (l *limit) allowName(name string) bool {
	i := maphash.String(l.seed, name) % limitSlots
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
