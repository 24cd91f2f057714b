package sandbox

import (
	"path"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern   string
		is, isNot []string
	}{
		{"a", []string{"a"}, []string{"b", "a/a", "A", "aa"}},
		{"out/*.csv", []string{"out/a.csv", "out/.csv"}, []string{"out/a.txt", "out/a/b.csv", "a.csv", "x/out/a.csv"}},
		{"**", []string{"a", ".hidden", "a/b/c"}, nil},
		{"**/*.png", []string{"a.png", "a/b/c.png", ".a/.png"}, []string{"a.jpg", "a.png/b"}},
		{"out/**", []string{"out", "out/a", "out/a/b"}, []string{"outer", "in/out"}},
		{"a/**/b", []string{"a/b", "a/x/b", "a/x/y/b", "a/b/b"}, []string{"a", "b", "a/x/b/c", "x/a/b"}},
		{"**/a/**/b/**", []string{"a/b", "x/a/y/b/z", "a/a/b/b"}, []string{"b/a", "a", "b"}},
		{"**/**/a", []string{"a", "x/a"}, []string{"a/x"}},
		{"a**", []string{"a", "ab"}, []string{"a/b"}}, // a part of two stars and more is an ordinary one
		{"[a-c]?", []string{"ax", "cc"}, []string{"a", "dx", "a/"}},
		{"[^a]", []string{"b"}, []string{"a"}},
		{`\*`, []string{"*"}, []string{"a"}},
		{`\**`, []string{"*", "*a"}, []string{"a"}},
		{"é?", []string{"éé"}, []string{"é", "e"}},
	} {
		for _, name := range tt.is {
			if ok, err := Match(tt.pattern, name); !ok || err != nil {
				t.Errorf("Match(%q, %q) = %v, %v, want true", tt.pattern, name, ok, err)
			}
		}
		for _, name := range tt.isNot {
			if ok, err := Match(tt.pattern, name); ok || err != nil {
				t.Errorf("Match(%q, %q) = %v, %v, want false", tt.pattern, name, ok, err)
			}
		}
	}
	if _, err := Match("a/[", "a/b"); err == nil {
		t.Error("an open bracket is no error")
	}
}

// matchSlowly says the same as Match by trying everything.
func matchSlowly(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**":
		return matchSlowly(pattern[1:], name) || len(name) > 0 && matchSlowly(pattern, name[1:])
	case len(name) == 0:
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return ok && err == nil && matchSlowly(pattern[1:], name[1:])
}

// FuzzMatch compares Match with matchSlowly, and counts how often it compares
// parts: a pattern is the caller's, names are the program's, and neither may
// make a worker busy.
func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{
		{"a/**/b", "a/x/b"}, {"**/a/**/b/**", "a/a/b/b"}, {"[a-c]?/*", "ax/y"}, {"a/[", "a/b"}, {`\`, "a"}, {"", ""}, {"**/**", "a//b"},
		{strings.Repeat("**/a/", 20) + "b", strings.Repeat("a/", 40)}, {strings.Repeat("a*", 50) + "b", strings.Repeat("a", 250)},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		parts, names := strings.Split(pattern, "/"), strings.Split(name, "/")
		compared := 0
		got, err := matchParts(parts, names, func(pattern, name string) (bool, error) {
			compared++
			return path.Match(pattern, name)
		})
		if most := len(parts) * len(names); compared > most {
			t.Fatalf("Match(%q, %q) compares %d parts, want at most %d", pattern, name, compared, most)
		}
		if validatePatterns([]string{pattern}) != nil {
			return
		}
		if err != nil {
			t.Fatalf("Match(%q, %q): %v, though the pattern is valid", pattern, name, err)
		}
		// Trying everything takes too long for more.
		if strings.Count(pattern, "**") > 4 || len(names) > 12 {
			return
		}
		if want := matchSlowly(parts, names); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}
