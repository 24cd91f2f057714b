package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// Escape makes text safe to show on a terminal: control characters, escape
// sequences, bidirectional overrides, zero-width and other invisible
// characters, and bytes that are not UTF-8 become visible as \x1b or \u202e.
// Line feeds and tabs stay.
func Escape(s string) string { return wflo.Visible(s) }

// escapeLine is Escape for text that must stay on one line.
func escapeLine(s string) string { return wflo.VisibleLine(s) }

// escapeJSON is Escape for JSON text: the value stays the same, because the
// hidden characters become JSON escapes. Outside strings, valid JSON has none
// but white space, which stays.
func escapeJSON(data []byte) []byte {
	var b bytes.Buffer
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\ufffd`)
		case r < 0x20, !wflo.Hidden(r):
			b.Write(data[i : i+size])
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			hi, lo := surrogates(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		}
		i += size
	}
	return b.Bytes()
}

func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + (r>>10)&0x3ff, 0xdc00 + r&0x3ff
}

// pretty indents JSON for people, escaped. Text that is not JSON is shown as
// it is, escaped.
func pretty(data []byte, indent string) string {
	var b bytes.Buffer
	if json.Indent(&b, data, indent, "  ") != nil {
		return Escape(string(data))
	}
	return string(escapeJSON(b.Bytes()))
}
