//go:build integration

package survive

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// awayFor is how long Temporal cannot be reached.
const awayFor = 3 * time.Minute

// spent is the processor time that a process has had, in ticks of 10 milliseconds, and the
// memory that it has.
func spent(t *testing.T, pid int) (ticks int, memory string) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatalf("the worker is gone: %v", err)
	}
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			memory = strings.TrimSpace(rest)
		}
	}
	return ticks, memory
}

// Temporal cannot be reached for minutes while agents work. The worker stays, waits, and
// goes on by itself when it can: nobody starts it again.
func TestTemporalIsAwayForMinutes(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	w := newWorld(t, s)
	worker := w.worker(nil)
	ctx, cancel := context.WithCancel(t.Context())
	var aside sync.WaitGroup
	aside.Go(func() { w.decide(ctx) })
	await(t, "a worker", func() bool { api, _ := w.addresses(); return api != "" })
	var ids []string
	for n, k := range kinds {
		ids = append(ids, w.start(order{Kind: k, Calls: 3, Pause: time.Second}, n))
	}
	await(t, "a call of a model", func() bool { return len(invoices(w.vendor)) > 0 })
	s.temporal.kill()
	before, had := spent(t, worker.Cmd.Process.Pid)
	lines := strings.Count(worker.Said(), "\n")
	<-time.After(awayFor)
	after, has := spent(t, worker.Cmd.Process.Pid)
	t.Logf("in %s without Temporal a worker used %d ms of processor time and wrote %d lines; its memory was %s and is %s",
		awayFor, 10*(after-before), strings.Count(worker.Said(), "\n")-lines, had, has)
	s.temporal.again()
	for n, id := range ids {
		w.ended(id, kinds[n])
	}
	t.Logf("\n%s", w.settles(w.patience, nil))
	if len(w.workers) != 1 {
		t.Errorf("there were %d workers, want the one", len(w.workers))
	}
	cancel()
	aside.Wait()
}
