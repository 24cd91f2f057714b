package tree

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// TestManifestOfTheFirstVersion reads what was stored when frames were compressed by
// zstd: snapshots outlive the program that made them.
func TestManifestOfTheFirstVersion(t *testing.T) {
	b := newWorkbench(t, Config{})
	var p wflo.SnapshotPart
	must(t, filepath.WalkDir("testdata/zstd", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if d.Name() == "part.json" {
			return errors.Join(err, json.Unmarshal(data, &p))
		}
		key, putting := b.blobs.Put(t.Context(), data)
		if key != d.Name() {
			t.Errorf("%s is not what it was", path)
		}
		return errors.Join(err, putting)
	}))
	must(t, b.Check(t.Context(), b.in, p))
	b.restore(t, p)
	for name, want := range map[string]string{
		"readme.txt": strings.Repeat("what a workspace held before frames had a mark\n", 40), "src/main.go": "package main\n\nfunc main() {}\n",
		"data/noise": string(noise(7, 700)), "link": strings.Repeat("what a workspace held before frames had a mark\n", 40), "empty": "",
	} {
		if got, err := os.ReadFile(filepath.Join(b.dir, name)); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", name, got, err)
		}
	}
	// What is the same is not stored again, so new manifests refer to such frames.
	b.write(t, map[string]string{"new": strings.Repeat("something new\n", 100)})
	after := b.save(t, &p)
	if after.Stored >= p.Stored {
		t.Errorf("one new file stores %d bytes, the whole tree %d", after.Stored, p.Stored)
	}
	must(t, b.Check(t.Context(), b.in, after))
}

func TestFramesAreBounded(t *testing.T) {
	c, err := newCodec()
	must(t, err)
	raw := []byte(strings.Repeat("a frame that gives more than it may is damaged ", 1000))
	s2ed := c.shut(raw, nil)
	zstded := c.enc.EncodeAll(raw, nil)
	for name, frame := range map[string][]byte{"s2": s2ed, "zstd": zstded} {
		got, err := c.open(frame, make([]byte, 0, len(raw)), len(raw))
		if err != nil || string(got) != string(raw) {
			t.Errorf("%s: came back as %d bytes, %v", name, len(got), err)
		}
		for _, n := range []int{0, 1, len(raw) - 1, len(raw) + 1} {
			if _, err := c.open(frame, nil, n); err == nil {
				t.Errorf("%s: gives %d bytes in the place of %d", name, len(raw), n)
			}
		}
		for cut := range 20 {
			if _, err := c.open(frame[:cut], nil, len(raw)); err == nil {
				t.Errorf("%s: %d of its bytes are a frame, too", name, cut)
			}
		}
	}
	huge := []byte{markS2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}
	if _, err := c.open(huge, nil, pieceSize); err == nil || !strings.Contains(err.Error(), "4294967295 bytes, not") {
		t.Errorf("4 GiB in 7 bytes gave %v", err)
	}
	if _, err := c.open([]byte{0x7f, 1, 2}, nil, 2); err == nil {
		t.Error("an unknown mark was read")
	}
}
