package s3

import (
	"strings"
	"testing"
)

// FuzzURL: a place that is accepted has no credentials, no way without TLS that nobody
// asked for, and keeps its blobs below its prefix.
func FuzzURL(f *testing.F) {
	for _, s := range []string{
		"s3://bucket/prefix?region=eu-central-1", "s3://bucket?endpoint=http://127.0.0.1:9000&path_style=true", "s3://bucket/a/../b?insecure=true&endpoint=http://minio:9000",
		"s3://user:word@bucket/x", "s3://bucket/x?endpoint=https://u:p@host", "s3://bucket/%2e%2e/x", "s3://192.168.0.1/x", "s3://bucket/x?region=a&region=b", "s3://bucket/x#y",
		"s3://bucket/?endpoint=http://[::1%25eth0]:9000", "s3://bucket/?endpoint=http://localhost.evil.test",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseURL(text)
		if err != nil {
			if len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Errorf("the error quotes the address: %v", err)
			}
			return
		}
		if strings.Contains(p.endpoint, "@") || p.bucket == "" || p.endpoint == "" {
			t.Errorf("%q is %+v", text, p)
		}
		if !p.secure && !strings.Contains(text, "insecure") && !loopback(p.endpoint) {
			t.Errorf("%q goes to %s without TLS", text, p.endpoint)
		}
		if key := p.blob(strings.Repeat("a", 64)); !strings.HasPrefix(key, p.prefix+"blobs/") {
			t.Errorf("%q keeps a blob at %q", text, key)
		}
	})
}
