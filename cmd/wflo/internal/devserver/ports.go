package devserver

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

const loopback = "127.0.0.1"

// ports are those that the server listens on. The first three are for clients,
// the others for the cluster's own services.
type ports struct {
	grpc, ui, http            int
	history, matching, worker int
}

// choosePorts checks the ports that were asked for and picks free ones for the
// rest. They stay reserved until release, which is called when the server
// listens on them: without that, the kernel hands a port that is free for a
// moment to somebody's outgoing connection, and the server, which cannot be
// given a listener, ends the process.
func choosePorts(ctx context.Context, cfg Config) (p ports, release func(), err error) {
	var held []func()
	all := func() {
		for _, f := range held {
			f()
		}
	}
	defer func() {
		if err != nil {
			all()
		}
	}()
	for _, want := range []struct {
		what, flag, ip string
		port           int
		got            *int
	}{
		{"Temporal", "--port", cfg.IP, cfg.Port, &p.grpc},
		{"the Temporal Web UI", "--ui-port", cfg.IP, cfg.UIPort, &p.ui},
		{"Temporal's HTTP API", "--http-port", cfg.IP, cfg.HTTPPort, &p.http},
		{"", "", loopback, 0, &p.history},
		{"", "", loopback, 0, &p.matching},
		{"", "", loopback, 0, &p.worker},
	} {
		if want.port < 0 || want.port > 65535 {
			return p, nil, wflo.Invalid(want.flag, fmt.Sprintf("is %d", want.port), "use 1 to 65535, or 0 for a free port")
		}
		port, free, err := reserve(ctx, want.ip, want.port)
		if err != nil {
			if want.port == 0 {
				return p, nil, fmt.Errorf("find a free port: %w", err)
			}
			return p, nil, wflo.Errorf(wflo.CodeConflict,
				fmt.Sprintf("stop what uses it, or choose another port with %s (%s 0 picks a free one)", want.flag, want.flag),
				"port %d for %s is taken: %w", want.port, want.what, err)
		}
		held = append(held, free)
		*want.got = port
	}
	return p, all, nil
}

func hostPort(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

// bracket writes an IPv6 address as URLs and the UI server want it.
func bracket(ip string) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]"
	}
	return ip
}

// dialIP is where to connect to a server that listens on ip.
func dialIP(ip string) string {
	if parsed := net.ParseIP(ip); parsed != nil && parsed.IsUnspecified() {
		return loopback
	}
	return ip
}
