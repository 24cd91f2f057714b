package egress

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestHostileRequests: everything here is refused before anything is dialled.
func TestHostileRequests(t *testing.T) {
	w := newWorld()
	hits := server(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request got through") }))
	w.place("good.test", 80, hits.Listener.Addr())
	w.place("good.test", 443, hits.Listener.Addr())
	w.place("inj.test", 443, hits.Listener.Addr())
	w.place("evil.test", 80, hits.Listener.Addr())
	const end = "\r\n\r\n"
	get := func(target, host string) string { return "GET " + target + " HTTP/1.1\r\nHost: " + host + end }
	conn := func(target string) string { return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + end }
	lines := func(all ...string) string { return strings.Join(all, "\r\n") + end }
	const (
		list, shape, host = "is not on the allow-list", "malformed request", "under another Host"
		name, addr        = "is neither a name nor an address", "forbidden address"
	)
	for _, c := range []struct {
		name, raw string
		status    int
		reason    string
	}{
		{"not listed", get("http://evil.test/", "evil.test"), 403, list},
		{"not listed, CONNECT", conn("evil.test:443"), 403, list},
		{"other port", get("http://good.test:8080/", "good.test:8080"), 403, list},
		{"other port, CONNECT", conn("good.test:22"), 403, list},
		{"below a listed name", conn("a.good.test:443"), 403, list},
		{"suffix of a listed name", conn("evilgood.test:443"), 403, list},
		{"listed name as prefix", conn("good.test.evil.test:443"), 403, list},
		{"wildcard's own name", conn("wild.test:443"), 403, list},
		{"wildcard as a target", conn("*.wild.test:443"), 400, name},
		{"user's name", get("http://good.test:80@evil.test/", "evil.test"), 400, "user's name"},
		{"user's name, listed host", get("http://me:pass@good.test/", "good.test"), 400, "user's name"},
		{"user's name, CONNECT", conn("good.test:443@evil.test:443"), 400, "user's name"},
		{"backslash", get("http://good.test\\@evil.test/", "good.test"), 400, "user's name"},
		{"backslash alone", get("http://evil.test\\.good.test/", "good.test"), 400, name},
		{"fragment for authority", get("http://evil.test#good.test/", "good.test"), 400, host},
		{"query for authority", get("http://evil.test?.good.test/", "evil.test"), 403, list},
		{"percent in host", get("http://%67ood.test/", "good.test"), 400, name},
		{"Kelvin sign", get("http://\u212aood.test/", "good.test"), 400, "not ASCII"},
		{"full-width dot", conn("good\uff0etest:443"), 400, "not ASCII"},
		{"soft hyphen", conn("go\u00adod.test:443"), 400, "not ASCII"},
		{"NUL in host", conn("good.test\x00.evil.test:443"), 400, shape},
		{"two dots", conn("good.test..:443"), 400, name},
		{"decimal address", get("http://2130706433/", "2130706433"), 400, name},
		{"hex address", get("http://0x7f000001/", "0x7f000001"), 400, name},
		{"octal address", get("http://0177.0.0.1/", "0177.0.0.1"), 400, name},
		{"short address", get("http://127.1/", "127.1"), 400, name},
		{"loopback, not listed", conn("127.0.0.1:443"), 403, list},
		{"IPv6 with zone", conn("[fe80::1%25lo]:443"), 400, name},
		{"IPv6 without brackets", conn("::1:443"), 400, name},
		{"metadata, listed", get("http://169.254.169.254/", "169.254.169.254"), 403, addr},
		{"mapped metadata, listed", get("http://[::ffff:169.254.169.254]/", "[::ffff:169.254.169.254]"), 403, addr},
		{"NAT64 metadata, listed", get("http://[64:ff9b::a9fe:a9fe]/", "[64:ff9b::a9fe:a9fe]"), 403, addr},
		{"port 0", conn("good.test:0"), 400, name},
		{"port too large", conn("good.test:65979"), 400, name},
		{"port with sign", conn("good.test:+443"), 400, name},
		{"port with zero", conn("good.test:0443"), 400, name},
		{"no port, CONNECT", conn("good.test"), 400, name},
		{"empty host", get("http:///path", "good.test"), 400, name},
		{"other Host", get("http://good.test/", "evil.test"), 400, host},
		{"other Host's port", get("http://good.test/", "good.test:81"), 400, host},
		{"empty Host", get("http://good.test/", ""), 400, host},
		{"other Host, CONNECT", lines("CONNECT good.test:443 HTTP/1.1", "Host: evil.test:443"), 400, host},
		{"two Hosts", lines("GET http://good.test/ HTTP/1.1", "Host: good.test", "Host: evil.test"), 400, shape},
		{"no Host", lines("GET http://good.test/ HTTP/1.1", "A: b"), 400, shape},
		{"origin form", get("/", "good.test"), 400, shape},
		{"asterisk form", lines("OPTIONS * HTTP/1.1", "Host: good.test"), 400, shape},
		{"ftp", get("ftp://good.test/", "good.test"), 400, shape},
		{"opaque", get("http:good.test/", "good.test"), 400, shape},
		{"https in absolute form", get("https://good.test/", "good.test"), 400, "https in absolute form"},
		{"length and encoding", lines("POST http://good.test/ HTTP/1.1", "Host: good.test", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400, shape},
		{"two lengths", lines("POST http://good.test/ HTTP/1.1", "Host: good.test", "Content-Length: 4", "Content-Length: 5"), 400, shape},
		{"list of lengths", lines("POST http://good.test/ HTTP/1.1", "Host: good.test", "Content-Length: 4, 4"), 400, shape},
		{"signed length", lines("POST http://good.test/ HTTP/1.1", "Host: good.test", "Content-Length: +4"), 400, shape},
		{"other encoding", lines("POST http://good.test/ HTTP/1.1", "Host: good.test", "Transfer-Encoding: gzip, chunked"), 400, shape},
		{"odd encoding", lines("POST http://good.test/ HTTP/1.1", "Host: good.test", "Transfer-Encoding: xchunked"), 400, shape},
		{"encoding of HTTP/1.0", lines("POST http://good.test/ HTTP/1.0", "Host: good.test", "Transfer-Encoding: chunked"), 400, shape},
		{"space before colon", lines("POST http://good.test/ HTTP/1.1", "Host: good.test", "Transfer-Encoding : chunked"), 400, shape},
		{"folded header", lines("GET http://good.test/ HTTP/1.1", "Host: good.test", "X: a", " b"), 400, shape},
		{"bare LF", "GET http://good.test/ HTTP/1.1\nHost: good.test" + end, 400, shape},
		{"bare LF in headers", "GET http://good.test/ HTTP/1.1\r\nHost: good.test\nX: y" + end, 400, shape},
		{"bare CR", "GET http://good.test/ HTTP/1.1\r\nHost: good.test\rX: y" + end, 400, shape},
		{"tab in the first line", "GET\thttp://good.test/ HTTP/1.1\r\nHost: good.test" + end, 400, shape},
		{"two spaces", "GET  http://good.test/ HTTP/1.1\r\nHost: good.test" + end, 400, shape},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, shape},
		{"HTTP/0.9", "GET http://good.test/" + end, 400, shape},
		{"TLS to the proxy", "\x16\x03\x01\x02\x00\x01", 400, shape},
		{"SOCKS5", "\x05\x01\x00", 400, shape},
		{"empty line first", "\r\n" + get("http://good.test/", "good.test"), 400, shape},
		{"CONNECT with a body", lines("CONNECT good.test:443 HTTP/1.1", "Host: good.test:443", "Content-Length: 3") + "abc", 400, shape},
		{"TRACE", strings.Replace(get("http://good.test/", "good.test"), "GET", "TRACE", 1), 405, "TRACE"},
		{"TRACE for the secret", strings.Replace(get("http://inj.test:443/", "inj.test:443"), "GET", "TRACE", 1), 405, "TRACE"},
		{"unknown Expect", lines("GET http://good.test/ HTTP/1.1", "Host: good.test", "Expect: 200-ok"), 417, "Expect"},
		{"long head", lines("GET http://good.test/ HTTP/1.1", "Host: good.test", "X: "+strings.Repeat("a", 40<<10)), 431, "too long a head"},
		{"bad escape", get("http://good.test/%zz", "good.test"), 400, shape},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := w.open(t, sandbox.Network{
				Mode:   sandbox.NetworkAllow,
				Allow:  []string{"good.test:80", "good.test:443", "*.wild.test:443", "169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[64:ff9b::a9fe:a9fe]:80"},
				Inject: []sandbox.Injection{{To: "inj.test:443", Header: "Authorization", Secret: "token"}},
			})
			status, phrase, body := send(t, s, c.raw)
			if status != c.status || !strings.Contains(phrase, c.reason) || !strings.Contains(body, c.reason) {
				t.Errorf("answer is %q with %q, want %d with %q", phrase, body, c.status, c.reason)
			}
			if got := refusals(s); len(got) != 1 {
				t.Errorf("refusals are %v, want one", got)
			}
			for _, secret := range []string{"me:pass", "/path"} {
				if logged := w.log.String(); strings.Contains(logged, secret) || strings.Contains(body, secret) {
					t.Errorf("%q is told of: %s", secret, body)
				}
			}
		})
	}
	if dialed := w.dialer.all(); len(dialed) > 0 {
		t.Errorf("dialled %v", dialed)
	}
	for _, want := range []string{"run=run-1", "step=step-1", "tenant=team", "to=evil.test:80", `reason="is not on the allow-list"`, "level=INFO"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}
