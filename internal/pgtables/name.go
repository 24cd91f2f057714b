package pgtables

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// maxName is how long PostgreSQL lets names be, in bytes.
const maxName = 63

// splitName reads the name of a table as SQL does: what is not in quotes is in lower
// case. It has one part, or two with a schema.
func splitName(s string) (pgx.Identifier, error) {
	var parts pgx.Identifier
	for {
		part, rest, err := nextPart(s)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		if rest == "" {
			break
		}
		if len(parts) == 2 || rest[0] != '.' {
			return nil, errors.New("is not a name, or a schema and a name")
		}
		s = rest[1:]
	}
	return parts, nil
}

func nextPart(s string) (part, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		part, rest, err = quotedPart(s[1:])
	} else {
		end := strings.IndexFunc(s, func(r rune) bool { return !plainRune(r) })
		if end < 0 {
			end = len(s)
		}
		// PostgreSQL folds what is ASCII.
		part, rest = strings.Map(foldASCII, s[:end]), s[end:]
		if part != "" && (part[0] >= '0' && part[0] <= '9' || part[0] == '$') {
			err = errors.New("begins with a digit: put it in quotes")
		}
	}
	switch {
	case err != nil:
	case part == "":
		err = errors.New("has an empty part, or characters that need quotes")
	case len(part) > maxName:
		err = errors.New("is longer than 63 bytes")
	case !utf8.ValidString(part) || strings.ContainsRune(part, 0):
		err = errors.New("is not text")
	}
	return part, rest, err
}

func plainRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '$' || r > 127
}

func foldASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// quotedPart reads what follows a quote; two quotes stand for one.
func quotedPart(s string) (part, rest string, err error) {
	var b strings.Builder
	for {
		end := strings.IndexByte(s, '"')
		if end < 0 {
			return "", "", errors.New("has a quote without an end")
		}
		b.WriteString(s[:end])
		s = s[end+1:]
		if !strings.HasPrefix(s, `"`) {
			return b.String(), s, nil
		}
		b.WriteByte('"')
		s = s[1:]
	}
}
