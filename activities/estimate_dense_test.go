package activities

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// noise is bytes of no meaning, the same in every run.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func lines(s string, n int, end string) string {
	var b strings.Builder
	for ; len(s) > n; s = s[n:] {
		b.WriteString(s[:n] + end)
	}
	return b.String() + s
}

func TestDenseBytes(t *testing.T) {
	std, web := base64.StdEncoding.EncodeToString(noise(3000)), base64.RawURLEncoding.EncodeToString(noise(3000))
	sum := hex.EncodeToString(noise(32))
	for _, tt := range []struct {
		name, text string
		want       int64
	}{
		{"nothing", "", 0},
		{"prose", strings.Repeat("The quick brown fox jumps over the lazy dog, 12 times. ", 50), 0},
		{"code", strings.Repeat("func (c *call) millisUp2(d time.Duration) int64 { return int64(d/time.Millisecond) + 1 }\n", 50), 0},
		{"paths", strings.Repeat("/usr/local/lib/python3/site-packages/requests/api.py:42\n", 50), 0},
		{"rules", strings.Repeat(strings.Repeat("-", 79)+"\n"+strings.Repeat("=", 79)+"\n", 20), 0},
		{"one word", strings.Repeat("a", 1000), 0},
		{"one number", strings.Repeat("314159", 1000), 0},
		{"other scripts", strings.Repeat("日本語の文章です。", 100), 0},
		{"base64", std, int64(len(std))},
		{"base64 for URLs", web, int64(len(web))},
		{"at the end", "see " + std, int64(len(std))},
		{"in the middle", "see data:image/png;base64," + std + " for it", int64(len(std))},
		{"in JSON", `{"image":"` + std + `"}`, int64(len(std))},
		{"a key", "-----BEGIN KEY-----\n" + lines(std, 64, "\n") + "\n-----END KEY-----", 4000 / 64 * 64},
		{"mail", lines(std, 76, "\r\n"), 4000 / 76 * 76},
		{"mail in JSON", lines(std, 76, `\r\n`), 76 + (4000/76-1)*77}, // the n of the line before counts
		{"hash", "sha256:" + sum, 64},
		{"just too short", sum[:59], 0},
		{"just long enough", sum[:60], 60},
		{"two", sum + " " + sum, 128},
	} {
		if got := DenseBytes(tt.text); got != tt.want {
			t.Errorf("%s: %d of %d bytes, want %d", tt.name, got, len(tt.text), tt.want)
		}
		if got := DenseBytes([]byte(tt.text)); got != DenseBytes(tt.text) {
			t.Errorf("%s: %d as bytes", tt.name, got)
		}
	}
}

// TestDenseCountsInFull estimates prompts with a data URL: 1.45 bytes per token,
// as measured, must fit, and the text around it is estimated as before.
func TestDenseCountsInFull(t *testing.T) {
	data := base64.StdEncoding.EncodeToString(noise(30_000))
	text := strings.Repeat("word ", 2000)
	prompt := func(s string) wflo.Prompt {
		return wflo.Prompt{Messages: []wflo.Message{{Role: wflo.RoleUser, Text: s}}}
	}
	var e Estimator
	run := wflo.Run{Agent: "a", Step: "s#1"}
	plain := e.Estimate(run, "openai", "gpt-5.4-mini", sizeOf(prompt(text)))
	mixed := e.Estimate(run, "openai", "gpt-5.4-mini", sizeOf(prompt(text+data)))
	if plain >= int64(len(text))/2 {
		t.Errorf("%d tokens for %d bytes of text", plain, len(text))
	}
	if grew := mixed - plain; grew != int64(len(data)) || grew < int64(len(data))*100/145 {
		t.Errorf("%d bytes of base64 add %d tokens", len(data), grew)
	}
	for _, p := range []wflo.Prompt{
		{System: data},
		{Messages: []wflo.Message{{Role: wflo.RoleTool, Text: data}}},
		{Messages: []wflo.Message{{ToolCalls: []wflo.ToolCall{{Arguments: `{"file":"` + data + `"}`}}}}},
		{Tools: []wflo.Tool{{Description: data}}},
		{Tools: []wflo.Tool{{Parameters: json.RawMessage(`{"const":"` + data + `"}`)}}},
	} {
		if s := sizeOf(p); s.Dense != int64(len(data)) || s.Bound < s.Dense {
			t.Errorf("size %+v of %d bytes of base64", s, len(data))
		}
	}
}

// TestDensePromptsTeachNothing: what the estimate knows of a step's text does not
// suffer from a file in one prompt.
func TestDensePromptsTeachNothing(t *testing.T) {
	var e Estimator
	run := wflo.Run{Agent: "a", Step: "s#1"}
	for range learned {
		e.Learn(run, "p", "m", Size{Bound: 1000, Dense: 64}, 250)
	}
	if got := e.Estimate(run, "p", "m", Size{Bound: 1000}); got != 276 {
		t.Errorf("%d; a hash in a prompt must not keep it from being learned", got)
	}
	for range window {
		e.Learn(run, "p", "m", Size{Bound: 1000, Dense: 900}, 700)
	}
	if got := e.Estimate(run, "p", "m", Size{Bound: 1000}); got != 276 {
		t.Errorf("%d after prompts with files", got)
	}
	if got := e.Estimate(run, "p", "m", Size{Bound: 1000, Dense: 5000}); got > 1001 {
		t.Errorf("%d for a bound of 1000", got)
	}
}

func FuzzDenseBytes(f *testing.F) {
	f.Add([]byte(base64.StdEncoding.EncodeToString(noise(300))))
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got := DenseBytes(text)
		if got < 0 || got > int64(len(text)) || DenseBytes(bytes.Repeat(append(text, ' '), 2)) != 2*got {
			t.Fatalf("%d of %d bytes", got, len(text))
		}
	})
}
