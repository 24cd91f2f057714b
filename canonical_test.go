package wflo

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
)

func TestCanonical(t *testing.T) {
	tests := []struct{ in, want string }{
		{` { "b" : 1 , "a" : [ true , null , "x" ] } `, `{"a":[true,null,"x"],"b":1}`},
		{`{"\u20ac":1,"\r":2,"1":3,"\u00f6":4,"\ud83d\ude00":5,"\ufb33":6}`, "{\"\\r\":2,\"1\":3,\"\u00f6\":4,\"\u20ac\":1,\"\U0001F600\":5,\"\ufb33\":6}"},
		{`"\u0041\/\u000a\u0007<>&\u2028"`, "\"A/\\n\\u0007<>&\u2028\""},
		{`[1.0, 1e2, 1.5e300, 0.000001, 1e-7, -0.0, -0]`, `[1,100,1.5e+300,0.000001,1e-7,0,0]`},
		{`12345678901234567890123`, `12345678901234567890123`}, // an identifier, digit by digit
		{`9007199254740993`, `9007199254740993`},
		{`[]`, `[]`}, {`{}`, `{}`}, {`null`, `null`},
	}
	for _, tt := range tests {
		got, err := Canonical([]byte(tt.in))
		if err != nil || string(got) != tt.want {
			t.Errorf("Canonical(%s) = %s, %v; want %s", tt.in, got, err, tt.want)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	tests := []struct{ in, want string }{
		{``, "not JSON"}, {`{`, "not JSON"}, {`[1,]`, "not JSON"}, {`{"a":1,}`, "not JSON"}, {`nul`, "not JSON"}, {`01`, "more than one"},
		{`1 2`, "more than one"}, {`{} x`, "more than one"},
		{`{"a":1,"a":2}`, `"a" twice`}, {`{"a":1,"\u0061":2}`, `"a" twice`}, {`[{"x":{"k":1,"k":1}}]`, `"k" twice`},
		{"\"\xff\"", "UTF-8"}, {`"\ud800"`, "Unicode"}, {`{"\udc00":1}`, "Unicode"},
		{`0.1000000000000000055`, "round"}, {`1e400`, "range"}, {`1e-400`, "range"}, {`1e-99999999999`, "range"}, {"0." + strings.Repeat("1", 500), "range"}, {`123456789.123456789123`, "round"},
		{strings.Repeat("[", 200) + strings.Repeat("]", 200), "deep"},
	}
	for _, tt := range tests {
		got, err := Canonical([]byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Canonical(%.40s) = %s, %v; want an error with %q", tt.in, got, err, tt.want)
		}
	}
}

// longNumber may be a whole number that a double does not hold, which RFC 8785 rounds.
var longNumber = regexp.MustCompile(`\d{16}`)

// FuzzCanonical holds the form to what it is for: it means what was given, it is
// stable, and where a public implementation of RFC 8785 accepts a value, both agree
// but for long whole numbers.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[1.5,"x\u0000"]}`, `[1e5,-0,0.1]`, `"é😀\u2028"`, `{"a":{"a":{}}}`, `1e21`, `[9007199254740993]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Canonical(in)
		if err != nil {
			return
		}
		again, err := Canonical(got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("the form of %q is %q, and the form of that %q, %v", in, got, again, err)
		}
		var a, b any
		// Both fail where a whole number is longer than any double, and have all the rest.
		before, after := json.Unmarshal(in, &a), json.Unmarshal(got, &b)
		if (before == nil) != (after == nil) || !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q, which means something else", in, got)
		}
		theirs, err := jcs.Transform(in)
		if err == nil && !longNumber.Match(in) && !bytes.Equal(theirs, got) {
			t.Errorf("%q: %q, and %q by another implementation", in, got, theirs)
		}
	})
}
