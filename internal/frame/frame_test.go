package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// piece is a frame as it was written.
type piece struct {
	Type   Type
	Stream uint32
	Data   string
}

func encode(t testing.TB, pieces ...piece) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, p := range pieces {
		if err := w.Write(p.Type, p.Stream, []byte(p.Data)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// decode reads all frames that are whole, and gives the error that ends it.
func decode(r *Reader) (pieces []piece, damaged int, err error) {
	for {
		f, err := r.Read()
		switch {
		case errors.Is(err, ErrDamaged):
			damaged++
			continue
		case err != nil:
			return pieces, damaged, err
		}
		pieces = append(pieces, piece{f.Type, f.Stream, string(f.Data)})
	}
}

// The bytes are a promise to workers and sandboxes of another build.
func TestGolden(t *testing.T) {
	for name, c := range map[string]struct {
		frame piece
		want  string
	}{
		"empty":  {piece{Start, 0, ""}, "0200000000" + "00000000" + "5674b2c2"},
		"stream": {piece{NetData, 258, "hi"}, "1000000102" + "00000002" + "25e8d33b" + "6869"},
	} {
		if got := hex.EncodeToString(encode(t, c.frame)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	for name, c := range map[string]struct{ got, want Type }{
		"Job": {Job, 1}, "NetReset": {NetReset, 18}, "Hello": {Hello, 65}, "NetOpen": {NetOpen, 75},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", name, c.got, c.want)
		}
	}
}

func pieces() *rapid.Generator[piece] {
	types := []Type{}
	for i := range 256 {
		if known(Type(i)) {
			types = append(types, Type(i))
		}
	}
	return rapid.Custom(func(t *rapid.T) piece {
		return piece{
			rapid.SampledFrom(types).Draw(t, "type"), rapid.Uint32().Draw(t, "stream"),
			string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")),
		}
	})
}

// chunks gives a stream in pieces of arbitrary sizes.
type chunks struct {
	data  []byte
	sizes []int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(c.data))
	if len(c.sizes) > 0 {
		n, c.sizes = min(n, c.sizes[0]), c.sizes[1:]
	}
	copy(p, c.data[:n])
	c.data = c.data[n:]
	return n, nil
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SliceOf(pieces()).Draw(rt, "frames")
		var stream []byte
		for _, p := range want {
			stream = append(stream, make([]byte, rapid.IntRange(0, 20).Draw(rt, "padding"))...)
			stream = append(stream, encode(t, p)...)
		}
		sizes := rapid.SliceOf(rapid.IntRange(1, 50)).Draw(rt, "chunks")
		got, damaged, err := decode(NewReader(&chunks{stream, sizes}))
		if !errors.Is(err, io.EOF) || damaged != 0 || len(got) != len(want) {
			rt.Fatalf("%d frames of %d, %d damaged, %v", len(got), len(want), damaged, err)
		}
		for i := range want {
			if got[i] != want[i] {
				rt.Fatalf("frame %d: %v, want %v", i, got[i], want[i])
			}
		}
	})
}

// A worker may die between any two bytes. Whatever it left, the next one's
// frames are read, and nothing is made up.
func TestPadding(t *testing.T) {
	old := []piece{{Job, 0, `{"argv":[]}`}, {Start, 0, ""}, {Stdin, 0, strings.Repeat("x", 40)}, {NetEnd, 0x01020304, ""}, {StdinEnd, 0, ""}}
	adopt := piece{Adopt, 0, "{}"}
	stream := encode(t, old...)
	for cut := range len(stream) + 1 {
		broken := append(append(bytes.Clone(stream[:cut]), Padding()...), encode(t, adopt)...)
		got, damaged, err := decode(NewReader(bytes.NewReader(broken)))
		if !errors.Is(err, io.EOF) || damaged > 1 || len(got) == 0 || got[len(got)-1] != adopt {
			t.Fatalf("cut at %d: %v, %d damaged, %v", cut, got, damaged, err)
		}
		if diff := cmp.Diff(old[:len(got)-1], got[:len(got)-1]); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
		}
	}
}

func TestSync(t *testing.T) {
	nonce := []byte("aab")
	for name, c := range map[string]struct{ before string }{
		"at once": {""}, "behind": {"xyz"}, "overlapping": {"a"}, "twice": {"aa"}, "partly": {"aaaxab"}, "far": {strings.Repeat("aac", 100_000)},
	} {
		stream := append([]byte(c.before+string(nonce)), encode(t, piece{Pong, 0, ""})...)
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			r := NewReader(wrap(bytes.NewReader(stream)))
			if err := r.Sync(nonce); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if f, err := r.Read(); err != nil || f.Type != Pong {
				t.Errorf("%s: frame of type %d, %v, want Pong", name, f.Type, err)
			}
		}
	}
	if err := NewReader(strings.NewReader("aa")).Sync(nonce); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without the nonce: %v, want io.ErrUnexpectedEOF", err)
	}
	if err := NewReader(strings.NewReader("aa")).Sync(nil); err == nil {
		t.Error("an empty nonce is accepted")
	}
}

func TestRefuses(t *testing.T) {
	good := encode(t, piece{Stdout, 0, "abc"})
	change := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	for name, c := range map[string]struct {
		stream []byte
		want   error // nil means any that ends the stream
	}{
		"nothing":      {nil, io.EOF},
		"cut header":   {good[:5], io.ErrUnexpectedEOF},
		"cut payload":  {good[:14], io.ErrUnexpectedEOF},
		"other data":   {change(14, 'x'), ErrDamaged},
		"other stream": {change(3, 9), ErrDamaged},
		"unknown type": {change(0, 200), nil},
		"too long":     {change(6, 200), nil},
	} {
		_, err := NewReader(bytes.NewReader(c.stream)).Read()
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := NewWriter(io.Discard).Write(Stdout, 0, make([]byte, MaxData+1)); err == nil {
		t.Error("a frame that nobody would read was written")
	}
	w := NewWriter(failing{})
	if w.Send(Ping, nil) == nil || w.Raw(nil) == nil {
		t.Error("after a failed write more was written")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestMessages(t *testing.T) {
	want := ExitMsg{Outcome: sandbox.Nonzero, Code: 3, Changed: []sandbox.Change{{Name: "a", Op: "added", Size: 1}}}
	var b bytes.Buffer
	if err := NewWriter(&b).SendTo(Exit, 4, want); err != nil {
		t.Fatal(err)
	}
	f, err := NewReader(&b).Read()
	if err != nil || f.Stream != 4 {
		t.Fatal(f, err)
	}
	var got ExitMsg
	if err := f.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := (Frame{Type: Exit, Data: []byte("{")}).Decode(&got); err == nil {
		t.Error("half a message was decoded")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(encode(f, piece{Stdout, 1, "hello"}, piece{Exit, 0, "{}"}))
	f.Add([]byte{1, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0})
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, damaged, err := decode(NewReader(bytes.NewReader(stream)))
		runtime.ReadMemStats(&after)
		if most := uint64(2*MaxMessage + 1<<20 + 200*len(stream)); after.TotalAlloc-before.TotalAlloc > most {
			t.Fatalf("%d bytes of stream took %d bytes of memory", len(stream), after.TotalAlloc-before.TotalAlloc)
		}
		if damaged > 0 || !errors.Is(err, io.EOF) {
			return
		}
		// What was read is what was there, zeros between frames apart.
		again := encode(t, got...)
		if strip(stream) != strip(again) {
			t.Fatalf("%x was read as %x", stream, again)
		}
	})
}

func strip(b []byte) string { return strings.ReplaceAll(string(b), "\x00", "") }
