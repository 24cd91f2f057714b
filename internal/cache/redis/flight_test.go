package redis

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/pricing"
)

// oneAnswer is a provider that answers once it may.
type oneAnswer struct {
	may   chan struct{}
	calls atomic.Int64
}

func (*oneAnswer) Name() string { return "openai" }

func (o *oneAnswer) Chat(ctx context.Context, p wflo.Prompt, _ func(string)) (wflo.Reply, error) {
	o.calls.Add(1)
	select {
	case <-o.may:
	case <-ctx.Done():
		return wflo.Reply{}, ctx.Err()
	}
	return wflo.Reply{Text: "hello", Stop: wflo.StopEnd, Provider: "openai", Model: p.Model, Usage: wflo.Usage{Input: 100, Output: 50}}, nil
}

// nobody counts.
type nobody struct{ activities.Observer }

func (nobody) LLMCall(context.Context, string, string, wflo.Usage, wflo.Money) {}
func (nobody) LLMEstimate(context.Context, string, string, int64, int64)       {}
func (nobody) LLMCache(context.Context, string)                                {}

// waiters opens the provider's gate when callers have found another one at work
// so many times.
type waiters struct {
	activities.Cache
	mu   *sync.Mutex
	left *int
	may  chan struct{}
}

func (w waiters) Lock(ctx context.Context, key string, d time.Duration) (activities.Lease, bool, error) {
	l, ok, err := w.Cache.Lock(ctx, key, d)
	if err == nil && !ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		if *w.left--; *w.left == 0 {
			close(w.may)
		}
	}
	return l, ok, err
}

// chat runs the model activity once.
func chat(t *testing.T, llm *activities.LLM, run wflo.Run) (reply wflo.Reply, err error) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	call := func(ctx context.Context) error {
		reply, err = llm.Chat(wflo.WithRun(ctx, run), wflo.Prompt{Model: "gpt-5.4-mini", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "hi"}}})
		return nil
	}
	env.RegisterActivity(call)
	if _, failed := env.ExecuteActivity(call); failed != nil {
		t.Error(failed)
	}
	return reply, err
}

// TestTwoWorkersAskOnce is two workers, each with a client of its own, whose
// activities all want the same: one call is made and paid.
func TestTwoWorkersAskOnce(t *testing.T) {
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "ledger.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	const callers = 24
	prefix, left, mu := ownPrefix(), callers-1, sync.Mutex{}
	vendor := &oneAnswer{may: make(chan struct{})}
	var workers []*activities.LLM
	for range 2 {
		cache := waiters{open(t, Config{URL: ours.url, Prefix: prefix}), &mu, &left, vendor.may}
		workers = append(workers, &activities.LLM{
			Providers: map[string]activities.Provider{"openai": vendor}, Prices: pricing.Default(), Ledger: ledger, Observer: nobody{},
			Cache: cache, CacheTTL: time.Hour,
		})
	}
	run := wflo.Run{Namespace: "n", WorkflowID: "w", FirstRunID: "r", Workflow: "wf"}
	run.Lines = []wflo.BudgetLine{{ID: wflo.RunBudgetID(run.ID()), Limit: wflo.USD}}
	var wg sync.WaitGroup
	var hits atomic.Int64
	for i := range callers {
		wg.Go(func() {
			own := run
			own.Step = fmt.Sprint("s#", i)
			reply, err := chat(t, workers[i%2], own)
			if err != nil || reply.Text != "hello" {
				t.Errorf("%+v, %v", reply, err)
			}
			if reply.Cached {
				hits.Add(1)
			}
		})
	}
	wg.Wait()
	entries, err := ledger.Entries(t.Context(), run.RootID())
	if err != nil {
		t.Fatal(err)
	}
	paid := 0
	for _, e := range entries {
		if e.Amount > 0 {
			paid++
		}
	}
	if vendor.calls.Load() != 1 || hits.Load() != callers-1 || paid != 1 || len(entries) != callers {
		t.Errorf("%d calls, %d hits, %d of %d entries paid", vendor.calls.Load(), hits.Load(), paid, len(entries))
	}
}
