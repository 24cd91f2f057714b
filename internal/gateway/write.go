package gateway

import (
	"net/http"
	"time"
)

const (
	// defaultPatience is how long a caller may take for one piece of an answer.
	defaultPatience = 30 * time.Second
	// pieceSize is how much of an answer is handed over at once, in bytes.
	pieceSize = 32 << 10
)

// taker is the caller of a request, as one who takes an answer piece by piece.
type taker struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

func (g *Gateway) taker(w http.ResponseWriter) taker {
	return taker{w, http.NewResponseController(w), g.cfg.Patience}
}

// write hands over an answer. Each piece has its own time, because a model may think for
// minutes between two; with HTTP/2 a time that is left running would end the stream
// meanwhile.
func (t taker) write(p []byte) error {
	defer t.limit(time.Time{})
	for len(p) > 0 {
		n := min(len(p), pieceSize)
		t.limit(time.Now().Add(t.patience))
		if _, err := t.w.Write(p[:n]); err != nil {
			return err
		}
		if err := t.control.Flush(); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// limit bounds the next write; a recorder of a test has no such bound.
func (t taker) limit(until time.Time) { _ = t.control.SetWriteDeadline(until) }
