package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPayloads(t *testing.T) {
	for text, want := range map[string]Payloads{
		"{}":                                     {},
		"keys: {env: K}":                         {Keys: Secret{Env: "K"}},
		"keys: {file: /k}\n  refuse_plain: true": {Keys: Secret{File: "/k"}, RefusePlain: true},
	} {
		f, err := Parse("f.yaml", []byte("payloads:\n  "+text+"\n"))
		if diff := cmp.Diff(want, f.Payloads); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"keys: a:SECRET": "this file never holds a secret", "refuse_plain: true": "2:17: refuse_plain is set", "refuse_plain: maybe": "refuse_plain", "key: {env: K}": "unknown field",
	} {
		_, err := Parse("f.yaml", []byte("payloads:\n  "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
