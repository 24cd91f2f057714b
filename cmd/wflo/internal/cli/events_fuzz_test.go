package cli

import (
	"strings"
	"testing"
)

// FuzzReadEvents: a stream of events always ends with an error, gives no event without
// data, and nothing that is not in it.
func FuzzReadEvents(f *testing.F) {
	for _, s := range []string{
		"id: 1\nevent: row\ndata: {}\n\n", ": heartbeat\n\n", "data\ndata:\n\n", "data: a\r\ndata: b\r\n\r\n", "event: x\n\ndata: y\n\n", "id\x00: 1\ndata: z", "\ufeffdata: 1\n\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		lines := 0
		err := readEvents(strings.NewReader(stream), func() { lines++ }, func(e serverEvent) error {
			for line := range strings.SplitSeq(e.data, "\n") {
				if !strings.Contains(stream, line) {
					t.Errorf("%q gives %q", stream, e.data)
				}
			}
			if strings.ContainsAny(e.id+e.kind, "\n") {
				t.Errorf("%q has an event %q of %q", stream, e.id, e.kind)
			}
			return nil
		})
		if err == nil || lines > strings.Count(stream, "\n")+1 {
			t.Errorf("%q ends after %d lines with %v", stream, lines, err)
		}
	})
}
