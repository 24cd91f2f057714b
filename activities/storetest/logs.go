package storetest

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// TestLogs runs the suite of where log lines are kept. open gives an empty store that is
// closed when the test it was opened for ends; it is called once for each subtest.
func TestLogs(t *testing.T, open func(t *testing.T) activities.Logs) {
	for _, c := range []struct {
		name string
		test func(*book)
	}{
		{"ComeBackAsTheyWere", logsComeBackAsTheyWere},
		{"OfOneRun", logsOfOneRun},
		{"ReadOn", logsReadOn},
		{"Latest", logsLatest},
		{"Filter", logsFilter},
		{"Bounded", logsBounded},
		{"Purged", logsPurged},
		{"RefuseNonsense", logsRefuseNonsense},
		{"RaceOfWorkers", raceOfLogs},
		{"RaceOfPurges", raceOfLogPurges},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&book{files{T: t}, open(t)}) })
	}
}

// book is a store of log lines with a test's complaints, which it has from files.
type book struct {
	files
	activities.Logs
}

// many is a bound that no test reaches by chance.
const many = 1_000_000

// logged is a line of the run w/f, so many seconds after noon.
func logged(message string, seconds int, change ...func(*wflo.LogLine)) wflo.LogLine {
	l := wflo.LogLine{At: noon.Add(time.Duration(seconds) * time.Second), Message: message, WorkflowID: "w", FirstRunID: "f"}
	for _, c := range change {
		c(&l)
	}
	return l
}

func (b *book) append(most int, lines ...wflo.LogLine) {
	b.Helper()
	b.ok("append", b.AppendLogs(b.Context(), most, lines...))
}

func (b *book) read(q activities.LogQuery) []wflo.LogLine {
	b.Helper()
	if q.WorkflowID == "" {
		q.WorkflowID, q.FirstRunID = "w", "f"
	}
	lines, err := b.ReadLogs(b.Context(), q)
	b.ok("read", err)
	return lines
}

// has reads and compares messages.
func (b *book) has(q activities.LogQuery, want ...string) {
	b.Helper()
	got := []string{}
	for _, l := range b.read(q) {
		got = append(got, l.Message)
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		b.Errorf("lines of %+v (-want +got):\n%s", q, diff)
	}
}

func logsComeBackAsTheyWere(b *book) {
	var want []wflo.LogLine
	for i, name := range odd {
		l := logged(name, i, func(l *wflo.LogLine) {
			l.At = l.At.Add(789)
			l.Level, l.User, l.Team, l.Step, l.Correlation, l.Worker = slog.LevelWarn+slog.Level(i), name, name, name, name, name
			l.TraceID, l.SpanID, l.Attributes = strings.Repeat("a", 32), strings.Repeat("b", 16), []byte(`{"n":1.50,"zoë":"\u003c\u0000"}`)
		})
		want = append(want, l)
	}
	b.append(many, want...)
	want = append(want[:0:0], want...)
	for i := range want {
		want[i].Seq = int64(i + 1)
	}
	if diff := cmp.Diff(want, b.read(activities.LogQuery{})); diff != "" {
		b.Errorf("(-want +got):\n%s", diff)
	}
	b.append(many)
	long := logged(strings.Repeat("x", 1<<20), 0)
	b.append(many, long)
	b.has(activities.LogQuery{After: int64(len(want))}, long.Message)
}

func logsOfOneRun(b *book) {
	for _, workflow := range odd {
		b.append(many, logged("of "+workflow, 0, func(l *wflo.LogLine) { l.WorkflowID = workflow }),
			logged("of another run of "+workflow, 0, func(l *wflo.LogLine) { l.WorkflowID, l.FirstRunID = workflow, "g" }))
	}
	for _, workflow := range odd {
		q := activities.LogQuery{WorkflowID: workflow, FirstRunID: "f"}
		b.has(q, "of "+workflow)
		if got := b.read(q); len(got) == 1 && got[0].Seq != 1 {
			b.Errorf("the first line of %q is number %d", workflow, got[0].Seq)
		}
	}
	b.has(activities.LogQuery{WorkflowID: "none", FirstRunID: "f"})
}

