package activities

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// watch is what a heartbeat tells of an execution. Its methods may be called at
// the same time.
type watch struct {
	mu     sync.Mutex
	output int64
	last   []byte // at most step.TailBytes
	queue  *sandbox.QueueState
}

func (w *watch) wrote(p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.output += int64(len(p))
	w.last = append(w.last, p[max(0, len(p)-step.TailBytes):]...)
	if extra := len(w.last) - step.TailBytes; extra > 0 {
		w.last = append(w.last[:0], w.last[extra:]...)
	}
}

func (w *watch) queued(s sandbox.QueueState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = nil
	if s.Waiting {
		s.Reason = labelText(s.Reason)
		w.queue = &s
	}
}

func (w *watch) progress() step.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.last
	if w.output > int64(len(last)) {
		// Begin with a whole line, if there is one.
		if _, rest, ok := bytes.Cut(last, []byte("\n")); ok && len(rest) > 0 {
			last = rest
		}
	}
	return step.Progress{Output: w.output, Tail: tail(string(last), step.TailBytes), Queue: w.queue}
}

// tail is the end of text, at most n bytes, as a terminal may show it: a program
// must not command the terminal of whoever looks at its output.
func tail(text string, n int) string {
	// A character may be cut at the beginning.
	for i := 0; i < utf8.UTFMax && text != "" && !utf8.RuneStart(text[0]); i++ {
		text = text[1:]
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text) // what is not UTF-8 becomes U+FFFD here
	for len(text) > n {
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	return text
}

// labelText makes s fit where package sandbox takes only short plain text. What
// had to be changed gets the hash of the original, so that two stay two.
func labelText(s string) string {
	plain := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if plain == s && utf8.ValidString(s) && len(s) <= sandbox.MaxName {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	mark := "#" + hex.EncodeToString(sum[:8])
	plain = plain[:min(len(plain), sandbox.MaxName-len(mark))]
	for plain != "" && !utf8.ValidString(plain) {
		plain = plain[:len(plain)-1] // the half of a character at the cut
	}
	return plain + mark
}
