package docker

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// maskedOf gives what a mask makes of pieces.
func maskedOf(m *mask, pieces ...[]byte) string {
	var out []byte
	for _, p := range pieces {
		out = append(out, m.write(p)...)
		clear(p) // a mask keeps nothing of its argument
	}
	return string(append(out, m.flush()...))
}

// maskedWhole replaces secrets in a whole output: from left to right, of several
// at one place the longest. What is left of a secret at the end goes too, if it is
// half of it and long enough.
func maskedWhole(secrets [][]byte, all []byte) string {
	var out []byte
	for len(all) > 0 {
		longest := 0
		for _, s := range secrets {
			if len(s) >= minMasked && bytes.HasPrefix(all, s) {
				longest = max(longest, len(s))
			}
		}
		for _, s := range secrets {
			if longest == 0 && len(s) >= minMasked && bytes.HasPrefix(s, all) && len(all) >= minMasked && 2*len(all) >= len(s) {
				return string(append(out, "***"...))
			}
		}
		if longest == 0 {
			out, all = append(out, all[0]), all[1:]
			continue
		}
		out, all = append(out, "***"...), all[longest:]
	}
	return string(out)
}

func TestMask(t *testing.T) {
	for name, c := range map[string]struct {
		secrets []string
		in      []string
		want    string
	}{
		"none":                      {nil, []string{"a", "b"}, "ab"},
		"whole":                     {[]string{"secret"}, []string{"a secret b"}, "a *** b"},
		"in pieces":                 {[]string{"secret"}, []string{"a s", "e", "cre", "t b"}, "a *** b"},
		"twice":                     {[]string{"secret"}, []string{"secretsecret"}, "******"},
		"not one after all":         {[]string{"secret"}, []string{"sec", "ond"}, "second"},
		"one that begins in itself": {[]string{"ababac"}, []string{"abab", "ababac"}, "abab***"},
		"too short":                 {[]string{"abc"}, []string{"abc"}, "abc"},
		"the longer of two":         {[]string{"abcd", "abcdef"}, []string{"abcdef"}, "***"},
		"the longer, in pieces":     {[]string{"abcd", "abcdef"}, []string{"abcd", "ef"}, "***"},
		"the shorter after all":     {[]string{"abcd", "abcdef"}, []string{"abcd", "eg"}, "***eg"},
		"one inside another":        {[]string{"bcde", "abcdefgh"}, []string{"abcdef", "gh"}, "***"},
		"the inner one after all":   {[]string{"bcde", "abcdefgh"}, []string{"abcdef", "x"}, "a***fx"},
		"the inner one at the end":  {[]string{"bcde", "abcdefghijkl"}, []string{"abcde"}, "a***"},
		"most of one":               {[]string{"secretword"}, []string{"a secret"}, "a ***"},
		"little of one":             {[]string{"secretword"}, []string{"a secr"}, "a secr"},
		"several lines":             {[]string{"two\nlines"}, []string{"x two\n", "lines y"}, "x *** y"},
		"the same twice":            {[]string{"secret", "secret"}, []string{"secret"}, "***"},
	} {
		t.Run(name, func(t *testing.T) {
			var secrets, in [][]byte
			for _, s := range c.secrets {
				secrets = append(secrets, []byte(s))
			}
			for _, p := range c.in {
				in = append(in, []byte(p))
			}
			if got := maskedOf(newMask(secrets), in...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestMaskChunks holds that no secret gets out by how its bytes arrive: any
// pieces give what replacing in the whole gives.
func TestMaskChunks(t *testing.T) {
	letters := rapid.SampledFrom([]byte("ab"))
	rapid.Check(t, func(t *rapid.T) {
		// Parts of one word, so that secrets overlap and begin alike.
		word := rapid.SliceOfN(letters, 12, 12).Draw(t, "word")
		part := rapid.Custom(func(t *rapid.T) []byte {
			from := rapid.SampledFrom([]int{0, 1, 2, 3, 9}).Draw(t, "from")
			return word[from:rapid.SampledFrom([]int{len(word), 9, 10, 11}).Draw(t, "to")]
		})
		secrets := rapid.SliceOfN(part, 1, 4).Draw(t, "secrets")
		all := slices.Concat(rapid.SliceOfN(rapid.OneOf(part, rapid.SliceOfN(letters, 0, 3)), 1, 6).Draw(t, "output")...)
		if diff := cmp.Diff(maskedWhole(secrets, all), maskedOf(newMask(secrets), pieces(t, all)...)); diff != "" {
			t.Fatalf("in pieces (-want +got):\n%s", diff)
		}
	})
}

// FuzzMask compares pieces of one size with the whole, and looks for secrets.
func FuzzMask(f *testing.F) {
	f.Add([]byte("abcd\x00abcdef\x00"), []byte("abcdefabcd"), 3)
	f.Add([]byte("bcde\x00abcdefgh"), []byte("abcdefabcdefgh"), 1)
	f.Fuzz(func(t *testing.T, list, all []byte, size int) {
		secrets := bytes.Split(list, []byte{0})
		var in [][]byte
		for p := range slices.Chunk(slices.Clone(all), 1+max(0, size)%64) {
			in = append(in, p)
		}
		got := maskedOf(newMask(secrets), in...)
		if want := maskedWhole(secrets, all); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		for _, s := range secrets {
			// Stars can make a secret of what is around them.
			if len(s) >= minMasked && !bytes.ContainsRune(s, '*') && strings.Contains(got, string(s)) {
				t.Fatalf("%q shows %q", got, s)
			}
		}
	})
}
