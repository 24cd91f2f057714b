package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// followed is a story that tells cheaply whether it has changed.
type followed struct {
	*tale
	turn  atomic.Int64
	reads atomic.Int64
}

func (f *followed) Stamp(context.Context, string, string) (string, bool, error) {
	f.tale.mu.Lock()
	defer f.tale.mu.Unlock()
	return fmt.Sprint("turn ", f.turn.Load()), f.head.Closed.IsZero(), f.err
}

func (f *followed) Rows(ctx context.Context, q story.Query) (story.Page, error) {
	f.reads.Add(1)
	return f.tale.Rows(ctx, q)
}

func (f *followed) Output(_ context.Context, _, _, row string) (story.Output, error) {
	if row != "b1" {
		return story.Output{}, fmt.Errorf("row %s: %w", row, fs.ErrNotExist)
	}
	return story.Output{Name: "b1.txt", Type: "text/plain", Data: []byte("<script>all of it")}, nil
}

// becomes changes the story.
func (f *followed) becomes(do func()) {
	f.tale.mu.Lock()
	defer f.tale.mu.Unlock()
	do()
	f.turn.Add(1)
}

func following(t *testing.T) (*office, *followed, string) {
	t.Helper()
	f := &followed{tale: someTale()}
	o := newOffice(t, func(c *Config) { c.tells = f })
	o.handler.streams.every = 2 * time.Millisecond
	o.gate("n1", "", nil)
	return o, f, o.key("ann", "", wflo.RoleViewer)
}

// The API gives what the teller tells, and refuses what nobody could have meant.
func TestStoryAPI(t *testing.T) {
	o, f, key := following(t)
	const path = "/api/v1/runs/run-n1/"
	for _, tt := range []struct {
		path   string
		status int
		body   string
	}{
		{"head", 200, `"workflow":"RefundAgent"`}, {"head?run=first", 200, ""}, {"head?rnu=x", 422, "rnu"},
		{"rows", 200, `"id":"r1"`}, {"rows?latest=true&limit=1", 200, `"id":"g1"`}, {"rows?kind=model&kind=sandbox,policy", 200, `"id":"m1"`},
		{"rows?limit=0", 422, "limit"}, {"rows?limit=1001", 422, "limit"}, {"rows?latest=perhaps", 422, "latest"}, {"rows?kind=everything", 422, "kind"}, {"rows?after=x", 422, "after"},
		{"rows/b1", 200, "row 2 differs"}, {"rows/none", 404, "not_found"},
		{"rows/b1/output", 200, "<script>all of it"}, {"rows/m1/output", 404, "not_found"},
	} {
		got := o.api(key, "GET", path+tt.path, "")
		if got.status != tt.status || !strings.Contains(got.body, tt.body) {
			t.Errorf("%s: %d %s", tt.path, got.status, got.body)
		}
		if strings.HasSuffix(tt.path, "b1/output") && (got.header.Get("Content-Disposition") != `attachment; filename="b1.txt"` || got.header.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("output is not a download: %v", got.header)
		}
	}
	f.tale.mu.Lock()
	last := f.queries[len(f.queries)-2]
	f.tale.mu.Unlock()
	if last.WorkflowID != "run-n1" {
		t.Errorf("asked for %+v", last)
	}
	if got := o.api(key, "GET", "/api/v1/runs/nobody/head", ""); got.status != http.StatusNotFound {
		t.Errorf("a run that is not there: %d", got.status)
	}
	other := o.key("eve", "acme", wflo.RoleViewer)
	for _, of := range []string{"head", "rows", "rows/b1", "rows/b1/output", "events"} {
		if got := o.api(other, "GET", path+of, ""); got.status != http.StatusNotFound {
			t.Errorf("%s by another org: %d %s", of, got.status, got.body)
		}
	}
}

// listener reads a stream of events.
type listener struct {
	t    testing.TB
	stop context.CancelFunc
	body *bufio.Scanner
	resp *http.Response
}

func (o *office) listen(key, last string) *listener {
	o.t.Helper()
	ctx, stop := context.WithCancel(o.t.Context())
	o.t.Cleanup(stop)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.server.URL+"/api/v1/runs/run-n1/events", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := o.plain().Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		o.t.Fatalf("%d %s", resp.StatusCode, resp.Header)
	}
	l := &listener{t: o.t, stop: stop, body: bufio.NewScanner(resp.Body), resp: resp}
	l.body.Buffer(nil, 1<<20)
	return l
}

// next is the next event; kind is empty where the stream has ended.
func (l *listener) next() (id, kind, data string) {
	for l.body.Scan() {
		name, value, _ := strings.Cut(l.body.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if kind != "" {
				return id, kind, data
			}
		}
	}
	return id, kind, data
}

// until reads to the next event of a kind.
func (l *listener) until(want string) (id, data string) {
	l.t.Helper()
	for {
		id, kind, data := l.next()
		switch kind {
		case want:
			return id, data
		case "":
			l.t.Fatalf("the stream ended before %s", want)
		}
	}
}

