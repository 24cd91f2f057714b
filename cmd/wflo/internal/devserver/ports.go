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
// rest. All are held open until all are known, so none is picked twice; between
// then and the server's own listen another process could take one.
func choosePorts(ctx context.Context, cfg Config) (ports, error) {
	var p ports
	var listen net.ListenConfig
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
			return p, wflo.Invalid(want.flag, fmt.Sprintf("is %d", want.port), "use 1 to 65535, or 0 for a free port")
		}
		l, err := listen.Listen(ctx, "tcp", hostPort(want.ip, want.port))
		if err != nil {
			if want.port == 0 {
				return p, fmt.Errorf("find a free port: %w", err)
			}
			return p, wflo.Errorf(wflo.CodeConflict,
				fmt.Sprintf("stop what uses it, or choose another port with %s (%s 0 picks a free one)", want.flag, want.flag),
				"port %d for %s is taken: %w", want.port, want.what, err)
		}
		defer l.Close()
		*want.got = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
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
