//go:build integration

package survive

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/survive/invariant"
)

// Hosts are two names of one engine: a worker that knows the second alone takes the first
// for gone.
const (
	firstHost  = "first"
	secondHost = "second"
	everybodys = "unix:///var/run/docker.sock"
)

// play has one agent of each kind work in the world, with workers that break as planned,
// one after the other until everything planned has broken or the agents are done.
func (w *world) play(plan []breaking) *invariant.Report {
	w.t.Helper()
	w.host = firstHost
	ctx, cancel := context.WithCancel(w.t.Context())
	var aside sync.WaitGroup
	aside.Go(func() { w.decide(ctx) })
	aside.Go(func() { w.keepAlive(ctx, plan) })
	await(w.t, "a worker", func() bool { api, _ := w.addresses(); return api != "" })
	var ids []string
	for n, k := range kinds {
		ids = append(ids, w.start(order{Kind: k, Box: k != undoes, Calls: 2}, n))
	}
	for n, id := range ids {
		w.ended(id, kinds[n])
	}
	w.moves(len(kinds))
	r := w.settles(w.patience, nil)
	cancel()
	aside.Wait()
	return r
}

// moves has an agent go on after its host is gone: all workers know another one, which
// has nothing of it. As that is the same engine, its sweep first has to remove the files.
func (w *world) moves(n int) {
	w.t.Helper()
	id := w.start(order{Kind: moves}, n)
	await(w.t, "an agent that was saved", func() bool {
		ctx, cancel := context.WithTimeout(w.t.Context(), 15*time.Second)
		defer cancel()
		var saved bool
		v, err := w.client.QueryWorkflow(ctx, id, "", querySaved)
		return err == nil && v.Get(&saved) == nil && saved
	})
	w.mu.Lock()
	w.host = secondHost
	last := w.workers[len(w.workers)-1]
	w.mu.Unlock()
	last.Kill()
	run, err := w.client.DescribeWorkflowExecution(w.t.Context(), id, "")
	if err != nil {
		w.t.Fatal(err)
	}
	box := id + "/" + run.GetWorkflowExecutionInfo().GetExecution().GetRunId()
	await(w.t, "the end of what the host has", func() bool {
		out, err := exec.Command("docker", "volume", "ls", "-q", "--filter", "label=wflo.box="+box).Output() //nolint:gosec // the words are ours
		return err == nil && len(out) == 0
	})
	await(w.t, "the signal", func() bool { return w.client.SignalWorkflow(w.t.Context(), id, "", signalGo, nil) == nil })
	w.ended(id, moves)
}

// keepAlive has a worker at work until ctx ends: whenever one has died, another one is
// started, with what has not broken yet.
func (w *world) keepAlive(ctx context.Context, plan []breaking) {
	for {
		p := w.worker(plan)
		select {
		case <-ctx.Done():
			return
		case <-p.Ended():
		}
		broken := w.noted("broken ")
		plan = slices.DeleteFunc(slices.Clone(plan), func(b breaking) bool { return slices.Contains(broken, b.String()) })
	}
}

// noted are the notes of workers that begin with a word.
func (w *world) noted(word string) []string {
	data, err := os.ReadFile(w.notes())
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), word); ok && !slices.Contains(all, rest) {
			all = append(all, rest)
		}
	}
	return all
}
