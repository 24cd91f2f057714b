package devserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
)

// reserve holds a TCP port until free is called, and lets this process listen
// on it meanwhile. Port 0 asks for any.
//
// Linux lets two sockets with SO_REUSEADDR, which Go always sets, be bound to
// one port as long as at most one listens, but gives a port with a bound socket
// neither to a connection that goes out nor to a bind to port 0.
func reserve(ctx context.Context, ip string, port int) (got int, free func(), err error) {
	addr, err := net.DefaultResolver.LookupNetIP(ctx, "ip", ip)
	if err != nil {
		return 0, nil, err
	}
	family, to := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Port: port, Addr: addr[0].As16()})
	if v4 := addr[0].Unmap(); v4.Is4() {
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: port, Addr: v4.As4()}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = syscall.Close(fd)
		}
	}()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, to); err != nil {
		return 0, nil, os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, nil, os.NewSyscallError("getsockname", err)
	}
	switch a := bound.(type) {
	case *syscall.SockaddrInet4:
		got = a.Port
	case *syscall.SockaddrInet6:
		got = a.Port
	default:
		return 0, nil, fmt.Errorf("bound to a %T", bound)
	}
	return got, func() { _ = syscall.Close(fd) }, nil
}
