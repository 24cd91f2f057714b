package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text makes text of others safe to show: control and format characters, escape
// sequences, bidirectional overrides, zero-width and other invisible characters,
// spaces that are not the space, and bytes that are not UTF-8 become visible as
// \x1b or \u202e. Line feeds stay.
func Text(s string) string { return escape(strings.ReplaceAll(s, "\r\n", "\n"), true) }

// Line is Text for what must stay on one line.
func Line(s string) string { return escape(s, false) }

func escape(s string, lines bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case lines && r == '\n', !hidden(r):
			b.WriteString(s[i : i+size])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// hidden says that a rune may change how other text looks without being seen.
func hidden(r rune) bool {
	switch {
	case unicode.IsControl(r), r != ' ' && unicode.IsSpace(r):
		return true
	case unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
		return true
	case r != ' ' && unicode.Is(unicode.Zs, r):
		return true
	case unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Noncharacter_Code_Point):
		return true
	case r == 0x2800: // a Braille pattern without dots
		return true
	}
	return false
}

// JSON writes JSON for people: indented, and with every hidden character as a
// JSON escape, so that the value stays the same. What is not JSON is shown as it
// is, escaped.
func JSON(data []byte) string {
	data = bytes.Trim(data, " \t\r\n") // what json.Indent keeps at the end
	var indented, b bytes.Buffer
	if !utf8.Valid(data) || json.Indent(&indented, data, "", "  ") != nil {
		return Text(string(data))
	}
	for _, r := range indented.String() {
		switch {
		case r == '\n', !hidden(r): // outside of text, JSON has no other hidden ones
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return b.String()
}

// Cut gives the beginning of text, at most limit bytes without half a character,
// and how many bytes that leaves out.
func Cut(s string, limit int) (head string, more int) {
	if len(s) <= limit {
		return s, 0
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit], len(s) - limit
}

// Short is a line of at most limit bytes that shows that it was cut.
func Short(s string, limit int) string {
	const mark = " ..."
	if len(s) <= limit {
		return s
	}
	head, _ := Cut(s, limit-len(mark))
	return head + mark
}

var mrkdwn = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Mrkdwn escapes the three characters that Slack's markup begins with: without
// them nobody is mentioned, and no text stands in for a link.
func Mrkdwn(s string) string { return mrkdwn.Replace(s) }
