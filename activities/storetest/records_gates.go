package storetest

import (
	order "cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"pgregory.net/rapid"
)

func gatesComeBackAsTheyWere(f *files) {
	_, err := f.Gate(f.Context(), "n")
	f.missing("a gate that is not there", err)
	g := gate("n", 60)
	g.Approval.Reminders = []int{} // which is not the same as nil
	g.Approval.Form = []byte(`{"b":1.5,"a":"<&>"}`)
	g.Org, g.AckedBy, g.LastRefusal = "acme", "ann", "no\x00\u2028"
	g = g.Seal("n")
	g.Votes = []wflo.Decision{g.Decide(wflo.VerdictReject, "bob")}
	g.Decision = &g.Votes[0]
	f.save(g)
	got, err := f.Gate(f.Context(), "n")
	f.ok("read gate", err)
	f.written("gate", got, g)
	if got.ComputeDigest() != g.Digest {
		f.Error("the digest does not recompute from what came back")
	}
	all, err := f.ListGates(f.Context(), activities.GateQuery{})
	f.ok("list gates", err)
	f.written("list", all, []wflo.Gate{g})
}

// gatesNeverGoBack: an older state that arrives late changes nothing; one with the
// same count does, because it may be a retry that says more.
func gatesNeverGoBack(f *files) {
	g := gate("n", 60)
	newer := g
	newer.Changes, newer.AckedBy = 5, "ann"
	f.save(g, newer, g)
	got, err := f.Gate(f.Context(), "n")
	f.ok("read gate", err)
	f.written("gate", got, newer)
	same := newer
	same.Used = true
	f.save(same)
	got, err = f.Gate(f.Context(), "n")
	f.ok("read gate", err)
	f.written("gate", got, same)
	f.save(closed(same, 1), same)
	f.listed(activities.GateQuery{})
}

func gatesByDeadline(f *files) {
	f.save(gate("c", 30), gate("a", 60), gate("b", 60), gate("d", 10))
	f.listed(activities.GateQuery{}, "d", "c", "a", "b")
	later := gate("d", 90) // escalated: it has more time
	later.Changes = 1
	f.save(later)
	f.listed(activities.GateQuery{}, "c", "a", "b", "d")
}

func gatesFilter(f *files) {
	a, b, c := gate("a", 1), gate("b", 2), gate("c", 3)
	a.Org, b.Org = "acme", "other"
	c.WorkflowID, c.Org = "wf2", "acme"
	f.save(a, b, c)
	f.listed(activities.GateQuery{Org: "acme"}, "a", "c")
	f.listed(activities.GateQuery{WorkflowID: "wf"}, "a", "b")
	f.listed(activities.GateQuery{Org: "acme", WorkflowID: "wf2"}, "c")
	f.listed(activities.GateQuery{Org: "ac"})
	f.listed(activities.GateQuery{Org: "a%"})
	f.listed(activities.GateQuery{Org: "' OR 1=1 --"})
}

func asked(g wflo.Gate, approvers ...string) wflo.Gate {
	g.Approval.Approvers = approvers
	return g
}

func gatesByApprover(f *files) {
	levels := asked(gate("d", 4), "eve")
	levels.Approval.Escalation = []wflo.Level{{Approvers: []string{"boss", "group:board"}}}
	factors := asked(gate("e", 5), "eve")
	factors.Approval.Factors = []wflo.Factor{{Approvers: []string{"group:legal", "eve"}}}
	f.save(asked(gate("a", 1), "ann", "group:ops"), asked(gate("b", 2), "bob"), gate("c", 3), levels, factors)
	for _, q := range []struct {
		approvers, want []string
	}{
		{[]string{"ann"}, []string{"a", "c"}},
		{[]string{"group:ops"}, []string{"a", "c"}},
		{[]string{"ops"}, []string{"c"}}, // a user of the group's name is not the group
		{[]string{"bob", "group:ops"}, []string{"a", "b", "c"}},
		{[]string{"ann", "group:ops"}, []string{"a", "c"}}, // once, not twice
		{[]string{"boss"}, []string{"c", "d"}},
		{[]string{"group:board"}, []string{"c", "d"}},
		{[]string{"group:legal"}, []string{"c", "e"}},
		{[]string{"eve"}, []string{"c", "d", "e"}},
		{[]string{"nobody"}, []string{"c"}},
		{[]string{"Ann"}, []string{"c"}},
	} {
		f.listed(activities.GateQuery{Approvers: q.approvers}, q.want...)
	}
	f.listed(activities.GateQuery{Approvers: []string{"eve"}, Limit: 2}, "c", "d")
	f.listed(activities.GateQuery{Approvers: []string{"eve"}, Limit: 2, After: "d"}, "e")
}

