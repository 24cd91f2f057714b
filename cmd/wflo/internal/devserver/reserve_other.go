//go:build !linux

package devserver

import (
	"context"
	"net"
)

// reserve finds a TCP port that is free at this moment; port 0 asks for any.
// What holds a port on Linux until the server listens would keep the server
// itself from it here.
func reserve(ctx context.Context, ip string, port int) (got int, free func(), err error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", hostPort(ip, port))
	if err != nil {
		return 0, nil, err
	}
	return l.Addr().(*net.TCPAddr).Port, func() {}, l.Close()
}
