package wflo

import "testing"

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, umlauts äöü, 日本 and 🙂": "plain text, umlauts äöü, 日本 and 🙂",
		"line\nfeed\ttab":              "line\nfeed\ttab",
		"over\u202eride":               `over\u202eride`,
		"zero\u200bwidth\ufeff":        `zero\u200bwidth\ufeff`,
		"esc\x1b[2J\r":                 `esc\x1b[2J\x0d`,
		"space\u00a0\u2028":            `space\u00a0\u2028`,
		"tag\U000e0041":                `tag\U000e0041`,
		"hangul\u3164 variation\ufe0f": `hangul\u3164 variation\ufe0f`,
		"bytes\xff":                    `bytes\xff`,
	} {
		if got := Visible(in); got != want {
			t.Errorf("Visible(%q) = %q, want %q", in, got, want)
		}
	}
	if got := VisibleLine("a\nb\tc"); got != `a\x0ab\x09c` {
		t.Errorf("VisibleLine = %q", got)
	}
}
