package activities

import (
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// denseRun is how long a run must be to be no word, path or name. Base64 comes in
// lines of 64 or 76 characters at the least, SHA-256 in 64.
const denseRun = 60

// What a character of base64, its variant for URLs, or hex can be.
const (
	denseLetter = 1 << iota
	denseDigit
	denseSign
)

var denseKinds = func() (kinds [256]byte) {
	for c := byte('a'); c <= 'z'; c++ {
		kinds[c], kinds[c-'a'+'A'] = denseLetter, denseLetter
	}
	for c := byte('0'); c <= '9'; c++ {
		kinds[c] = denseDigit
	}
	for _, c := range []byte("+/-_=") {
		kinds[c] = denseSign
	}
	return kinds
}()

// DenseBytes counts the bytes of a text that are in long runs of base64, hex or
// the like: data URLs, keys, hashes. Tokenisers know no words in them and need a
// token for one or two bytes, where they need one for three or four of text. Runs
// without letters, such as rules of dashes, or without digits do not count.
func DenseBytes[T string | []byte](text T) int64 {
	var total int64
	start, seen := 0, byte(0)
	for i := 0; i <= len(text); i++ {
		kind := byte(0)
		if i < len(text) {
			kind = denseKinds[text[i]]
		}
		if kind != 0 {
			seen |= kind
			continue
		}
		if i-start >= denseRun && seen&denseLetter != 0 && seen&denseDigit != 0 {
			total += int64(i - start)
		}
		start, seen = i+1, 0
	}
	return total
}

// sizeOf is the size of a prompt. ToolCall.Opaque does not count as dense,
// because it is not text to the provider whose state it is.
func sizeOf(p wflo.Prompt) Size {
	dense := DenseBytes(p.System)
	for _, m := range p.Messages {
		dense += DenseBytes(m.Text)
		for _, c := range m.ToolCalls {
			dense += DenseBytes(c.Arguments)
		}
	}
	for _, t := range p.Tools {
		dense += DenseBytes(t.Description) + DenseBytes([]byte(t.Parameters))
	}
	return Size{Bound: pricing.InputBound(p), Dense: dense}
}
