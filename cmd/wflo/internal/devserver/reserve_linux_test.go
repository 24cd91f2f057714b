package devserver

import (
	"net"
	"testing"
)

// A port that the server shall listen on in a moment is nobody else's: neither
// a connection that goes out nor another server's search may get it.
func TestReserve(t *testing.T) {
	port, free, err := reserve(t.Context(), loopback, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(loopback), Port: port}}
	peer, err := net.Listen("tcp", hostPort(loopback, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if conn, err := out.DialContext(t.Context(), "tcp", peer.Addr().String()); err == nil {
		conn.Close()
		t.Error("a connection that goes out took the reserved port")
	}
	l, err := net.Listen("tcp", hostPort(loopback, port))
	if err != nil {
		t.Fatalf("the server cannot listen on the port that is reserved for it: %v", err)
	}
	defer l.Close()
	free()
	if _, _, err := reserve(t.Context(), loopback, port); err == nil {
		t.Error("reserved a port that somebody listens on")
	}
	if _, _, err := reserve(t.Context(), "::1", 0); err != nil {
		if probe, e := net.Listen("tcp", "[::1]:0"); e == nil {
			probe.Close()
			t.Errorf("IPv6: %v", err)
		}
	}
}
