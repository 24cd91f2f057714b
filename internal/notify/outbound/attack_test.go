package outbound

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
)

// lenient resolves like a C library that takes any spelling of an address for one: all
// names are this machine.
type lenient struct{ to netip.Addr }

func (l lenient) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{l.to}, nil
}

// The spellings by which such guards are gone around. None leads to this machine, to the
// metadata of a cloud, or inside.
func TestAttackAddresses(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a request for %s arrived", r.Host) }))
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, resolved := range []string{"127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "fd00:ec2::254", "64:ff9b::7f00:1", "::", "0.0.0.0", "10.0.0.1", "fe80::1"} {
		client := New(Config{AllowHTTP: true, Resolver: lenient{netip.MustParseAddr(resolved)}})
		for _, host := range []string{
			"localhost", "LOCALHOST", "localhost.", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "127.0.0.1.", "127.0.0.1.nip.io", "①②⑦.⓪.⓪.①",
			"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "[fe80::1%25lo]", "0.0.0.0", "0", "127.127.127.127",
			"169.254.169.254", "metadata.google.internal", "168.63.129.16", "100.100.100.200", "192.168.0.1", "[fd00:ec2::254]", "good.example@127.0.0.1", "127.0.0.1#@good.example", "good.example%2f@127.0.0.1",
		} {
			for _, scheme := range []string{"http", "https", "gopher", "file", "ftp"} {
				to, err := url.Parse(scheme + "://" + host + ":" + u.Port() + "/")
				if err != nil {
					continue // such an address cannot be configured
				}
				req := (&http.Request{Method: http.MethodPost, URL: to, Header: http.Header{}, Host: to.Host}).WithContext(t.Context())
				_, err = Send(client, req)
				if !errors.Is(err, ErrForbidden) {
					t.Errorf("%s, which is %s: %v", to, resolved, err)
				}
			}
		}
		client.CloseIdleConnections()
	}
}
