package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"pgregory.net/rapid"
)

func notice(id, thread string, seq int) wflo.Notice {
	return wflo.Notice{ID: id, Channel: "slack://ops", Kind: wflo.NoticeAsked, Thread: thread, Seq: seq, Severity: wflo.SeverityWarning,
		Title: "refund?", Text: "<b>&\u2028\x00", Link: "/gates/n", Chain: "main", At: noon}
}

func (f *files) enqueue(notices ...wflo.Notice) {
	f.Helper()
	f.ok("enqueue", f.Enqueue(f.Context(), notices...))
}

// claims wants exactly these notices, separated by spaces.
func (f *files) claims(n int, want string) []wflo.NoticeRecord {
	f.Helper()
	got, err := f.ClaimNotices(f.Context(), n, time.Hour)
	f.ok("claim", err)
	if diff := cmp.Diff(want, namesOf(got)); diff != "" {
		f.Errorf("claimed (-want +got):\n%s", diff)
	}
	return got
}

func namesOf(records []wflo.NoticeRecord) string {
	var ids []string
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}

func (f *files) notices(state wflo.NoticeState) []wflo.NoticeRecord {
	f.Helper()
	got, err := f.ListNotices(f.Context(), state, 1000)
	f.ok("list notices", err)
	return got
}

func (f *files) delivered(id, receipt string) {
	f.Helper()
	f.ok("deliver "+id, f.NoticeDelivered(f.Context(), id, receipt))
}

func (f *files) failed(id string, due time.Time) {
	f.Helper()
	f.ok("fail "+id, f.NoticeFailed(f.Context(), id, "no\x00 <answer>", due))
}

func outboxOnce(f *files) {
	f.enqueue()
	f.claims(10, "")
	g := gate("n", 60)
	a := notice("a", "t1", 1)
	a.Gate = &g
	f.enqueue(a, notice("b", "t2", 1), notice("b", "t3", 1))
	other := notice("a", "t4", 9)
	other.Title = "another"
	f.enqueue(other)
	before := time.Now()
	got := f.claims(10, "a b")
	f.written("notice", got[0].Notice, a)
	if r := got[0]; r.State != wflo.NoticePending || r.Attempts != 1 || r.Error != "" || r.Receipt != "" || !r.DeliveredAt.IsZero() {
		f.Errorf("claimed %+v", r)
	}
	f.delivered("a", "")
	f.failed("b", time.Time{})
	f.enqueue(a, notice("b", "t2", 1))
	f.claims(10, "")
	for _, r := range f.notices("") {
		if r.ID == "a" && (r.State != wflo.NoticeDelivered || r.DeliveredAt.Before(before.Add(-time.Minute)) || r.DeliveredAt.Location() != time.UTC) {
			f.Errorf("delivered %+v", r)
		}
	}
}

func outboxOldestFirst(f *files) {
	for i := range 5 {
		f.enqueue(notice(fmt.Sprint("n", i), fmt.Sprint("t", 5-i), 1))
	}
	f.claims(0, "")
	f.claims(2, "n0 n1")
	f.claims(2, "n2 n3")
	f.claims(2, "n4")
	f.claims(2, "")
}

// outboxThreadsKeepTheirOrder also where the notices were written down in another.
func outboxThreadsKeepTheirOrder(f *files) {
	mail := notice("mail", "t", 1)
	mail.Channel = "email://ops"
	f.enqueue(notice("third", "t", 3), notice("first", "t", 1), mail, notice("second", "t", 2), notice("else", "u", 2))
	f.claims(10, "first mail else")
	f.claims(10, "") // the first is under way
	f.delivered("first", "")
	f.claims(10, "second")
	f.failed("second", time.Now().Add(time.Hour))
	f.claims(10, "") // the second will be tried again
	f.delivered("second", "")
	f.claims(10, "third")
}

