package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wflo-ai/wflo-go"
)

const (
	racers = 64
	rounds = 8
	// patience is far more than any of the races needs; a deadlock takes longer.
	patience = 2 * time.Minute
)

// race runs fn for each racer at the same time and waits for all. The dice's
// seed is new each time and in the test's log.
func (b *books) race(n int, fn func(ctx context.Context, racer int, dice *rand.Rand) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	seed := rand.Uint64()
	b.Logf("seed %d", seed)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if err := fn(ctx, i, rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
				b.Errorf("racer %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
}

// watch reads the budgets over and over until the returned function is called,
// and complains when one is over its limit at any time.
func (b *books) watch(budgets ...string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for _, id := range budgets {
				s, err := b.Spend(b.Context(), id)
				if err != nil {
					b.Errorf("watch %s: %v", id, err)
					return
				}
				if s.Limit > 0 && s.Spent+s.Reserved > s.Limit || s.Unknown > s.Spent {
					b.Errorf("budget %s is over: %+v", id, s)
					return
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	return func() { close(done); <-ended }
}

func raceOnOneBudget(b *books) {
	const limit = 20 * wflo.USD
	var mu sync.Mutex
	expected := map[string]wflo.Money{}
	var admitted, refused atomic.Int64
	stop := b.watch("org", "team:0", "team:1", "team:2")
	b.race(racers, func(ctx context.Context, racer int, dice *rand.Rand) error {
		for round := range rounds {
			lines := []wflo.BudgetLine{line("org", limit), line(fmt.Sprint("team:", racer%3), limit/2), line(fmt.Sprint("run:", racer), 0)}
			dice.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
			r := ask(fmt.Sprintf("%d.%d", racer, round), 1, 1+wflo.Money(dice.Int64N(int64(wflo.USD))), lines...)
			r.Run = wflo.Run{WorkflowID: fmt.Sprint("w", racer), FirstRunID: "f"}
			spent, err := b.lifecycle(ctx, r, dice)
			if errors.Is(err, wflo.ErrBudgetExceeded) {
				refused.Add(1)
			} else if err != nil {
				return err
			} else {
				admitted.Add(1)
			}
			mu.Lock()
			for _, l := range lines {
				expected[l.ID] += spent
			}
			mu.Unlock()
		}
		return nil
	})
	stop()
	b.Logf("%d admitted, %d refused", admitted.Load(), refused.Load())
	if admitted.Load() == 0 || refused.Load() == 0 {
		b.Error("the race never came to the limit")
	}
	var all wflo.Money
	for racer := range racers {
		for _, e := range b.entries(fmt.Sprintf("w%d/f", racer)) {
			all += e.Amount
		}
	}
	if all != expected["org"] {
		b.Errorf("entries sum up to %s, calls to %s", all, expected["org"])
	}
	for id, want := range expected {
		got, err := b.Spend(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if got.Spent != want || got.Reserved != 0 {
			b.Errorf("budget %s spent %s and reserves %s, want %s and nothing", id, got.Spent, got.Reserved, want)
		}
	}
}

// lifecycle reserves and ends the call in one of the ways that calls end. It
// returns what the call is charged in the end.
func (b *books) lifecycle(ctx context.Context, r wflo.Reservation, dice *rand.Rand) (wflo.Money, error) {
	h, err := b.Reserve(ctx, r)
	if err != nil {
		return 0, err
	}
	s := bill(string(r.Key), 1, wflo.Money(dice.Int64N(int64(h.Granted)+1)))
	switch dice.IntN(6) {
	case 0, 1:
		return s.Amount, b.Settle(ctx, s)
	case 2:
		return 0, b.Release(ctx, r.Key, 1)
	case 3:
		return h.Granted, b.MarkUnknown(ctx, r.Key, 1)
	case 4: // unknown, and found out after all
		return s.Amount, errors.Join(b.MarkUnknown(ctx, r.Key, 1), b.Settle(ctx, s))
	default: // the worker died; the next attempt may be refused
		r.Attempt = 2
		next, err := b.Reserve(ctx, r)
		if err != nil {
			return h.Granted, err
		}
		s.Attempt, s.Amount = 2, min(s.Amount, next.Granted)
		return h.Granted + s.Amount, b.Settle(ctx, s)
	}
}

func raceOnOneKey(b *books) {
	b.race(racers, func(ctx context.Context, _ int, _ *rand.Rand) error {
		h, err := b.Reserve(ctx, ask("k", 1, 10, line("x", 1000), line("y", 0)))
		if err == nil && (h.State == wflo.HoldUnknown || h.State == wflo.HoldReleased) {
			err = fmt.Errorf("hold is %s", h.State)
		}
		return errors.Join(err, b.Settle(ctx, bill("k", 1, 4)))
	})
	b.spend(wflo.Spend{Budget: "x", Limit: 1000, Spent: 4})
	b.spend(wflo.Spend{Budget: "y", Spent: 4})
	if got := b.entries(run.RootID()); len(got) != 1 {
		b.Errorf("%d entries, want one", len(got))
	}
}

func raceInOppositeOrders(b *books) {
	b.race(16, func(ctx context.Context, racer int, _ *rand.Rand) error {
		for round := range 3 * rounds {
			// Every round makes new budgets too: making them must not
			// deadlock either.
			lines := []wflo.BudgetLine{line("a", 0), line(fmt.Sprint("m", round), 0), line("z", 0), line(fmt.Sprint("0", round), 0)}
			if racer%2 == 1 {
				lines[0], lines[1], lines[2], lines[3] = lines[3], lines[2], lines[1], lines[0]
			}
			key := fmt.Sprintf("%d.%d", racer, round)
			_, err := b.Reserve(ctx, ask(key, 1, 2, lines...))
			if err == nil && round%3 == 0 {
				err = b.MarkUnknown(ctx, wflo.EffectKey(key), 1)
			}
			if err := errors.Join(err, b.Settle(ctx, bill(key, 1, 1))); err != nil {
				return err
			}
		}
		return nil
	})
	b.spend(wflo.Spend{Budget: "a", Spent: 16 * 3 * rounds})
	b.spend(wflo.Spend{Budget: "z", Spent: 16 * 3 * rounds})
	b.spend(wflo.Spend{Budget: "m1", Spent: 16})
	b.balanced("a", run.RootID())
}

// raceToMakeBudgets starts callers together whose many budgets do not exist yet,
// each with its own order of lines.
func raceToMakeBudgets(b *books) {
	const callers, budgets = 8, 40
	for round := range rounds {
		b.race(callers, func(ctx context.Context, racer int, dice *rand.Rand) error {
			var lines []wflo.BudgetLine
			for _, n := range dice.Perm(budgets) {
				lines = append(lines, line(fmt.Sprint(round, ".", n), 0))
			}
			_, err := b.Reserve(ctx, ask(fmt.Sprint(round, "/", racer), 1, 1, lines...))
			return err
		})
		b.spend(wflo.Spend{Budget: fmt.Sprint(round, ".", 0), Reserved: callers})
	}
}

// raceOfSettleAndNextAttempt lets the settlement of a slow worker meet the next
// attempt. Whoever comes first, the money is counted once.
func raceOfSettleAndNextAttempt(b *books) {
	var late, inTime atomic.Int64
	const n = 24
	for i := range n {
		key := fmt.Sprint("k", i)
		b.reserve(ask(key, 1, 10, line("x", 0)))
		b.race(2, func(ctx context.Context, racer int, _ *rand.Rand) error {
			if racer == 0 {
				return b.Settle(ctx, bill(key, 1, 7))
			}
			h, err := b.Reserve(ctx, ask(key, 2, 10, line("x", 0)))
			if h.Attempt == 1 {
				inTime.Add(1)
				return err
			}
			late.Add(1)
			return errors.Join(err, b.Release(ctx, wflo.EffectKey(key), 2))
		})
	}
	b.Logf("%d settled in time, %d late", inTime.Load(), late.Load())
	b.spend(wflo.Spend{Budget: "x", Spent: 7 * n})
	b.balanced("x", run.RootID())
	if got, want := len(b.entries(run.RootID())), n+int(late.Load()); got != want {
		b.Errorf("%d entries, want %d", got, want)
	}
}

func cancelled(b *books) {
	b.reserve(ask("k", 1, 5, line("x", 10)))
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	_, reserve := b.Reserve(ctx, ask("new", 1, 1, line("x", 10)))
	_, spend := b.Spend(ctx, "x")
	_, entries := b.Entries(ctx, run.RootID())
	_, list := b.ListBudgets(ctx)
	_, topUp := b.TopUp(ctx, wflo.TopUp{Key: "t", Budget: "x", Amount: 1, By: "ops"})
	_, costs := b.Costs(ctx, wflo.CostQuery{})
	_, open := b.OpenHolds(ctx, 0, 1)
	_, unknown := b.UnknownHolds(ctx, 1)
	_, claim := b.ClaimAlerts(ctx, 1, time.Hour)
	_, alerts := b.ListAlerts(ctx, "", 1)
	for name, err := range map[string]error{
		"Reserve": reserve, "Spend": spend, "Entries": entries, "ListBudgets": list, "TopUp": topUp, "Costs": costs, "OpenHolds": open,
		"UnknownHolds": unknown, "ClaimAlerts": claim, "ListAlerts": alerts, "AlertDone": b.AlertDone(ctx, "a"), "Save": b.Save(ctx, sampleSaving("s", 1, 1)),
		"SetBudget": b.SetBudget(ctx, rule("user:ann", 1), "ops"), "DeclareBudgets": b.DeclareBudgets(ctx, []wflo.Budget{rule("user:ann", 1)}),
		"RemoveBudget": b.RemoveBudget(ctx, "user:ann"),
		"Settle":       b.Settle(ctx, bill("k", 1, 1)), "Release": b.Release(ctx, "k", 1), "MarkUnknown": b.MarkUnknown(ctx, "k", 1),
	} {
		if !errors.Is(err, context.Canceled) {
			b.Errorf("%s gave %v", name, err)
		}
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 10, Reserved: 5})
	if got := b.list(); len(got) != 0 {
		b.Errorf("rules were made: %+v", got)
	}
}

// cancelledHalfWay cancels calls at any moment: each has happened or has not,
// and repeating it, as Temporal does, brings the books in order.
func cancelledHalfWay(b *books) {
	const callers, calls = 8, 40
	var cut atomic.Int64
	b.race(callers, func(ctx context.Context, racer int, dice *rand.Rand) error {
		brief := func(call func(context.Context) error) error {
			ctx, cancel := context.WithTimeout(ctx, time.Duration(dice.IntN(15_000))*time.Microsecond)
			defer cancel()
			err := call(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				cut.Add(1)
				return nil
			}
			return err
		}
		for n := range calls {
			r := ask(fmt.Sprintf("%d.%d", racer, n), 1, 10, line("x", 0), line("y", 100_000))
			reserve := func(ctx context.Context) error { _, err := b.Reserve(ctx, r); return err }
			settle := func(ctx context.Context) error { return b.Settle(ctx, bill(string(r.Key), 1, 3)) }
			for _, call := range []func(context.Context) error{reserve, settle} {
				if err := errors.Join(brief(call), call(ctx)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	b.Logf("%d of %d calls were cut", cut.Load(), 2*callers*calls)
	if cut.Load() == 0 {
		b.Error("no call was cut")
	}
	b.spend(wflo.Spend{Budget: "x", Spent: 3 * callers * calls})
	b.spend(wflo.Spend{Budget: "y", Limit: 100_000, Spent: 3 * callers * calls})
	b.balanced("x", run.RootID())
}
