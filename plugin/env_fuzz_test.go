package plugin

import (
	"strings"
	"testing"
)

// FuzzEnv: the lists in variables give what is in them, or an error.
func FuzzEnv(f *testing.F) {
	for _, s := range []string{
		"ann=" + strings.Repeat("A", 43) + "=", "a=tcp://10.0.0.1:2376, b=unix:///x", "10.0.0.0/8,fd00::/8", "acme=2/10m/1h,*=1", "=", ",", "a=b=1/1h", "a=1/1h/1h/1h", "steps",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		items := strings.Count(text, ",") + 1
		if keys, err := parseKeys(text); err == nil && (len(keys) == 0 || len(keys) > items) {
			t.Errorf("%q gives %d keys", text, len(keys))
		}
		if hosts, err := parseHosts(text); err == nil {
			for _, h := range hosts {
				if h.Name == "" || h.Address == "" || len(hosts) != items {
					t.Errorf("%q gives %+v", text, hosts)
				}
			}
		}
		if prefixes, err := parsePrefixes(text); err == nil {
			for _, p := range prefixes {
				if !p.IsValid() || len(prefixes) != items {
					t.Errorf("%q gives %v", text, prefixes)
				}
			}
		}
		if quotas, err := parseQuotas(text); err == nil {
			if _, nobody := quotas[""]; nobody || len(quotas) != items {
				t.Errorf("%q gives %v", text, quotas)
			}
		}
	})
}
