package llm

import (
	"bufio"
	"bytes"
	"io"
	"iter"
	"strconv"
	"strings"
)

// Events reads server-sent events and yields the data of each, as the WHATWG
// standard has it: lines of one event are joined, comments and other fields are
// skipped. The last event may lack its empty line. An error of r is yielded last.
func Events(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, MaxBody)
		var data []byte
		for lines.Scan() {
			line := lines.Bytes() // without its end, LF or CRLF
			if len(line) == 0 {
				if len(data) > 0 && !yield(data, nil) {
					return
				}
				data = nil
				continue
			}
			value, isData := bytes.CutPrefix(line, []byte("data:"))
			if !isData {
				continue
			}
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		}
		if len(data) > 0 && !yield(data, nil) {
			return
		}
		if err := lines.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// syntheticPrefix marks the ids that CallID makes.
const syntheticPrefix = "wflo_"

// CallID names a tool call that its vendor left without id. The name is the
// same whenever the same response is read, and differs between the turns of a
// conversation as long as the vendor names its responses. It holds only
// characters that every vendor allows in an id.
func CallID(responseID string, index int) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, responseID)
	return syntheticPrefix + shortenID(clean) + "_" + strconv.Itoa(index)
}

// shortenID keeps ids below the 64 characters that OpenAI allows.
func shortenID(s string) string { return s[:min(len(s), 40)] }

// Synthetic says that the id was made by CallID, so the vendor does not know it.
func Synthetic(id string) bool { return strings.HasPrefix(id, syntheticPrefix) }
