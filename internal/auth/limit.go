package auth

import (
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/time/rate"

	"github.com/wflo-ai/wflo-go"
)

const (
	// slots is how many addresses and names a Limiter tells apart. Two that fall
	// into one slot wait for each other, and nothing is ever forgotten because an
	// attacker brought more names than there is memory.
	slots = 1 << 14
	// maxWait bounds how long a name is locked, so that whoever attacks an account
	// cannot keep its owner out for long.
	maxWait = 5 * time.Minute
	// forgetAfter without an attempt, a name is as good as new.
	forgetAfter = 15 * time.Minute
)

// LimiterConfig says how many logins may fail. The zero value is good.
type LimiterConfig struct {
	// PerAddress is how many attempts an address has at once, and Every how long it
	// takes until it has another; zero means 20 and 3 seconds. An IPv6 address
	// counts as its /64, which is what one customer has.
	PerAddress int
	Every      time.Duration
	// PerName is how many attempts with one name may fail before each further one
	// waits: a second, then twice as long each time, up to five minutes. Zero
	// means 5.
	PerName int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Limiter slows down who guesses passwords, by address and by name, in memory of
// a fixed size. Its methods may be called at the same time. It treats names that
// do not exist like those that do.
type Limiter struct {
	cfg       LimiterConfig
	seed      maphash.Seed
	mu        sync.Mutex
	addresses [slots]*rate.Limiter
	names     [slots]failures
}

// failures is what is known of the names in a slot.
type failures struct {
	count int
	last  time.Time // of the last attempt
	until time.Time // when another attempt is heard
}

// NewLimiter makes a Limiter.
func NewLimiter(cfg LimiterConfig) *Limiter {
	if cfg.PerAddress <= 0 {
		cfg.PerAddress = 20
	}
	if cfg.Every <= 0 {
		cfg.Every = 3 * time.Second
	}
	if cfg.PerName <= 0 {
		cfg.PerName = 5
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Limiter{cfg: cfg, seed: maphash.MakeSeed()}
}

// Do calls login, unless too many before it failed: then it is a *LimitedError
// that says when to come again. address is that of the client, as in
// http.Request.RemoteAddr. An attempt counts before it is made, so that a thousand
// at the same time are no way around, and no longer when it succeeds or nobody
// could be asked.
func (l *Limiter) Do(address, name string, login func() (wflo.Identity, error)) (wflo.Identity, error) {
	slot := maphash.String(l.seed, foldName(name)) % slots
	before, err := l.begin(maphash.String(l.seed, network(address))%slots, slot)
	if err != nil {
		return wflo.Identity{}, err
	}
	id, err := login()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, ErrNoRole):
		l.names[slot] = failures{}
	case errors.Is(err, ErrUnavailable):
		l.names[slot] = before
	}
	return id, err
}

// begin counts an attempt, and gives what the name's slot held before.
func (l *Limiter) begin(address, name uint64) (failures, error) {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addresses[address] == nil {
		l.addresses[address] = rate.NewLimiter(rate.Every(l.cfg.Every), l.cfg.PerAddress)
	}
	bucket := l.addresses[address]
	if !bucket.AllowN(now, 1) {
		missing := 1 - bucket.TokensAt(now)
		return failures{}, &LimitedError{RetryAfter: max(time.Second, time.Duration(missing*float64(l.cfg.Every)))}
	}
	f := &l.names[name]
	if now.Before(f.until) {
		return failures{}, &LimitedError{RetryAfter: max(time.Second, f.until.Sub(now))}
	}
	if now.Sub(f.last) > forgetAfter {
		*f = failures{}
	}
	before := *f
	f.count++
	f.last = now
	if over := f.count - l.cfg.PerName; over >= 0 {
		f.until = now.Add(min(maxWait, time.Second<<min(over, 16)))
	}
	return before, nil
}

// foldName makes one name of what directories take for one: they ignore case, and
// some of them blanks.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// network is what one client has of addresses: an IPv4 address, or an IPv6 /64.
// Everything that is no address is one.
func network(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	prefix, err := a.Prefix(64)
	if err != nil {
		return ""
	}
	return prefix.String()
}
