package dev

import (
	"cmp"
	"log/slog"
	"net"
	"net/url"

	"github.com/wflo-ai/wflo-go/internal/codecserver"
	"github.com/wflo-ai/wflo-go/plugin"
)

// codec is the codec server that goes with the Web UI, or none without payload keys.
type codec struct {
	server *codecserver.Server
	seals  string
}

// openCodec starts it on a free port. There is nobody to authenticate here, so it is on
// loopback, whatever address the rest listens on.
func openCodec(ip string, logger *slog.Logger) (codec, error) {
	c, err := plugin.PayloadCodec(logger)
	if err != nil || c.Keys().Writes() == "" {
		return codec{}, err
	}
	host := "127.0.0.1"
	if p := net.ParseIP(ip); p != nil && p.IsLoopback() {
		host = ip
	}
	s, err := codecserver.Start(codecserver.Config{Listen: net.JoinHostPort(host, "0"), Codec: c, Encode: true, Logger: logger})
	return codec{server: s, seals: c.Keys().Writes()}, err
}

func (c codec) url() string {
	if c.server == nil {
		return ""
	}
	return c.server.URL()
}

// allow lets the Web UI ask, under both names of this machine that people type.
func (c codec) allow(ui string) {
	if c.server == nil {
		return
	}
	c.server.Allow(ui)
	if u, err := url.Parse(ui); err == nil {
		c.server.Allow(u.Scheme + "://" + net.JoinHostPort("localhost", cmp.Or(u.Port(), "80")))
	}
}

func (c codec) announce(r *report) {
	if c.server != nil {
		r.announce("Codec", c.server.URL()+" (key "+c.seals+")")
	}
}

func (c codec) stop() {
	if c.server != nil {
		c.server.Stop()
	}
}
