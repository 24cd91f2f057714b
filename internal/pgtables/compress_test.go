package pgtables

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestChunksArePacked opens by the library's decoder what is written without it.
func TestChunksArePacked(t *testing.T) {
	codec, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 3*blockSize+17)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	var hashes, words []byte
	for i := range 20_000 {
		hashes = fmt.Appendf(hashes, "%d\t%x\n", i, sha256.Sum256(fmt.Append(nil, i)))
		words = fmt.Appendf(words, "%d\tthe same words again\n", i)
	}
	p := packer{codec: codec}
	for what, c := range map[string]struct {
		data    []byte
		repeats bool
		most    int // of the size
	}{
		"one byte":         {[]byte{'\n'}, true, 100},
		"less than a look": {hashes[:probed-1], true, probed + 100},
		"hashes":           {hashes, false, len(hashes) * 6 / 10},
		"words":            {words, true, len(words) / 4},
		"random":           {random, false, len(random) + 100},
		"one letter last":  {append(bytes.Clone(random[:blockSize]), bytes.Repeat([]byte{'x'}, blockSize)...), false, blockSize + 100},
		"one byte last":    {hashes[:2*blockSize+1], false, 2 * blockSize},
		"whole blocks":     {hashes[:2*blockSize], false, 2 * blockSize},
	} {
		out := p.pack(c.data, []byte("before"))
		if got := p.repeats(c.data); got != c.repeats {
			t.Errorf("%s: repeats %v", what, got)
		}
		if !bytes.HasPrefix(out, []byte("before")) || len(out) > c.most {
			t.Errorf("%s: %d bytes are packed as %d", what, len(c.data), len(out))
		}
		back, err := codec.dec.DecodeAll(out[len("before"):], nil)
		if err != nil || !bytes.Equal(back, c.data) {
			t.Errorf("%s: does not come back: %v", what, err)
		}
		other := packer{codec: codec}
		if !bytes.Equal(other.pack(c.data, nil), out[len("before"):]) {
			t.Errorf("%s: is packed in two ways", what)
		}
	}
}

func FuzzLiterals(f *testing.F) {
	f.Add([]byte("1\trow\n"), 100)
	f.Add([]byte{0}, 200_000)
	codec, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, times int) {
		data := bytes.Repeat(b, 1+max(0, times)%1000)
		if len(data) == 0 {
			return
		}
		p := packer{codec: codec}
		if back, err := codec.dec.DecodeAll(p.literals(data, nil), nil); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%d bytes do not come back: %v", len(data), err)
		}
	})
}
