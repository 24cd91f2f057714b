package policy

import (
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

const (
	// maxSource bounds a condition, in bytes. The parser recurses, and a stack that
	// overflows ends the process, so longer ones are never given to it.
	maxSource = 4 << 10
	// maxNodes bounds the parts of a condition.
	maxNodes = 256
	// maxItems bounds what any, all, none and in go through.
	maxItems = 256
	// maxText bounds texts that are searched, in bytes.
	maxText = 64 << 10
)

// normalise writes AND, OR, NOT and IN as the language has them, in whatever case
// they are. Lengths stay, and so do the places of errors. What cannot be read is
// left for the parser to complain about.
func normalise(source string) string {
	if strings.TrimSpace(source) == "*" {
		return strings.Replace(source, "*", "true", 1)
	}
	tokens, err := lexer.Lex(file.NewSource(source))
	if err != nil {
		return source
	}
	var b strings.Builder
	from, runes := 0, 0
	skip := func(to int) {
		for runes < to {
			_, size := utf8.DecodeRuneInString(source[from:])
			b.WriteString(source[from : from+size])
			from, runes = from+size, runes+1
		}
	}
	for i, t := range tokens {
		word := strings.ToLower(t.Value)
		if t.Kind != lexer.Identifier || word != "and" && word != "or" && word != "not" && word != "in" {
			continue
		}
		// A member or a key of that name is not the operator.
		if i > 0 && tokens[i-1].Is(lexer.Operator, ".", "?.", "#") || i+1 < len(tokens) && tokens[i+1].Is(lexer.Operator, ":") {
			continue
		}
		skip(t.From)
		b.WriteString(word)
		from, runes = from+len(t.Value), t.To
	}
	return b.String() + source[from:]
}
