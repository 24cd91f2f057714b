package cli

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/internal/story"
)

// The waterfall has a bar per row where it was in time, and adds up.
func TestTrace(t *testing.T) {
	s := refundStory()
	golden(t, "trace.golden", invoke(t, s.serves(t), "trace", "refund-1"))
	r := invoke(t, s.serves(t), "trace", "refund-1", "--kind", "model,sandbox", "-o", "jsonl")
	if n := strings.Count(r.out, "\n"); n != 2 || r.code != 0 {
		t.Errorf("%d lines, code %d", n, r.code)
	}
	invoke(t, s.serves(t), "trace", "refund-1", "--limit", "3", "-o", "json").want(t, 0, []string{`"more": true`}, []string{"the first 3 rows"})
	invoke(t, s.serves(t), "trace", "refund-1", "--kind", "odd").want(t, ExitUsage, nil, []string{`--kind is "odd"`, "sandbox"})
	invoke(t, s.serves(t), "trace", "refund-1", "--limit", "-1").want(t, ExitUsage, nil, []string{"--limit is -1"})
	invoke(t, s.serves(t), "trace", "refund-1", "--kind", "timer").want(t, 0, nil, []string{"nothing has happened"})
}

// Pages are joined into one story, once each, also while the run goes on.
func TestTraceReadsAllPages(t *testing.T) {
	s := refundStory()
	s.most, s.head.Closed = 2, time.Time{}
	var w waterfall
	r := invoke(t, s.serves(t), "trace", "refund-1", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &w); err != nil || idsOf(w.Rows) != idsOf(s.rows) {
		t.Errorf("%v: %s", err, idsOf(w.Rows))
	}
}

// A bar is as wide as its column, whatever the times.
func TestBars(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	for range 2000 {
		width := 1 + random.IntN(80)
		pick := func() time.Time {
			return began.Add(time.Duration(random.Int64N(int64(400*24*time.Hour))) - 200*24*time.Hour)
		}
		r := story.Row{Kind: kinds[random.IntN(len(kinds))], State: story.StateDone, Start: pick(), Began: pick(), End: pick()}
		from, to := pick(), pick()
		bar := barText(r, from, to, pick(), width)
		if n := utf8.RuneCountInString(bar); n != width || strings.Trim(bar, " ") == "" {
			t.Fatalf("width %d, want %d: %q of %+v", n, width, bar, r)
		}
	}
}

// A tree with circles, missing parents and rows of the same name loses nothing.
func TestBranches(t *testing.T) {
	rows := []story.Row{{ID: "a", Parent: "b"}, {ID: "b", Parent: "a"}, {ID: "c", Parent: "gone"}, {ID: "d", Parent: "c"}, {ID: "e", Parent: "e"}}
	var ids []string
	for _, br := range branches(rows) {
		ids = append(ids, br.lead+br.ID)
	}
	if got := strings.Join(ids, " "); got != "c └─d a └─b e" {
		t.Errorf("got %s", got)
	}
}

// The file is what both readers take: the rules are those of their own code.
func TestExport(t *testing.T) {
	s := refundStory()
	s.rows = append(s.rows, story.Row{ID: "late", Kind: story.KindTimer, State: story.StateRunning}) // has no times
	file := filepath.Join(t.TempDir(), "trace.json")
	invoke(t, s.serves(t), "trace", "refund-1", "--export", file).want(t, 0, nil, []string{"8 rows in " + file, "perfetto"})
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checkPerfetto(t, data, 8+1)
	checkJaeger(t, data, 8+1)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again := invoke(t, s.serves(t), "trace", "refund-1", "--export", "-")
	var first, second traceFile
	if json.Unmarshal(data, &first) != nil || json.Unmarshal([]byte(again.out), &second) != nil || first.Data[0].Spans[1].SpanID != second.Data[0].Spans[1].SpanID {
		t.Error("the same run has other ids the second time")
	}
	if first.Data[0].TraceID != s.head.TraceID {
		t.Errorf("trace %s is not the run's", first.Data[0].TraceID)
	}
	invoke(t, s.serves(t), "trace", "refund-1", "--export", "/does/not/exist/x").want(t, ExitError, nil, []string{"export the trace", "hint: "})
}

