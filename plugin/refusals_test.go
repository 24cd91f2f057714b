package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/workflows"
)

// TestRefusedUpdateIsOnRecord: a validator's refusal is in no history. It is in the
// trail when the worker has stopped, once for each thing that was tried.
func TestRefusedUpdateIsOnRecord(t *testing.T) {
	dir := t.TempDir()
	p := newPlugin(t, func(c *Config) {
		c.DataDir, c.Database = dir, ""
		c.Approvals = wflo.Terms{AllowUnsigned: true}
	})
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: p.Interceptors()})
	Register(env, p)
	refused := 0
	send := func(id, gate, by, reason string) {
		d := wflo.Decision{Gate: gate, By: by, Verdict: wflo.VerdictApprove, Reason: reason, Digest: "of something else"}
		env.UpdateWorkflow(wflo.UpdateDecide, id, &testsuite.TestUpdateCallback{
			OnReject: func(error) { refused++ }, OnAccept: func() {}, OnComplete: func(any, error) {},
		}, d)
	}
	env.RegisterDelayedCallback(func() {
		send("1", "refunds", "eve", "")
		send("2", "refunds", "eve", "") // the same, again
		send("3", "refunds", "eve", strings.Repeat("\xff", 100<<10))
		send("4", "another", "eve", "")
	}, time.Minute)
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		_, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "refunds", Action: "refund", Approvers: []string{"ann"}, Timeout: time.Hour})
		return err
	})
	if err := env.GetWorkflowError(); err == nil || refused != 4 {
		t.Fatalf("%d updates were refused, and the run ended with %v", refused, err)
	}
	p.Close()
	ledger, records, err := OpenDatabase(t.Context(), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	trail, err := records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateRefused})
	if err != nil || len(trail) != 3 {
		t.Fatalf("%d records, %v; want three: the same thing twice is one", len(trail), err)
	}
	met := 0
	for _, r := range trail {
		var data wflo.AuditDecision
		if err := json.Unmarshal(r.Data, &data); err != nil {
			t.Fatal(err)
		}
		if r.WorkflowID == "" || data.Error == "" || data.Decision.By != "eve" || r.Actor == "eve" || len(r.Data) > 80<<10 {
			t.Errorf("record %+v", r.AuditEvent)
		}
		if data.Gate != "" {
			met++
		}
	}
	if met != 2 {
		t.Errorf("%d of 2 name the gate that they met", met)
	}
}

// moody is a trail that is away for some time, and takes no event named bad.
type moody struct {
	activities.Audit
	mu    sync.Mutex
	away  int
	tried chan struct{}
	kept  []string
}

func (m *moody) Append(_ context.Context, events ...wflo.AuditEvent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tried != nil {
		close(m.tried)
		m.tried = nil
	}
	if m.away > 0 {
		m.away--
		return errors.New("the database is away")
	}
	for _, e := range events {
		if e.Gate == "bad" {
			return wflo.Invalid("event", "cannot be recorded", "leave it")
		}
	}
	for _, e := range events {
		m.kept = append(m.kept, e.Gate)
	}
	return nil
}

func gateNamed(id string) wflo.Gate { return wflo.Gate{ID: id, WorkflowID: "w", FirstRunID: "r"} }

func count(t *testing.T, p *Plugin, line string) bool {
	t.Helper()
	w := httptest.NewRecorder()
	p.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(body), line+"\n")
}

// TestRefusalsWaitForTheStore: what comes while the store is away is written later, an
// event that cannot be written takes no other with it, and what is too much is counted
// and never waited for.
func TestRefusalsWaitForTheStore(t *testing.T) {
	p := newPlugin(t, nil) // for its metrics
	tried := make(chan struct{})
	store := &moody{away: 1, tried: tried}
	r := newRefusals(store, p.metrics, func(string, ...any) {})
	for i := range refusalQueue + 5 {
		id := fmt.Sprint("gate", i)
		if i == 3 {
			id = "bad"
		}
		r.add(gateNamed(id), wflo.Decision{Gate: id}, "no")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	<-tried
	cancel() // as Close does; what is queued is still written
	<-done
	if len(store.kept) != refusalQueue-1 {
		t.Errorf("%d of %d are kept", len(store.kept), refusalQueue-1)
	}
	if !count(t, p, fmt.Sprintf(`wflo_decisions_refused_total{outcome="recorded"} %d`, refusalQueue-1)) || !count(t, p, `wflo_decisions_refused_total{outcome="lost"} 6`) {
		t.Error("the metrics do not say what is on record and what is lost")
	}
}

// TestRefusalsEndWithTheStoreAway: a store that is away for good keeps no worker from
// stopping.
func TestRefusalsEndWithTheStoreAway(t *testing.T) {
	p := newPlugin(t, nil)
	r := newRefusals(&moody{away: 1 << 30}, p.metrics, func(string, ...any) {})
	r.add(gateNamed("a"), wflo.Decision{}, "no")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.run(ctx)
	if !count(t, p, `wflo_decisions_refused_total{outcome="lost"} 1`) {
		t.Error("the loss is not counted")
	}
}
