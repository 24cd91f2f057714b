//go:build integration

package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// onHost starts runs until one has its box on a host, and gives the others as well.
func onHost(t *testing.T, c client.Client, queue, host string) (run client.WorkflowRun, others []client.WorkflowRun) {
	t.Helper()
	for i := range 16 {
		r, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: fmt.Sprint("moving-", i), TaskQueue: queue}, movingName)
		if err != nil {
			t.Fatal(err)
		}
		var at string
		clitest.Await(t, "the first step of a run", func() bool {
			v, err := c.QueryWorkflow(t.Context(), r.GetID(), "", "host")
			return err == nil && v.Get(&at) == nil && at != ""
		})
		if at == host {
			return r, others
		}
		others = append(others, r)
	}
	t.Fatalf("of 16 runs none is on host %s", host)
	return nil, nil
}

func signal(t *testing.T, c client.Client, run client.WorkflowRun, name string, arg any) {
	t.Helper()
	if err := c.SignalWorkflow(t.Context(), run.GetID(), "", name, arg); err != nil {
		t.Fatal(err)
	}
}

// TestHostDies: two workers, the machine's engine and one behind TLS. The one behind TLS
// dies with a program of a run on it. The run goes on with the other engine, with the
// files of before that program; nothing is paid twice; and what the dead engine still
// has goes when it is back.
func TestHostDies(t *testing.T) {
	t.Parallel()
	second := startEngine(t)
	plainClient(t, second)
	server := startTemporal(t, filepath.Join(t.TempDir(), "temporal.db"))
	model, env := vendor(t)
	url := database.Database(t)
	env = append(env, "WFLO_DATABASE="+url, "WFLO_OWNER=hosts-"+strings.ToLower(filepath.Base(second.dir)), "WFLO_SANDBOX_HOST_GONE=2s",
		"WFLO_SANDBOX_HOSTS=first=unix:///var/run/docker.sock,second="+second.address, "WFLO_SANDBOX_CERTS="+second.certs)
	home, c := t.TempDir(), server.dial(t)
	server.worker(t, "hosts", home, env...)
	server.worker(t, "hosts", home, env...)
	run, others := onHost(t, c, "hosts", "second")
	box := run.GetID() + "/" + run.GetRunID()

	signal(t, c, run, "go", true)
	clitest.Await(t, "the program that will be cut off", func() bool {
		return len(second.lines("volume", "ls", "-q", "--filter", "label=wflo.kind=lease")) > 0
	})
	second.cut()
	clitest.Await(t, "the second call of the model", func() bool { return len(model.Calls()) == len(others)+2 })
	second.start()
	if left := second.lines("volume", "ls", "-q"); len(left) == 0 {
		t.Error("the engine came back without anything, so that nothing is shown by what goes")
	}
	clitest.Await(t, "the end of what the dead engine had of the run", func() bool {
		return len(second.lines("ps", "-aq")) == 0 && len(second.lines("volume", "ls", "-q", "--filter", "label=wflo.box="+box)) == 0
	})
	signal(t, c, run, "end", nil)
	var got moved
	if err := run.Get(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Log != "one\nhalf\ntwo\n" || got.Before != "second" || got.After != "first" || !strings.HasPrefix(got.Moved, "from second at ") {
		t.Errorf("the run tells %+v", got)
	}
	for _, r := range others {
		signal(t, c, r, "go", false)
		signal(t, c, r, "end", nil)
		if err := r.Get(t.Context(), &got); err != nil || got.After != "first" || got.Moved != "" || got.Log != "one\nhalf\ntwo\n" {
			t.Errorf("a run beside it tells %+v, %v", got, err)
		}
	}
	paidOnce(t, url, len(model.Calls()), append(others, run)...)
	noPlaces(t, url)
	onRecord(t, url, run)
}

// onRecord holds that the move of a run's box is in the audit trail, and no other.
func onRecord(t *testing.T, url string, run client.WorkflowRun) {
	t.Helper()
	trail, err := postgres.OpenTrail(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	all, err := trail.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditBoxMoved})
	if err != nil || len(all) != 1 || all[0].WorkflowID != run.GetID() || all[0].FirstRunID != run.GetRunID() {
		t.Fatalf("the trail has %+v, %v", all, err)
	}
	var move wflo.AuditMove
	if err := json.Unmarshal(all[0].Data, &move); err != nil || move.From != "second" || move.To != "first" || move.SavedAt.IsZero() {
		t.Errorf("the record says %+v, %v", move, err)
	}
}

// paidOnce compares the ledger with what the vendor billed.
func paidOnce(t *testing.T, url string, billed int, all ...client.WorkflowRun) {
	t.Helper()
	l, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if billed != 2*len(all) {
		t.Errorf("the vendor billed %d calls of %d runs", billed, len(all))
	}
	for _, r := range all {
		rows, err := l.Costs(t.Context(), wflo.CostQuery{Scopes: []string{wflo.RunBudgetID(r.GetID() + "/" + r.GetRunID())}})
		if err != nil || len(rows) != 1 || rows[0].Calls != 2 || rows[0].Unknown != 0 || rows[0].Spent <= 0 {
			t.Errorf("the books of %s: %+v, %v", r.GetID(), rows, err)
		}
	}
}

// noPlaces waits until nothing is written down of boxes of runs that have ended.
func noPlaces(t *testing.T, url string) {
	t.Helper()
	l, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	clitest.Await(t, "the end of all places", func() bool {
		left, err := l.Places().ListPlaces(t.Context(), "", 10)
		return err == nil && len(left) == 0
	})
}

// plainClient says what a client without certificates is told by an engine that wants
// them.
func plainClient(t *testing.T, e *engine) {
	t.Helper()
	r, err := docker.New(t.Context(), docker.Config{Host: e.address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Check(t.Context())
	if !errors.Is(err, wflo.ErrSandboxUnavailable) || !strings.Contains(wflo.HintOf(err), "set DOCKER_CERT_PATH") {
		t.Errorf("%v", err)
	}
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
