package egress

import (
	"bytes"
	"net/http"
	"strings"
)

// minHidden is the shortest secret that is searched for in answers: shorter ones
// occur by chance.
const minHidden = 8

func hidden(inject []header) [][]byte {
	var words [][]byte
	for _, h := range inject {
		for _, word := range h.hide {
			words = append(words, []byte(word))
		}
	}
	return words
}

func stars(n int) string { return strings.Repeat("*", n) }

func maskHeaders(headers http.Header, words [][]byte) {
	for name, values := range headers {
		for i := range values {
			for _, word := range words {
				values[i] = strings.ReplaceAll(values[i], string(word), stars(len(word)))
			}
		}
		for _, word := range words {
			// Names are of another case than they were written in.
			if len(word) <= len(name) && strings.Contains(strings.ToLower(name), strings.ToLower(string(word))) {
				delete(headers, name)
			}
		}
	}
}

// mask overwrites words in a stream with stars, as many as they have bytes, so
// that lengths stay true. It holds back what may be the beginning of a word and
// nothing else, so that streams are not delayed.
type mask struct {
	words [][]byte
	held  []byte
}

// next gives what may go on after p came; last says that nothing follows. The
// result is good until the next call.
func (m *mask) next(p []byte, last bool) []byte {
	data := append(m.held, p...)
	for _, word := range m.words {
		for at := 0; ; {
			i := bytes.Index(data[at:], word)
			if i < 0 {
				break
			}
			copy(data[at+i:], stars(len(word)))
			at += i + len(word)
		}
	}
	keep := 0
	if !last {
		keep = m.beginning(data)
	}
	out := data[:len(data)-keep]
	m.held = bytes.Clone(data[len(out):])
	return out
}

// beginning is the length of the longest end of data with which a word begins.
func (m *mask) beginning(data []byte) int {
	longest := 0
	for _, word := range m.words {
		for n := min(len(word)-1, len(data)); n > longest; n-- {
			if bytes.HasSuffix(data, word[:n]) {
				longest = n
			}
		}
	}
	return longest
}
