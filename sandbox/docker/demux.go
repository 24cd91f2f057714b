package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxFrame is the largest frame that is believed; engines send at most 32 KiB.
// A larger one is a stream that went wrong, or an engine that lies.
const maxFrame = 1 << 20

// maxNoise is how much of the prelude's own stderr is kept.
const maxNoise = 16 << 10

// capture keeps what a program wrote.
type capture struct {
	stdout, stderr stream
	started        bool // the marker was seen
	onStart        func()
	watch          func(sandbox.Stream, []byte)
}

// stream keeps the first bytes of one output and counts the rest.
type stream struct {
	keep    int64
	buf     []byte
	dropped int64
}

// write keeps what fits and returns it.
func (s *stream) write(p []byte) []byte {
	fits := p[:min(int64(len(p)), s.keep-int64(len(s.buf)))]
	s.buf = append(s.buf, fits...)
	s.dropped += int64(len(p) - len(fits))
	return fits
}

// text gives the kept bytes as valid UTF-8, and how many were dropped. A
// character that the limit cut in two is dropped whole.
func (s *stream) text() (string, int64) {
	kept := s.buf
	if s.dropped > 0 {
		kept = wholeRunes(kept)
	}
	return strings.ToValidUTF8(string(kept), "\uFFFD"), s.dropped + int64(len(s.buf)-len(kept))
}

func wholeRunes(p []byte) []byte {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return p[:i]
			}
			break
		}
	}
	return p
}

// read takes the engine's multiplexed stream until it ends. It never stops
// because there is too much: a reader that stops makes the engine and the
// program wait.
func (c *capture) read(r io.Reader) error {
	var header [8]byte
	chunk := make([]byte, 32<<10)
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read output: %w", err)
		}
		size := int64(binary.BigEndian.Uint32(header[4:]))
		if size > maxFrame || header[0] != 1 && header[0] != 2 {
			return fmt.Errorf("read output: bad frame of kind %d and %d bytes", header[0], size)
		}
		for size > 0 {
			n, err := io.ReadFull(r, chunk[:min(size, int64(len(chunk)))])
			c.take(header[0] == 2, chunk[:n])
			if err != nil {
				return fmt.Errorf("read output: cut frame: %w", err)
			}
			size -= int64(n)
		}
	}
}

func (c *capture) take(isErr bool, p []byte) {
	switch {
	case isErr && !c.started:
		c.noise(p)
	case isErr:
		c.emit(&c.stderr, sandbox.Stderr, p)
	default:
		c.emit(&c.stdout, sandbox.Stdout, p)
	}
}

func (c *capture) emit(s *stream, name sandbox.Stream, p []byte) {
	if kept := s.write(p); len(kept) > 0 && c.watch != nil {
		c.watch(name, kept)
	}
}

// noise collects the prelude's stderr until the marker.
func (c *capture) noise(p []byte) {
	c.stderr.buf = append(c.stderr.buf, p...)
	before, after, found := bytes.Cut(c.stderr.buf, []byte(marker))
	if !found {
		if len(c.stderr.buf) > maxNoise {
			c.stderr.dropped += int64(len(c.stderr.buf) - maxNoise)
			c.stderr.buf = c.stderr.buf[:maxNoise]
		}
		return
	}
	rest := append(bytes.Clone(before), after...)
	c.stderr.buf, c.stderr.dropped, c.started = nil, 0, true
	if c.onStart != nil {
		c.onStart()
	}
	if len(rest) > 0 {
		c.emit(&c.stderr, sandbox.Stderr, rest)
	}
}