// Rows that overlap in any way are drawn, each within what its thread has open.
func TestExportOfOverlaps(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test
	for range 200 {
		s := refundStory()
		s.rows = nil
		for i := range random.IntN(40) {
			from := random.Float64() * 20
			s.rows = append(s.rows, story.Row{ID: fmt.Sprint(i), Kind: story.KindModel, State: story.StateDone, Start: at(from), End: at(from + float64(random.IntN(8)))})
		}
		data, err := json.Marshal(exported(s.head, s.rows, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		checkPerfetto(t, data, len(s.rows)+1)
		checkJaeger(t, data, len(s.rows)+1)
	}
}

// checkPerfetto reads the file as Perfetto's importer of JSON does: it takes files that
// begin with {" for JSON, reads the array traceEvents, wants ph, ts, pid and tid of the
// right types, and drops slices of one thread that overlap without being within each other.
func checkPerfetto(t *testing.T, data []byte, slicesWanted int) {
	t.Helper()
	if !strings.HasPrefix(string(data), `{"traceEvents":[`) {
		t.Fatalf("begins with %.40q", data)
	}
	var file struct {
		TraceEvents []map[string]any `json:"traceEvents"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	type slice struct{ from, to float64 }
	threads, n := map[[2]float64][]slice{}, 0
	for _, e := range file.TraceEvents {
		pid, okP := e["pid"].(float64)
		tid, okT := e["tid"].(float64)
		if !okP || !okT || e["name"] == "" {
			t.Fatalf("event %v", e)
		}
		switch e["ph"] {
		case "M":
			if e["args"].(map[string]any)["name"] == "" {
				t.Fatalf("event %v", e)
			}
		case "X":
			n++
			from, length := e["ts"].(float64), e["dur"].(float64)
			if from <= 0 || length < 0 {
				t.Fatalf("event %v", e)
			}
			threads[[2]float64{pid, tid}] = append(threads[[2]float64{pid, tid}], slice{from, from + length})
		default:
			t.Fatalf("phase %v", e["ph"])
		}
	}
	if n != slicesWanted {
		t.Errorf("%d slices, want %d", n, slicesWanted)
	}
	for id, all := range threads {
		var open []slice
		for _, s := range all {
			for len(open) > 0 && open[len(open)-1].to <= s.from {
				open = open[:len(open)-1]
			}
			if len(open) > 0 && s.to > open[len(open)-1].to {
				t.Fatalf("thread %v: %v reaches out of %v", id, s, open[len(open)-1])
			}
			open = append(open, s)
		}
	}
}

// checkJaeger reads the file as Jaeger's UI does an upload: a list of traces, whose spans
// have unique ids, a start that is not zero, a process that is there, references to spans
// of the trace, and no tag twice; the spans are one tree.
func checkJaeger(t *testing.T, data []byte, spans int) {
	t.Helper()
	var file struct {
		Data []struct {
			TraceID   string
			Processes map[string]struct{ ServiceName string }
			Spans     []struct {
				TraceID, SpanID, OperationName, ProcessID string
				StartTime, Duration                       int64
				References                                []struct{ RefType, TraceID, SpanID string }
				Tags                                      []struct {
					Key, Type string
					Value     any
				}
				Logs []struct {
					Timestamp int64
					Fields    []struct{ Key, Type string }
				}
			}
		}
	}
	if err := json.Unmarshal(data, &file); err != nil || len(file.Data) != 1 {
		t.Fatalf("%v, %d traces", err, len(file.Data))
	}
	trace := file.Data[0]
	hex16 := regexp.MustCompile(`^[0-9a-f]{16}$`)
	seen, roots := map[string]bool{}, 0
	for _, s := range trace.Spans {
		seen[s.SpanID] = true
	}
	if len(seen) != spans || len(trace.Spans) != spans || !traceIDForm.MatchString(trace.TraceID) {
		t.Fatalf("%d spans with %d ids in %s, want %d", len(trace.Spans), len(seen), trace.TraceID, spans)
	}
	for _, s := range trace.Spans {
		if !hex16.MatchString(s.SpanID) || s.TraceID != trace.TraceID || s.StartTime <= 0 || s.Duration < 0 || s.OperationName == "" || trace.Processes[s.ProcessID].ServiceName == "" {
			t.Fatalf("span %+v", s)
		}
		if len(s.References) == 0 {
			roots++
		}
		for _, ref := range s.References {
			if ref.RefType != "CHILD_OF" || ref.TraceID != trace.TraceID || !seen[ref.SpanID] || ref.SpanID == s.SpanID {
				t.Fatalf("reference %+v of %s", ref, s.SpanID)
			}
		}
		var keys []string
		for _, tag := range s.Tags {
			keys = append(keys, tag.Key)
			_, text := tag.Value.(string)
			_, number := tag.Value.(float64)
			if _, truth := tag.Value.(bool); !(tag.Type == "string" && text || tag.Type == "int64" && number || tag.Type == "bool" && truth) {
				t.Fatalf("tag %+v", tag)
			}
		}
		if slices.Sort(keys); len(slices.Compact(keys)) != len(s.Tags) {
			t.Fatalf("tags %v", keys)
		}
	}
	if roots != 1 {
		t.Errorf("%d roots", roots)
	}
}
