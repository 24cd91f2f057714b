package sandbox

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

func TestParseDestination(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 60)+".", 4)
	for in, want := range map[string]Destination{
		"api.github.com:443":         {Host: "api.github.com", Port: 443},
		"API.GitHub.com.:443":        {Host: "api.github.com", Port: 443},
		"*.pypi.org:443":             {Host: "pypi.org", Below: true, Port: 443},
		"*.PyPI.org.:443":            {Host: "pypi.org", Below: true, Port: 443},
		"mirror:8080":                {Host: "mirror", Port: 8080},
		"_dmarc.example.com:1":       {Host: "_dmarc.example.com", Port: 1},
		"a_b.example.com:1":          {Host: "a_b.example.com", Port: 1},
		"xn--bcher-kva.example:443":  {Host: "xn--bcher-kva.example", Port: 443},
		"192.0.2.1:65535":            {Host: "192.0.2.1", Port: 65535},
		"192.0.2.1.:80":              {Host: "192.0.2.1", Port: 80},
		"[2001:DB8:0:0::1]:443":      {Host: "2001:db8::1", Port: 443},
		"[::ffff:192.0.2.1]:443":     {Host: "::ffff:192.0.2.1", Port: 443},
		long + "example:443":         {Host: long + "example", Port: 443},
		"1password.com:443":          {Host: "1password.com", Port: 443},
		"a.b.c.d.e.f.example.com:80": {Host: "a.b.c.d.e.f.example.com", Port: 80},
	} {
		if got, err := ParseDestination(in); err != nil || got != want {
			t.Errorf("ParseDestination(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ":", ":443", "example.com", "example.com:", "example.com:0", "example.com:65536", "example.com:+443",
		"example.com:-1", "example.com:0443", "example.com:4_43", "example.com:https", "example.com: 443", " example.com:443",
		"http://example.com:443", "user@example.com:443", "example.com/:443", "example.com:443/", "exa mple.com:443",
		"example..com:443", ".example.com:443", "example.com..:443", "-a.com:443", "a-.com:443", "a.com-:443", "*:443", "*.:443",
		"*.com:443", "**.example.com:443", "*.*.example.com:443", "a.*.com:443", "*example.com:443", "*.192.0.2.1:443", "*.[::1]:443",
		"127.1:80", "2130706433:80", "0x7f000001:80", "0x7f.1:80", "0177.0.0.1:80", "127.0.0.01:80", "1.2.3.4.5:80", "a.0x1:80", "256.0.0.1:80",
		"::1:443", "[::1:443", "::1]:443", "[::1]", "[fe80::1%eth0]:443", "[192.0.2.1]:443", "[example.com]:443", "[]:443", "[[::1]]:443",
		"githu\u212a.com:443", "b\u00fccher.example:443", "example\uff0ecom:443", "example.com\x00:443", "example.com\r\n:443", "ex%61mple.com:443",
		strings.Repeat("a", 64) + ".com:443", strings.Repeat("a.", 127) + "com:443",
	} {
		if got, err := ParseDestination(in); err == nil {
			t.Errorf("ParseDestination(%q) = %+v, want an error", in, got)
		}
	}
}

func TestDestinationMatches(t *testing.T) {
	for _, c := range []struct {
		entry, host string
		port        uint16
		want        bool
	}{
		{"a.example:443", "a.example", 443, true},
		{"a.example:443", "a.example", 80, false},
		{"a.example:443", "b.a.example", 443, false},
		{"*.a.example:443", "b.a.example", 443, true},
		{"*.a.example:443", "c.b.a.example", 443, true},
		{"*.a.example:443", "a.example", 443, false},
		{"*.a.example:443", "evila.example", 443, false},
		{"*.a.example:443", "b.a.example.evil", 443, false},
		{"[::1]:443", "::1", 443, true},
	} {
		d, err := ParseDestination(c.entry)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Matches(c.host, c.port); got != c.want {
			t.Errorf("%s matches %s:%d = %t, want %t", c.entry, c.host, c.port, got, c.want)
		}
	}
}

func TestNetworkValidate(t *testing.T) {
	inject := func(change func(*Injection)) Network {
		in := Injection{To: "api.example:443", Header: "Authorization", Secret: "token", Format: "Bearer %s"}
		change(&in)
		return Network{Mode: NetworkAllow, Inject: []Injection{in}}
	}
	for name, c := range map[string]struct {
		network Network
		field   string // in the error; empty means valid
	}{
		"none":              {Network{}, ""},
		"open":              {Open(), ""},
		"allow":             {Allow("a.example:443", "*.b.example:80"), ""},
		"allow nothing":     {Allow(), ""},
		"injection":         {inject(func(*Injection) {}), ""},
		"no format":         {inject(func(in *Injection) { in.Format = "" }), ""},
		"mode":              {Network{Mode: "all"}, "spec.network.mode"},
		"list without mode": {Network{Allow: []string{"a.example:443"}}, "spec.network.allow"},
		"list with open":    {Network{Mode: NetworkOpen, Allow: []string{"a.example:443"}}, "spec.network.allow"},
		"bad entry":         {Allow("a.example:443", "b.example"), "spec.network.allow[1]"},
		"many":              {Allow(make([]string, MaxDestinations+1)...), "spec.network.allow"},
		"wildcard":          {inject(func(in *Injection) { in.To = "*.example.com:443" }), "spec.network.inject[0].to"},
		"bad target":        {inject(func(in *Injection) { in.To = "x" }), "spec.network.inject[0].to"},
		"no header":         {inject(func(in *Injection) { in.Header = "" }), "spec.network.inject[0].header"},
		"header's name":     {inject(func(in *Injection) { in.Header = "A: b" }), "spec.network.inject[0].header"},
		"host":              {inject(func(in *Injection) { in.Header = "HOST" }), "spec.network.inject[0].header"},
		"framing":           {inject(func(in *Injection) { in.Header = "Transfer-Encoding" }), "spec.network.inject[0].header"},
		"no secret":         {inject(func(in *Injection) { in.Secret = "" }), "spec.network.inject[0].secret"},
		"format without":    {inject(func(in *Injection) { in.Format = "Bearer" }), "spec.network.inject[0].format"},
		"format with two":   {inject(func(in *Injection) { in.Format = "%s%s" }), "spec.network.inject[0].format"},
		"format with %d":    {inject(func(in *Injection) { in.Format = "%d" }), "spec.network.inject[0].format"},
		"format with lines": {inject(func(in *Injection) { in.Format = "%s\r\nX: y" }), "spec.network.inject[0].format"},
		"format with DEL":   {inject(func(in *Injection) { in.Format = "%s\x7f" }), "spec.network.inject[0].format"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.network.Validate()
			if c.field == "" {
				if err != nil {
					t.Fatalf("Validate: %v", err)
				}
				return
			}
			if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" || !strings.HasPrefix(err.Error(), c.field+" ") {
				t.Fatalf("Validate = %v, want CodeInvalid with a hint for %s", err, c.field)
			}
		})
	}
}

