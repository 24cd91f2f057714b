package meter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// fields is a JSON object whose values are as they came over the wire: what is
// not changed is sent on byte by byte, because the order of keys within a schema
// means something to models.
type fields map[string]json.RawMessage

// parse reads an object. Keys that stand twice, anywhere in it, are refused: the
// vendor may believe the other one.
func parse(body []byte) (fields, error) {
	if err := unique(body); err != nil {
		return nil, err
	}
	var f fields
	if err := json.Unmarshal(body, &f); err != nil || f == nil {
		return nil, unmeterable("the body is not a JSON object")
	}
	return f, nil
}

// unique walks through a JSON value and refuses objects with a key twice.
func unique(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	type level struct {
		keys map[string]bool // nil in an array
		key  bool            // the next token is a key
	}
	var stack []level
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 {
			return nil
		}
		if err != nil {
			return unmeterable("the body is not JSON")
		}
		top := len(stack) - 1
		switch d, isDelim := token.(json.Delim); {
		case isDelim && (d == '}' || d == ']'):
			stack = stack[:top]
		case isDelim:
			if top >= 0 {
				stack[top].key = stack[top].keys != nil
			}
			next := level{}
			if d == '{' {
				next = level{keys: map[string]bool{}, key: true}
			}
			stack = append(stack, next)
		case top >= 0 && stack[top].key:
			name, _ := token.(string)
			if stack[top].keys[name] {
				return unmeterable("the key %q stands twice in an object", clip(name))
			}
			stack[top].keys[name], stack[top].key = true, false
		case top >= 0:
			stack[top].key = stack[top].keys != nil
		}
	}
}

// only refuses keys that differ from the known ones in case alone: some servers
// do not tell them apart.
func (f fields) only(known ...string) error {
	for key := range f {
		for _, k := range known {
			if key != k && strings.EqualFold(key, k) {
				return unmeterable("the key %q is written unlike %q", clip(key), k)
			}
		}
	}
	return nil
}

// has says whether a key has a value other than null.
func (f fields) has(key string) bool {
	raw, ok := f[key]
	return ok && string(bytes.TrimSpace(raw)) != "null"
}

// text is a string, or "" where there is none.
func (f fields) text(key string) (string, error) {
	if !f.has(key) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(f[key], &s); err != nil {
		return "", unmeterable("%s is not a string", key)
	}
	return s, nil
}

func (f fields) flag(key string) (bool, error) {
	if !f.has(key) {
		return false, nil
	}
	var b bool
	if err := json.Unmarshal(f[key], &b); err != nil {
		return false, unmeterable("%s is not true or false", key)
	}
	return b, nil
}

// maxCount is the largest believable count of tokens or answers.
const maxCount = 1 << 31

// count is a positive whole number, or 0 where there is none.
func (f fields) count(key string) (int64, error) {
	if !f.has(key) {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(f[key])), 10, 64)
	if err != nil || n < 1 || n > maxCount {
		return 0, unmeterable("%s is not a positive whole number", key)
	}
	return n, nil
}

// object is a JSON object, or empty where there is none.
func (f fields) object(key string) (fields, error) {
	out := fields{}
	if !f.has(key) {
		return out, nil
	}
	if err := json.Unmarshal(f[key], &out); err != nil || out == nil {
		return nil, unmeterable("%s is not an object", key)
	}
	return out, nil
}

// list is an array of objects; a single object counts as one, and a string as
// none.
func (f fields) list(key string) ([]fields, error) {
	if !f.has(key) {
		return nil, nil
	}
	raw := bytes.TrimSpace(f[key])
	if raw[0] == '"' {
		return nil, nil
	}
	if raw[0] == '{' {
		one, err := f.object(key)
		return []fields{one}, err
	}
	var out []fields
	if err := json.Unmarshal(raw, &out); err != nil || slices.ContainsFunc(out, func(f fields) bool { return f == nil }) {
		return nil, unmeterable("%s is not a list of objects", key)
	}
	return out, nil
}

// with returns a copy that has a value at a path of keys.
func (f fields) with(value any, keys ...string) (fields, error) {
	out := make(fields, len(f)+1)
	for k, v := range f {
		out[k] = v
	}
	if len(keys) > 1 {
		inner, err := f.object(keys[0])
		if err != nil {
			return nil, err
		}
		if value, err = inner.with(value, keys[1:]...); err != nil {
			return nil, err
		}
	}
	raw, err := encode(value)
	if err != nil {
		return nil, err
	}
	out[keys[0]] = raw
	return out, nil
}

// encode writes JSON without escaping what needs no escape.
func encode(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
