package docker

import (
	"errors"
	"slices"
	"sync"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// treeQueue holds the frames of a tree that nobody has looked at yet: no more of
// them than the window. It uses their memory again.
type treeQueue struct {
	mu     sync.Mutex
	frames []frame.Frame
	size   int
	free   [][]byte
	err    error
}

// spares is how many buffers wait for the next frames.
const spares = frame.TreeWindow / frame.MaxTree

func (q *treeQueue) put(f frame.Frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.Type == frame.Tree {
		if q.size += len(f.Data); q.size > frame.TreeWindow {
			q.err = errors.New("PID 1 sent more than its window")
			return
		}
	}
	buf := []byte(nil)
	if last := len(q.free) - 1; last >= 0 && f.Type == frame.Tree {
		buf, q.free = q.free[last], q.free[:last]
	}
	f.Data = append(buf[:0], f.Data...)
	q.frames = append(q.frames, f)
}

func (q *treeQueue) get() (f frame.Frame, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil || len(q.frames) == 0 {
		return frame.Frame{}, false, q.err
	}
	f = q.frames[0]
	q.frames = slices.Delete(q.frames, 0, 1)
	return f, true, nil
}

// back takes the data of a Tree frame, for which there is room again.
func (q *treeQueue) back(p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size -= len(p)
	if len(q.free) < spares {
		q.free = append(q.free, p)
	}
}
