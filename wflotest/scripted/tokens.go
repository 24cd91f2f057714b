package scripted

import (
	"unicode"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

const (
	wordBytes  = 4  // a word is cut into tokens of at most so many bytes
	spaceBytes = 16 // and white space into tokens of so many
)

// CountTokens counts the tokens of a text as every stand-in does. From left to
// right, a token is
//
//   - a run of letters, digits and underscores of at most 4 bytes (a longer run
//     is several tokens, and a token never ends inside a character),
//   - a run of white space of at most 16 bytes, except that a lone blank
//     belongs to what follows it, or to the end of the text, and is free,
//   - any other single character.
//
// So "echo: refund" has four tokens: "echo", ":", " refu" and "nd". A text
// never has more tokens than bytes.
func CountTokens(text string) int64 {
	var n int64
	for rest := text; rest != ""; n++ {
		size := tokenSize(rest)
		if rest[:size] == " " {
			break
		}
		rest = rest[size:]
	}
	return n
}

// tokenSize is the length in bytes of the first token of a text, with the free
// blank before it. A text that is only the free blank gives 1.
func tokenSize(text string) int {
	start := 0
	if text[0] == ' ' && len(text) > 1 {
		if next, _ := utf8.DecodeRuneInString(text[1:]); !unicode.IsSpace(next) {
			start = 1
		}
	}
	first, size := utf8.DecodeRuneInString(text[start:])
	end := start + size
	limit, same := 0, isWord
	switch {
	case unicode.IsSpace(first):
		limit, same = spaceBytes, unicode.IsSpace
	case isWord(first):
		limit = wordBytes
	}
	for end < len(text) {
		r, n := utf8.DecodeRuneInString(text[end:])
		if end+n-start > limit || !same(r) {
			break
		}
		end += n
	}
	return end
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }

// cut keeps the first n tokens of a text and says how many those are and
// whether something was lost.
func cut(text string, n int64) (kept string, used int64, lost bool) {
	end := 0
	for ; end < len(text) && used < n; used++ {
		size := tokenSize(text[end:])
		if text[end:end+size] == " " {
			return text, used, false
		}
		end += size
	}
	if CountTokens(text[end:]) == 0 {
		return text, used, false
	}
	return text[:end], used, true
}

// pieces splits a text for a stream: at token boundaries, into about twelve
// parts of at least four tokens, so that short answers stream and long ones do
// not become thousands of events.
func pieces(text string) []string {
	per := max(4, (CountTokens(text)+11)/12)
	var parts []string
	for rest := text; rest != ""; {
		part, _, lost := cut(rest, per)
		parts = append(parts, part)
		if !lost {
			break
		}
		rest = rest[len(part):]
	}
	return parts
}

// countPrompt counts all text that a model reads: system, messages, tool calls
// and results, and the tools on offer. Names and texts count, ids do not.
func countPrompt(t Turn) int64 {
	n := CountTokens(t.System)
	for _, m := range t.Messages {
		n += CountTokens(m.Text)
		for _, c := range m.ToolCalls {
			n += countCall(c)
		}
	}
	for _, tool := range t.Tools {
		n += CountTokens(tool.Name) + CountTokens(tool.Description) + CountTokens(string(tool.Parameters))
	}
	return n
}

func countCall(c wflo.ToolCall) int64 { return CountTokens(c.Name) + CountTokens(c.Arguments) }