// outboxLease: what a dead worker took comes back, and holds up its thread until
// then.
func outboxLease(f *files) {
	f.enqueue(notice("a", "t", 1), notice("b", "t", 2), notice("c", "u", 1))
	got, err := f.ClaimNotices(f.Context(), 10, time.Millisecond)
	f.ok("claim", err)
	if namesOf(got) != "a c" {
		f.Fatalf("claimed %s, want a c", namesOf(got))
	}
	f.delivered("c", "")
	f.until("claim what was left", func(ctx context.Context) (bool, error) {
		got, err := f.ClaimNotices(ctx, 10, time.Hour)
		if len(got) > 0 && (namesOf(got) != "a" || got[0].Attempts != 2) {
			f.Errorf("claimed %+v, want the second attempt of a", got)
		}
		return len(got) > 0, err
	})
	f.claims(10, "")
}

func outboxFailed(f *files) {
	f.enqueue(notice("a", "t", 1), notice("b", "u", 1))
	f.claims(10, "a b")
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	f.failed("a", due)
	f.failed("b", time.Now().Add(-time.Minute))
	if got := f.claims(10, "b"); len(got) == 1 && (got[0].Attempts != 2 || got[0].Error != "no\x00 <answer>") {
		f.Errorf("claimed %+v", got[0])
	}
	for _, r := range f.notices(wflo.NoticePending) {
		// A store with a clock of its own waits as long as it is told to, not until then.
		if off := r.Due.Sub(due).Abs(); r.ID == "a" && (off > time.Minute || r.Due.Location() != time.UTC || r.Attempts != 1 || r.State != wflo.NoticePending) {
			f.Errorf("after a failure %+v, want it due at %s", r, due)
		}
	}
}

func outboxDeadLetters(f *files) {
	f.code("retry of nothing", f.RetryNotice(f.Context(), "a"), wflo.CodeInvalid)
	f.enqueue(notice("a", "t", 1), notice("b", "t", 2))
	f.code("retry of what is not dead", f.RetryNotice(f.Context(), "a"), wflo.CodeInvalid)
	f.claims(10, "a")
	f.failed("a", time.Time{})
	if dead := f.notices(wflo.NoticeDead); namesOf(dead) != "a" || dead[0].State != wflo.NoticeDead || dead[0].Error == "" {
		f.Errorf("dead are %+v", dead)
	}
	f.claims(10, "b") // which a does not hold up
	f.delivered("b", "")
	f.ok("retry", f.RetryNotice(f.Context(), "a"))
	f.code("retry again", f.RetryNotice(f.Context(), "a"), wflo.CodeInvalid)
	f.claims(10, "a")
	f.delivered("a", "")
	f.code("retry of what was delivered", f.RetryNotice(f.Context(), "a"), wflo.CodeInvalid)
}

func outboxReceipts(f *files) {
	mail := notice("mail", "t", 2)
	mail.Channel = "email://ops"
	f.enqueue(notice("a", "t", 1), notice("b", "t", 2), notice("c", "t", 3), notice("d", "u", 1), mail)
	f.claims(10, "a d mail")
	f.delivered("a", "ts=1\x00<&>")
	f.delivered("d", "ts=2")
	got := f.claims(10, "b")
	if got[0].Receipt != "ts=1\x00<&>" {
		f.Errorf("the thread's receipt is %q", got[0].Receipt)
	}
	f.delivered("b", "") // which keeps the receipt
	if got := f.claims(10, "c"); got[0].Receipt != "ts=1\x00<&>" {
		f.Errorf("the thread's receipt is %q", got[0].Receipt)
	}
	f.enqueue(notice("e", "t", 4))
	f.delivered("c", "")
	if got := f.claims(10, "e"); got[0].Receipt != "ts=1\x00<&>" {
		f.Errorf("the receipt of a later notice is %q", got[0].Receipt)
	}
	for _, r := range f.notices("") {
		if want := map[string]string{"slack://opst": "ts=1\x00<&>", "slack://opsu": "ts=2"}[r.Channel+r.Thread]; r.Receipt != want {
			f.Errorf("notice %s on %s has receipt %q, want %q", r.ID, r.Channel, r.Receipt, want)
		}
	}
}

