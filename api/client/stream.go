package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"regexp"
)

// mostEvent bounds one event of a stream, in bytes.
const mostEvent = 16 << 20

// The kinds of events.
const (
	// EventRows says that rows of the story are new or have changed.
	EventRows = "rows"
	// EventHead is how the run is now, in short.
	EventHead = "head"
	// EventEnd says that the run is over; nothing comes after it.
	EventEnd = "end"
)

// Event is something that happened to a run that is followed. Kinds that this client does
// not know have neither Rows nor Head.
type Event struct {
	// ID is for following from here on after an interruption: see FollowParams.
	ID   string
	Kind string
	// Rows is set for EventRows, Head for EventHead.
	Rows *StoryPage
	Head *StoryHead
}

// FollowParams say what is followed.
type FollowParams struct {
	// Run is a run id of the chain; empty means the latest.
	Run string
	// After is the ID of the last event that was seen; empty begins with how the run is
	// now.
	After string
}

// Follow gives the events of a run as they come, until it is over, the loop ends or ctx
// does. The server ends a stream now and then, after at most a quarter of an hour, which
// is an error as any other interruption is: call Follow again with the ID of the last
// event. An error is the last thing that the sequence gives.
func (c *Client) Follow(ctx context.Context, id string, params FollowParams) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		resp, err := c.open(ctx, id, params)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, mostEvent)
		for {
			e, err := next(lines)
			if err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				yield(Event{}, err)
				return
			}
			if !yield(e, nil) || e.Kind == EventEnd {
				return
			}
		}
	}
}

func (c *Client) open(ctx context.Context, id string, params FollowParams) (*http.Response, error) {
	q := url.Values{}
	addQuery(q, "run", params.Run)
	var header []string
	if params.After != "" {
		header = []string{"Last-Event-ID", params.After}
	}
	return c.send(ctx, c.stream, http.MethodGet, path("/api/v1/runs/{id}/events", id), q, nil, header...)
}

// next reads one event, past comments, which keep the connection alive.
func next(lines *bufio.Scanner) (e Event, err error) {
	var data []byte
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if e.Kind != "" || data != nil {
				return e, e.decode(data)
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			e.ID = string(value)
		case "event":
			e.Kind = string(value)
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return e, fmt.Errorf("follow the run: %w", err)
	}
	return e, fmt.Errorf("follow the run: %w", io.ErrUnexpectedEOF)
}

func (e *Event) decode(data []byte) (err error) {
	switch e.Kind {
	case EventRows:
		e.Rows = &StoryPage{}
		err = json.Unmarshal(data, e.Rows)
	case EventHead:
		e.Head = &StoryHead{}
		err = json.Unmarshal(data, e.Head)
	}
	if err != nil {
		return fmt.Errorf("read an event of kind %s: %w", e.Kind, err)
	}
	return nil
}

// Output downloads the whole of what came out of a row of a run's story. The caller closes
// it. run is a run id of the chain; empty means the latest.
func (c *Client) Output(ctx context.Context, id, row, run string) (io.ReadCloser, error) {
	q := url.Values{}
	addQuery(q, "run", run)
	resp, err := c.send(ctx, c.stream, http.MethodGet, path("/api/v1/runs/{id}/rows/{row}/output", id, row), q, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

var nextPage = regexp.MustCompile(`<([^>]+)>; *rel="next"`)

// EachRun lists runs, the newest first, over all pages; Limit of the parameters is the
// size of one. An error is the last thing that the sequence gives.
func (c *Client) EachRun(ctx context.Context, params ListRunsParams) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		for {
			page, after, err := c.runsPage(ctx, params)
			if err != nil {
				yield(Run{}, err)
				return
			}
			for _, run := range page {
				if !yield(run, nil) {
					return
				}
			}
			if after == "" {
				return
			}
			params.After = after
		}
	}
}

// runsPage gives a page of runs, and where the next one begins; empty on the last.
func (c *Client) runsPage(ctx context.Context, params ListRunsParams) (page []Run, after string, err error) {
	q := url.Values{}
	for _, p := range []struct {
		name  string
		value any
	}{
		{"state", params.State}, {"workflow", params.Workflow}, {"user", params.User}, {"team", params.Team}, {"id", params.ID}, {"from", params.From},
		{"to", params.To}, {"internal", params.Internal}, {"after", params.After}, {"limit", params.Limit},
	} {
		addQuery(q, p.name, p.value)
	}
	resp, err := c.send(ctx, c.http, http.MethodGet, "/api/v1/runs", q, nil)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := read(resp, &page); err != nil {
		return nil, "", err
	}
	// Only the cursor is taken: a link may lead anywhere.
	if m := nextPage.FindStringSubmatch(resp.Header.Get("Link")); m != nil {
		if u, err := url.Parse(m[1]); err == nil {
			after = u.Query().Get("after")
		}
	}
	return page, after, nil
}
