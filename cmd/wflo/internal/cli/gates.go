package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.temporal.io/api/serviceerror"

	"github.com/wflo-ai/wflo-go"
)

// gateLimit is how many waiting runs are looked at; gateWorkers at once.
const (
	gateLimit   = 500
	gateWorkers = 8
)

// errNoStatus says that a run's worker does not answer wflo's queries.
var errNoStatus = errors.New("the run does not answer wflo's queries")

// status asks a run what it is doing.
func (c *connection) status(ctx context.Context, id string) (wflo.Status, error) {
	var st wflo.Status
	err := c.ask(ctx, id, wflo.QueryStatus, &st)
	return st, err
}

// gates asks a run for its gates, the oldest first.
func (c *connection) gates(ctx context.Context, id string) ([]wflo.Gate, error) {
	var gates []wflo.Gate
	err := c.ask(ctx, id, wflo.QueryGates, &gates)
	return gates, err
}

func (c *connection) ask(ctx context.Context, id, query string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	value, err := c.QueryWorkflow(ctx, id, "", query)
	var failed *serviceerror.QueryFailed
	if errors.As(err, &failed) && strings.Contains(failed.Message, "unknown queryType") {
		return errNoStatus
	}
	if err != nil {
		return err
	}
	if err := value.Get(into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", id, err)
	}
	return nil
}

// openGates collects the open gates of all runs. Runs that do not answer are in
// the error; the gates of the others are returned all the same.
func (c *connection) openGates(ctx context.Context) ([]wflo.Gate, error) {
	runs, err := c.list(ctx, fmt.Sprintf("%s IS NOT NULL AND ExecutionStatus = 'Running'", wflo.AttrGates), gateLimit)
	if err != nil {
		return nil, err
	}
	found := make([][]wflo.Gate, len(runs))
	failures := make([]error, len(runs))
	slots := make(chan struct{}, gateWorkers)
	var wait sync.WaitGroup
	for i, r := range runs {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			gates, err := c.gates(ctx, r.ID)
			if err != nil {
				failures[i] = fmt.Errorf("gates of %s: %w", r.ID, c.explain(err, r.ID))
			}
			found[i] = open(gates)
		})
	}
	wait.Wait()
	gates := slices.Concat(found...)
	slices.SortStableFunc(gates, func(a, b wflo.Gate) int { return a.OpenedAt.Compare(b.OpenedAt) })
	return gates, errors.Join(failures...)
}

func open(gates []wflo.Gate) []wflo.Gate {
	return slices.DeleteFunc(gates, func(g wflo.Gate) bool { return g.Status != wflo.GateOpen })
}

// findGate finds the one open gate that is meant: by its id or its nonce, within a
// run or in all of them, or by the id of a run that has just one. Of a run that is
// named, gates that are over count too where over says so.
func (c *connection) findGate(ctx context.Context, name, run string, over func(wflo.Gate) bool) (wflo.Gate, error) {
	if run != "" {
		all, err := c.gates(ctx, run)
		if err != nil {
			return wflo.Gate{}, c.explain(err, run)
		}
		return pickGate(all, name, run, over)
	}
	gates, err := c.openGates(ctx)
	matches := slices.DeleteFunc(slices.Clone(gates), func(g wflo.Gate) bool { return g.ID != name && g.WorkflowID != name && g.Nonce != name })
	switch {
	case len(matches) == 1:
		return matches[0], nil
	case len(matches) > 1:
		return wflo.Gate{}, Usage("name one: "+decideTargets(matches), "%s fits %d open gates", name, len(matches))
	case err != nil:
		return wflo.Gate{}, err
	}
	// The list lags behind by a moment; a run's own answer does not.
	all, err := c.gates(ctx, name)
	if err != nil {
		return wflo.Gate{}, noSuchGate(name, "")
	}
	return pickGate(all, "", name, over)
}

// pickGate finds a gate among those of one run.
func pickGate(all []wflo.Gate, name, run string, over func(wflo.Gate) bool) (wflo.Gate, error) {
	named := slices.DeleteFunc(slices.Clone(all), func(g wflo.Gate) bool {
		return name != "" && name != run && g.ID != name && g.Nonce != name
	})
	gates := open(slices.Clone(named))
	switch {
	case len(gates) == 1:
		return gates[0], nil
	case len(gates) > 1:
		return wflo.Gate{}, Usage("name one: "+decideTargets(gates), "run %s has %d open gates", run, len(gates))
	case len(named) > 0:
		if last := named[len(named)-1]; !over(last) {
			return wflo.Gate{}, isOver(last)
		}
		return named[len(named)-1], nil
	}
	return wflo.Gate{}, noSuchGate(name, run)
}

// isOver refuses a gate that takes no more decisions.
func isOver(g wflo.Gate) error {
	return &exitError{ExitLate, wflo.Errorf("", "nothing was changed", "gate %s of run %s is closed: %s", g.ID, g.WorkflowID, gateOutcome(g))}
}

func noSuchGate(name, run string) error {
	if run != "" {
		return wflo.Errorf("", "see: wflo status "+run, "run %s has no open gate %s", run, name)
	}
	return wflo.Errorf("", "see: wflo approvals", "no open gate and no run is called %s", name)
}

func decideTargets(gates []wflo.Gate) string {
	var names []string
	for _, g := range gates {
		names = append(names, shellWord(g.ID)+" --run "+shellWord(g.WorkflowID))
	}
	return strings.Join(names, ", ")
}
