package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/wflo-ai/wflo-go"
)

const crowd = 256

// raceOfACrowd lets 256 callers fight for budgets of all scopes.
func raceOfACrowd(b *books) {
	const limit = 100 * wflo.Cent
	each := map[string]wflo.Money{"org:acme": limit, "team:*": limit / 2, "user:*": limit / 20, "model:openai/gpt": limit, "tag:*": limit, "agent:*": limit / 4}
	for id, most := range each {
		r := rule(id, most)
		if id == "org:acme" || id == "team:*" {
			r.Period, r.TimeZone = wflo.PeriodDaily, noonZone()
		}
		b.set(r)
	}
	var admitted, refused atomic.Int64
	stop := b.watch("org:acme", "team:t0", "team:t1", "user:u3", "agent:a1", "tag:k=2")
	b.race(crowd, func(ctx context.Context, racer int, dice *rand.Rand) error {
		for round := range 4 {
			scopes := []string{"org:acme", fmt.Sprint("team:t", racer%3), fmt.Sprint("user:u", racer%40), "model:openai/gpt",
				fmt.Sprint("tag:k=", racer%5), fmt.Sprint("agent:a", racer%2)}
			dice.Shuffle(len(scopes), func(i, j int) { scopes[i], scopes[j] = scopes[j], scopes[i] })
			r := in(ask(fmt.Sprintf("%d.%d", racer, round), 1, 1+wflo.Money(dice.Int64N(int64(limit)/50)), line(fmt.Sprint("run:", racer), limit/100)), scopes...)
			r.Least = r.Amount / wflo.Money(1+dice.IntN(3))
			switch _, err := b.lifecycle(ctx, r, dice); {
			case errors.Is(err, wflo.ErrBudgetExceeded):
				refused.Add(1)
			case err != nil:
				return err
			default:
				admitted.Add(1)
			}
		}
		return nil
	})
	stop()
	b.Logf("%d admitted, %d refused", admitted.Load(), refused.Load())
	if admitted.Load() == 0 || refused.Load() == 0 {
		b.Error("the race never came to a limit")
	}
	b.booksAgree(run.RootID(), []string{"org:acme", "team:t0", "team:t1", "team:t2", "user:u0", "user:u39", "model:openai/gpt", "tag:k=4", "agent:a0", "agent:a1"})
}

// booksAgree wants every budget to have spent what its entries and its report
// say, and nothing reserved.
func (b *books) booksAgree(root string, budgets []string) {
	b.Helper()
	want := map[string]wflo.Money{}
	for _, e := range b.entries(root) {
		for _, scope := range e.Scopes {
			want[scope] += e.Amount
		}
	}
	for _, id := range budgets {
		got := b.read(id)
		report := b.total(wflo.CostQuery{Scopes: []string{id}})
		if got.Spent != want[id] || got.Reserved != 0 || report.Spent != want[id] || report.Reserved != 0 {
			b.Errorf("%s spent %s and reserves %s, its entries sum up to %s, its report to %s", id, got.Spent, got.Reserved, want[id], report.Spent)
		}
		if got.Limit > 0 && got.Spent > got.Limit {
			b.Errorf("%s is over: %+v", id, got)
		}
	}
}

// raceInRandomOrders has callers name the same lines and scopes in all orders,
// while operators change the rules: nobody may wait for ever.
func raceInRandomOrders(b *books) {
	ids := []string{"org:acme", "team:a", "team:b", "user:x", "user:y", "tag:z=1", "run:p/q", "model:m/n"}
	b.set(rule("team:*", wflo.USD), rule("user:x", wflo.USD))
	b.race(racers, func(ctx context.Context, racer int, dice *rand.Rand) error {
		for round := range rounds {
			order := dice.Perm(len(ids))
			r := ask(fmt.Sprintf("%d.%d", racer, round), 1, 3)
			for i, n := range order {
				if i < 4 {
					r.Scopes = append(r.Scopes, ids[n])
				} else {
					r.Budgets = append(r.Budgets, line(fmt.Sprint("line ", ids[n]), 0))
				}
			}
			if _, err := b.Reserve(ctx, r); err != nil {
				return err
			}
			if err := b.Settle(ctx, bill(string(r.Key), 1, 2)); err != nil {
				return err
			}
			if racer < 4 {
				change := rule(ids[order[0]], wflo.Money(1+round)*wflo.USD)
				if err := b.SetBudget(ctx, change, "ops"); err != nil {
					return err
				}
				if err := b.RemoveBudget(ctx, change.ID()); err != nil && wflo.CodeOf(err) != wflo.CodeInvalid {
					return err
				}
			}
		}
		return nil
	})
	if got := b.total(wflo.CostQuery{}); got.Calls != racers*rounds || got.Spent != 2*racers*rounds || got.Reserved != 0 {
		b.Errorf("total is %+v", got)
	}
	var lines wflo.Money
	for _, id := range ids {
		s := b.read("line " + id)
		lines += s.Spent
		if s.Reserved != 0 {
			b.Errorf("%s reserves %s", s.Budget, s.Reserved)
		}
	}
	if want := wflo.Money(2 * racers * rounds * 4); lines != want {
		b.Errorf("the lines spent %s, want %s", lines, want)
	}
}

// refusalsHurtNobody: calls that are refused, contradict themselves or are
// nonsense come together with good ones, which must not notice.
func refusalsHurtNobody(b *books) {
	b.set(rule("user:poor", 1), rule("org:acme", crowd*10))
	b.reserve(ask("taken", 1, 5))
	b.reserve(ask("huge", 1, 1<<62, line("flood", 0)))
	want := map[int]wflo.Code{1: wflo.CodeBudgetExceeded, 2: wflo.CodeConflict, 3: wflo.CodeInvalid, 4: wflo.CodeInvalid}
	b.race(crowd, func(ctx context.Context, racer int, _ *rand.Rand) error {
		for round := range 4 {
			key := fmt.Sprintf("%d.%d", racer, round)
			r := in(ask(key, 1, 2, line("x", 0)), "org:acme")
			switch (racer + round) % 5 {
			case 1:
				r.Scopes = append(r.Scopes, "user:poor")
			case 2:
				r.Key, r.Amount = "taken", 6
			case 3: // more than a sum can hold, which the database finds out
				r.Amount, r.Budgets, r.Scopes = 1<<62, []wflo.BudgetLine{line("flood", 0)}, nil
			case 4:
				r.Amount = -1
			}
			_, err := b.Reserve(ctx, r)
			if wflo.CodeOf(err) != want[(racer+round)%5] {
				return fmt.Errorf("kind %d gave %w", (racer+round)%5, err)
			}
			if err != nil {
				continue
			}
			if err := b.Settle(ctx, bill(key, 1, 1)); err != nil {
				return err
			}
			// Settlements contradict themselves in the crowd as well.
			if err := b.Settle(ctx, bill(key, 1, 2)); wflo.CodeOf(err) != wflo.CodeConflict {
				return fmt.Errorf("another amount gave %w", err)
			}
		}
		return nil
	})
	var good wflo.Money
	for racer := range crowd {
		for round := range 4 {
			if (racer+round)%5 == 0 {
				good++
			}
		}
	}
	b.sums("x", 0, good, 0)
	b.sums("org:acme", crowd*10, good, 0)
	b.sums("user:poor", 1, 0, 0)
	b.sums("flood", 0, 0, 1<<62)
	b.balanced("x", run.RootID())
}