func rowsOf(t *testing.T, data string) []string {
	t.Helper()
	var p story.Page
	if err := json.Unmarshal([]byte(data), &p); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range p.Rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// Who follows a run is told how it is, then what changes and nothing else, and that it
// is over. All who follow share one watch.
func TestStoryEvents(t *testing.T) {
	o, f, key := following(t)
	all := []*listener{o.listen(key, "")}
	if _, data := all[0].until("rows"); len(rowsOf(t, data)) != len(f.rows) {
		t.Fatalf("the first rows are %v", rowsOf(t, data))
	}
	_, _ = all[0].until("head")
	for range 20 {
		l := o.listen(key, "")
		_, _ = l.until("head")
		all = append(all, l)
	}
	if n := watches(o); n != 1 {
		t.Fatalf("%d watches of one run", n)
	}
	before := f.reads.Load()
	f.becomes(func() { f.rows[3].State, f.head.Steps = story.StateFailed, 9 })
	last := ""
	for i, l := range all {
		_, data := l.until("rows")
		if got := rowsOf(t, data); len(got) != 1 || got[0] != f.rows[3].ID {
			t.Errorf("follower %d is told of %v", i, got)
		}
		var id string
		if id, data = l.until("head"); !strings.Contains(data, `"steps":9`) {
			t.Errorf("follower %d: head %s", i, data)
		}
		last = id
	}
	if n := f.reads.Load() - before; n > 2 {
		t.Errorf("%d followers read the story %d times", len(all), n)
	}
	// One that missed the next change is told of it when it connects again.
	all[1].stop()
	f.becomes(func() { f.rows[4].State = story.StateFailed })
	_, _ = all[0].until("rows")
	again := o.listen(key, last)
	if _, data := again.until("rows"); strings.Join(rowsOf(t, data), " ") != f.rows[4].ID {
		t.Errorf("connected again, it is told of %v", rowsOf(t, data))
	}
	f.becomes(func() { f.head.Closed = time.Now() })
	for _, l := range []*listener{all[0], again} {
		_, _ = l.until("end")
		if _, kind, _ := l.next(); kind != "" {
			t.Errorf("after the end comes %s", kind)
		}
	}
	eventuallyIs(t, 0, func() int { return watches(o) })
}

func watches(o *office) int {
	o.handler.streams.mu.Lock()
	defer o.handler.streams.mu.Unlock()
	return len(o.handler.streams.watches)
}

func eventuallyIs(t *testing.T, want int, get func() int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for get() != want {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it did not come to that")
		}
	}
}

// The last who leaves ends the watch, and so does the end of the server.
func TestStoryEventsEnd(t *testing.T) {
	o, _, key := following(t)
	l := o.listen(key, "")
	_, _ = l.until("head")
	l.stop()
	eventuallyIs(t, 0, func() int { return watches(o) })
	l = o.listen(key, "")
	_, _ = l.until("head")
	o.handler.Wait()
	for kind := "x"; kind != ""; {
		_, kind, _ = l.next()
	}
}

// A client that takes nothing holds up neither the watch nor anybody else: it is cut off.
func TestSlowFollowerIsCutOff(t *testing.T) {
	s := newStreams(slog.New(slog.DiscardHandler))
	var w *watch
	begun := make(chan struct{})
	look := func(ctx context.Context, of *watch) {
		w = of
		close(begun)
		<-ctx.Done()
	}
	slow, _, _, _ := s.follow("run", "", look)
	<-begun
	quick, _, _, _ := s.follow("run", "", look)
	var got int
	var reads sync.WaitGroup
	taken := make(chan struct{})
	reads.Go(func() {
		for range quick {
			got++
			taken <- struct{}{}
		}
	})
	const sent = eventsHeld + 5
	for i := range sent {
		s.send(w, "rows", i)
		<-taken
	}
	n := 0
	for range slow {
		n++
	}
	if n != eventsHeld {
		t.Errorf("the slow one got %d events before it was cut off, want %d", n, eventsHeld)
	}
	// What it missed is still known when it connects again; what is older is not.
	for last, want := range map[int64]int{sent - 3: 3, sent - eventsHeld: eventsHeld, sent: 0, 1: -1, sent + 1: -1} {
		c, _, missed, all := s.follow("run", fmt.Sprintf("%s-%d", w.name, last), look)
		if all != (want < 0) || !all && len(missed) != want {
			t.Errorf("after event %d: %d events, all anew %t, want %d", last, len(missed), all, want)
		}
		s.leave("run", c)
	}
	s.wait()
	reads.Wait()
	if got != sent {
		t.Errorf("the quick one got %d of %d events", got, sent)
	}
}

// A run that is out of reach for long lets its followers go; they connect again.
func TestStoryEventsOutOfReach(t *testing.T) {
	o, f, key := following(t)
	l := o.listen(key, "")
	_, _ = l.until("head")
	f.becomes(func() { f.err = fs.ErrClosed })
	if _, kind, data := l.next(); kind != "" {
		t.Errorf("it is told %s %s", kind, data)
	}
}
