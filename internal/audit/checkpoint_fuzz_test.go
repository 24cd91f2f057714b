package audit

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzCheckpoints: checkpoints that are read from a file are read again from what would be
// written of them.
func FuzzCheckpoints(f *testing.F) {
	for _, s := range []string{
		`{"chain":"main","seq":3,"hash":"ab","at":"2026-11-01T10:00:00Z","key":"console","signature":"AA=="}` + "\n",
		`{"chain":"a"}` + "\n" + `{"chain":"b","seq":`, "null\n[]\n", `{"seq":1e300}`, `{"at":"0000-01-01T00:00:00+24:00"}`, "\n\n{}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := readCheckpoints(data)
		if err != nil {
			return
		}
		var b bytes.Buffer
		for _, c := range all {
			if err := c.Verify(nil); err == nil {
				t.Fatalf("%q is vouched for by nobody's key", data)
			}
			line, err := json.Marshal(c)
			if err != nil {
				return // a time zone that JSON cannot say
			}
			b.Write(append(line, '\n'))
		}
		again, err := readCheckpoints(b.Bytes())
		if diff := cmp.Diff(all, again); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", data, err, diff)
		}
	})
}
