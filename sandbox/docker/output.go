package docker

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxChunk is the largest chunk of the engine that is believed; engines send at
// most 32 KiB. A larger one is a stream that went wrong, or an engine that lies.
const maxChunk = 4 << 20

// demux reads the standard output of a container out of the engine's multiplexed
// stream; standard error goes to noise. It never stops because there is too
// much: a reader that stops makes the engine and the program wait.
type demux struct {
	r     io.Reader
	left  int // of the current chunk
	noise func(p []byte)
}

func (d *demux) Read(p []byte) (int, error) {
	for d.left == 0 {
		var h [8]byte
		if _, err := io.ReadFull(d.r, h[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, fmt.Errorf("read from container: %w", err)
		}
		size := binary.BigEndian.Uint32(h[4:])
		if size > maxChunk || h[0] != 1 && h[0] != 2 {
			return 0, fmt.Errorf("read from container: chunk of kind %d and %d bytes", h[0], size)
		}
		if h[0] == 1 {
			d.left = int(size)
			continue
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(d.r, text); err != nil {
			return 0, fmt.Errorf("read from container: %w", err)
		}
		d.noise(text)
	}
	n, err := d.r.Read(p[:min(len(p), d.left)])
	d.left -= n
	return n, err
}

// capture takes what a program writes: it masks secrets, shows everything to
// the watcher, and keeps a part. It is for one goroutine.
type capture struct {
	stdout, stderr stream
	watch          func(sandbox.Stream, []byte)
}

func newCapture(keep int64, secrets [][]byte, watch func(sandbox.Stream, []byte)) *capture {
	return &capture{
		stdout: stream{name: sandbox.Stdout, keep: keep, mask: newMask(secrets)},
		stderr: stream{name: sandbox.Stderr, keep: keep, mask: newMask(secrets)},
		watch:  watch,
	}
}

func (c *capture) write(s *stream, p []byte) { c.emit(s, s.mask.write(p)) }

// end gives out what the masks held back.
func (c *capture) end() {
	for _, s := range []*stream{&c.stdout, &c.stderr} {
		c.emit(s, s.mask.flush())
	}
}

func (c *capture) emit(s *stream, p []byte) {
	if len(p) == 0 {
		return
	}
	s.write(p)
	if c.watch != nil {
		c.watch(s.name, p)
	}
}

// stream keeps the beginning and the end of one output, half each, and counts
// what is between.
type stream struct {
	name  sandbox.Stream
	mask  *mask
	keep  int64
	total int64
	head  []byte
	tail  []byte // a ring once it is full
	next  int    // where the ring goes on
}

func (s *stream) write(p []byte) {
	s.total += int64(len(p))
	n := min(int64(len(p)), s.keep-s.keep/2-int64(len(s.head)))
	s.head = append(s.head, p[:n]...)
	p = p[n:]
	room := int(s.keep / 2)
	if len(p) >= room {
		s.tail, s.next = append(s.tail[:0], p[len(p)-room:]...), 0
		return
	}
	if grow := min(len(p), room-len(s.tail)); grow > 0 {
		s.tail = append(s.tail, p[:grow]...)
		p = p[grow:]
	}
	for len(p) > 0 {
		n := copy(s.tail[s.next:], p)
		s.next, p = (s.next+n)%room, p[n:]
	}
}

// text gives what is kept as valid UTF-8, and how many bytes are not. A
// character that is cut in two is dropped whole.
func (s *stream) text() (string, int64) {
	tail := slices.Concat(s.tail[s.next:], s.tail[:s.next])
	dropped := s.total - int64(len(s.head)+len(tail))
	if dropped == 0 {
		return valid(append(s.head, tail...)), 0
	}
	head := s.head
	for i := len(head) - 1; i >= 0 && i >= len(head)-utf8.UTFMax; i-- {
		if utf8.RuneStart(head[i]) {
			if !utf8.FullRune(head[i:]) {
				head = head[:i]
			}
			break
		}
	}
	for i := 0; i < utf8.UTFMax && len(tail) > 0 && !utf8.RuneStart(tail[0]); i++ {
		tail = tail[1:]
	}
	dropped = s.total - int64(len(head)+len(tail))
	return fmt.Sprintf("%s\n[... %d bytes dropped ...]\n%s", valid(head), dropped, valid(tail)), dropped
}

func valid(p []byte) string { return strings.ToValidUTF8(string(p), "\uFFFD") }

// minMasked is the shortest secret that is masked: replacing every "a" would
// garble the output and hide nothing.
const minMasked = 4

var stars = []byte("***")

// mask replaces secrets in a stream, also those that come in pieces.
type mask struct {
	secrets [][]byte // longest first
	held    []byte   // the beginning of a secret, perhaps
}

func newMask(secrets [][]byte) *mask {
	m := &mask{}
	for _, s := range secrets {
		if len(s) >= minMasked {
			m.secrets = append(m.secrets, s)
		}
	}
	slices.SortFunc(m.secrets, func(a, b []byte) int { return cmp.Compare(len(b), len(a)) })
	return m
}

func (m *mask) write(p []byte) []byte {
	if len(m.secrets) == 0 {
		return p
	}
	p = slices.Concat(m.held, p)
	var out []byte
	for {
		// What may become an earlier or a longer secret waits, also if there is
		// a whole one in it.
		hold := len(p) - m.prefix(p)
		i, n := m.find(p)
		if i < 0 || hold <= i {
			m.held = bytes.Clone(p[hold:])
			return append(out, p[:hold]...)
		}
		out = append(append(out, p[:i]...), stars...)
		p = p[i+n:]
	}
}

// find gives the first secret in p; of two at the same place the longer.
func (m *mask) find(p []byte) (at, length int) {
	at = -1
	for _, s := range m.secrets {
		if i := bytes.Index(p, s); i >= 0 && (at < 0 || i < at) {
			at, length = i, len(s)
		}
	}
	return at, length
}

// prefix gives the length of the longest end of p with which a secret begins.
func (m *mask) prefix(p []byte) int {
	longest := 0
	for _, s := range m.secrets {
		for n := min(len(s)-1, len(p)); n > longest; n-- {
			if bytes.Equal(p[len(p)-n:], s[:n]) {
				longest = n
			}
		}
	}
	return longest
}

// flush gives out what was held back. Most of a secret is masked too: a program
// that is ended in the middle must not show it.
func (m *mask) flush() []byte {
	p := m.held
	m.held = nil
	var out []byte
	for len(p) > 0 {
		switch n := m.begins(p); {
		case n > 0:
			out, p = append(out, stars...), p[n:]
		case m.most(p):
			return append(out, stars...)
		default:
			out, p = append(out, p[0]), p[1:]
		}
	}
	return out
}

// begins gives the length of the longest secret with which p begins.
func (m *mask) begins(p []byte) int {
	for _, s := range m.secrets {
		if bytes.HasPrefix(p, s) {
			return len(s)
		}
	}
	return 0
}

// most says that p is at least half of a secret, from its beginning.
func (m *mask) most(p []byte) bool {
	return len(p) >= minMasked && slices.ContainsFunc(m.secrets, func(s []byte) bool {
		return 2*len(p) >= len(s) && bytes.HasPrefix(s, p)
	})
}
