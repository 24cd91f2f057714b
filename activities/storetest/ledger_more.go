package storetest

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
)

// byHand has a person make the settlement.
func byHand(s wflo.Settlement) wflo.Settlement {
	s.By, s.Reason = "ann", "invoice of May: \u2603"
	return s
}

func settleUnknown(b *books) {
	for _, c := range []struct {
		name              string
		actual, overdraft wflo.Money
	}{{"less", 10, 0}, {"same", 30, 0}, {"more", 35, 5}, {"nothing", 0, 0}} {
		b.Run(c.name, func(t *testing.T) {
			b := &books{T: t, Ledger: b.Ledger}
			r := ask(c.name, 1, 30, line("x "+c.name, 100))
			r.Run.WorkflowID = c.name
			b.reserve(r)
			b.unknown(c.name, 1)
			b.spend(wflo.Spend{Budget: "x " + c.name, Limit: 100, Spent: 30, Unknown: 30})
			s := byHand(sampleBill(c.name, 1, c.actual))
			b.settle(s)
			again := s
			again.By, again.Reason = "eve", "another reason"
			b.settle(again) // repeating it changes nothing
			b.spend(wflo.Spend{Budget: "x " + c.name, Limit: 100, Spent: c.actual})
			want := []wflo.Entry{
				{Key: r.Key, Attempt: 1, State: wflo.HoldUnknown, Run: r.Run, Provider: "openai", Model: "gpt", Reserved: 30, Amount: 30},
				{Key: r.Key, Attempt: 1, State: wflo.HoldSettled, Run: r.Run, Provider: s.Provider, Model: s.Model, ResponseID: s.ResponseID,
					Usage: s.Usage, Price: s.Price, Reserved: 30, Amount: c.actual - 30, Overdraft: c.overdraft, By: s.By, Reason: s.Reason},
			}
			if diff := cmp.Diff(want, b.entries(r.Run.RootID()), sameEntry); diff != "" {
				b.Errorf("entries (-want +got):\n%s", diff)
			}
			b.balanced("x "+c.name, r.Run.RootID())
			s.Amount++
			if err := b.Settle(b.Context(), s); wflo.CodeOf(err) != wflo.CodeConflict {
				b.Errorf("another amount gave %v", err)
			}
			if h := b.reserve(ask(c.name, 2, 1)); h.State != wflo.HoldSettled || string(h.Outcome) != string(s.Outcome) {
				b.Errorf("next attempt got %+v", h)
			}
		})
	}
}

func settleOverdraft(b *books) {
	r := ask("k", 1, 60, line("x", 100), line("wide", 1000))
	b.reserve(r)
	b.settle(bill("k", 1, 130))
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 130})
	if got := b.entries(run.RootID()); len(got) != 1 || got[0].Amount != 130 || got[0].Reserved != 60 || got[0].Overdraft != 70 {
		b.Errorf("entries: %+v", got)
	}
	if h := b.reserve(r); h.Room != -30 {
		b.Errorf("room is %d, want -30", h.Room)
	}
	b.refused(ask("next", 1, 1, line("wide", 0), line("x", 0)), wflo.CodeBudgetExceeded)
	b.refused(ask("free", 1, 0, line("x", 0)), wflo.CodeBudgetExceeded)
	b.spend(wflo.Spend{Budget: "wide", Limit: 1000, Spent: 130})
}

func settleWithoutHold(b *books) {
	if err := b.Settle(b.Context(), bill("never", 1, 1)); wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
		b.Errorf("settling nothing gave %v", err)
	}
	b.reserve(ask("k", 1, 5, line("x", 10)))
	b.release("k", 1)
	if err := b.Settle(b.Context(), bill("k", 1, 1)); wflo.CodeOf(err) != wflo.CodeConflict || wflo.HintOf(err) == "" {
		b.Errorf("settling a released hold gave %v", err)
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 10})
}

func giveUp(b *books) {
	end := map[string]func(key string){
		"release":     func(key string) { b.release(key, 1) },
		"markUnknown": func(key string) { b.unknown(key, 1) },
	}
	for how, giveUp := range end {
		giveUp("never " + how) // a hold that is not there
		for state, prepare := range map[wflo.HoldState]func(key string){
			wflo.HoldSettled:  func(key string) { b.settle(bill(key, 1, 7)) },
			wflo.HoldReleased: func(key string) { b.release(key, 1) },
			wflo.HoldUnknown:  func(key string) { b.unknown(key, 1) },
		} {
			key := fmt.Sprint(how, " ", state)
			r := ask(key, 1, 30, line(key, 100))
			b.reserve(r)
			prepare(key)
			before, err := b.Spend(b.Context(), key)
			if err != nil {
				b.Fatal(err)
			}
			entries := len(b.entries(run.RootID()))
			giveUp(key)
			b.spend(before)
			if h := b.reserve(r); h.State != state {
				b.Errorf("%s turned %s into %s", how, state, h.State)
			}
			if now := len(b.entries(run.RootID())); now != entries {
				b.Errorf("%s of a hold that is %s added %d entries", how, state, now-entries)
			}
		}
		b.reserve(ask(how, 1, 30, line(how, 100)))
		giveUp(how)
	}
	b.spend(wflo.Spend{Budget: "release", Limit: 100})
	b.spend(wflo.Spend{Budget: "markUnknown", Limit: 100, Spent: 30, Unknown: 30})
}

