// Package frame is the language between a worker and the process that runs a
// program for it, PID 1 of a sandbox. Both talk over the one byte stream each
// way that an attached container has: [Writer] and [Reader] put frames on it,
// and messages.go lists what the frames say.
//
// A frame is a type (1 byte), a stream number and a length (4 bytes each, big
// endian), a CRC-32C of all other bytes (4 bytes) and the payload. What a program
// prints travels as payload and can never be taken for a frame. Bytes of zero
// between frames are padding. The checksum is not against attackers, who cannot
// reach the stream, but for a worker that takes over in the middle of a frame
// that a dead one left behind: see [Padding] and [Reader.Sync].
//
// The package refuses frames that are longer than their type allows, before it
// allocates anything for them.
package frame

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// Type says what a frame is.
type Type byte

// What a worker sends.
const (
	Job       Type = 1 + iota // JobMsg: files may follow, then Start
	Start                     // begins the job
	Stdin                     // data for the program, within the window
	StdinEnd                  // no more of it
	Kill                      // KillMsg: ends the job
	Put                       // files follow, then PutEnd; answered by Done or Refused
	PutEnd                    //
	Get                       // GetMsg: answered by a file, or Refused
	Adopt                     // AdoptMsg: answered by Nonce bytes and Adopted
	Ping                      // the owner lives; answered by Pong
	Quit                      // PID 1 ends itself, and the sandbox with it
	Window                    // WindowMsg, either way: more may be sent on a stream
	FileBegin                 // FileMsg, either way: content follows
	FileData                  // a part of the content
	FileEnd                   // the file is whole
	NetData                   // either way, within the window
	NetEnd                    // either way: no more from this side
	NetReset                  // either way: the connection is over
	Scan                      // ScanMsg: answered by Tree frames and TreeEnd, or Refused
	Want                      // records: answered by their contents and TreeEnd, or Refused
	Fill                      // Tree frames follow, then TreeEnd; answered by Done or Refused
	Tree                      // records, either way, within the window; see tree.go
	TreeEnd                   // ScannedMsg after a Scan: that was all
)

// What PID 1 sends.
const (
	Hello   Type = 65 + iota // HelloMsg, once, when it is ready
	Started                  // the program runs
	Stdout                   // what the program wrote
	Stderr                   //
	Usage                    // UsageMsg, now and then while the program runs
	Exit                     // ExitMsg: the program and all its children are gone
	Done                     // the request is carried out
	Refused                  // RefusedMsg: the request is not
	Adopted                  // AdoptedMsg; then output from its beginning
	Pong                     //
	NetOpen                  // the program connects to the proxy; opens the stream
	Taken                    // another worker takes over; the payload is its nonce
)

// MaxData is the longest payload of a frame that carries data, MaxMessage of
// any other.
const (
	MaxData    = 64 << 10
	MaxMessage = 2 << 20
)

// InitialWindow is how many bytes may be on their way on a stream before the
// receiver has sent a Window. Stdin is stream 0, connections count from 1.
const InitialWindow = 256 << 10

const (
	headerSize = 13
	sumAt      = 9 // where the checksum begins
)

func limit(t Type) uint32 {
	switch t {
	case Stdin, FileData, NetData, Stdout, Stderr:
		return MaxData
	case Want, Tree:
		return MaxTree
	}
	return MaxMessage
}

// known says whether t is a type at all.
func known(t Type) bool { return t >= Job && t <= TreeEnd || t >= Hello && t <= Taken }

// Padding is so many zeros that whatever frame they interrupt is complete (and
// damaged), and the next byte begins a new one.
func Padding() []byte { return make([]byte, headerSize+MaxMessage) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the header too: a header that was cut and went on with padding
// must not pass for a short frame.
func checksum(header, data []byte) uint32 {
	return crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, data)
}

// Frame is one frame as it was read. Data is valid until the next Read.
type Frame struct {
	Type   Type
	Stream uint32
	Data   []byte
}

// Decode reads a message out of the frame.
func (f Frame) Decode(into any) error {
	d := json.NewDecoder(bytes.NewReader(f.Data))
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("frame of type %d: %w", f.Type, err)
	}
	return nil
}

