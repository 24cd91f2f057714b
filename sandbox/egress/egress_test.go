package egress

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"everything private": {Private: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		"zero prefix":        {Private: []netip.Prefix{{}}},
		"negative limit":     {Limits: Limits{Bytes: -1}},
		"negative timeout":   {Limits: Limits{IdleTimeout: -time.Second}},
		"small head":         {Limits: Limits{HeaderBytes: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(c); wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
				t.Errorf("New = %v, want CodeInvalid with a hint", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	inject := func(secret, format string) sandbox.Network {
		return sandbox.Network{Mode: sandbox.NetworkAllow, Inject: []sandbox.Injection{{To: "inj.test:443", Header: "X-Key", Secret: secret, Format: format}}}
	}
	twice := inject("token", "")
	twice.Inject = append(twice.Inject, sandbox.Injection{To: "INJ.test:443", Header: "x-key", Secret: "token"})
	for name, c := range map[string]struct {
		network sandbox.Network
		code    wflo.Code
	}{
		"mode none":      {sandbox.Network{}, wflo.CodeInvalid},
		"mode open":      {sandbox.Open(), wflo.CodeInvalid},
		"bad entry":      {sandbox.Allow("x"), wflo.CodeInvalid},
		"unknown secret": {inject("nope", ""), wflo.CodeMissingKey},
		"empty secret":   {inject("empty", ""), wflo.CodeMissingKey},
		"secret's lines": {inject("lines", ""), wflo.CodeInvalid},
		"secret's end":   {inject("spaced", ""), wflo.CodeInvalid},
		"format's end":   {inject("token", "%s "), wflo.CodeInvalid},
		"header twice":   {twice, wflo.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(newWorld().config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Open(t.Context(), c.network, sandbox.Origin{})
			if wflo.CodeOf(err) != c.code || wflo.HintOf(err) == "" {
				t.Errorf("Open = %v, want %s with a hint", err, c.code)
			}
			if strings.Contains(err.Error(), token) {
				t.Errorf("the secret is in %q", err)
			}
		})
	}
	w := newWorld()
	w.config.Secrets = nil
	p, err := New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), inject("token", ""), sandbox.Origin{}); !errors.Is(err, wflo.ErrMissingKey) {
		t.Errorf("Open without secrets = %v, want ErrMissingKey", err)
	}
}

// TestOpenOutlivesContext: the context of Open is that of looking secrets up.
func TestOpenOutlivesContext(t *testing.T) {
	p, err := New(newWorld().config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := p.Open(ctx, sandbox.Allow("good.test:80"), sandbox.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if s.ctx.Err() != nil {
		t.Error("the session ended with the context of Open")
	}
	s.Close()
}

func TestEnvironment(t *testing.T) {
	w := newWorld()
	w.config.Roots = []byte("the roots\n")
	plain := w.open(t, sandbox.Network{Mode: sandbox.NetworkAllow, Allow: []string{"good.test:443"}, Inject: []sandbox.Injection{{To: "inj.test:80", Header: "X-Key", Secret: "token"}}})
	want := map[string]string{
		"HTTP_PROXY": "http://127.0.0.1:3128", "HTTPS_PROXY": "http://127.0.0.1:3128", "NO_PROXY": "localhost,127.0.0.1,::1",
		"http_proxy": "http://127.0.0.1:3128", "https_proxy": "http://127.0.0.1:3128", "no_proxy": "localhost,127.0.0.1,::1",
		"NODE_USE_ENV_PROXY": "1",
	}
	if diff := cmp.Diff(want, plain.Environment()); diff != "" {
		t.Errorf("Environment (-want +got):\n%s", diff)
	}
	if ca := plain.CA(); ca != nil {
		t.Errorf("CA = %q without TLS that ends here", ca)
	}
	secure := w.open(t, sandbox.Network{Mode: sandbox.NetworkAllow, Inject: []sandbox.Injection{{To: "inj.test:443", Header: "X-Key", Secret: "token"}}})
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"} {
		want[name] = CAFile
	}
	if diff := cmp.Diff(want, secure.Environment()); diff != "" {
		t.Errorf("Environment (-want +got):\n%s", diff)
	}
	ca := string(secure.CA())
	if !strings.HasPrefix(ca, "-----BEGIN CERTIFICATE-----\n") || !strings.HasSuffix(ca, "-----END CERTIFICATE-----\nthe roots\n") || strings.Contains(ca, "PRIVATE") {
		t.Errorf("CA = %s", ca)
	}
}

func TestForbidden(t *testing.T) {
	own := map[netip.Addr]bool{netip.MustParseAddr("8.8.4.4"): true}
	private := []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("fd00:1::/32")}
	for addr, want := range map[string]string{
		"1.1.1.1": "", "8.8.8.8": "", "93.184.216.34": "", "172.15.255.255": "", "172.32.0.1": "", "100.63.255.255": "", "100.128.0.1": "",
		"2606:4700::1111": "", "2a00:1450::1": "", "10.1.2.3": "", "fd00:1::5": "",
		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "10.1.3.1": "private", "10.255.255.255": "private", "100.64.0.1": "carrier-grade NAT",
		"100.100.100.200": "carrier-grade NAT", "127.0.0.1": "loopback", "127.255.255.255": "loopback", "168.63.129.16": "cloud metadata",
		"169.254.169.254": "link-local", "172.16.0.1": "private", "172.31.255.255": "private", "192.0.0.192": "reserved", "192.0.2.1": "documentation",
		"192.88.99.1": "6to4 relay", "192.168.1.1": "private", "198.18.0.1": "benchmark", "198.51.100.1": "documentation", "203.0.113.1": "documentation",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "reserved", "8.8.4.4": "the worker's own",
		"::": "IPv4-compatible or unspecified", "::1": "loopback", "::7f00:1": "IPv4-compatible or unspecified", "::ffff:127.0.0.1": "IPv4-mapped",
		"::ffff:8.8.8.8": "IPv4-mapped", "64:ff9b::808:808": "NAT64", "64:ff9b:1::1": "NAT64", "100::1": "reserved", "2001::1": "Teredo",
		"2001:2::1": "reserved", "2001:10::1": "reserved", "2001:db8::1": "documentation", "2002:7f00:1::1": "6to4", "3fff::1": "documentation",
		"4000::1": "reserved", "5f00::1": "reserved", "fc00::1": "private", "fd00:ec2::254": "private", "fe80::1": "link-local", "fec0::1": "private", "ff02::1": "multicast",
		"fe80::1%eth0": "not an address",
	} {
		if got := forbidden(netip.MustParseAddr(addr), private, own); got != want {
			t.Errorf("forbidden(%s) = %q, want %q", addr, got, want)
		}
	}
	if got := forbidden(netip.Addr{}, private, own); got == "" {
		t.Error("the zero address is no address, and is not forbidden")
	}
}

// TestTrafficIsBounded: a program chooses what it tries, so what is told apart of
// it has an end.
func TestTrafficIsBounded(t *testing.T) {
	w := newWorld()
	s := w.open(t, sandbox.Allow("good.test:80"))
	for i := range maxDistinct + 50 {
		to := sandbox.Destination{Host: "h" + strings.Repeat("x", i%50) + ".test", Port: uint16(i + 1)}
		s.traffic.flow(to.String()).sent.Add(1)
		s.traffic.refuse(s.log, s.rules.admit(to))
		s.traffic.refuse(s.log, s.rules.admit(to))
		s.traffic.refuse(s.log, s.rules.admit(to))
	}
	got := s.Traffic()
	if len(got.Flows) != maxDistinct+1 || len(got.Refused) != maxDistinct+1 {
		t.Fatalf("%d flows and %d refusals, want %d of each", len(got.Flows), len(got.Refused), maxDistinct+1)
	}
	total := 0
	for _, r := range got.Refused {
		total += r.Count
		if r.To == otherKey && r.Count != 150 {
			t.Errorf("others are %d, want 150", r.Count)
		}
	}
	if total != 3*(maxDistinct+50) {
		t.Errorf("%d refusals are counted, want %d", total, 3*(maxDistinct+50))
	}
	// The third of its kind is not logged, nor are most of the others'.
	if lines := strings.Count(w.log.String(), "\n"); lines != 2*maxDistinct+8 {
		t.Errorf("%d lines are logged, want %d", lines, 2*maxDistinct+8)
	}
}

func TestMask(t *testing.T) {
	words := [][]byte{[]byte("secretsecret"), []byte("etsabcde")}
	for _, text := range []string{
		"", "nothing", "secretsecret", "a secretsecret b secretsecret", "secretsecretsecret", "secretsecre", "secsecretsecret!",
		"xetsabcde", "secretsabcde", strings.Repeat("s", 100) + "ecretsecret",
	} {
		whole := (&mask{words: words}).next([]byte(text), true)
		want := string(whole)
		if len(want) != len(text) || strings.Contains(want, "secretsecret") || strings.Contains(want, "etsabcde") {
			t.Errorf("mask of %q is %q", text, want)
		}
		// However it is cut, the same comes out.
		for size := 1; size < 14; size++ {
			m, got := &mask{words: words}, ""
			for at := 0; at < len(text); at += size {
				got += string(m.next([]byte(text[at:min(at+size, len(text))]), false))
			}
			got += string(m.next(nil, true))
			if got != want {
				t.Errorf("mask of %q in parts of %d is %q, want %q", text, size, got, want)
			}
		}
	}
	m := &mask{words: words}
	if got := string(m.next([]byte("data: hello\n"), false)); got != "data: hello\n" {
		t.Errorf("an innocent line is held back: %q", got)
	}
}