func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{
		"api.github.com:443", "*.pypi.org:443", "[::1]:80", "[::ffff:1.2.3.4]:1", "1.2.3.4:1", "0x7f.1:80", "127.1:80",
		"githu\u212a.com:443", "a..b:1", "*.[::1]:1", "[fe80::1%0]:1", "a.b.:443", ":1", "a:+1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		if err != nil {
			return
		}
		again, err := ParseDestination(d.String())
		if err != nil || again != d {
			t.Fatalf("ParseDestination(%q) = %+v, written %s and read as %+v, %v", s, d, d, again, err)
		}
		if d.Port == 0 || d.Host == "" || d.Host != strings.ToLower(d.Host) || strings.HasSuffix(d.Host, ".") || strings.ContainsAny(d.Host, "/@%[]*\\ \t\r\n\x00") {
			t.Fatalf("ParseDestination(%q) = %+v", s, d)
		}
		if d.Matches(d.Host, d.Port) == d.Below {
			t.Fatalf("%s matches its own host: %t", d, !d.Below)
		}
		// Whatever some programs would read as an address must be one in the
		// only form that all of them read alike.
		last := d.Host[strings.LastIndexByte(d.Host, '.')+1:]
		if _, err := netip.ParseAddr(d.Host); err != nil && (strings.Contains(d.Host, ":") || last[0] >= '0' && last[0] <= '9') {
			t.Fatalf("ParseDestination(%q) = %+v, which is an address to some", s, d)
		}
	})
}