// ErrDamaged is returned for a frame whose checksum is wrong. It has been read,
// and the next may be.
var ErrDamaged = errors.New("damaged frame")

// Reader reads frames. It is for one goroutine.
type Reader struct {
	r   *bufio.Reader
	buf []byte
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// Read reads a frame. The error is io.EOF at the end between frames,
// io.ErrUnexpectedEOF inside of one, ErrDamaged, or says what is wrong with the
// stream, which then cannot be read any further.
func (r *Reader) Read() (Frame, error) {
	var h [headerSize]byte
	for {
		b, err := r.r.ReadByte()
		if err != nil {
			return Frame{}, err
		}
		if b != 0 {
			h[0] = b
			break
		}
		rest, _ := r.r.Peek(r.r.Buffered())
		_, _ = r.r.Discard(len(rest) - len(bytes.TrimLeft(rest, "\x00"))) // what is buffered can be discarded
	}
	if _, err := io.ReadFull(r.r, h[1:]); err != nil {
		return Frame{}, unexpected(err)
	}
	f := Frame{Type: Type(h[0]), Stream: binary.BigEndian.Uint32(h[1:])}
	n := binary.BigEndian.Uint32(h[5:])
	if !known(f.Type) {
		return Frame{}, fmt.Errorf("frame of unknown type %d", f.Type)
	}
	if n > limit(f.Type) {
		return Frame{}, fmt.Errorf("frame of type %d has %d bytes, more than %d", f.Type, n, limit(f.Type))
	}
	if uint32(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	f.Data = r.buf[:n]
	if _, err := io.ReadFull(r.r, f.Data); err != nil {
		return Frame{}, unexpected(err)
	}
	if checksum(h[:sumAt], f.Data) != binary.BigEndian.Uint32(h[sumAt:]) {
		return f, ErrDamaged
	}
	return f, nil
}

// Sync reads until it has seen nonce and leaves the Reader behind it.
func (r *Reader) Sync(nonce []byte) error {
	if len(nonce) == 0 || len(nonce) > r.r.Size() {
		return errors.New("sync: no nonce")
	}
	for {
		b, err := r.r.Peek(len(nonce))
		if err != nil {
			return unexpected(err)
		}
		if bytes.Equal(b, nonce) {
			_, err := r.r.Discard(len(nonce))
			return err
		}
		skip := 1
		if i := bytes.IndexByte(b[1:], nonce[0]); i < 0 {
			skip = len(b)
		} else {
			skip += i
		}
		if _, err := r.r.Discard(skip); err != nil {
			return unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Writer writes frames, whole, from any number of goroutines.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	err error
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes a frame in one call. After an error nothing more can be written.
func (w *Writer) Write(t Type, stream uint32, data []byte) error {
	if uint64(len(data)) > uint64(limit(t)) {
		return fmt.Errorf("frame of type %d would have %d bytes, more than %d", t, len(data), limit(t))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.buf = append(w.buf[:0], byte(t))
	w.buf = binary.BigEndian.AppendUint32(w.buf, stream)
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(data)))
	w.buf = binary.BigEndian.AppendUint32(w.buf, checksum(w.buf, data))
	w.buf = append(w.buf, data...)
	_, w.err = w.w.Write(w.buf)
	if cap(w.buf) > 2*MaxTree {
		w.buf = nil // one large message is no reason to keep its room
	}
	return w.err
}

// Send writes a message as the frame of stream 0.
func (w *Writer) Send(t Type, message any) error { return w.SendTo(t, 0, message) }

// SendTo writes a message as a frame of a stream.
func (w *Writer) SendTo(t Type, stream uint32, message any) error {
	data, err := Encode(message)
	if err != nil {
		return fmt.Errorf("frame of type %d: %w", t, err)
	}
	return w.Write(t, stream, data)
}

// Encode gives the payload of a message, which [Frame.Decode] reads.
func Encode(message any) ([]byte, error) { return json.Marshal(message) }

// Raw writes bytes between frames: padding, or a nonce.
func (w *Writer) Raw(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		_, w.err = w.w.Write(p)
	}
	return w.err
}
