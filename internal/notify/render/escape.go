package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// Text makes text of others safe to show: control and format characters, escape
// sequences, bidirectional overrides, zero-width and other invisible characters,
// spaces that are not the space, and bytes that are not UTF-8 become visible as
// \x1b or \u202e. Line feeds stay.
func Text(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, l := range lines {
		lines[i] = wflo.VisibleLine(l)
	}
	return strings.Join(lines, "\n")
}

// Line is Text for what must stay on one line.
func Line(s string) string { return wflo.VisibleLine(s) }

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
		case r == '\n', !wflo.Hidden(r): // outside of text, JSON has no other hidden ones
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
