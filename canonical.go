package wflo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of JSON that is put into canonical form.
const maxDepth = 100

// Canonical writes one JSON value in the form of RFC 8785: no space, the members
// of objects sorted by UTF-16 code units, text and numbers written in one way.
// Two values that mean the same have the same form, so that their hashes can be
// compared.
//
// What readers of JSON disagree about is refused, because people would approve one
// thing and programs would do another: objects with two members of the same name,
// text that is not UTF-8, a second value, and numbers that a double does not hold
// exactly. Whole numbers without an exponent are the exception: they are kept digit
// by digit, however long they are, because identifiers are written so.
func Canonical(data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	out, err := appendValue(nil, dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one value")
	}
	return out, nil
}

// CanonicalSHA256 is the SHA-256, in hex, of the canonical form of data; no data is
// like null.
func CanonicalSHA256(data []byte) (string, error) {
	if len(data) == 0 {
		data = []byte("null")
	}
	c, err := Canonical(data)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(c)
	return hex.EncodeToString(sum[:]), nil
}

func appendValue(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested more than %d deep", maxDepth)
	}
	t, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	switch v := t.(type) {
	case json.Delim:
		if v == '{' {
			return appendObject(out, dec, depth)
		}
		return appendArray(out, dec, depth)
	case string:
		return appendText(out, v)
	case json.Number:
		return appendNumber(out, v.String())
	case bool:
		return strconv.AppendBool(out, v), nil
	}
	return append(out, "null"...), nil
}

func appendArray(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	out = append(out, '[')
	for i := 0; dec.More(); i++ {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendValue(out, dec, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	return append(out, ']'), nil
}

// member is a member of an object: its name in code units, and itself written out.
type member struct {
	units []uint16
	text  []byte
}

func appendObject(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	var members []member
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("is not JSON: a member has no name")
		}
		text, err := appendText(nil, name)
		if err != nil {
			return nil, err
		}
		if text, err = appendValue(append(text, ':'), dec, depth+1); err != nil {
			return nil, err
		}
		members = append(members, member{utf16.Encode([]rune(name)), text})
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	slices.SortFunc(members, func(a, b member) int { return slices.Compare(a.units, b.units) })
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			if slices.Equal(m.units, members[i-1].units) {
				return nil, fmt.Errorf("has the member %q twice in one object", string(utf16.Decode(m.units)))
			}
			out = append(out, ',')
		}
		out = append(out, m.text...)
	}
	return append(out, '}'), nil
}

// appendText refuses U+FFFD because the decoder writes it in place of what it
// cannot read, such as half of a surrogate pair.
func appendText(out []byte, s string) ([]byte, error) {
	if strings.ContainsRune(s, utf8.RuneError) {
		return nil, errors.New("holds text that is not Unicode")
	}
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\b':
			out = append(out, `\b`...)
		case r == '\t':
			out = append(out, `\t`...)
		case r == '\n':
			out = append(out, `\n`...)
		case r == '\f':
			out = append(out, `\f`...)
		case r == '\r':
			out = append(out, `\r`...)
		case r < ' ':
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return append(out, '"'), nil
}

// maxNumber bounds the text of a number that is not whole, in bytes.
const maxNumber = 400

func mantissa(literal string) string {
	m, _, _ := strings.Cut(strings.ToLower(literal), "e")
	return m
}

// appendNumber writes a number as ECMAScript does, which is also how
// encoding/json does.
func appendNumber(out []byte, literal string) ([]byte, error) {
	if !strings.ContainsAny(literal, ".eE") {
		if literal == "-0" {
			literal = "0"
		}
		return append(out, literal...), nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	// What follows is exact, and would be slow for numbers that are absurd.
	if err != nil || len(literal) > maxNumber || f == 0 && strings.Trim(mantissa(literal), "-0.") != "" {
		return nil, fmt.Errorf("holds the number %.40s, which is out of range", literal)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("holds the number %.40s: %w", literal, err)
	}
	given, ok := new(big.Rat).SetString(literal)
	kept, ok2 := new(big.Rat).SetString(string(text))
	if !ok || !ok2 || given.Cmp(kept) != 0 {
		return nil, fmt.Errorf("holds the number %.40s, which programs would round; write it as text", literal)
	}
	if string(text) == "-0" {
		text = text[1:]
	}
	return append(out, text...), nil
}
