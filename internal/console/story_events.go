package console

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// Bounds of event streams.
const (
	// watchEvery is how often a run is looked at that somebody follows.
	watchEvery = time.Second
	// headEvery is after how many looks the head is read although nothing happened: money
	// and time have no part in a run's history.
	headEvery = 5
	// watchedRows is how many of the last rows of a run are watched.
	watchedRows = 500
	// watchFails is how often a run may not be reached before its clients are cut off.
	watchFails = 10
	// heartbeatEvery keeps proxies from closing a stream.
	heartbeatEvery = 15 * time.Second
	// eventPatience is how long a client may take for one event.
	eventPatience = 10 * time.Second
	// streamTime is how long a stream lasts. Whoever follows connects again then, and is
	// asked again who they are.
	streamTime = 15 * time.Minute
	// eventsHeld is how many events a client may be behind, and how many are kept for those
	// that connect again.
	eventsHeld = 64
	// mostFollowers is how many clients follow runs at a time, and mostOfOne how many of
	// them may be of one person: a connection stays taken for as long as somebody follows.
	mostFollowers = 2048
	mostOfOne     = 1024
)

// streams are the runs that somebody follows: one watch for each, however many follow.
type streams struct {
	logger *slog.Logger
	every  time.Duration
	// patience is how long a client may take for one event.
	patience time.Duration
	// most and each bound who follows: all together, and one person.
	most, each int
	ctx        context.Context //nolint:containedctx // it ends what is left when the server stops
	stop       context.CancelFunc

	mu      sync.Mutex
	watches map[string]*watch
	clients int            // of all watches
	of      map[string]int // by org and person
	begun   int64
	running sync.WaitGroup
}

func newStreams(logger *slog.Logger) *streams {
	ctx, stop := context.WithCancel(context.Background())
	return &streams{logger: logger, every: watchEvery, patience: eventPatience, most: mostFollowers, each: mostOfOne, ctx: ctx, stop: stop, watches: map[string]*watch{}, of: map[string]int{}}
}

// event is one message to all who follow a run.
type event struct {
	id, kind string
	data     []byte
}

// watch is one run that somebody follows.
type watch struct {
	name    string // of this watch, before the numbers of its events
	cancel  context.CancelFunc
	clients map[chan event]bool
	past    []event
	seq     int64

	// joining guards what follows: how the run was when the event of number joinedAt was the
	// last one, for all who join before the next.
	joining  sync.Mutex
	joined   []event
	joinedAt int64
}

// follow joins the watch of a run. missed are the events after the one that the client
// had last; all says that they are not known any more. A watch that begins tells how the
// run is before all else.
func (s *streams) follow(key, last string, look func(ctx context.Context, w *watch)) (c chan event, w *watch, missed []event, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w = s.watches[key]
	if w == nil {
		s.begun++
		ctx, cancel := context.WithCancel(s.ctx)
		w = &watch{name: strconv.FormatInt(time.Now().UnixNano(), 36) + strconv.FormatInt(s.begun, 36), cancel: cancel, clients: map[chan event]bool{}}
		s.watches[key] = w
		s.running.Go(func() {
			defer cancel()
			look(ctx, w)
			s.finish(key, w)
		})
	}
	c = make(chan event, eventsHeld)
	w.clients[c] = true
	if w.seq > 0 {
		missed, all = w.since(last)
	}
	return c, w, missed, all
}

// since gives the events after one; all says that it is not known.
func (w *watch) since(last string) (missed []event, all bool) {
	name, n, _ := strings.Cut(last, "-")
	seq, err := strconv.ParseInt(n, 10, 64)
	if err != nil || name != w.name || seq > w.seq || len(w.past) > 0 && seq < w.seq-int64(len(w.past)) {
		return nil, true
	}
	return w.past[int64(len(w.past))-(w.seq-seq):], false
}

// leave ends a client's part; the last one ends the watch.
func (s *streams) leave(key string, c chan event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watches[key]
	if w == nil || !w.clients[c] {
		return
	}
	delete(w.clients, c)
	if len(w.clients) == 0 {
		w.cancel()
		delete(s.watches, key)
	}
}