func logsReadOn(b *book) {
	for i := range 250 {
		b.append(many, logged(fmt.Sprint(i), -i)) // clocks do not matter
	}
	if got := len(b.read(activities.LogQuery{})); got != activities.DefaultLogs {
		b.Errorf("%d lines without a limit", got)
	}
	var seen []string
	for after := int64(0); ; {
		page := b.read(activities.LogQuery{After: after, Limit: 64})
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			seen = append(seen, l.Message)
		}
		after = page[len(page)-1].Seq
	}
	for i, message := range seen {
		if message != fmt.Sprint(i) {
			b.Fatalf("line %d is %s", i, message)
		}
	}
	if len(seen) != 250 {
		b.Errorf("%d lines on all pages", len(seen))
	}
	b.has(activities.LogQuery{After: 248}, "248", "249")
	b.has(activities.LogQuery{After: 250})
}

func logsLatest(b *book) {
	for i := range 5 {
		b.append(many, logged(fmt.Sprint(i), i, func(l *wflo.LogLine) { l.Level = slog.Level(4 * (i % 2)) }))
	}
	b.has(activities.LogQuery{Latest: true, Limit: 2}, "3", "4")
	b.has(activities.LogQuery{Latest: true, Limit: 9}, "0", "1", "2", "3", "4")
	b.has(activities.LogQuery{Latest: true, Limit: 1, Level: slog.LevelWarn}, "3")
	b.has(activities.LogQuery{Latest: true, Limit: 2, After: 4}, "4")
}

func logsFilter(b *book) {
	for i, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		b.append(many, logged(level.String(), i, func(l *wflo.LogLine) { l.Level = level }))
	}
	b.has(activities.LogQuery{Level: slog.LevelDebug}, "DEBUG", "INFO", "WARN", "ERROR")
	b.has(activities.LogQuery{}, "INFO", "WARN", "ERROR")
	b.has(activities.LogQuery{Level: slog.LevelError}, "ERROR")
	b.has(activities.LogQuery{Since: noon.Add(2 * time.Second)}, "WARN", "ERROR")
	b.has(activities.LogQuery{Since: noon.Add(2*time.Second + time.Microsecond)}, "ERROR")
	for _, step := range []string{"g0/charge#1", "g0/charge#1/pay#1", "g0/charge#2", "g1/recharge#1", "g0/charge_x#1", "5", "g0/ch%#1", "", `g0/a\b#1`} {
		b.append(many, logged("at "+step, 9, func(l *wflo.LogLine) { l.Step = step }))
	}
	b.has(activities.LogQuery{Step: "charge"}, "at g0/charge#1", "at g0/charge#1/pay#1", "at g0/charge#2")
	b.has(activities.LogQuery{Step: "charge", Since: noon.Add(time.Minute)})
	b.has(activities.LogQuery{Step: "pay"}, "at g0/charge#1/pay#1")
	b.has(activities.LogQuery{Step: "g0/charge#2"}, "at g0/charge#2")
	b.has(activities.LogQuery{Step: "ch%"}, "at g0/ch%#1")
	b.has(activities.LogQuery{Step: "5"}, "at 5")
	b.has(activities.LogQuery{Step: `a\b`}, `at g0/a\b#1`)
	b.has(activities.LogQuery{Step: "harge"})
}

func logsBounded(b *book) {
	b.append(3, logged("1", 0), logged("2", 0))
	b.append(3, logged("3", 0), logged("4", 1), logged("5", 2), logged("other", 0, func(l *wflo.LogLine) { l.FirstRunID = "g" }))
	b.append(3, logged("6", 0))
	b.has(activities.LogQuery{}, "1", "2", "3", wflo.LogsLeftOut)
	b.has(activities.LogQuery{WorkflowID: "w", FirstRunID: "g"}, "other")
	last := b.read(activities.LogQuery{After: 3})[0]
	want := wflo.LogLine{Seq: 4, At: noon.Add(time.Second), Level: slog.LevelWarn, Message: wflo.LogsLeftOut, WorkflowID: "w", FirstRunID: "f", Attributes: []byte(`{"most":3}`)}
	if diff := cmp.Diff(want, last); diff != "" {
		b.Errorf("(-want +got):\n%s", diff)
	}
}

