package postgres

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// wire stands between a ledger and its server, and loses answers.
type wire struct {
	listener net.Listener
	server   string // its socket
	ended    sync.WaitGroup

	mu   sync.Mutex
	lose int // so many answers to transactions that were committed
	lost int
	ends map[net.Conn]bool
}

// newWire gives a wire to the server of a database, and the database's address at
// its other end.
func newWire(t testing.TB, database string) (*wire, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal("the address of the database is no URL")
	}
	q := u.Query()
	const socket = ".s.PGSQL.5432"
	near := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(near, socket))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, server: filepath.Join(q.Get("host"), socket), ends: map[net.Conn]bool{}}
	w.ended.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		for c := range w.ends {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.ended.Wait()
	})
	q.Set("host", near)
	u.RawQuery = q.Encode()
	return w, u.String()
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", w.server)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.ends[near], w.ends[far] = true, true
		w.mu.Unlock()
		hangUp := func() { _, _ = near.Close(), far.Close() }
		w.ended.Go(func() {
			_, _ = io.Copy(far, near)
			hangUp()
		})
		w.ended.Go(func() {
			w.answers(near, far)
			hangUp()
		})
	}
}

// answers brings back what the server says, one answer at a time. A transaction is
// over when the server has done a command and is idle again: an answer that is lost is
// lost after the commit.
func (w *wire) answers(near, far net.Conn) {
	var answer []byte
	done := false
	head := make([]byte, 5)
	for {
		if _, err := io.ReadFull(far, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(far, body); err != nil {
			return
		}
		answer = append(append(answer, head...), body...)
		done = done || head[0] == 'C' // command complete
		ready := head[0] == 'Z'
		if ready && done && body[0] == 'I' && w.loses() {
			return
		}
		// What is no end of an answer is for a client that is asked something first.
		if ready || head[0] == 'R' {
			if _, err := near.Write(answer); err != nil {
				return
			}
			answer, done = nil, false
		}
	}
}

func (w *wire) loses() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lose == 0 {
		return false
	}
	w.lose--
	w.lost++
	return true
}

// next loses so many answers from now on, and says how many were lost before.
func (w *wire) next(n int) (lost int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lost, w.lost, w.lose = w.lost, 0, n
	return lost
}
