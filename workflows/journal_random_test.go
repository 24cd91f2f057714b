package workflows_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go/workflows"
)

// move is one thing that a drawn program does.
type move struct {
	Kind string
	N    int
	Body []move // of a step or a branch
}

func moves(depth int) *rapid.Generator[[]move] {
	return rapid.Custom(func(t *rapid.T) []move {
		kinds := []string{"do", "sleep", "side", "race", "relay"}
		if depth > 0 {
			kinds = append(kinds, "step", "keyed", "branches", "both")
		}
		var all []move
		for range rapid.IntRange(0, 4).Draw(t, "length") {
			m := move{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), N: rapid.IntRange(0, 3).Draw(t, "n")}
			if m.Kind == "step" || m.Kind == "keyed" || m.Kind == "branches" {
				m.Body = moves(depth-1).Draw(t, "body")
			}
			all = append(all, m)
		}
		return all
	})
}

// program runs drawn moves, and notes what the code sees. It takes a snapshot when it has
// seen so many things, and goes back when it has ended.
type program struct {
	saw   []string
	snap  int
	taken bool
	// kept is what had been seen at the snapshot.
	kept []string
}

func (g *program) see(ctx workflow.Context, what string) error {
	g.saw = append(g.saw, what)
	if g.taken || len(g.saw) <= g.snap {
		return nil
	}
	g.taken, g.kept = true, slices.Clone(g.saw)
	_, err := workflows.TakeSnapshot(ctx, "here")
	return err
}

func (g *program) run(ctx workflow.Context, all []move) error {
	for _, m := range all {
		if err := g.one(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (g *program) one(ctx workflow.Context, m move) error {
	switch m.Kind {
	case "do":
		out, err := must(ctx, fmt.Sprint("do ", m.N))
		return errors.Join(err, g.see(ctx, out))
	case "sleep":
		err := workflow.Sleep(ctx, time.Duration(m.N)*time.Minute)
		return errors.Join(err, g.see(ctx, "slept"))
	case "side":
		var out string
		err := workflow.SideEffect(ctx, func(workflow.Context) any { return drawn() }).Get(&out)
		return errors.Join(err, g.see(ctx, out))
	case "race":
		pick, out := workflow.NewSelector(ctx), ""
		pick.AddFuture(workflow.NewTimer(ctx, time.Duration(m.N)*time.Millisecond), func(workflow.Future) { out = "timer" })
		pick.AddFuture(call(ctx, "race"), func(f workflow.Future) { _ = f.Get(ctx, &out) })
		pick.Select(ctx)
		return g.see(ctx, out)
	case "relay":
		return g.relay(ctx, 3*m.N)
	case "step", "keyed":
		opts := workflows.StepOptions{}
		if m.Kind == "keyed" {
			opts.Key = fmt.Sprint("key-", m.N)
		}
		out, err := workflows.Step(ctx, fmt.Sprint("step ", m.N), opts, func(ctx workflow.Context) (string, error) {
			inner := &program{taken: true} // what is seen within a finished step is not seen again
			if err := inner.run(ctx, m.Body); err != nil {
				return "", err
			}
			return fmt.Sprint(inner.saw), nil
		})
		return errors.Join(err, g.see(ctx, out))
	case "branches":
		all, first := workflow.NewWaitGroup(ctx), error(nil)
		for i := range m.N {
			all.Add(1)
			workflow.Go(ctx, func(ctx workflow.Context) {
				defer all.Done()
				if err := g.run(ctx, append([]move{{Kind: "do", N: i}}, m.Body...)); err != nil {
					first = err
				}
			})
		}
		all.Wait(ctx)
		return first
	default: // both: two calls at once, the later one awaited first
		a, b := call(ctx, "a"), call(ctx, "b")
		var x, y string
		err := errors.Join(b.Get(ctx, &x), a.Get(ctx, &y))
		return errors.Join(err, g.see(ctx, x), g.see(ctx, y))
	}
}

// relay passes an answer on from one branch to the one before it, so many times. Nothing of
// that is seen by the journal.
func (g *program) relay(ctx workflow.Context, hops int) error {
	first := workflow.NewBufferedChannel(ctx, 1)
	last := first
	for range hops {
		to, from := last, workflow.NewBufferedChannel(ctx, 1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			var out string
			from.Receive(ctx, &out)
			to.Send(ctx, out)
		})
		last = from
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		out, _ := must(ctx, "relay")
		last.Send(ctx, out)
	})
	var out string
	first.Receive(ctx, &out)
	return g.see(ctx, out)
}

var draws int

// drawn is another text each time.
func drawn() string {
	draws++
	return fmt.Sprint("drawn ", draws)
}

// drawPrograms lets rapid draw fewer programs than it would by default, because each is a
// run and a restore.
func drawPrograms(t *testing.T) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if checks == nil || checks.Value.String() != checks.DefValue {
		return
	}
	if err := checks.Value.Set("40"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = checks.Value.Set(checks.DefValue) })
}

// TestRandomProgramsGoBack: whatever a program does, and wherever it is saved, the code
// that is restored sees what it had seen, in the same order, and goes on from there.
//
// It draws 40 programs; -rapid.checks draws as many as it says.
func TestRandomProgramsGoBack(t *testing.T) {
	drawPrograms(t)
	rapid.Check(t, func(rt *rapid.T) {
		all := moves(2).Draw(rt, "program")
		p := newPast(t)
		snap := rapid.IntRange(0, 8).Draw(rt, "snapshot after")
		var tries []*program
		err := p.run(func(ctx workflow.Context) error {
			g := &program{snap: snap}
			tries = append(tries, g)
			if err := g.run(ctx, all); err != nil {
				return err
			}
			if g.taken && len(tries) == 1 {
				return workflows.Restore(ctx, "here")
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
		if !tries[0].taken {
			return
		}
		if len(tries) != 2 || len(tries[1].saw) != len(tries[0].saw) {
			rt.Fatalf("%d tries, saw %v and then %v", len(tries), tries[0].saw, tries[len(tries)-1].saw)
		}
		kept := tries[0].kept
		if !slices.Equal(tries[1].saw[:len(kept)], kept) {
			rt.Fatalf("saw %v, and after the restore %v", kept, tries[1].saw)
		}
	})
}