// outboxDeliveredIsFinal: a worker that lost its lease comes back and complains.
func outboxDeliveredIsFinal(f *files) {
	f.enqueue(notice("a", "t", 1))
	f.claims(10, "a")
	f.delivered("a", "")
	f.failed("a", time.Time{})
	f.failed("a", time.Now().Add(-time.Hour))
	f.delivered("a", "")
	f.claims(10, "")
	if got := f.notices(wflo.NoticeDelivered); namesOf(got) != "a" {
		f.Errorf("delivered are %+v", got)
	}
}

func outboxLists(f *files) {
	f.enqueue(notice("a", "t", 1), notice("b", "u", 1))
	f.enqueue(notice("c", "v", 1))
	f.claims(1, "a")
	f.failed("a", time.Time{})
	f.claims(1, "b")
	f.delivered("b", "")
	for state, want := range map[wflo.NoticeState]string{"": "c b a", wflo.NoticePending: "c", wflo.NoticeDead: "a", wflo.NoticeDelivered: "b"} {
		if got := namesOf(f.notices(state)); got != want {
			f.Errorf("notices that are %q: %s, want %s", state, got, want)
		}
	}
	got, err := f.ListNotices(f.Context(), "", 2)
	f.ok("list", err)
	if namesOf(got) != "c b" {
		f.Errorf("the latest two are %s", namesOf(got))
	}
}

// raceOfClaims has many workers deliver the same notices: each is given out once,
// and those of a thread in their order.
func raceOfClaims(f *files) {
	const threads, length, workers = 10, 8, 16
	for seq := range length {
		for thread := range threads {
			f.enqueue(notice(fmt.Sprintf("%d/%d", thread, seq), fmt.Sprint("t", thread), seq))
		}
	}
	var mu sync.Mutex
	came := map[string][]int{}
	total := 0
	f.race(workers, func(ctx context.Context, _ int) error {
		for {
			got, err := f.ClaimNotices(ctx, 3, time.Hour)
			if err != nil {
				return err
			}
			mu.Lock()
			for _, r := range got {
				came[r.Thread] = append(came[r.Thread], r.Seq)
			}
			total += len(got)
			done := total >= threads*length
			mu.Unlock()
			for _, r := range got {
				if err := f.NoticeDelivered(ctx, r.ID, ""); err != nil {
					return err
				}
			}
			if done {
				return nil
			}
		}
	})
	for thread, seqs := range came {
		if len(seqs) != length || !slices.IsSorted(seqs) {
			f.Errorf("thread %s came as %v", thread, seqs)
		}
	}
	if total != threads*length {
		f.Errorf("%d notices were given out, want %d", total, threads*length)
	}
}

// modelNotice is a notice as the contract has it, in plain words.
type modelNotice struct {
	wflo.Notice
	state  wflo.NoticeState
	leased bool
	later  bool // due in an hour
	tries  int
}

type outboxWalk struct {
	f     *files
	all   []*modelNotice
	count int
	walk  int
}

// outboxModel takes random steps in the outbox and in a slice. Leases outlast a
// walk, and what is due later is due after it.
func outboxModel(f *files) {
	walk := 0
	rapid.Check(f.T, func(t *rapid.T) {
		walk++
		w := &outboxWalk{f: f, walk: walk}
		t.Repeat(map[string]func(*rapid.T){"enqueue": w.enqueue, "claim": w.claim, "end": w.end, "retry": w.retry, "": w.check})
		for _, n := range w.all { // the next walk claims none of these
			if n.state == wflo.NoticePending {
				w.must(t, f.NoticeDelivered(t.Context(), n.ID, ""))
			}
		}
	})
}

func (w *outboxWalk) must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (w *outboxWalk) enqueue(t *rapid.T) {
	n := notice(fmt.Sprint(w.walk, "/", w.count), fmt.Sprint(w.walk, "t", rapid.IntRange(0, 2).Draw(t, "thread")), rapid.IntRange(0, 5).Draw(t, "seq"))
	n.Channel = rapid.SampledFrom([]string{"slack://a", "email://b"}).Draw(t, "channel")
	w.count++
	w.all = append(w.all, &modelNotice{Notice: n, state: wflo.NoticePending})
	again := w.all[rapid.IntRange(0, len(w.all)-1).Draw(t, "again")].Notice
	w.must(t, w.f.Enqueue(t.Context(), n, again))
}

