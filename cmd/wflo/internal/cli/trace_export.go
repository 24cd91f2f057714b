package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go/internal/story"
)

// traceFile is a story in two formats at once: readers of each leave out the keys of the
// other. Perfetto looks at the beginning of a file, so its key stands first.
//
// The trace event format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
// Jaeger's is the answer of its query API, which its UI takes as an upload as well.
type traceFile struct {
	TraceEvents     []traceEvent  `json:"traceEvents"`
	DisplayTimeUnit string        `json:"displayTimeUnit"`
	Data            []jaegerTrace `json:"data"`
}

// traceEvent is one event for Perfetto. Times are microseconds.
type traceEvent struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"` // X: from Time for Duration; M: a name
	Time     int64          `json:"ts"`
	Duration int64          `json:"dur"`
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Args     map[string]any `json:"args,omitempty"`
}

// jaegerTrace, jaegerSpan and the rest are what Jaeger reads. Times are microseconds.
type jaegerTrace struct {
	TraceID   string                   `json:"traceID"`
	Spans     []jaegerSpan             `json:"spans"`
	Processes map[string]jaegerProcess `json:"processes"`
	Warnings  []string                 `json:"warnings"`
}

type jaegerSpan struct {
	TraceID       string      `json:"traceID"`
	SpanID        string      `json:"spanID"`
	OperationName string      `json:"operationName"`
	References    []jaegerRef `json:"references"`
	StartTime     int64       `json:"startTime"`
	Duration      int64       `json:"duration"`
	Tags          []jaegerTag `json:"tags"`
	Logs          []jaegerLog `json:"logs"`
	ProcessID     string      `json:"processID"`
	Warnings      []string    `json:"warnings"`
}

type jaegerRef struct {
	RefType string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

type jaegerTag struct {
	Key   string `json:"key"`
	Type  string `json:"type"` // string, bool, int64 or float64
	Value any    `json:"value"`
}

type jaegerLog struct {
	Timestamp int64       `json:"timestamp"`
	Fields    []jaegerTag `json:"fields"`
}

type jaegerProcess struct {
	ServiceName string      `json:"serviceName"`
	Tags        []jaegerTag `json:"tags"`
}

// exported turns a story into the file. What goes on ends now.
func exported(head story.Head, rows []story.Row, now time.Time) traceFile {
	e := exporter{head: head, now: now, trace: traceIDOf(head), ids: map[string]string{}}
	e.from, e.to = timeline(head, rows, now)
	all := branches(rows)
	for _, br := range all {
		e.ids[br.ID] = spanIDOf(br.ID)
	}
	return traceFile{TraceEvents: e.events(all), DisplayTimeUnit: "ms", Data: []jaegerTrace{e.jaeger(all)}}
}

type exporter struct {
	head     story.Head
	now      time.Time
	from, to time.Time
	trace    string
	ids      map[string]string // of spans, by row
}

// rootID is the span of the run itself.
func (e *exporter) rootID() string { return spanIDOf("run " + e.head.FirstRunID) }

var traceIDForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// traceIDOf is the run's own trace id, so that links from logs lead here as well; a run
// that has none gets one that is always the same.
func traceIDOf(h story.Head) string {
	if id := strings.ToLower(h.TraceID); traceIDForm.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte("trace " + h.WorkflowID + " " + h.FirstRunID))
	return hex.EncodeToString(sum[:16])
}

func spanIDOf(row string) string {
	sum := sha256.Sum256([]byte("span " + row))
	return hex.EncodeToString(sum[:8])
}

// times are the start and the length of a row. Readers drop what has no time, so a row
// whose start nobody knows is at the run's.
func (e *exporter) times(r story.Row) (start, length int64) {
	from := r.Start
	if from.IsZero() {
		from = e.from
	}
	return from.UnixMicro(), max(rowEnd(r, e.now).Sub(from), 0).Microseconds()
}

func (e *exporter) jaeger(all []branch) jaegerTrace {
	t := jaegerTrace{TraceID: e.trace, Warnings: []string{}, Processes: map[string]jaegerProcess{
		"p1": {ServiceName: "wflo", Tags: e.runTags()},
	}}
	t.Spans = append(t.Spans, jaegerSpan{
		TraceID: e.trace, SpanID: e.rootID(), OperationName: cmp.Or(e.head.Workflow, "run"), References: []jaegerRef{},
		StartTime: e.from.UnixMicro(), Duration: e.to.Sub(e.from).Microseconds(), Tags: e.headTags(), Logs: []jaegerLog{},
		ProcessID: "p1", Warnings: []string{},
	})
	for _, br := range all {
		parent, ok := e.ids[br.Parent]
		if !ok {
			parent = e.rootID()
		}
		start, length := e.times(br.Row)
		t.Spans = append(t.Spans, jaegerSpan{
			TraceID: e.trace, SpanID: e.ids[br.ID], OperationName: rowName(br.Row),
			References: []jaegerRef{{RefType: "CHILD_OF", TraceID: e.trace, SpanID: parent}},
			StartTime:  start, Duration: length, Tags: rowTags(br.Row), Logs: rowLogs(br.Row, start+length),
			ProcessID: "p1", Warnings: []string{},
		})
	}
	return t
}

// tags collects what is known; empty values are left out.
type tags []jaegerTag

func (t *tags) text(key, value string) {
	if value != "" {
		*t = append(*t, jaegerTag{key, "string", value})
	}
}

func (t *tags) number(key string, value int64) {
	if value != 0 {
		*t = append(*t, jaegerTag{key, "int64", value})
	}
}