// send gives an event to all who follow. Who is too far behind is cut off, and connects
// again.
func (s *streams) send(w *watch, kind string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		s.logger.Error("encode event", "kind", kind, "error", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.seq++
	e := event{id: w.name + "-" + strconv.FormatInt(w.seq, 10), kind: kind, data: data}
	if w.past = append(w.past, e); len(w.past) > eventsHeld {
		w.past = w.past[1:]
	}
	for c := range w.clients {
		select {
		case c <- e:
		default:
			delete(w.clients, c)
			close(c)
		}
	}
}

// finish lets all go who follow a run that is over, or out of reach.
func (s *streams) finish(key string, w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range w.clients {
		close(c)
	}
	w.clients = map[chan event]bool{}
	if s.watches[key] == w {
		delete(s.watches, key)
	}
}

// wait ends all watches and waits for them.
func (s *streams) wait() {
	s.stop()
	s.running.Wait()
}

// stamps tells cheaply whether something happened to a run.
type stamps interface {
	Stamp(ctx context.Context, workflowID, runID string) (stamp string, open bool, err error)
}

// errCrowded says that no more clients may follow runs.
var errCrowded = errors.New("too many follow runs")

// enter lets a client of a person follow; leaving gives the place back.
func (s *streams) enter(id wflo.Identity) (leave func(), err error) {
	who := id.Org + "\x00" + id.Subject // names are of an org: one must not use up another's places
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.clients >= s.most:
		return nil, &wflo.Error{Message: fmt.Sprintf("%d clients follow runs already", s.clients), Hint: "try again in a while, or ask for the run's head now and then", Err: errCrowded}
	case s.of[who] >= s.each:
		return nil, &wflo.Error{Message: fmt.Sprintf("%d clients of %s follow runs already", s.of[who], id.Subject), Hint: "close some, or ask for the run's head now and then", Err: errCrowded}
	}
	s.clients++
	s.of[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.clients--
		if s.of[who]--; s.of[who] == 0 {
			delete(s.of, who)
		}
	}, nil
}

// following is how many clients follow runs now.
func (s *streams) following() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients
}

// storyEvents follows a run until it is over.
func (h *Handler) storyEvents(w http.ResponseWriter, r *http.Request) {
	id, run, err := h.ofStory(r.Context(), r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	leave, err := h.streams.enter(callerOf(r.Context()).id)
	if err != nil {
		w.Header().Set("Retry-After", "30")
		h.fail(w, r, err)
		return
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), streamTime)
	defer cancel()
	key := id + "\x00" + run
	c, watched, missed, all := h.streams.follow(key, r.Header.Get("Last-Event-ID"), func(ctx context.Context, w *watch) { h.watchRun(ctx, w, id, run) })
	defer h.streams.leave(key, c)
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no") // nginx would keep events back
	w.WriteHeader(http.StatusOK)
	out := &stream{w: w, control: http.NewResponseController(w), patience: h.streams.patience}
	if all {
		missed = h.join(ctx, watched, id, run)
	}
	for _, e := range missed {
		out.send(e)
	}
	out.flush()
	h.pass(ctx, out, c)
}

// pass hands events to one client until there are no more.
func (h *Handler) pass(ctx context.Context, out *stream, c chan event) {
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for out.err == nil {
		select {
		case e, ok := <-c:
			if !ok {
				return
			}
			out.send(e)
		case <-beat.C:
			out.write(": still here\n\n")
		case <-ctx.Done():
			return
		case <-h.streams.ctx.Done():
			return
		}
		out.flush()
	}
}

// stream is one client's answer.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	// patience is how long the client may take for one event.
	patience time.Duration
	err      error
}

func (s *stream) send(e event) {
	id := ""
	if e.id != "" {
		id = "id: " + e.id + "\n"
	}
	s.write(id + "event: " + e.kind + "\ndata: " + string(e.data) + "\n\n")
}

// write gives each event its own time: a client that takes nothing is let go.
func (s *stream) write(text string) {
	if s.err != nil {
		return
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(s.patience)) // recorders in tests have none
	_, s.err = s.w.Write([]byte(text))
}

func (s *stream) flush() {
	if s.err == nil {
		s.err = s.control.Flush()
	}
	// With HTTP/2 a time that is left running ends the stream, although nobody writes.
	_ = s.control.SetWriteDeadline(time.Time{})
}