func gatesThatChangeTheirApprovers(f *files) {
	g := asked(gate("a", 1), "ann")
	f.save(g)
	next := asked(g, "bob")
	next.Changes = 1
	f.save(next)
	f.listed(activities.GateQuery{Approvers: []string{"ann"}})
	f.listed(activities.GateQuery{Approvers: []string{"bob"}}, "a")
	f.save(g) // the older state brings nobody back
	f.listed(activities.GateQuery{Approvers: []string{"ann"}})
	anybody := asked(next)
	anybody.Changes = 2
	f.save(anybody)
	f.listed(activities.GateQuery{Approvers: []string{"ann"}}, "a")
}

func gatesExpired(f *files) {
	f.save(gate("a", 10), gate("b", 20), closed(gate("c", 5), 5), gate("d", 30))
	f.listed(activities.GateQuery{Expired: noon.Add(20 * time.Minute)}, "a")
	f.listed(activities.GateQuery{Expired: noon.Add(20*time.Minute + time.Microsecond)}, "a", "b")
	f.listed(activities.GateQuery{Expired: noon})
}

func gatesClosed(f *files) {
	f.save(gate("a", 1), closed(gate("b", 2), 7), closed(gate("c", 3), 9), closed(gate("d", 4), 8))
	f.listed(activities.GateQuery{Closed: true}, "c", "d", "b")
	f.listed(activities.GateQuery{Closed: true, Limit: 1, After: "c"}, "d")
	f.listed(activities.GateQuery{}, "a")
}

func gatesPaging(f *files) {
	for i := range 7 {
		f.save(gate(numbered("g", i), 1+i/3)) // three at a time end together
	}
	f.listed(activities.GateQuery{Limit: 3}, "g000000", "g000001", "g000002")
	f.listed(activities.GateQuery{Limit: 3, After: "g000001"}, "g000002", "g000003", "g000004")
	f.save(closed(gate("g000003", 2), 2)) // what was seen closes before one reads on
	f.listed(activities.GateQuery{Limit: 3, After: "g000003"}, "g000004", "g000005", "g000006")
	f.listed(activities.GateQuery{After: "g000006"})
	_, err := f.ListGates(f.Context(), activities.GateQuery{After: "nowhere"})
	f.code("reading on after what is not there", err, wflo.CodeInvalid)
}

// gatesInCrowds saves 10,000 gates and reads them all in pages.
func gatesInCrowds(f *files) {
	const crowd = 10_000
	f.crowd(crowd, 1)
	if n := len(f.list(activities.GateQuery{})); n != 100 {
		f.Errorf("the first page has %d gates, want 100", n)
	}
	seen := map[string]bool{}
	last := time.Time{}
	for after := ""; ; {
		page, err := f.ListGates(f.Context(), activities.GateQuery{After: after, Limit: 999})
		f.ok("list gates", err)
		if len(page) == 0 {
			break
		}
		for _, g := range page {
			if seen[g.Nonce] || g.ExpiresAt.Before(last) {
				f.Fatalf("gate %s comes twice, or out of order", g.Nonce)
			}
			seen[g.Nonce], last, after = true, g.ExpiresAt, g.Nonce
		}
	}
	if len(seen) != crowd {
		f.Errorf("the pages have %d gates, want %d", len(seen), crowd)
	}
	if n := len(f.list(activities.GateQuery{Approvers: []string{"u7"}, Limit: crowd})); n != crowd/100 {
		f.Errorf("u7 is asked at %d gates, want %d", n, crowd/100)
	}
}

