package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

func event(chain, id string) wflo.AuditEvent {
	return wflo.AuditEvent{ID: id, Chain: chain, At: noon, Type: wflo.AuditLogin, Actor: "ann", Data: json.RawMessage(`{"n": 1}`)}
}

func (f *files) append(events ...wflo.AuditEvent) {
	f.Helper()
	f.ok("append", f.Append(f.Context(), events...))
}

func (f *files) audit(q wflo.AuditQuery) []wflo.AuditRecord {
	f.Helper()
	records, err := f.ReadAudit(f.Context(), q)
	f.ok("read audit", err)
	return records
}

// recorded wants the chain to have these events in this order, sealed.
func (f *files) recorded(chain string, ids ...string) {
	f.Helper()
	records := f.audit(wflo.AuditQuery{Chain: chain})
	f.sealed(records)
	if diff := cmp.Diff(append([]string{}, ids...), idsOf(records)); diff != "" {
		f.Errorf("chain %s (-want +got):\n%s", chain, diff)
	}
}

func idsOf(records []wflo.AuditRecord) []string {
	ids := []string{}
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

// sealed recomputes a chain from what was read. It is the rule of AuditRecord
// written a second time, so that the suite does not trust what it judges.
func (f *files) sealed(records []wflo.AuditRecord) {
	f.Helper()
	prev := strings.Repeat("0", 64)
	for i, r := range records {
		if r.Seq != int64(i+1) || r.Prev != prev {
			f.Fatalf("record %d of chain %s has seq %d and follows %s, want %s", i+1, r.Chain, r.Seq, r.Prev, prev)
		}
		bare := r
		bare.Prev, bare.Hash = "", ""
		data, err := json.Marshal(bare)
		f.ok("encode", err)
		c, err := wflo.Canonical(data)
		f.ok("canonical form", err)
		sum := sha256.Sum256([]byte(prev + "\n" + string(c)))
		if prev = hex.EncodeToString(sum[:]); r.Hash != prev {
			f.Fatalf("record %d of chain %s has hash %s, what it says has %s", r.Seq, r.Chain, r.Hash, prev)
		}
	}
}

func auditChain(f *files) {
	f.append()
	f.recorded("main")
	f.append(event("main", "a"))
	f.append(event("main", "b"), event("main", "c"))
	f.recorded("main", "a", "b", "c")
}

func auditChainsAreIndependent(f *files) {
	f.append(event("x", "a"), event("y", "b"), event("x", "c"))
	f.append(event("y", "a"), event("X", "a"))
	f.recorded("x", "a", "c")
	f.recorded("y", "b", "a")
	f.recorded("X", "a")
	f.recorded("z")
}

func auditOnce(f *files) {
	f.append(event("x", "a"), event("x", "b"))
	other := event("x", "a")
	other.Actor = "mallory"
	f.append(other, event("x", "c"), event("x", "c"), event("y", "a"))
	f.recorded("x", "a", "b", "c")
	f.recorded("y", "a")
	if got := f.audit(wflo.AuditQuery{Chain: "x"})[0].Actor; got != "ann" {
		f.Errorf("the second writing replaced the first: actor %q", got)
	}
}

func auditAllOrNone(f *files) {
	f.append(event("x", "a"))
	for name, spoil := range map[string]func(*wflo.AuditEvent){
		"no id":          func(e *wflo.AuditEvent) { e.ID = "" },
		"no chain":       func(e *wflo.AuditEvent) { e.Chain = "" },
		"no type":        func(e *wflo.AuditEvent) { e.Type = "" },
		"no JSON":        func(e *wflo.AuditEvent) { e.Data = json.RawMessage(`{"n":`) },
		"two members":    func(e *wflo.AuditEvent) { e.Data = json.RawMessage(`{"n":1,"n":2}`) },
		"text not UTF-8": func(e *wflo.AuditEvent) { e.Actor = "\xff" },
	} {
		bad := event("x", "bad")
		spoil(&bad)
		f.code(name, f.Append(f.Context(), event("x", "b"), bad, event("y", "c")), wflo.CodeInvalid)
	}
	f.recorded("x", "a")
	f.recorded("y")
	f.append(event("x", "b")) // and the chain goes on where it was
	f.recorded("x", "a", "b")
}

func auditOddValues(f *files) {
	e := wflo.AuditEvent{
		ID: "odd/1?<&>", Chain: "Ünïcode chain", At: time.Date(1969, 12, 31, 23, 59, 59, 123_456_789, time.FixedZone("", 3600)),
		Type: wflo.AuditGateRefused, Severity: wflo.SeverityCritical, Actor: "Zoë <b>\u2028\"'\\", Namespace: "ns", WorkflowID: "wf/%_",
		FirstRunID: "f", Step: "g1/refund#2", Gate: "refunds",
		Data: json.RawMessage(` { "z": "\u0000\u001f\ud83d\ude00<&>", "a": 123456789012345678901234567890, "f": 1.50, "e": [ ] } `),
	}
	bare := wflo.AuditEvent{ID: "bare", Chain: e.Chain, Type: wflo.AuditLogin} // without a time
	f.append(e, bare)
	f.recorded(e.Chain, e.ID, "bare")
	got := f.audit(wflo.AuditQuery{Chain: e.Chain})
	e.At = e.At.UTC().Truncate(time.Microsecond)
	e.Data = json.RawMessage("{\"a\":123456789012345678901234567890,\"e\":[],\"f\":1.5,\"z\":\"\\u0000\\u001f\U0001F600<&>\"}")
	if diff := cmp.Diff([]wflo.AuditEvent{e, bare}, []wflo.AuditEvent{got[0].AuditEvent, got[1].AuditEvent}); diff != "" {
		f.Errorf("events (-want +got):\n%s", diff)
	}
	f.append(e)
	f.recorded(e.Chain, e.ID, "bare")
}

// auditQueries reads one trail of two chains, of two workflows, of two types, with
// a minute between events.
func auditQueries(f *files) {
	for i := range 8 {
		e := event([]string{"x", "y"}[i%2], fmt.Sprint(i))
		e.At = noon.Add(time.Duration(i) * time.Minute)
		e.WorkflowID = fmt.Sprint("wf", i/4)
		if i%4 < 2 {
			e.Type = wflo.AuditKeyMade
		}
		f.append(e)
	}
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	for _, c := range []struct {
		q    wflo.AuditQuery
		want string
	}{
		{wflo.AuditQuery{}, "01234567"},
		{wflo.AuditQuery{Latest: true}, "76543210"},
		{wflo.AuditQuery{Latest: true, Limit: 3}, "765"},
		{wflo.AuditQuery{Limit: 3}, "012"},
		{wflo.AuditQuery{Chain: "y"}, "1357"},
		{wflo.AuditQuery{Chain: "y", Latest: true, Limit: 2}, "75"},
		{wflo.AuditQuery{WorkflowID: "wf1"}, "4567"},
		{wflo.AuditQuery{Type: wflo.AuditKeyMade}, "0145"},
		{wflo.AuditQuery{Type: wflo.AuditKeyMade, WorkflowID: "wf1", Chain: "x"}, "4"},
		{wflo.AuditQuery{From: minute(2), To: minute(5)}, "234"},
		{wflo.AuditQuery{From: minute(6)}, "67"},
		{wflo.AuditQuery{To: minute(1).Add(time.Microsecond)}, "01"},
		{wflo.AuditQuery{Chain: "x", After: 2}, "46"},
		{wflo.AuditQuery{Chain: "x", After: 3, Latest: true}, "20"},
		{wflo.AuditQuery{Chain: "none"}, ""},
	} {
		if got := strings.Join(idsOf(f.audit(c.q)), ""); got != c.want {
			f.Errorf("%+v gave %s, want %s", c.q, got, c.want)
		}
	}
	_, err := f.ReadAudit(f.Context(), wflo.AuditQuery{After: 1})
	f.code("After without a chain", err, wflo.CodeInvalid)
}

// auditReadsOn: what is read in pieces is the whole, also where the clocks of those
// who record differ.
func auditReadsOn(f *files) {
	const n = 25
	for i := range n {
		e := event("x", fmt.Sprint(i))
		e.At = noon.Add(time.Duration((i*7)%n) * time.Second)
		f.append(e)
	}
	var all []wflo.AuditRecord
	for after := int64(0); ; {
		page := f.audit(wflo.AuditQuery{Chain: "x", After: after, Limit: 4})
		if len(page) == 0 {
			break
		}
		all, after = append(all, page...), page[len(page)-1].Seq
	}
	f.sealed(all)
	if len(all) != n {
		f.Errorf("the pages have %d records, want %d", len(all), n)
	}
	latest := f.audit(wflo.AuditQuery{Chain: "x", Latest: true})
	slices.Reverse(latest)
	f.sealed(latest)
}

func auditDefaultLimit(f *files) {
	var events []wflo.AuditEvent
	for i := range 1001 {
		events = append(events, event("x", fmt.Sprint(i)))
	}
	f.append(events...)
	if n := len(f.audit(wflo.AuditQuery{Chain: "x"})); n != 1000 {
		f.Errorf("the default limit gave %d records, want 1000", n)
	}
	all := f.audit(wflo.AuditQuery{Chain: "x", Limit: 5000})
	f.sealed(all)
	if len(all) != 1001 {
		f.Errorf("the chain has %d records, want 1001", len(all))
	}
}

func auditHeads(f *files) {
	heads, err := f.AuditHeads(f.Context())
	f.ok("heads", err)
	if len(heads) != 0 {
		f.Errorf("an empty trail has the heads %+v", heads)
	}
	f.append(event("b", "1"), event("a", "1"), event("b", "2"))
	heads, err = f.AuditHeads(f.Context())
	f.ok("heads", err)
	var want []wflo.AuditRecord
	for _, chain := range []string{"a", "b"} {
		last := f.audit(wflo.AuditQuery{Chain: chain, Latest: true, Limit: 1})[0]
		last.Data = nil
		want = append(want, last)
	}
	if diff := cmp.Diff(want, heads); diff != "" {
		f.Errorf("heads (-want +got):\n%s", diff)
	}
}

// raceOfAppends has many writers at two chains, whose batches name them in opposite
// orders, and who repeat what their neighbour writes.
func raceOfAppends(f *files) {
	const writers, batches = 16, 10
	f.race(writers, func(ctx context.Context, racer int) error {
		for i := range batches {
			a, b := "x", "y"
			if racer%2 == 0 {
				a, b = b, a
			}
			id := fmt.Sprint(racer, "-", i)
			if err := f.Append(ctx, event(a, id), event(b, id), event(a, fmt.Sprint("shared", i))); err != nil {
				return err
			}
		}
		return nil
	})
	for _, chain := range []string{"x", "y"} {
		records := f.audit(wflo.AuditQuery{Chain: chain})
		f.sealed(records)
		ids := idsOf(records)
		slices.Sort(ids)
		if want := writers*batches + batches; len(ids) != want || len(slices.Compact(ids)) != want {
			f.Errorf("chain %s has %d records, want %d, each once", chain, len(ids), want)
		}
		for racer := range writers { // each writer's own come in its order
			last := -1
			for _, r := range records {
				var who, n int
				if _, err := fmt.Sscanf(r.ID, "%d-%d", &who, &n); err == nil && who == racer {
					if n != last+1 {
						f.Fatalf("writer %d's batch %d comes after %d", racer, n, last)
					}
					last = n
				}
			}
		}
	}
}
