package activities

import (
	"context"
	"io/fs"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// onePiece is a store with one blob.
type onePiece []byte

func (onePiece) Put(context.Context, []byte) (string, error) { return "", fs.ErrPermission }

func (b onePiece) Get(_ context.Context, key string) ([]byte, error) {
	if key != "piece" {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

// FuzzState: the state of a snapshot is read or refused, and its outcomes come in order,
// each number once.
func FuzzState(f *testing.F) {
	for _, s := range []string{
		`{"workflow":"w","generation":1,"outcomes":[{"seq":2,"key":"b"},{"seq":1,"key":"a"},{"seq":2,"key":"c"}]}`,
		`{"input":{"payloads":[{"metadata":{"encoding":"anNvbg=="},"data":"e30="}]},"header":{"a":null}}`, `null`, `[]`, `{"outcomes":[null,{}]}`, `{"started":"x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		part := wflo.SnapshotPart{Kind: wflo.PartState, Blobs: []string{"piece"}}
		part.SHA256 = stateHash(part.Blobs)
		state, err := readState(t.Context(), onePiece(data), wflo.Snapshot{ID: "s", Parts: []wflo.SnapshotPart{part}})
		if err != nil {
			return
		}
		for i := 1; i < len(state.Outcomes); i++ {
			a, b := state.Outcomes[i-1], state.Outcomes[i]
			if a.Seq > b.Seq || a.Seq == b.Seq && (a.Seq != 0 || a.Key >= b.Key) {
				t.Errorf("%q: %d %q comes before %d %q", data, a.Seq, a.Key, b.Seq, b.Key)
			}
		}
	})
}