// ready are those that may be given out now: of each thread and channel the first.
func (w *outboxWalk) ready() map[string]*modelNotice {
	first := map[string]*modelNotice{}
	for _, n := range w.all {
		lane := n.Thread + n.Channel
		if n.state == wflo.NoticePending && (first[lane] == nil || n.Seq < first[lane].Seq) {
			first[lane] = n
		}
	}
	ready := map[string]*modelNotice{}
	for _, n := range first {
		if !n.leased && !n.later {
			ready[n.ID] = n
		}
	}
	return ready
}

func (w *outboxWalk) claim(t *rapid.T) {
	most := rapid.IntRange(0, 4).Draw(t, "n")
	ready := w.ready()
	got, err := w.f.ClaimNotices(t.Context(), most, time.Hour)
	w.must(t, err)
	if len(got) != min(most, len(ready)) {
		t.Fatalf("claimed %s, want %d of %d", namesOf(got), most, len(ready))
	}
	for _, r := range got {
		n := ready[r.ID]
		if n == nil {
			t.Fatalf("%s was given out, and is not ready", r.ID)
		}
		n.leased = true
		n.tries++
		if r.Attempts != n.tries {
			t.Fatalf("%s is at attempt %d, want %d", r.ID, r.Attempts, n.tries)
		}
	}
}

// pick gives one of the notices, or of those that have not ended; there may be none.
func (w *outboxWalk) pick(t *rapid.T, alive bool) *modelNotice {
	var some []*modelNotice
	for _, n := range w.all {
		if !alive || n.state != wflo.NoticeDead {
			some = append(some, n)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(t, "which")]
}

// end tells the outbox what became of a notice, whoever has it.
func (w *outboxWalk) end(t *rapid.T) {
	n := w.pick(t, true) // what is dead is under way with nobody
	if n == nil {
		return
	}
	switch how := rapid.SampledFrom([]string{"delivered", "dead", "now", "later"}).Draw(t, "how"); how {
	case "delivered":
		w.must(t, w.f.NoticeDelivered(t.Context(), n.ID, ""))
		n.state = wflo.NoticeDelivered
	case "dead":
		w.must(t, w.f.NoticeFailed(t.Context(), n.ID, "no", time.Time{}))
		if n.state == wflo.NoticePending {
			n.state = wflo.NoticeDead
		}
	case "now":
		w.must(t, w.f.NoticeFailed(t.Context(), n.ID, "no", time.Now().Add(-time.Hour)))
		n.leased, n.later = false, false
	default:
		w.must(t, w.f.NoticeFailed(t.Context(), n.ID, "no", time.Now().Add(time.Hour)))
		n.leased, n.later = false, true
	}
}

func (w *outboxWalk) retry(t *rapid.T) {
	n := w.pick(t, false)
	if n == nil {
		return
	}
	err := w.f.RetryNotice(t.Context(), n.ID)
	if n.state != wflo.NoticeDead {
		if wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Fatalf("retry of %s, which is %s, gave %v", n.ID, n.state, err)
		}
		return
	}
	w.must(t, err)
	n.state, n.leased, n.later = wflo.NoticePending, false, false
}

func (w *outboxWalk) check(t *rapid.T) {
	got, err := w.f.ListNotices(t.Context(), "", len(w.all))
	w.must(t, err)
	if len(got) != len(w.all) {
		t.Fatalf("there are %d notices, want %d", len(got), len(w.all))
	}
	for i, r := range got {
		n := w.all[len(w.all)-1-i]
		if r.ID != n.ID || r.State != n.state || r.Attempts != n.tries {
			t.Fatalf("notice is %s %s %d, want %s %s %d", r.ID, r.State, r.Attempts, n.ID, n.state, n.tries)
		}
	}
}
