package wflo

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible makes text of others safe to show: control and format characters, escape
// sequences, bidirectional overrides, zero-width and other invisible characters,
// and bytes that are not UTF-8 become \x1b or \u202e, for people to see. Line feeds
// and tabs stay.
func Visible(s string) string { return visible(s, "\n\t") }

// VisibleLine is Visible for what must stay on one line.
func VisibleLine(s string) string { return visible(s, "") }

func visible(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strings.ContainsRune(keep, r), !Hidden(r):
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

// Hidden says that a rune may change how other text looks, or pass for nothing,
// without being seen. Of the white space only the space itself is not hidden.
func Hidden(r rune) bool {
	switch {
	case r == ' ':
		return false
	case r == 0x2800: // a Braille pattern without dots
		return true
	case unicode.IsControl(r), unicode.IsSpace(r), unicode.In(r, unicode.Cf, unicode.Co, unicode.Z):
		return true
	}
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Noncharacter_Code_Point)
}
