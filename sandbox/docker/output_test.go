package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// text are outputs: bytes of all kinds, and characters of one to four bytes.
var text = rapid.Custom(func(t *rapid.T) []byte {
	if rapid.Bool().Draw(t, "characters") {
		return []byte(rapid.StringOfN(rapid.RuneFrom([]rune("aé€😀\n")), 0, 80, -1).Draw(t, "text"))
	}
	return rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes")
})

// pieces cuts p into pieces, some of them empty.
func pieces(t *rapid.T, p []byte) [][]byte {
	var all [][]byte
	for len(p) > 0 {
		n := rapid.IntRange(0, len(p)).Draw(t, "piece")
		all = append(all, slices.Clone(p[:n]))
		p = p[n:]
	}
	return all
}

// keptOf is what a stream shows in the end, said as simply as can be.
func keptOf(all []byte, keep int) (string, int64) {
	if len(all) <= keep {
		return strings.ToValidUTF8(string(all), "\uFFFD"), 0
	}
	head, tail := all[:keep-keep/2], all[len(all)-keep/2:]
	for cut := 1; cut < utf8.UTFMax && cut <= len(head); cut++ {
		if at := len(head) - cut; utf8.RuneStart(head[at]) {
			if !utf8.FullRune(head[at:]) {
				head = head[:at]
			}
			break
		}
	}
	for cut := 0; cut < utf8.UTFMax && len(tail) > 0 && !utf8.RuneStart(tail[0]); cut++ {
		tail = tail[1:]
	}
	dropped := len(all) - len(head) - len(tail)
	return fmt.Sprintf("%s\n[... %d bytes dropped ...]\n%s",
		strings.ToValidUTF8(string(head), "\uFFFD"), dropped, strings.ToValidUTF8(string(tail), "\uFFFD")), int64(dropped)
}

func TestStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, keep := text.Draw(t, "output"), rapid.IntRange(2, 100).Draw(t, "keep")
		s := stream{keep: int64(keep)}
		for _, p := range pieces(t, all) {
			s.write(p)
			clear(p) // a stream keeps nothing of its argument
		}
		got, dropped := s.text()
		want, wantDropped := keptOf(all, keep)
		if got != want || dropped != wantDropped {
			t.Fatalf("text = %q, %d, want %q, %d", got, dropped, want, wantDropped)
		}
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		if utf8.Valid(all) && strings.ContainsRune(got, utf8.RuneError) {
			t.Fatalf("%q has a character that was cut", got)
		}
		if kept := int64(len(all)) - dropped; kept > int64(keep) {
			t.Fatalf("%d bytes are kept, more than %d", kept, keep)
		}
		if again, _ := s.text(); again != got {
			t.Fatalf("text again = %q, want %q", again, got)
		}
	})
}

func TestCapture(t *testing.T) {
	shown := map[sandbox.Stream]string{}
	c := newCapture(1024, [][]byte{[]byte("secret")}, func(s sandbox.Stream, p []byte) {
		if len(p) == 0 {
			t.Error("the watcher is told of nothing")
		}
		shown[s] += string(p)
	})
	c.write(&c.stdout, []byte("a sec"))
	c.write(&c.stderr, []byte("ret sec"))
	c.write(&c.stdout, []byte("ret b"))
	c.end()
	out, _ := c.stdout.text()
	errs, _ := c.stderr.text()
	if out != "a *** b" || errs != "ret sec" || shown[sandbox.Stdout] != out || shown[sandbox.Stderr] != errs {
		t.Errorf("kept %q and %q, shown %q, want streams that do not mix, and the same shown as kept", out, errs, shown)
	}
}

// chunk is what an engine makes of bytes of a container.
func chunk(kind byte, p string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind, 0, 0, 0}, uint32(len(p))), p...)
}

func TestDemux(t *testing.T) {
	huge := binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, maxChunk+1)
	for name, c := range map[string]struct {
		in         []byte
		out, noise string
		bad        bool
	}{
		"nothing":               {},
		"stdout":                {in: chunk(1, "abc"), out: "abc"},
		"stderr":                {in: chunk(2, "abc"), noise: "abc"},
		"both":                  {in: slices.Concat(chunk(1, "a"), chunk(2, "x"), chunk(1, "b"), chunk(2, "y")), out: "ab", noise: "xy"},
		"empty chunks":          {in: slices.Concat(chunk(1, ""), chunk(2, ""), chunk(1, "a"), chunk(1, "")), out: "a"},
		"a header inside":       {in: chunk(1, string(chunk(2, "x"))), out: string(chunk(2, "x"))},
		"stdin":                 {in: chunk(0, "abc"), bad: true},
		"an engine's own error": {in: chunk(3, "abc"), bad: true},
		"unknown kind":          {in: slices.Concat(chunk(1, "a"), chunk(255, "b")), out: "a", bad: true},
		"huge":                  {in: huge, bad: true},
		"a cut header":          {in: chunk(1, "a")[:5], bad: true},
		"a cut stdout":          {in: chunk(1, "abc")[:10], out: "ab"}, // the frames' reader knows that its frame is cut
		"a cut stderr":          {in: chunk(2, "abc")[:10], bad: true},
		"no multiplexing":       {in: []byte("HTTP/1.1 400 Bad Request\r\n"), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			for how, wrap := range map[string]func(io.Reader) io.Reader{
				"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
			} {
				var noise bytes.Buffer
				out, err := io.ReadAll(&demux{r: wrap(bytes.NewReader(c.in)), noise: func(p []byte) { noise.Write(p) }})
				if string(out) != c.out || noise.String() != c.noise || (err != nil) != c.bad {
					t.Errorf("%s: %q, noise %q, %v, want %q, %q, error %v", how, out, noise.String(), err, c.out, c.noise, c.bad)
				}
			}
		})
	}
}

func TestDemuxPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken pipe")
	for name, r := range map[string]io.Reader{
		"before a chunk": iotest.ErrReader(broken),
		"in stdout":      io.MultiReader(bytes.NewReader(chunk(1, "abc")[:9]), iotest.ErrReader(broken)),
		"in stderr":      io.MultiReader(bytes.NewReader(chunk(2, "abc")[:9]), iotest.ErrReader(broken)),
	} {
		if _, err := io.ReadAll(&demux{r: r, noise: func([]byte) {}}); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want %v", name, err, broken)
		}
	}
}

// FuzzDemux holds that no bytes of an engine make more of themselves, or change
// with how they arrive.
func FuzzDemux(f *testing.F) {
	f.Add(slices.Concat(chunk(1, "a"), chunk(2, "x"), chunk(1, "b")), 3)
	f.Add(chunk(3, "abc"), 1)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"), 2)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		read := func(r io.Reader) (out, noise []byte, err error) {
			d := &demux{r: r, noise: func(p []byte) { noise = append(noise, p...) }}
			buf := make([]byte, 1+max(0, size)%1000)
			for {
				n, err := d.Read(buf)
				out = append(out, buf[:n]...)
				if err != nil {
					return out, noise, err
				}
			}
		}
		out, noise, err := read(bytes.NewReader(in))
		if len(out)+len(noise) > len(in) {
			t.Fatalf("%d bytes of %d", len(out)+len(noise), len(in))
		}
		slowly, slowNoise, slowErr := read(iotest.OneByteReader(bytes.NewReader(in)))
		if !bytes.Equal(out, slowly) || !bytes.Equal(noise, slowNoise) || (err == io.EOF) != (slowErr == io.EOF) {
			t.Fatalf("%q %q %v, byte by byte %q %q %v", out, noise, err, slowly, slowNoise, slowErr)
		}
	})
}
