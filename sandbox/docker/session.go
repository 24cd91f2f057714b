package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

const (
	// pingEvery is well below the silence after which PID 1 ends itself.
	pingEvery = 10 * time.Second
	// writeTime is how long a write to a sandbox may take. PID 1 always reads.
	writeTime = 30 * time.Second
	// helloTime is how long PID 1 may take to say that it is ready.
	helloTime = 30 * time.Second
	// maxNoise is how much of PID 1's own complaints is kept.
	maxNoise = 4 << 10
)

// session is one started sandbox and the conversation with its PID 1.
type session struct {
	r    *Runner
	id   string
	t    template
	p    place
	born time.Time
	conn types.HijackedResponse
	w    *frame.Writer

	ready chan struct{} // closed when PID 1 is ready
	over  chan struct{} // closed when there is nothing more to read
	quit  chan struct{} // closed to end the pings
	wg    sync.WaitGroup

	mu    sync.Mutex
	err   error // why it is over
	noise []byte
	turn  handler // who gets the frames
	ended bool
}

// handler gets the frames of a session, from its one reading goroutine.
type handler interface{ take(f frame.Frame) }

// timedConn writes with a deadline, so that a container that is stuck cannot
// hold its worker.
type timedConn struct{ net.Conn }

func (c timedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// attach connects to a container's PID 1. With a nonce it takes over from
// another worker, and reads only what comes after the nonce.
func (r *Runner) attach(ctx context.Context, id string, t template, p place, nonce []byte) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	conn, err := r.engine.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, fmt.Errorf("attach to container: %w", err)
	}
	s := &session{
		r: r, id: id, t: t, p: p, born: time.Now(), conn: conn, w: frame.NewWriter(timedConn{conn.Conn}),
		ready: make(chan struct{}), over: make(chan struct{}), quit: make(chan struct{}),
	}
	r.enter(s)
	s.wg.Go(func() { s.read(nonce) })
	s.wg.Go(s.ping)
	return s, nil
}

// read takes frames until the stream ends.
func (s *session) read(nonce []byte) {
	defer close(s.over)
	fr := frame.NewReader(&demux{r: s.conn.Reader, noise: s.hear})
	var err error
	if nonce != nil {
		err = fr.Sync(nonce)
	}
	greeted := false
	for err == nil {
		var f frame.Frame
		if f, err = fr.Read(); err != nil {
			break
		}
		if f.Type == frame.Hello {
			var m frame.HelloMsg
			if err = f.Decode(&m); err == nil && m.Version != frame.Version {
				err = fmt.Errorf("PID 1 speaks version %d, want %d", m.Version, frame.Version)
			}
			if err == nil && !greeted {
				greeted = true
				close(s.ready)
			}
			continue
		}
		s.mu.Lock()
		turn := s.turn
		s.mu.Unlock()
		if turn != nil {
			turn.take(f)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *session) hear(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if room := maxNoise - len(s.noise); room > 0 {
		s.noise = append(s.noise, p[:min(len(p), room)]...)
	}
}

// said is what PID 1 or the runtime complained about.
func (s *session) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return valid(s.noise)
}

// fault is why the session is over.
func (s *session) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *session) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if s.w.Write(frame.Ping, 0, nil) != nil {
				return
			}
		case <-s.quit:
			return
		case <-s.over:
			return
		}
	}
}

// awaitReady waits for PID 1.
func (s *session) awaitReady(ctx context.Context) error {
	timer := time.NewTimer(helloTime)
	defer timer.Stop()
	select {
	case <-s.ready:
		return nil
	case <-s.over:
		return fmt.Errorf("sandbox ended at its start: %w: %.300s", s.fault(), s.said())
	case <-timer.C:
		return fmt.Errorf("sandbox is not ready after %v: %.300s", helloTime, s.said())
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errBusy = errors.New("sandbox is busy")

// begin gives the frames to h until end.
func (s *session) begin(h handler) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != nil {
		return errBusy
	}
	s.turn = h
	return nil
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn = nil
}

// alive says whether PID 1 can still be talked to.
func (s *session) alive() bool {
	select {
	case <-s.over:
		return false
	case <-s.quit:
		return false
	default:
		return true
	}
}

// detach leaves the sandbox to itself and ends the session's goroutines.
func (s *session) detach() {
	s.mu.Lock()
	first := !s.ended
	s.ended = true
	s.mu.Unlock()
	if first {
		close(s.quit)
		s.conn.Close()
	}
	s.wg.Wait()
}

// discard removes the container, in the background and whatever it is doing.
func (s *session) discard() { s.discardWith("") }

// discardWith removes the container and then a volume that only it has.
func (s *session) discardWith(volume string) {
	s.r.background(func(ctx context.Context) {
		s.detach()
		err := s.r.remove(ctx, s.id)
		if err == nil && volume != "" {
			err = s.r.removeVolume(ctx, volume)
		}
		if err != nil {
			s.r.config.Logger.WarnContext(ctx, "remove sandbox", "container", s.id, "volume", volume, "error", err)
		}
		s.r.leave(s)
		s.r.config.Observer.Ended(s.id)
	})
}
