package codecserver

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// pair is a certificate with its key in files, which are read again when they change. A
// pair that cannot be read leaves the one before in use.
type pair struct {
	cert, key string

	mu      sync.Mutex
	changed [2]time.Time
	loaded  *tls.Certificate
}

// get is a tls.Config's GetCertificate.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := [2]time.Time{modified(p.cert), modified(p.key)}
	if p.loaded != nil && now == p.changed {
		return p.loaded, nil
	}
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil && p.loaded == nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "name the files of a certificate and of its key, in PEM", "codec server: %w", err)
	}
	if err == nil {
		p.loaded, p.changed = &c, now
	}
	return p.loaded, nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
