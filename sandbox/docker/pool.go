package docker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// maxKinds is how many templates a pool remembers; the one that was not used for
// longest is forgotten first.
const maxKinds = 8

// pool keeps started sandboxes that nothing has used. Each is taken once.
type pool struct {
	r *Runner

	mu     sync.Mutex
	shelf  map[template]*shelf
	down   bool
	ctx    context.Context // ends with drain
	cancel context.CancelFunc
	fills  sync.WaitGroup
}

// shelf is what waits of one template.
type shelf struct {
	idle    []*session
	filling int
	used    time.Time
	failed  time.Time // the last start that did not work
}

func newPool(r *Runner) *pool {
	p := &pool{r: r, shelf: map[template]*shelf{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// of gives the shelf of a template, if there is a pool for it. p.mu is held.
func (p *pool) of(t template) *shelf {
	if p.r.config.Pool.Size < 0 || t.open || p.down {
		return nil
	}
	sh := p.shelf[t]
	if sh == nil {
		sh = &shelf{}
		p.shelf[t] = sh
		p.forget()
	}
	sh.used = time.Now()
	return sh
}

// stock has sandboxes started for whoever comes first.
func (p *pool) stock(t template) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sh := p.of(t); sh != nil {
		p.refill(t, sh)
	}
}

// take gives a sandbox that waits, if there is one, and has others started.
func (p *pool) take(t template) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	sh := p.of(t)
	if sh == nil {
		return nil
	}
	var found *session
	for found == nil && len(sh.idle) > 0 {
		s := sh.idle[0]
		sh.idle = sh.idle[1:]
		if s.alive() && time.Since(s.born) < p.r.config.Pool.MaxAge {
			found = s
		} else {
			p.drop(s)
		}
	}
	if found == nil {
		p.refill(t, sh)
		return nil
	}
	p.fills.Go(func() {
		timer := time.NewTimer(shortly)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.shelf[t] == sh && !p.down {
			p.refill(t, sh)
		}
	})
	return found
}

// put gives back a sandbox that was taken but not used.
func (p *pool) put(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sh := p.shelf[s.t]
	if p.down || sh == nil || !s.alive() {
		p.drop(s)
		return
	}
	sh.idle = append(sh.idle, s)
}

// drop removes a sandbox and the workspace that was made for it.
func (p *pool) drop(s *session) { s.discardWith(s.p.volume) }

// forget makes room for another template.
func (p *pool) forget() {
	if len(p.shelf) <= maxKinds {
		return
	}
	var oldest template
	var since time.Time
	for t, sh := range p.shelf {
		if !sh.used.IsZero() && (since.IsZero() || sh.used.Before(since)) {
			oldest, since = t, sh.used
		}
	}
	for _, s := range p.shelf[oldest].idle {
		p.drop(s)
	}
	delete(p.shelf, oldest)
}

// refill starts what is missing on a shelf, in the background.
func (p *pool) refill(t template, sh *shelf) {
	if time.Since(sh.failed) < time.Minute && !sh.failed.IsZero() {
		return // an engine that cannot start them is not asked all the time
	}
	waiting := 0
	for _, other := range p.shelf {
		waiting += len(other.idle) + other.filling
	}
	want := p.r.config.Pool.Size
	for ; len(sh.idle)+sh.filling < want && waiting < p.r.config.Pool.Max; waiting++ {
		sh.filling++
		p.fills.Go(func() { p.fill(t, sh) })
	}
}

func (p *pool) fill(t template, sh *shelf) {
	s, err := p.start(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	sh.filling--
	switch {
	case err != nil:
		if !errors.Is(err, context.Canceled) {
			sh.failed = time.Now()
			p.r.config.Logger.Warn("start a sandbox for the pool", "error", err)
		}
	case p.down || p.shelf[t] != sh:
		p.drop(s)
	default:
		sh.idle, sh.failed = append(sh.idle, s), time.Time{}
	}
}

func (p *pool) start(t template) (*session, error) {
	about, err := p.r.Check(p.ctx)
	if err != nil {
		return nil, err
	}
	s, err := p.r.launch(p.ctx, t, place{name: randomName(), uid: newUID(), created: time.Now()}, about.facts)
	if err != nil && p.ctx.Err() != nil {
		return nil, p.ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if err := rehearse(p.ctx, s); err != nil {
		p.drop(s)
		return nil, err
	}
	return s, nil
}

// rehearse has PID 1 go once through all that a job needs of it, with a program
// of ours that does nothing: the first time costs a millisecond more.
func rehearse(ctx context.Context, s *session) error {
	if s.virtual() {
		return nil // such a sandbox takes one job
	}
	_, spent, err := s.run(ctx, task{msg: frame.JobMsg{
		Argv: [][]byte{[]byte(pid1Dir + "/pid1"), []byte("-source")}, Timeout: time.Minute, CPUTime: time.Minute, Output: 1024, OutputTotal: 1 << 20,
	}}, newCapture(1024, nil, nil), nil)
	if err == nil && spent {
		err = errors.New("a sandbox cannot take a second job")
	}
	return err
}

// tend replaces what has waited for too long and what has died. It is called now
// and then.
func (p *pool) tend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, sh := range p.shelf {
		keep := sh.idle[:0]
		for _, s := range sh.idle {
			if s.alive() && time.Since(s.born) < p.r.config.Pool.MaxAge {
				keep = append(keep, s)
			} else {
				p.drop(s)
			}
		}
		sh.idle = keep
		// A kind that nothing has used for long is not kept warm.
		if time.Since(sh.used) < p.r.config.Pool.MaxAge && !p.down {
			p.refill(t, sh)
		}
	}
}

// stocked says whether everything that shall wait does.
func (p *pool) stocked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sh := range p.shelf {
		if len(sh.idle) < p.r.config.Pool.Size {
			return false
		}
	}
	return true
}

// drain removes everything that waits.
func (p *pool) drain() {
	p.cancel()
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	p.fills.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, sh := range p.shelf {
		for _, s := range sh.idle {
			p.drop(s)
		}
		delete(p.shelf, t)
	}
}
