package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode, 日本語, 🙂": "plain, ünïcode, 日本語, 🙂",
		"two\nlines\tand tab":    "two\nlines\tand tab",
		"\x1b[2J\x07\r":          `\x1b[2J\x07\x0d`,
		"\u009b31m":              `\u009b31m`,
		"pay \u202e001$":         `pay \u202e001$`,
		"a\u2066b\u2069c":        `a\u2066b\u2069c`,
		"zero\u200bwidth\ufeff":  `zero\u200bwidth\ufeff`,
		"line\u2028sep":          `line\u2028sep`,
		"tag\U000e0041":          `tag\U000e0041`,
		"variant\ufe0f":          `variant\ufe0f`,
		"blank\u3164":            `blank\u3164`,
		"\xff\xfe":               `\xff\xfe`,
		"del\x7f":                `del\x7f`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := escapeLine("a\nb\tc"), `a\x0ab\x09c`; got != want {
		t.Errorf("escapeLine = %q, want %q", got, want)
	}
}

func TestPretty(t *testing.T) {
	got := pretty([]byte("{\"to\":\"\u202eelgoog\",\"n\":[1]}"), "  ")
	want := "{\n    \"to\": \"\\u202eelgoog\",\n    \"n\": [\n      1\n    ]\n  }"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pretty (-want +got):\n%s", diff)
	}
	if got, want := pretty([]byte("no json\x1b"), ""), `no json\x1b`; got != want {
		t.Errorf("pretty of text = %q, want %q", got, want)
	}
}

// Whatever comes in, nothing hidden comes out, and JSON keeps its value.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "\x1b[31m", "\u202e", "\xff", "a\nb", "\U000e0041", "🙂"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, text := range []string{Escape(s), escapeLine(s)} {
			if !utf8.ValidString(text) {
				t.Fatalf("%q is not UTF-8", text)
			}
			for _, r := range strings.NewReplacer("\n", "", "\t", "").Replace(text) {
				if wflo.Hidden(r) {
					t.Fatalf("%q still has %U", text, r)
				}
			}
		}
		if strings.ContainsAny(escapeLine(s), "\n\t") {
			t.Fatalf("escapeLine(%q) has more than one line", s)
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		if err := json.Unmarshal(data, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(escapeJSON(data), &after); err != nil || before != after {
			t.Fatalf("escapeJSON changed %q to %q: %v", before, after, err)
		}
	})
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"refund-k3f9":   "refund-k3f9",
		"":              "''",
		"-rf":           "'-rf'",
		"a b":           "'a b'",
		"$(rm -rf ~)":   "'$(rm -rf ~)'",
		"it's":          `'it'\''s'`,
		"a\u202eb;true": `'a\u202eb;true'`,
	} {
		if got := shellWord(in); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", in, got, want)
		}
	}
}
