package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
)

// maxBatch bounds the calls of one transaction, and with them how long a budget
// that everybody shares is locked.
const maxBatch = 128

// flights is how many batches are sent at the same time. A second one would wait
// for the first wherever they share a budget.
const flights = 1

var errClosed = errors.New("the ledger is closed")

// call is one call that waits for its batch; one of its kinds is set.
type call struct {
	key     wflo.EffectKey
	reserve *reserveCall
	settle  *settleCall
	giveUp  *giveUpCall
	save    *saveCall

	ctx    context.Context
	group  *batch      // that it is in, once it is taken
	answer chan result // has room for one
}

type reserveCall struct {
	wflo.Reservation
	budgets, run string // json
}

type settleCall struct {
	wflo.Settlement
	usage, price string // json
}

type giveUpCall struct {
	attempt int
	charge  bool
}

type saveCall struct {
	wflo.Saving
	run, usage, price string // json
}

type result struct {
	answer answer
	err    error
}

// answer is a row of what the function batch returns; most of it may be NULL.
type answer struct {
	verdict  string
	fresh    bool
	granted  *int64
	at       *time.Time
	room     *int64
	refused  *string
	limit    *int64
	spent    *int64
	reserved *int64
	exceeded *string
	ends     *time.Time
	hold     storedHold
}

// batcher groups the calls of one worker, so that the commit that each needs is
// one for all that wait for it, and a budget that they share is locked once and
// not once for each. Nobody waits for company: a call that finds no batch in
// flight is sent at once, and what arrives meanwhile goes together.
type batcher struct {
	send func(context.Context, []*call) error

	mu      sync.Mutex
	waiting []*call
	flying  int
	closed  bool
	ended   sync.WaitGroup
}

// batch is what is in flight. It is given up when all who wait for it have.
type batch struct {
	left   atomic.Int64
	cancel context.CancelFunc
}

// do makes one call in the company of others. A caller whose context ends leaves;
// the call may be made all the same, like any whose answer was lost.
func (b *batcher) do(ctx context.Context, c *call) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	c.ctx, c.answer = ctx, make(chan result, 1)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return answer{}, errClosed
	}
	b.waiting = append(b.waiting, c)
	if b.flying < flights {
		b.flying++
		b.ended.Go(b.fly)
	}
	b.mu.Unlock()
	select {
	case r := <-c.answer:
		return r.answer, r.err
	case <-ctx.Done():
		b.leave(c)
		return answer{}, ctx.Err()
	}
}

// leave says that nobody waits for the call any more.
func (b *batcher) leave(c *call) {
	b.mu.Lock()
	group := c.group
	b.mu.Unlock()
	if group != nil && group.left.Add(-1) == 0 {
		group.cancel()
	}
}

// fly sends batches until nothing waits.
func (b *batcher) fly() {
	for {
		ctx, cancel := context.WithCancel(context.Background())
		calls := b.take(cancel)
		if len(calls) == 0 {
			cancel()
			return
		}
		if err := b.send(ctx, calls); err != nil {
			for _, c := range calls {
				c.answer <- result{err: err}
			}
		}
		cancel()
	}
}

// take picks the next batch, the oldest calls first. A key is in it once, so
// that the order of calls about one effect is that of the batches. Without any
// call the flight is over.
func (b *batcher) take(cancel context.CancelFunc) []*call {
	b.mu.Lock()
	defer b.mu.Unlock()
	group := &batch{cancel: cancel}
	taken, keys := make([]*call, 0, min(len(b.waiting), maxBatch)), make(map[wflo.EffectKey]bool)
	rest := b.waiting[:0]
	for _, c := range b.waiting {
		switch {
		case c.ctx.Err() != nil: // it has left
		case len(taken) == maxBatch || keys[c.key]:
			rest = append(rest, c)
		default:
			keys[c.key], c.group = true, group
			taken = append(taken, c)
		}
	}
	clear(b.waiting[len(rest):])
	b.waiting = rest
	group.left.Store(int64(len(taken)))
	if len(taken) == 0 {
		b.flying--
	}
	return taken
}

// close waits for all calls.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.ended.Wait()
}

// sendBatch sends the calls and answers them. What the database refuses is made
// call by call, because the fault of one must not be that of the others.
func (l *Ledger) sendBatch(ctx context.Context, calls []*call) error {
	answers, err := l.roundTrip(ctx, calls)
	var refused *pgconn.PgError
	if len(calls) > 1 && (errors.As(err, &refused) || wflo.CodeOf(err) != "") && ctx.Err() == nil {
		for _, c := range calls {
			if err := l.sendBatch(ctx, []*call{c}); err != nil {
				c.answer <- result{err: err}
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	for i, c := range calls {
		c.answer <- result{answer: answers[i]}
	}
	return nil
}

// roundTrip makes the calls in one transaction, all or none, and gives the
// answers in their order.
func (l *Ledger) roundTrip(ctx context.Context, calls []*call) ([]answer, error) {
	args, order := arguments(calls)
	var answers []answer
	err := l.call(ctx, func() error {
		answers = make([]answer, len(calls))
		got := 0
		rows, err := l.pool.Query(ctx, l.sql.batch, args...)
		if err != nil {
			return err
		}
		var item int
		var a answer
		to := append([]any{&item, &a.verdict, &a.fresh, &a.granted, &a.at, &a.room, &a.refused, &a.limit, &a.spent, &a.reserved,
			&a.exceeded, &a.ends}, a.hold.columns()...)
		_, err = pgx.ForEachRow(rows, to, func() error {
			if item < 1 || item > len(order) {
				return fmt.Errorf("answer to call %d of %d", item, len(order))
			}
			answers[order[item-1]] = a
			got++
			return nil
		})
		if err == nil && got != len(calls) {
			err = fmt.Errorf("%d answers to %d calls", got, len(calls))
		}
		return err
	})
	return answers, err
}