// crowd saves so many gates that name one of 100 users and one of 7 groups.
func (f *files) crowd(n, seed int) {
	f.Helper()
	const savers = 16
	dice := rand.New(rand.NewPCG(uint64(seed), 0))
	minutes := dice.Perm(n)
	f.race(savers, func(ctx context.Context, racer int) error {
		for i := racer; i < n; i += savers {
			g := asked(gate(numbered("g", i), 1+minutes[i]/2), fmt.Sprint("u", i%100), fmt.Sprint("group:g", i%7))
			if err := f.SaveGate(ctx, g); err != nil {
				return err
			}
		}
		return nil
	})
}

func gatesSavedInAnyOrder(f *files) {
	const changes = 32
	f.race(changes, func(ctx context.Context, racer int) error {
		g := asked(gate("g", 1), fmt.Sprint("u", racer))
		g.Changes = racer
		return f.SaveGate(ctx, g)
	})
	got, err := f.Gate(f.Context(), "g")
	f.ok("read gate", err)
	if got.Changes != changes-1 {
		f.Errorf("the gate is at change %d, want %d", got.Changes, changes-1)
	}
	f.listed(activities.GateQuery{Approvers: []string{fmt.Sprint("u", changes-1)}}, "g")
	f.listed(activities.GateQuery{Approvers: []string{"u0"}})
}

// gatesModel saves gates at random and compares every list with a sorted slice.
func gatesModel(f *files) {
	walk := 0
	rapid.Check(f.T, func(t *rapid.T) {
		walk++
		org := fmt.Sprint("org", walk) // keeps the walks apart
		kept := map[string]wflo.Gate{}
		names := []string{"ann", "bob", "group:ops"}
		t.Repeat(map[string]func(*rapid.T){
			"save": func(t *rapid.T) {
				n := fmt.Sprint(org, "-", rapid.IntRange(0, 8).Draw(t, "gate"))
				g := asked(gate(n, rapid.IntRange(1, 4).Draw(t, "minutes")), rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID).Draw(t, "approvers")...)
				g.Org, g.Changes = org, rapid.IntRange(0, 5).Draw(t, "changes")
				if rapid.IntRange(0, 3).Draw(t, "closed") == 0 {
					g = closed(g, rapid.IntRange(1, 4).Draw(t, "at"))
				}
				if err := f.SaveGate(t.Context(), g); err != nil {
					t.Fatal(err)
				}
				if old, ok := kept[n]; !ok || old.Changes <= g.Changes {
					kept[n] = g
				}
			},
			"list": func(t *rapid.T) {
				q := activities.GateQuery{Org: org, Closed: rapid.Bool().Draw(t, "closed"), Limit: rapid.IntRange(1, 12).Draw(t, "limit"),
					Approvers: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID).Draw(t, "approvers")}
				want := sifted(kept, q)
				if len(want) > 0 && rapid.Bool().Draw(t, "reads on") {
					seen := rapid.IntRange(0, len(want)-1).Draw(t, "seen")
					q.After, want = want[seen], want[seen+1:]
				}
				want = want[:min(len(want), q.Limit)]
				gates, err := f.ListGates(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				got := []string{}
				for _, g := range gates {
					got = append(got, g.Nonce)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("gates of %+v (-want +got):\n%s", q, diff)
				}
			},
		})
	})
}

// sifted is what a list without Limit and After has, ties by nonce.
func sifted(kept map[string]wflo.Gate, q activities.GateQuery) []string {
	var all []wflo.Gate
	for _, g := range kept {
		who := g.MayDecide()
		fits := len(q.Approvers) == 0 || len(who) == 0 || slices.ContainsFunc(q.Approvers, func(a string) bool { return slices.Contains(who, a) })
		if fits && g.Closed() == q.Closed {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b wflo.Gate) int {
		if q.Closed {
			return order.Or(b.ClosedAt.Compare(a.ClosedAt), order.Compare(a.Nonce, b.Nonce))
		}
		return order.Or(a.ExpiresAt.Compare(b.ExpiresAt), order.Compare(a.Nonce, b.Nonce))
	})
	nonces := []string{}
	for _, g := range all {
		nonces = append(nonces, g.Nonce)
	}
	return nonces
}