func (e *exporter) runTags() []jaegerTag {
	t := tags{}
	t.text("temporal.namespace", e.head.Namespace)
	t.text("temporal.task_queue", e.head.TaskQueue)
	return t
}

func (e *exporter) headTags() []jaegerTag {
	h, t := e.head, tags{}
	t.text("wflo.workflow_id", h.WorkflowID)
	t.text("wflo.run_id", h.RunID)
	t.text("wflo.state", string(h.State))
	t.text("wflo.user", h.Run.User)
	t.text("wflo.team", h.Run.Team)
	t.text("wflo.cost_usd", h.Spend.Spent.Decimal())
	if h.Error != "" {
		t = append(t, jaegerTag{"error", "bool", true})
		t.text("error.message", h.Error)
	}
	return t
}

// rowTags are a row's facts, under OpenTelemetry's names where there are some.
func rowTags(r story.Row) []jaegerTag {
	t := tags{}
	t.text("wflo.kind", string(r.Kind))
	t.text("wflo.state", string(r.State))
	t.text("wflo.step", r.Step)
	t.text("wflo.effect", string(r.Effect))
	t.text("wflo.summary", r.Summary)
	t.text("wflo.worker", r.Worker)
	t.number("wflo.attempts", int64(r.Attempts))
	t.text("wflo.run_id", r.RunID)
	t.number("wflo.event_id", r.EventID)
	if m := r.Model; m != nil {
		t.text("gen_ai.provider.name", m.Provider)
		t.text("gen_ai.request.model", m.Model)
		t.number("gen_ai.usage.input_tokens", m.Usage.Prompt())
		t.number("gen_ai.usage.output_tokens", m.Usage.Output+m.Usage.Reasoning)
		t.text("wflo.cost_usd", m.Amount.Decimal())
	}
	if s := r.Sandbox; s != nil {
		t.text("wflo.sandbox.outcome", s.Outcome)
		t.number("wflo.sandbox.exit_code", int64(s.ExitCode))
		t.text("wflo.sandbox.image", s.Image)
		t.number("wflo.sandbox.memory_bytes", s.Memory)
	}
	if g := r.Gate; g != nil {
		t.text("wflo.gate.status", string(g.Status))
		t.text("wflo.gate.by", strings.Join(g.By, ", "))
	}
	if p := r.Policy; p != nil {
		t.text("wflo.policy.verdict", p.Verdict)
		t.text("wflo.policy.rules", strings.Join(p.Rules, ", "))
	}
	if bad(r) {
		t = append(t, jaegerTag{"error", "bool", true})
	}
	return t
}

// rowLogs has the error of a row, where Jaeger looks for it.
func rowLogs(r story.Row, at int64) []jaegerLog {
	if r.Error == "" {
		return []jaegerLog{}
	}
	fields := tags{}
	fields.text("event", "error")
	fields.text("message", r.Error)
	fields.text("hint", r.Hint)
	return []jaegerLog{{Timestamp: at, Fields: fields}}
}

// events are the same rows for Perfetto, which draws slices of one thread within each
// other. What overlaps without being within goes to a thread of its own.
func (e *exporter) events(all []branch) []traceEvent {
	const process = 1
	slicesOf := []traceEvent{{
		Name: cmp.Or(e.head.Workflow, "run"), Category: "run", Phase: "X", Time: e.from.UnixMicro(),
		Duration: e.to.Sub(e.from).Microseconds(), Args: byKey(e.headTags()),
	}}
	for _, br := range all {
		start, length := e.times(br.Row)
		argsOf := byKey(rowTags(br.Row))
		if br.Error != "" {
			argsOf["error.message"] = br.Error
		}
		slicesOf = append(slicesOf, traceEvent{
			Name: rowName(br.Row), Category: string(br.Kind), Phase: "X", Time: start, Duration: length, Args: argsOf,
		})
	}
	slices.SortStableFunc(slicesOf, func(x, y traceEvent) int {
		return cmp.Or(cmp.Compare(x.Time, y.Time), cmp.Compare(y.Duration, x.Duration))
	})
	var lanes []lane
	for i := range slicesOf {
		ev := &slicesOf[i]
		at := slices.IndexFunc(lanes, func(l lane) bool { return l.holds(*ev) })
		if at < 0 {
			at, lanes = len(lanes), append(lanes, lane{})
		}
		lanes[at].put(*ev)
		ev.Process, ev.Thread = process, at+1
	}
	named := []traceEvent{{Name: "process_name", Phase: "M", Process: process, Args: map[string]any{"name": "wflo " + e.head.WorkflowID}}}
	for i := range lanes {
		named = append(named, traceEvent{Name: "thread_name", Phase: "M", Process: process, Thread: i + 1, Args: map[string]any{"name": fmt.Sprintf("lane %d", i+1)}})
	}
	return append(named, slicesOf...)
}

func byKey(all []jaegerTag) map[string]any {
	m := make(map[string]any, len(all))
	for _, t := range all {
		m[t.Key] = t.Value
	}
	return m
}

// lane is a thread of Perfetto's: the ends of the slices that are open, the innermost last.
type lane struct{ ends []int64 }

// holds says that a slice fits in: it is within the innermost one that is open at its
// start. Slices come by their start.
func (l *lane) holds(ev traceEvent) bool {
	for i := len(l.ends) - 1; i >= 0; i-- {
		if l.ends[i] > ev.Time {
			return ev.Time+ev.Duration <= l.ends[i]
		}
	}
	return true
}

func (l *lane) put(ev traceEvent) {
	for len(l.ends) > 0 && l.ends[len(l.ends)-1] <= ev.Time {
		l.ends = l.ends[:len(l.ends)-1]
	}
	l.ends = append(l.ends, ev.Time+ev.Duration)
}
