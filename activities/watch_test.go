package activities

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestTailOfLongOutput(t *testing.T) {
	var w watch
	for i := range 1000 {
		w.wrote(fmt.Appendf(nil, "line %d é\n", i))
	}
	p := w.progress()
	if p.Output < 10000 || len(p.Tail) > step.TailBytes || !strings.HasPrefix(p.Tail, "line ") || !strings.HasSuffix(p.Tail, "line 999 é\n") {
		t.Errorf("%d bytes of output, tail of %d: %.20q...", p.Output, len(p.Tail), p.Tail)
	}
	w.wrote([]byte(strings.Repeat("é", 5<<20)))
	p = w.progress()
	if len(p.Tail) != step.TailBytes || strings.Trim(p.Tail, "é") != "" {
		t.Errorf("tail of one long line has %d bytes: %.20q...", len(p.Tail), p.Tail)
	}
	if cap(w.last) > 8*step.TailBytes {
		t.Errorf("%d bytes are kept", cap(w.last))
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("ok\n"), []byte("\x1b]0;title\x07"))
	f.Add([]byte(strings.Repeat("\xff", 3000)), []byte("\x80\x80\x80é"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var w watch
		w.wrote(a)
		w.wrote(b)
		p := w.progress()
		if !utf8.ValidString(p.Tail) || len(p.Tail) > step.TailBytes || p.Output != int64(len(a)+len(b)) {
			t.Fatalf("output %d, tail %q", p.Output, p.Tail)
		}
		if strings.ContainsFunc(p.Tail, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			t.Fatalf("tail %q commands a terminal", p.Tail)
		}
	})
}

func FuzzLabelText(f *testing.F) {
	f.Add("g0/step#1")
	f.Add("a\nb")
	f.Add(strings.Repeat("é", 400))
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := labelText(s)
		if s == "" && got != "" {
			t.Fatalf("nothing became %q", got)
		}
		if s != "" {
			if err := sandbox.ValidateBox(got); err != nil {
				t.Fatalf("labelText(%q) = %q: %v", s, got, err)
			}
		}
		if len(s) < 400 && sandbox.ValidateBox(s) == nil && got != s {
			t.Fatalf("labelText(%q) = %q", s, got)
		}
	})
}
