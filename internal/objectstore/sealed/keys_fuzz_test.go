package sealed

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// FuzzParseKeys: keys that are read seal and open; what is wrong with others is said
// without them.
func FuzzParseKeys(f *testing.F) {
	for _, s := range []string{"a:" + key(1), "a:" + key(1) + ",b:" + key(2), "a:" + key(1) + "\r\n a:" + key(1), "A:x", ":", ",\n,", "a:" + key(1)[:20]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeMissingKey || wflo.HintOf(err) == "" {
				t.Errorf("%v is no error that a user can act on", err)
			}
			for pair := range strings.SplitSeq(text, ",") {
				if _, secret, _ := strings.Cut(pair, ":"); len(secret) > 24 && strings.Contains(err.Error(), secret) {
					t.Errorf("the error quotes a key: %v", err)
				}
			}
			return
		}
		data, err := keys.open(keys.seal([]byte("x")))
		if err != nil || !bytes.Equal(data, []byte("x")) {
			t.Errorf("%q seals what it opens as %q, %v", text, data, err)
		}
	})
}