func spendOfNothing(b *books) {
	for _, id := range []string{"never", "", "a\x00b", "a\xff"} {
		b.spend(wflo.Spend{Budget: id})
		if got := b.entries(id); len(got) != 0 {
			b.Errorf("entries of %q: %+v", id, got)
		}
	}
}

func entriesOfARoot(b *books) {
	child := ask("child", 1, 5, line("x", 0))
	child.Run = wflo.Run{WorkflowID: "child", FirstRunID: "c", Root: run.RootID()}
	stranger := ask("stranger", 1, 5, line("x", 0))
	stranger.Run = wflo.Run{WorkflowID: "stranger", FirstRunID: "s"}
	for i := range 5 {
		r := ask(fmt.Sprint("own", i), 1, 5, line("x", 0))
		b.reserve(r)
		b.settle(bill(string(r.Key), 1, wflo.Money(i)))
	}
	b.reserve(child)
	b.reserve(stranger)
	b.settle(bill("stranger", 1, 1))
	b.settle(bill("child", 1, 2))
	var keys []wflo.EffectKey
	got := b.entries(run.RootID())
	for i, e := range got {
		keys = append(keys, e.Key)
		if i > 0 && e.At.Before(got[i-1].At) {
			b.Errorf("entry %s is older than the one before it", e.Key)
		}
	}
	if diff := cmp.Diff([]wflo.EffectKey{"own0", "own1", "own2", "own3", "own4", "child"}, keys); diff != "" {
		b.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(child.Run, got[5].Run); diff != "" {
		b.Errorf("run of the child (-want +got):\n%s", diff)
	}
	if got := b.entries("stranger/s"); len(got) != 1 || got[0].Key != "stranger" {
		b.Errorf("entries of the stranger: %+v", got)
	}
}

func oddText(b *books) {
	id := `team:'"; DROP TABLE budgets; -- ☃ \ %s $1 ?`
	r := ask(id, 1, 5, line(id, 10), line("Team", 10), line("team", 10), line(" team", 10))
	r.Provider, r.Model = "open\x00ai\xff", `gpt"'`
	r.Run.User, r.Run.Agent = "a\x00b", "☃"
	b.reserve(r)
	if h := b.reserve(r); h.Run.User != r.Run.User || h.Budgets[0].ID != id || h.Model != r.Model {
		b.Errorf("hold came back as %+v", h)
	}
	s := bill(id, 1, 3)
	s.ResponseID, s.Provider = "r\x00\xff", "p\x00"
	s.Outcome = []byte{0, 1, 0xff, 0}
	s.By, s.Reason = "b\x00y", "\xff"
	b.settle(s)
	b.spend(wflo.Spend{Budget: id, Limit: 10, Spent: 3})
	b.spend(wflo.Spend{Budget: "TEAM"})
	if got := b.entries(run.RootID()); len(got) != 1 || got[0].Run.User != r.Run.User || string(got[0].Key) != id {
		b.Errorf("entries: %+v", got)
	}
}

func largestAmounts(b *books) {
	const most = wflo.Money(math.MaxInt64)
	if h := b.reserve(ask("a", 1, most, line("limited", most))); h.Room != 0 {
		b.Errorf("room is %d", h.Room)
	}
	b.refused(ask("b", 1, most, line("limited", 0)), wflo.CodeBudgetExceeded)
	b.reserve(ask("c", 1, most-1, line("free", 0)))
	b.refused(ask("d", 1, 2, line("free", 0)), wflo.CodeInvalid) // the sum is no Money
	b.reserve(ask("e", 1, 1, line("free", 0)))
	// A cost that cannot be counted is an error that changes nothing.
	b.settle(bill("c", 1, most-1))
	if err := b.Settle(b.Context(), bill("e", 1, 2)); !errors.Is(err, wflo.ErrInvalid) {
		b.Errorf("an overflow gave %v", err)
	}
	b.settle(bill("e", 1, 1))
	b.spend(wflo.Spend{Budget: "free", Spent: most})
	b.settle(bill("a", 1, most))
	b.spend(wflo.Spend{Budget: "limited", Limit: most, Spent: most})
}
