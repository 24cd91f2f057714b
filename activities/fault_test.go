package activities_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/pricing"
)

// ill is a ledger whose server is ill for so many calls of a kind. What it says has no
// code, like everything that a database says of itself.
type ill struct {
	*book
	mu              sync.Mutex
	reserve, settle int
	done            bool // the write is made, and its answer is lost
}

var errIll = errors.New("could not extend file: No space left on device (SQLSTATE 53100)")

func (i *ill) fails(n *int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	*n--
	return *n >= 0
}

func (i *ill) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	if !i.fails(&i.reserve) {
		return i.book.Reserve(ctx, r)
	}
	if i.done {
		if _, err := i.book.Reserve(ctx, r); err != nil {
			return wflo.Hold{}, err
		}
		return i.book.Reserve(ctx, r) // as the ledger asks again
	}
	return wflo.Hold{}, errIll
}

func (i *ill) Settle(ctx context.Context, s wflo.Settlement) error {
	if !i.fails(&i.settle) {
		return i.book.Settle(ctx, s)
	}
	return errIll
}

// TestLedgerThatIsIll: before the call, nothing is paid for and the call is worth another
// try, because what a database says of itself has no code; after it, what was paid is booked when the ledger is well again.
func TestLedgerThatIsIll(t *testing.T) {
	b := newBench(t, wflo.USD)
	ledger := &ill{book: b.ledger, reserve: 2}
	b.llm.Ledger = ledger
	for range 2 {
		if _, err := b.chat(ask("hi")); !errors.Is(err, errIll) || wflo.CodeOf(err) != "" || b.vendor.calls() != 0 {
			t.Errorf("%v, %d calls; want none, and another try", err, b.vendor.calls())
		}
	}
	ledger.settle = 2
	reply, err := b.chat(ask("hi"))
	if err != nil || b.vendor.calls() != 1 {
		t.Fatalf("%v, %d calls", err, b.vendor.calls())
	}
	if s := b.spend(); s.Spent != reply.Cost || s.Reserved != 0 || s.Unknown != 0 {
		t.Errorf("spend %+v, the call cost %s", s, reply.Cost)
	}
}

// TestReservationWhoseAnswerIsLost cannot know whose hold it finds: it is charged in full
// and flagged, as that of a worker that died, and the vendor is called once.
func TestReservationWhoseAnswerIsLost(t *testing.T) {
	b := newBench(t, wflo.USD)
	b.llm.Ledger = &ill{book: b.ledger, reserve: 1, done: true}
	reply, err := b.chat(ask("hi"))
	if err != nil || b.vendor.calls() != 1 {
		t.Fatalf("%v, %d calls", err, b.vendor.calls())
	}
	if s := b.spend(); s.Unknown == 0 || s.Spent != s.Unknown+reply.Cost || s.Reserved != 0 {
		t.Errorf("spend %+v, the call cost %s", s, reply.Cost)
	}
}

// changing are prices that are others from some moment on.
type changing struct {
	mu sync.Mutex
	activities.Prices
}

func (c *changing) now() activities.Prices {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Prices
}

func (c *changing) become(p activities.Prices) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Prices = p
}

func (c *changing) Find(provider, model string, at time.Time, tokens int64) (wflo.Price, error) {
	return c.now().Find(provider, model, at, tokens)
}

func (c *changing) FindWorst(provider, model string, at time.Time, bound int64) (wflo.Price, error) {
	return c.now().FindWorst(provider, model, at, bound)
}

// TestPricesChangeDuringACall: what a call cost is what the rates say when it is booked,
// and they are in the books with it; where they do not know the model any more, all that
// was held is charged.
func TestPricesChangeDuringACall(t *testing.T) {
	book := func(model string) activities.Prices {
		prices, err := pricing.Parse(strings.NewReader(`{"version": 1, "currency": "USD", "models": [
			{"provider": "openai", "id": "` + model + `", "mode": "chat", "status": "current",
			"rates": [{"per_mtok": {"input": "300", "output": "500"}}]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return prices
	}
	for _, tt := range []struct {
		name string
		then activities.Prices
		cost wflo.Money
	}{
		{"dearer", book("gpt-5.4-mini"), 550 * wflo.USD / 1000}, // 1,000 tokens in, 500 out
		{"gone", book("another"), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, wflo.USD)
			h := newHeard()
			prices := &changing{Prices: pricing.Default()}
			b.llm.Prices, b.llm.Observer = prices, h
			b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
				prices.become(tt.then)
				return answered(p)
			}
			reply, err := b.chat(ask("hi"))
			s, held := b.spend(), b.ledger.reserved[0].Amount
			if s.Reserved != 0 || b.vendor.calls() != 1 {
				t.Errorf("spend %+v after %d calls", s, b.vendor.calls())
			}
			if tt.cost == 0 {
				if !errors.Is(err, wflo.ErrUnknownModel) || s.Unknown != held || s.Spent != held {
					t.Errorf("%v, spend %+v; want all of %s charged", err, s, held)
				}
				return
			}
			booked := b.ledger.settled[0]
			if err != nil || reply.Cost != tt.cost || s.Spent != tt.cost || booked.Amount != tt.cost || h.overdraft != tt.cost-held {
				t.Errorf("%v: cost %s, want %s; spend %+v, overdraft %s of %s", err, reply.Cost, tt.cost, s, h.overdraft, held)
			}
			if got := pricing.Cost(booked.Price, booked.Usage); got != tt.cost {
				t.Errorf("by the rates in the books it cost %s, want %s", got, tt.cost)
			}
		})
	}
}
