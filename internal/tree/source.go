package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/wflo-ai/wflo-go/sandbox"
)

const (
	// heldPacks and heldFrames bound what a source has at hand, besides readAhead
	// frames that are on their way.
	heldPacks  = 4
	heldFrames = 32
	readAhead  = 8
)

// source gives a tree out. It knows from the start in which order frames are needed,
// so it reads and decompresses ahead, and of what it has at hand it lets go of what is
// needed last.
type source struct {
	w      *Workspace
	ctx    context.Context
	cancel context.CancelFunc
	c      *contents
	// needs are the frames in the order of use, no two alike in a row; first is where
	// the content of a node begins in it.
	needs []*frame
	first []int

	start  sync.Once
	wg     sync.WaitGroup
	packs  *nearest[*pack, *fetch]
	frames *nearest[*frame, *opening]
	ahead  int // packs that needs has until there are at hand or on their way
	jobs   chan *opening
	ready  chan *opening
	err    error // why ready was closed early

	pos int // of now in needs
	now *opening
}

// fetch is a pack that is read.
type fetch struct {
	data []byte
	err  error
	done chan struct{}
}

// opening is a frame that is decompressed.
type opening struct {
	frame      *frame
	data, pack []byte
	err        error
	done       chan struct{}
}

func (w *Workspace) source(ctx context.Context, nodes []node) *source {
	s := &source{w: w, c: newContents(nodes), first: make([]int, len(nodes)), pos: -1,
		jobs: make(chan *opening, readAhead), ready: make(chan *opening, readAhead)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	for i := range nodes {
		for j, p := range nodes[i].pieces {
			if len(s.needs) == 0 || s.needs[len(s.needs)-1] != p.in {
				s.needs = append(s.needs, p.in)
			}
			if j == 0 {
				s.first[i] = len(s.needs) - 1
			}
		}
	}
	s.packs, s.frames = newNearest[*pack, *fetch](heldPacks), newNearest[*frame, *opening](heldFrames)
	for i, f := range s.needs {
		s.packs.uses[f.pack] = append(s.packs.uses[f.pack], i)
		s.frames.uses[f] = append(s.frames.uses[f], i)
	}
	return s
}

// close ends what reads ahead.
func (s *source) close() {
	s.cancel()
	s.start.Do(func() {})
	s.wg.Wait()
}

// Tree implements sandbox.TreeSource.
func (s *source) Tree() []sandbox.TreeEntry { return (&manifest{s.c.nodes}).entries() }

// File implements sandbox.TreeSource. What it gives is read before the next call.
func (s *source) File(i int) (io.ReadCloser, error) {
	if i < 0 || i >= len(s.c.nodes) || s.c.nodes[i].Kind != sandbox.TreeFile {
		return nil, fmt.Errorf("entry %d is no file", i)
	}
	s.start.Do(func() {
		s.wg.Go(s.plan)
		for range workers() {
			s.wg.Go(s.open)
		}
	})
	return &content{s: s, pieces: s.c.nodes[i].pieces, pos: s.first[i]}, nil
}

// plan hands out the work, in the order of needs.
func (s *source) plan() {
	defer close(s.ready)
	defer close(s.jobs)
	for pos, f := range s.needs {
		o := s.frames.held[f]
		if o == nil {
			data, err := s.pack(pos)
			if err != nil {
				s.err = err
				return
			}
			o = &opening{frame: f, pack: data, done: make(chan struct{})}
			s.frames.hold(f, o, pos)
			s.jobs <- o // as many as ready holds, and each goes there too
		}
		select {
		case s.ready <- o:
		case <-s.ctx.Done():
			s.err = context.Cause(s.ctx)
			return
		}
	}
}

// pack gives the pack of the frame that is needed at a position, and begins to read
// the one that is needed next.
func (s *source) pack(pos int) ([]byte, error) {
	p := s.needs[pos].pack
	f := s.packs.held[p]
	if f == nil {
		f = s.fetch(pos, pos)
	}
	s.ahead = max(s.ahead, pos)
	for s.ahead < len(s.needs) && s.packs.held[s.needs[s.ahead].pack] != nil {
		s.ahead++
	}
	if s.ahead < len(s.needs) && s.packs.spare(pos, s.ahead) {
		s.fetch(pos, s.ahead)
	}
	<-f.done
	return f.data, f.err
}

// fetch begins to read the pack that is needed at a position.
func (s *source) fetch(pos, at int) *fetch {
	needed := s.needs[at]
	f := &fetch{done: make(chan struct{})}
	s.packs.hold(needed.pack, f, pos)
	s.wg.Go(func() {
		defer close(f.done)
		f.data, f.err = s.w.readPack(s.ctx, needed.pack, s.c.nameOf(needed))
	})
	return f
}

func (s *source) open() {
	for o := range s.jobs {
		if o.err = s.ctx.Err(); o.err == nil {
			o.data, o.err = s.w.openFrame(s.c, o.frame, o.pack, make([]byte, 0, o.frame.raw))
		}
		o.pack = nil
		close(o.done)
	}
}

// at gives the decompressed frame that is needed at a position.
func (s *source) at(pos int) ([]byte, error) {
	if pos < s.pos {
		return nil, errors.New("files are given out in ascending order")
	}
	for s.pos < pos {
		o, ok := <-s.ready
		if !ok {
			return nil, s.err
		}
		s.pos, s.now = s.pos+1, o
	}
	<-s.now.done
	return s.now.data, s.now.err
}

// content is that of one file.
type content struct {
	s      *source
	pieces []piece
	pos    int // in needs, of the first of pieces
	data   []byte
}

// Read implements io.Reader.
func (c *content) Read(b []byte) (int, error) {
	if err := c.fill(); err != nil {
		return 0, err
	}
	n := copy(b, c.data)
	c.data = c.data[n:]
	return n, nil
}

// WriteTo implements io.WriterTo, which saves a copy.
func (c *content) WriteTo(to io.Writer) (total int64, err error) {
	for {
		if err := c.fill(); err == io.EOF { //nolint:errorlint // ours, and never wrapped
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := io.Copy(to, bytes.NewReader(c.data))
		total += n
		c.data = c.data[n:]
		if err != nil {
			return total, err
		}
	}
}

// fill has data, unless all is read.
func (c *content) fill() error {
	if len(c.data) > 0 {
		return nil
	}
	if len(c.pieces) == 0 {
		return io.EOF
	}
	p := c.pieces[0]
	frame, err := c.s.at(c.pos)
	if err != nil {
		return err
	}
	c.data = frame[p.at : p.at+p.n]
	c.pieces = c.pieces[1:]
	if len(c.pieces) > 0 && c.pieces[0].in != p.in {
		c.pos++
	}
	return nil
}

// Close implements io.Closer.
func (*content) Close() error { return nil }

// nearest holds a few values, whose uses are known: those that are needed next.
type nearest[K comparable, V any] struct {
	room int
	uses map[K][]int // positions, ascending
	held map[K]V
}

func newNearest[K comparable, V any](room int) *nearest[K, V] {
	return &nearest[K, V]{room: room, uses: map[K][]int{}, held: map[K]V{}}
}

// hold takes a value in and lets another one go when there is no room.
func (n *nearest[K, V]) hold(k K, v V, pos int) {
	if len(n.held) >= n.room {
		last, _ := n.last(pos)
		delete(n.held, last)
	}
	n.held[k] = v
}

// last finds the value that is needed last from a position on, and when.
func (n *nearest[K, V]) last(pos int) (key K, when int) {
	when = -1
	for k := range n.held {
		uses := n.uses[k]
		next := math.MaxInt
		if i, _ := slices.BinarySearch(uses, pos); i < len(uses) {
			next = uses[i]
		}
		if next > when {
			key, when = k, next
		}
	}
	return key, when
}

// spare says whether holding what is needed at a position lets nothing go, or only
// what is needed later than that.
func (n *nearest[K, V]) spare(pos, at int) bool {
	if len(n.held) < n.room {
		return true
	}
	_, when := n.last(pos)
	return when > at
}
