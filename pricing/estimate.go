package pricing

import (
	"math"
	"math/bits"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// What providers' templates add around the parts of a prompt, in tokens. They
// publish little of it; the figures are several times what they document or
// what usage shows (3 to 4 tokens per message; a system text of 300 to 700
// tokens when there are tools).
const (
	overheadCall     = 64
	overheadTooling  = 1024 // once, when there are tools
	overheadMessage  = 32
	overheadToolCall = 32
	overheadTool     = 64
)

// InputBound is the most tokens that the prompt can be counted as on its way
// in: the UTF-8 bytes of all that is sent, plus a fixed allowance per call,
// message, tool and tool call for what the provider's template adds.
//
// It rests on this: the tokenisers in use (byte-level BPE, and SentencePiece
// with byte fallback) cover each byte by at most one token. Texts that a
// provider may write into its template as JSON (tool arguments, tool results,
// schemas) count as long as their longest JSON escape. English text has about
// four bytes per token, so the bound is about four times what is billed.
//
// It is no proof against a provider that adds a longer template of its own, or
// that normalises characters into longer ones. What is billed above a
// reservation is recorded by the ledger as an overdraft, never dropped.
func InputBound(p wflo.Prompt) int64 {
	n := int64(overheadCall) + plainLen(p.System)
	if len(p.Tools) > 0 {
		n += overheadTooling
	}
	for _, m := range p.Messages {
		n += overheadMessage + int64(len(m.Role))
		if m.Role == wflo.RoleTool {
			n += escapedLen(m.Text)
		} else {
			n += plainLen(m.Text)
		}
		n += escapedLen(m.ToolCallID) + escapedLen(m.ToolName)
		for _, c := range m.ToolCalls {
			n += overheadToolCall + escapedLen(c.ID) + escapedLen(c.Name) + escapedLen(c.Arguments) + escapedLen(c.Opaque)
		}
	}
	for _, t := range p.Tools {
		n += overheadTool + escapedLen(t.Name) + escapedLen(t.Description) + escapedLen(string(t.Parameters))
	}
	return n
}

// plainLen is the length of a text in bytes. A byte that is not UTF-8 is sent as
// the replacement character, which has three.
func plainLen(s string) int64 {
	if utf8.ValidString(s) {
		return int64(len(s))
	}
	return 3 * int64(len(s))
}

// escapedLen is the most bytes that a text has inside a JSON string.
func escapedLen(s string) int64 {
	n := int64(0)
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == '\n' || r == '\r' || r == '\t':
			n += 2
		case r > 0xFFFF:
			n += 12 // two \uXXXX
		case r < 0x20 || r >= 0x7F:
			n += 6
		default:
			n++
		}
	}
	return n
}

// Estimate is the most that a call can cost, for a reservation: inputTokens,
// which is [InputBound] of the prompt, at the highest of the rates for prompt
// tokens, prompt.MaxTokens at the higher of the rates for output and reasoning,
// and the price per request. p should come from [Book.FindWorst] with the same
// bound, so that no tier is missed.
//
// The bound holds if the provider keeps answer and reasoning together within
// the limit that it was sent. A prompt whose MaxTokens is zero has no bound: its
// worst case is the largest Money, which no budget holds, unless output is free.
// So has a call that is billed by time, which no prompt bounds: whoever bounds it
// by a timeout uses [EstimateWithin].
func Estimate(p wflo.Price, prompt wflo.Prompt) (worst wflo.Money, inputTokens int64) {
	return EstimateWithin(p, prompt, 0)
}

// EstimateWithin is Estimate for a call that is given up after so much time. Zero
// means no bound. What runs on at the provider afterwards is not in it.
func EstimateWithin(p wflo.Price, prompt wflo.Prompt, within time.Duration) (worst wflo.Money, inputTokens int64) {
	inputTokens = InputBound(prompt)
	if prompt.MaxTokens <= 0 && outputRate(p) > 0 || within <= 0 && p.PerSecond > 0 {
		return maxMoney, inputTokens
	}
	var sum uint128
	sum.add(inputTokens, inputRate(p))
	sum.add(prompt.MaxTokens, outputRate(p))
	sum.addTime(millisUp(within), p.PerSecond)
	return plus(sum.nano(), p.PerRequest), inputTokens
}

// MaxOutput is the longest answer, in tokens, that room can pay after the worst
// case of inputTokens and the price per request: with it as MaxTokens, Estimate
// is not above room. It is 0 when not even one token fits, and the largest int64
// when output is free and the input fits. It is 0 for a call that is billed by
// time; see [MaxOutputWithin].
func MaxOutput(p wflo.Price, inputTokens int64, room wflo.Money) int64 {
	return MaxOutputWithin(p, inputTokens, room, 0)
}

// MaxOutputWithin is MaxOutput for a call that is given up after so much time, to
// go with [EstimateWithin]. Zero means no bound.
func MaxOutputWithin(p wflo.Price, inputTokens int64, room wflo.Money, within time.Duration) int64 {
	left := room - max(0, p.PerRequest)
	if room < 0 || left < 0 || within <= 0 && p.PerSecond > 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(left), picoPerNano)
	var in uint128
	in.add(inputTokens, inputRate(p))
	in.addTime(millisUp(within), p.PerSecond)
	lo, borrow := bits.Sub64(lo, in.lo, 0)
	hi, borrow = bits.Sub64(hi, in.hi, borrow)
	if borrow != 0 {
		return 0
	}
	out := uint64(outputRate(p))
	if out == 0 || hi >= out {
		return math.MaxInt64
	}
	n, _ := bits.Div64(hi, lo, out)
	return int64(min(n, math.MaxInt64))
}

// inputRate is the most that a prompt token can cost: a provider may write it to
// a cache, serve it from one, or neither.
func inputRate(p wflo.Price) int64 {
	return max(0, p.Input, p.CacheRead, p.CacheWrite5m, p.CacheWrite1h)
}

// outputRate is the most that a token of the answer can cost.
func outputRate(p wflo.Price) int64 { return max(0, p.Output, p.Reasoning) }
