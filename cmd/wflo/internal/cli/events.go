package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

const (
	// silence is after how long without an event or a heartbeat a stream counts as dead.
	silence = time.Minute
	// reconnects is how often in a row a stream may fail before it is given up.
	reconnects = 5
	// reconnectAfter is how long the first of them waits; each waits twice as long.
	reconnectAfter = 500 * time.Millisecond
	// longestEvent bounds the memory for one event, in bytes.
	longestEvent = 16 << 20
)

// storyFollower is called with what a stream brings. An error ends it.
type storyFollower struct {
	rows func(story.Page) error
	head func(story.Head) error
}

// errEnded says that the run that was followed is over.
var errEnded = errors.New("the run is over")

// follow reads the events of a run until it is over. A connection that breaks is made
// again, and goes on where it was.
func (c *api) follow(ctx context.Context, run, runID string, f storyFollower) error {
	last, wait := "", reconnectAfter
	for failed := 0; ; {
		before, begun := last, time.Now()
		err := c.stream(ctx, run, runID, &last, f)
		var final *finalError
		switch {
		case errors.Is(err, errEnded):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &final):
			return final.error
		case last != before, time.Since(begun) > silence: // it worked for a while
			failed, wait = 0, reconnectAfter
		}
		if failed++; failed > reconnects {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		wait *= 2
	}
}

// finalError is one that another connection does not mend.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// stream is one connection. last is the id of the last event that was taken.
func (c *api) stream(ctx context.Context, run, runID string, last *string, f storyFollower) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	url := c.base + "/api/v1" + storyPath(run, "events")
	if q := ofRun(runID); len(q) > 0 {
		url += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask the API: %w", err)
	}
	c.sign(req)
	req.Header.Set("Accept", "text/event-stream")
	if *last != "" {
		req.Header.Set("Last-Event-ID", *last)
	}
	long := *c.http
	long.Timeout = 0 // streams last; silence ends them
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	resp, err := long.Do(req)
	if err != nil {
		return c.unreached(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return c.unreached(ctx, err)
		}
		if err = c.refused(resp, answer); resp.StatusCode < http.StatusInternalServerError {
			err = &finalError{err}
		}
		return err
	}
	return readEvents(resp.Body, func() { dead.Reset(silence) }, func(e serverEvent) error {
		if e.id != "" {
			*last = e.id
		}
		return f.take(e)
	})
}

// take hands an event to who follows. Kinds that are not known are for newer programs.
func (f storyFollower) take(e serverEvent) error {
	var err error
	switch e.kind {
	case "rows":
		var page story.Page
		if err = json.Unmarshal([]byte(e.data), &page); err == nil {
			err = stopped(f.rows(page))
		}
	case "head":
		var head story.Head
		if err = json.Unmarshal([]byte(e.data), &head); err == nil {
			err = stopped(f.head(head))
		}
	case "end":
		err = errEnded
	}
	return err
}

func stopped(err error) error {
	if err == nil {
		return nil
	}
	return &finalError{err}
}

// serverEvent is one event of a stream.
type serverEvent struct{ id, kind, data string }

// readEvents reads a stream of events as HTML's standard for server-sent events has it.
// alive is called for each line, heartbeats included.
func readEvents(r io.Reader, alive func(), take func(serverEvent) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestEvent)
	var e serverEvent
	var data []string
	for lines.Scan() {
		alive()
		line := lines.Text()
		if line == "" {
			if len(data) > 0 {
				e.data = strings.Join(data, "\n")
				if err := take(e); err != nil {
					return err
				}
			}
			e, data = serverEvent{id: e.id}, nil
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			data = append(data, value)
		}
	}
	if err := lines.Err(); err != nil {
		return wflo.Errorf("", "the worker's log says more", "the stream of events broke: %w", err)
	}
	return wflo.Errorf("", "the worker's log says more", "the stream of events ended early")
}
