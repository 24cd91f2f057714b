package desk

import (
	"encoding/json"
	"testing"
)

// An answer to a form fits its schema or is refused, whatever both are; a schema reaches
// nothing outside of itself.
func FuzzCheckForm(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`, `{"a":1}`},
		{`{"$ref":"https://evil.example/x.json"}`, `{}`}, {`{"$ref":"file:///etc/passwd"}`, `"root"`}, {`{"$ref":"#"}`, `{}`}, {`{"allOf":[{"$ref":"#/allOf/0"}]}`, `1`},
		{`{"pattern":"(a+)+$"}`, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"`}, {`{"enum":[1e999]}`, `1e999`}, {`true`, `null`}, {`{"type":"string"}`, `1`}, {`[]`, `[]`}, {``, ``}, {`{"$schema":"https://evil.example/schema"}`, `1`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, schema, data []byte) {
		err := CheckForm(schema, data)
		if err == nil && len(schema) > 0 && !json.Valid(data) {
			t.Errorf("%q takes %q, which is no JSON", schema, data)
		}
	})
}

// No schema is fetched from anywhere, and none reads this machine's files.
func TestAttackSchemas(t *testing.T) {
	for _, schema := range []string{`{"$ref":"file:///etc/passwd"}`, `{"$ref":"http://127.0.0.1:1/x"}`, `{"$schema":"http://127.0.0.1:1/x"}`, `{"$id":"file:///etc/","$ref":"passwd"}`, `{"$dynamicRef":"https://evil.example/x"}`} {
		if err := CheckForm(json.RawMessage(schema), json.RawMessage(`"x"`)); err == nil {
			t.Errorf("%s is taken", schema)
		}
	}
}
