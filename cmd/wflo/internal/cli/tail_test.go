package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go/internal/story"
)

// sse writes one event as servers do.
func sse(w io.Writer, id, kind string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(w, ": heartbeat\n\nid: %s\nevent: %s\ndata: %s\n\n", id, kind, data)
}

// A run is followed over a connection that breaks, each change once, until it is over.
func TestTail(t *testing.T) {
	s := refundStory()
	var from []string
	s.events = func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.Header.Get("Last-Event-ID"))
		switch len(from) {
		case 1:
			sse(w, "1", "rows", story.Page{Rows: s.rows[:4]})
			open := s.head
			open.State, open.Why, open.Closed = "running", "", time.Time{}
			sse(w, "2", "head", open)
			sse(w, "3", "news", "of a newer server")
		case 2:
			again := s.rows[3]
			again.State, again.Attempts = story.StateFailed, 5
			sse(w, "4", "rows", story.Page{Rows: []story.Row{s.rows[2], again}})
			sse(w, "5", "head", s.head)
			sse(w, "6", "end", struct{}{})
		}
	}
	r := invoke(t, s.serves(t), "tail", "refund-1", "-n", "1")
	r.want(t, 0, []string{"✓ sandbox python  6s  try 2, ok", "run is running; next: ", "✗ sandbox python  6s  failed, try 5", "run is failed: step pay failed"}, nil)
	if strings.Contains(r.out, "model") || strings.Count(r.out, "\n") != 4 {
		t.Errorf("told too much:\n%s", r.out)
	}
	if got := strings.Join(from, ","); got != ",3" {
		t.Errorf("went on from %q", got)
	}
	from = nil
	r = invoke(t, s.serves(t), "tail", "refund-1", "-o", "jsonl", "--jq", "select(.row) | .row.id")
	r.want(t, 0, []string{"run\ns1\nm1\nb1\nb1\n"}, nil)
}

// What the API refuses is said at once, and not asked again.
func TestTailRefused(t *testing.T) {
	s := refundStory()
	n := 0
	s.events = func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message":"the role viewer is missing"}`)
	}
	invoke(t, s.serves(t), "tail", "refund-1").want(t, ExitDenied, nil, []string{"the role viewer is missing"})
	if n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// writerFunc is a writer that is one function.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Without a run, all that are open are followed, each line with its run, until Ctrl-C.
func TestTailOfAll(t *testing.T) {
	s := refundStory()
	s.events = func(w http.ResponseWriter, _ *http.Request) {
		sse(w, "1", "rows", story.Page{Rows: s.rows[:1]})
		sse(w, "2", "end", struct{}{})
	}
	f := s.serves(t)
	f.runs = []*workflowpb.WorkflowExecutionInfo{info("refund-1", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil)}
	t.Setenv("WFLO_API", f.api)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("TEMPORAL_CONFIG_FILE", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out strings.Builder
	code := Main(ctx, Deps{Stderr: io.Discard, Dial: f.dial, Stdout: writerFunc(func(p []byte) (int, error) {
		cancel() // whoever watches has seen enough
		return out.Write(p)
	})}, []string{"tail"})
	if code != 0 || !strings.Contains(out.String(), "refund-1  ✗ run example.Refund") {
		t.Errorf("code %d: %s", code, out.String())
	}
	if q := f.queries[0]; !strings.HasPrefix(q, "ExecutionStatus = 'Running'") {
		t.Errorf("asked %s", q)
	}
}

// Events are read as browsers read them: comments, several lines of data, no space.
func TestReadEvents(t *testing.T) {
	var got []serverEvent
	err := readEvents(strings.NewReader(": hello\nid:7\nevent:a\ndata:x\ndata: y\n\n\nevent: b\n\ndata: z\n\ndata: cut"), func() {}, func(e serverEvent) error {
		got = append(got, e)
		return nil
	})
	want := []serverEvent{{"7", "a", "x\ny"}, {"7", "", "z"}}
	if err == nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%v: %+v", err, got)
	}
}
