package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go/internal/console"
)

// logEvery is how often a run that is followed is asked for news.
const logEvery = 500 * time.Millisecond

// logLast is how often more it is asked when it has ended, because workers hand lines over
// a moment after they were written.
const logLast = 3

// liveLine is what a program wrote, as a line of jsonl.
type liveLine struct {
	Output liveOutput `json:"output"`
}

type liveOutput struct {
	ActivityID string `json:"activity_id"`
	Attempt    int32  `json:"attempt"`
	Text       string `json:"text"`
}

// followLogs shows what comes until the run has ended.
func (a *app) followLogs(ctx context.Context, c *api, path string, q url.Values, page console.RunLogs) error {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	live := liveView{}
	q = with(q, url.Values{"live": {"1"}, "limit": {strconv.Itoa(logPage)}})
	for left := logLast; ; {
		var next console.RunLogs
		if err := c.get(ctx, path, with(q, url.Values{"after": {strconv.FormatInt(page.Next, 10)}}), &next); err != nil {
			return err
		}
		if err := a.printLive(live.news(next.Live)); err != nil {
			return err
		}
		more := len(next.Lines) == logPage
		if err := a.printLogs(next.Lines, true); err != nil {
			return err
		}
		if page = next; more {
			continue
		}
		if page.Ended {
			if left--; left == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *app) printLive(all []liveOutput) error {
	for _, o := range all {
		if a.format == formatJSONL {
			if err := a.printJSON(liveLine{o}); err != nil {
				return err
			}
			continue
		}
		for line := range strings.Lines(o.Text) {
			if _, err := fmt.Fprintf(a.deps.Stdout, "  | %s\n", escapeLine(strings.TrimRight(line, "\n"))); err != nil {
				return err
			}
		}
	}
	return nil
}

// liveView is what was shown of programs, by activity and attempt.
type liveView map[string]*liveProgram

type liveProgram struct {
	output  int64  // bytes, as the last heartbeat told
	tail    string // of it
	partial string // the beginning of a line whose end has not come
	seen    bool
}

// news are whole lines that were not shown, and the rest of programs that have gone.
func (v liveView) news(all []console.LiveOutput) (news []liveOutput) {
	for _, p := range v {
		p.seen = false
	}
	for _, l := range all {
		key := l.ActivityID + "#" + strconv.Itoa(int(l.Attempt))
		p := v[key]
		if p == nil {
			p = &liveProgram{}
			v[key] = p
		}
		p.seen = true
		if text := p.add(l.Output, l.Tail); text != "" {
			news = append(news, liveOutput{l.ActivityID, l.Attempt, text})
		}
	}
	for key, p := range v {
		if p.seen {
			continue
		}
		delete(v, key)
		if id, attempt, _ := strings.Cut(key, "#"); p.partial != "" {
			n, _ := strconv.ParseInt(attempt, 10, 32)                       // it was formatted from one
			news = append(news, liveOutput{id, int32(n), p.partial + "\n"}) //nolint:gosec // see there
		}
	}
	return news
}

// add takes the end of a program's output and gives the whole lines that are new. A
// heartbeat carries a little of it only: what came and went in between is not shown.
func (p *liveProgram) add(output int64, tail string) string {
	if output == p.output {
		return ""
	}
	text := tail
	common := min(len(p.tail), len(tail))
	for common > 0 && !strings.HasPrefix(tail, p.tail[len(p.tail)-common:]) {
		common--
	}
	switch {
	case common > 0:
		text = p.partial + tail[common:]
	case p.output > 0 || output > int64(len(tail)):
		text = p.partial + "\n… (some output is not shown)\n" + tail
		text = strings.TrimPrefix(text, "\n")
	}
	p.output, p.tail = output, tail
	whole := strings.LastIndexByte(text, '\n') + 1
	p.partial = text[whole:]
	return text[:whole]
}