func grantIsUsedOnce(f *files) {
	f.save(gate("n", 60))
	for range 3 {
		f.ok("use", f.UseGrant(f.Context(), "n", "first"))
	}
	f.code("another effect", f.UseGrant(f.Context(), "n", "second"), wflo.CodeApprovalExpired)
	f.ok("use of another gate", f.UseGrant(f.Context(), "m", "second"))
	ok, err := f.RevokeGrant(f.Context(), "n", "ann")
	f.ok("revoke", err)
	if ok {
		f.Error("a grant that was used was taken back")
	}
	f.save(closed(gate("n", 60), 1)) // the index of gates has no say in it
	f.ok("use again", f.UseGrant(f.Context(), "n", "first"))
	f.code("another effect", f.UseGrant(f.Context(), "n", "second"), wflo.CodeApprovalExpired)
}

func grantRevoked(f *files) {
	for range 2 {
		ok, err := f.RevokeGrant(f.Context(), "n", "ann")
		f.ok("revoke", err)
		if !ok {
			f.Error("a grant that nobody used could not be taken back")
		}
	}
	f.code("use after the revocation", f.UseGrant(f.Context(), "n", "first"), wflo.CodeApprovalExpired)
	ok, err := f.RevokeGrant(f.Context(), "n", "bob")
	f.ok("revoke", err)
	if !ok {
		f.Error("the refused use took the grant")
	}
}

func grantRefusesNonsense(f *files) {
	f.code("no nonce", f.UseGrant(f.Context(), "", "first"), wflo.CodeInvalid)
	f.code("no effect", f.UseGrant(f.Context(), "n", ""), wflo.CodeInvalid)
	_, err := f.RevokeGrant(f.Context(), "", "ann")
	f.code("no nonce", err, wflo.CodeInvalid)
	ok, err := f.RevokeGrant(f.Context(), "n", "ann")
	f.ok("revoke", err)
	if !ok {
		f.Error("a use that was refused took the grant")
	}
}

const rivals = 32

// raceOfUses has many effects at one grant, each twice: one wins, both times.
func raceOfUses(f *files) {
	for round := range rounds {
		nonce := fmt.Sprint("n", round)
		var won [rivals]atomic.Int32
		f.race(2*rivals, func(ctx context.Context, racer int) error {
			err := f.UseGrant(ctx, nonce, wflo.EffectKey(fmt.Sprint("effect", racer%rivals)))
			if err == nil {
				won[racer%rivals].Add(1)
			} else if wflo.CodeOf(err) != wflo.CodeApprovalExpired {
				return err
			}
			return nil
		})
		winners := 0
		for i := range won {
			if n := won[i].Load(); n == 2 {
				winners++
			} else if n != 0 {
				f.Errorf("effect %d was let through %d times of two", i, n)
			}
		}
		if winners != 1 {
			f.Errorf("%d effects won, want 1", winners)
		}
	}
}

// raceOfUseAndRevocation: either one effect acts and nobody takes the grant back,
// or it is taken back and nobody acts.
func raceOfUseAndRevocation(f *files) {
	for round := range rounds {
		nonce := fmt.Sprint("n", round)
		var used, revoked, kept atomic.Int32
		f.race(rivals, func(ctx context.Context, racer int) error {
			if racer%2 == 0 {
				ok, err := f.RevokeGrant(ctx, nonce, "ann")
				if ok {
					revoked.Add(1)
				} else {
					kept.Add(1)
				}
				return err
			}
			err := f.UseGrant(ctx, nonce, wflo.EffectKey(fmt.Sprint("effect", racer)))
			if err == nil {
				used.Add(1)
			} else if wflo.CodeOf(err) != wflo.CodeApprovalExpired {
				return err
			}
			return nil
		})
		u, r, k := used.Load(), revoked.Load(), kept.Load()
		if !(u == 1 && r == 0 && k == rivals/2) && !(u == 0 && r == rivals/2 && k == 0) {
			f.Errorf("%d effects act, %d revocations count, %d do not", u, r, k)
		}
	}
}