// join is how the run is, for a client that has not seen it. It is read once for all who
// come between two events: a thousand who join must not be a thousand readers. What
// changes after it was read is the next event, which they all get.
func (h *Handler) join(ctx context.Context, w *watch, id, run string) []event {
	w.joining.Lock()
	defer w.joining.Unlock()
	h.streams.mu.Lock()
	seq := w.seq
	h.streams.mu.Unlock()
	if w.joined != nil && w.joinedAt == seq {
		return w.joined
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	all := h.now(ctx, id, run)
	if len(all) == wholeNow { // what could not be read is read again for the next one
		w.joined, w.joinedAt = all, seq
	}
	return all
}

// wholeNow is how many events tell how a run is.
const wholeNow = 2

// now is how the run is, for a client that has not seen it.
func (h *Handler) now(ctx context.Context, id, run string) []event {
	var all []event
	add := func(kind string, v any, err error) {
		data, encodeErr := json.Marshal(v)
		if err == nil && encodeErr == nil {
			all = append(all, event{kind: kind, data: data})
		}
	}
	page, err := h.tells.Rows(ctx, story.Query{WorkflowID: id, RunID: run, Latest: true})
	add("rows", page, err)
	head, err := h.tells.Head(ctx, id, run)
	add("head", head, err)
	return all
}

// watchRun watches one run and tells what changes.
func (h *Handler) watchRun(ctx context.Context, w *watch, id, run string) {
	tick := time.NewTicker(h.streams.every)
	defer tick.Stop()
	seen := &sights{h: h, id: id, run: run, rows: map[string][sha256.Size]byte{}}
	for fails := 0; fails < watchFails; {
		open, err := seen.look(ctx, w)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			fails++
			h.cfg.Logger.DebugContext(ctx, "follow run", "run", id, "error", err.Error())
		case !open:
			h.streams.send(w, "end", struct{}{})
			return
		default:
			fails = 0
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sights is what a watch has seen of its run.
type sights struct {
	h       *Handler
	id, run string
	stamp   string
	looks   int
	head    [sha256.Size]byte
	rows    map[string][sha256.Size]byte
}

// look reads what may have changed, and tells what has. Of a long run that are the last
// rows, and those that they are within.
func (s *sights) look(ctx context.Context, w *watch) (open bool, err error) {
	s.looks++
	stamp, open := fmt.Sprint(s.looks), true
	if of, ok := s.h.tells.(stamps); ok {
		if stamp, open, err = of.Stamp(ctx, s.id, s.run); err != nil {
			return false, err
		}
	}
	same := stamp == s.stamp
	if same && s.looks%headEvery != 0 {
		return open, nil
	}
	if !same {
		page, err := s.h.tells.Rows(ctx, story.Query{WorkflowID: s.id, RunID: s.run, Latest: true, Limit: watchedRows})
		if err != nil {
			return false, err
		}
		page.Rows = s.changed(append(page.Parents, page.Rows...))
		if page.Parents = nil; len(page.Rows) > 0 {
			s.h.streams.send(w, "rows", page)
		}
		open = open && page.Open
	}
	head, err := s.h.tells.Head(ctx, s.id, s.run)
	if err != nil {
		return false, err
	}
	if sum, changed := s.differs(s.head, head); changed {
		s.head = sum
		s.h.streams.send(w, "head", head)
	}
	s.stamp = stamp
	return open, nil
}

// changed are the rows that differ from what was told before.
func (s *sights) changed(rows []story.Row) (out []story.Row) {
	known := make(map[string][sha256.Size]byte, len(rows))
	for _, r := range rows {
		sum, differs := s.differs(s.rows[r.ID], r)
		if known[r.ID] = sum; differs {
			out = append(out, r)
		}
	}
	s.rows = known // what is not looked at any more is not kept
	return out
}

func (s *sights) differs(before [sha256.Size]byte, v any) (sum [sha256.Size]byte, differs bool) {
	data, err := json.Marshal(v)
	if err != nil {
		return before, false
	}
	sum = sha256.Sum256(data)
	return sum, sum != before
}