func logsPurged(b *book) {
	const n = 1200 // more than a portion
	lines := make([]wflo.LogLine, n)
	for i := range lines {
		lines[i] = logged(fmt.Sprint(i), i)
	}
	b.append(n, lines...)
	b.append(n, logged("too much", n), logged("kept apart", 0, func(l *wflo.LogLine) { l.FirstRunID = "g" }))
	gone, err := b.PurgeLogs(b.Context(), noon.Add((n-10)*time.Second))
	b.ok("purge", err)
	if gone != n-10+1 {
		b.Errorf("%d lines were purged", gone)
	}
	b.has(activities.LogQuery{Limit: 1}, fmt.Sprint(n-10))
	b.has(activities.LogQuery{WorkflowID: "w", FirstRunID: "g"})
	// The room is used again, and numbers go on.
	b.append(n, logged("more", 2*n))
	all := b.read(activities.LogQuery{Limit: n})
	if got := all[len(all)-1]; got.Message != "more" || got.Seq != n+2 || len(all) != 12 {
		b.Errorf("%d lines, the last is %+v", len(all), got)
	}
	gone, err = b.PurgeLogs(b.Context(), noon)
	if err != nil || gone != 0 {
		b.Errorf("%d lines were purged again, %v", gone, err)
	}
}

func logsRefuseNonsense(b *book) {
	for _, change := range []func(*wflo.LogLine){
		func(l *wflo.LogLine) { l.WorkflowID = "" }, func(l *wflo.LogLine) { l.FirstRunID = "" },
	} {
		if err := b.AppendLogs(b.Context(), many, logged("good", 0), logged("bad", 0, change)); wflo.CodeOf(err) != wflo.CodeInvalid {
			b.Errorf("append gave %v", err)
		}
	}
	if err := b.AppendLogs(b.Context(), many, logged("good", 0), logged("bad", 0, func(l *wflo.LogLine) { l.Attributes = []byte("{") })); err == nil {
		b.Error("attributes that are no JSON were kept")
	}
	b.has(activities.LogQuery{})
}

// raceOfLogs has workers write to the same runs while somebody reads on, who must miss
// nothing.
func raceOfLogs(b *book) {
	const workers, batches, size = 4, 25, 3
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range batches {
				var lines []wflo.LogLine
				for range size {
					lines = append(lines, logged(fmt.Sprint(w, i), i), logged("x", i, func(l *wflo.LogLine) { l.FirstRunID = fmt.Sprint("g", i%3) }))
				}
				if err := b.AppendLogs(b.Context(), many, lines...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	var seen int64
	for ended := false; ; {
		page := b.read(activities.LogQuery{After: seen, Limit: 1000})
		for _, l := range page {
			if l.Seq != seen+1 {
				b.Errorf("after %d comes %d", seen, l.Seq)
			}
			seen = l.Seq
		}
		if len(page) == 0 && ended {
			break
		}
		select {
		case <-done:
			ended = true
		default:
		}
	}
	if seen != workers*batches*size {
		b.Errorf("%d lines were seen", seen)
	}
}

func raceOfLogPurges(b *book) {
	const n = 300
	var all sync.WaitGroup
	gone := make([]int, 3)
	for i := range n {
		b.append(many, logged("old", i, func(l *wflo.LogLine) { l.FirstRunID = fmt.Sprint("f", i%7) }))
	}
	for w := range gone {
		all.Go(func() {
			var err error
			if gone[w], err = b.PurgeLogs(b.Context(), noon.Add(time.Hour)); err != nil {
				b.Error(err)
			}
		})
	}
	all.Go(func() { b.append(many, logged("new", 7200)) })
	all.Wait()
	if total := gone[0] + gone[1] + gone[2]; total > n {
		b.Errorf("%d lines were purged of %d", total, n)
	}
	_, err := b.PurgeLogs(b.Context(), noon.Add(time.Hour)) // what another one held at that moment
	b.ok("purge", err)
	b.has(activities.LogQuery{}, "new")
	for i := range 7 {
		b.has(activities.LogQuery{WorkflowID: "w", FirstRunID: fmt.Sprint("f", i)})
	}
}
