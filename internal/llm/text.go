package llm

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"unicode"
)

// maxErrorText bounds an error's text with its hint, in bytes.
const maxErrorText = 500

// text is "provider model: problem" without the key, short enough that text and
// hint together stay below maxErrorText.
func (c *Call) text(problem, hint string) string {
	s := c.vendor.Name + " " + c.model + ": " + problem
	// The key goes before the cut, or a part of it could stay at the end.
	for _, form := range []string{c.vendor.Key, url.QueryEscape(c.vendor.Key)} {
		if form != "" {
			s = strings.ReplaceAll(s, form, "[key]")
		}
	}
	s = oneLine(s)
	room := maxErrorText
	if hint != "" {
		room -= len(hint) + len(" ()")
	}
	return shorten(s, room)
}

// oneLine makes foreign text fit for a log line: valid, no control characters,
// single spaces.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}

func shorten(s string, room int) string {
	const dots = "..."
	if len(s) <= room {
		return s
	}
	return strings.ToValidUTF8(s[:room-len(dots)], "") + dots
}

// reason is err without the URL that net/http puts in front, because a base URL
// may hold what should not be shown.
func reason(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	return err.Error()
}

// Explain finds the vendor's own words in the body of an error: the fields that
// the APIs and their imitations use, or else the text itself.
func Explain(body []byte) string {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &e) != nil {
		return string(body)
	}
	var inner struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(e.Error, &inner) == nil && inner.Message != "" {
		return inner.Message
	}
	for _, raw := range []json.RawMessage{e.Error, e.Detail} {
		var s string
		if json.Unmarshal(raw, &s) == nil && s != "" {
			return s
		}
	}
	if e.Message != "" {
		return e.Message
	}
	return string(body)
}
