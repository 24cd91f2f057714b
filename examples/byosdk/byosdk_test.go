package byosdk_test

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3/option"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/byosdk"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// shop is the plugin over a ledger in memory, a model, and a workflow to run.
type shop struct {
	*testsuite.TestWorkflowEnvironment
	guard *plugin.Plugin
	model *scripted.Server
}

func newShop(t *testing.T, budget wflo.Money) *shop {
	t.Helper()
	srv, err := scripted.New(scripted.Config{Script: scripted.Echo})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	guard, err := plugin.New(plugin.Config{
		DataDir: t.TempDir(), Database: "memory", Sandbox: &sandboxtest.Fake{}, Approvals: wflo.Terms{AllowUnsigned: true},
		Providers: []plugin.Provider{{Kind: plugin.KindOpenAI, APIKey: "unused"}},
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guard.Close)
	header, err := converter.GetDefaultDataConverter().ToPayload(wflo.Run{User: "ann", Budget: wflo.Budget{Limit: budget}})
	if err != nil {
		t.Fatal(err)
	}
	var suite testsuite.WorkflowTestSuite
	s := &shop{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), guard: guard, model: srv}
	s.SetTestTimeout(time.Minute)
	s.SetWorkerOptions(worker.Options{Interceptors: guard.Interceptors(), DeadlockDetectionTimeout: 30 * time.Second})
	s.SetHeader(&commonpb.Header{Fields: map[string]*commonpb.Payload{wflo.HeaderRun: header}})
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	governed := &http.Client{Transport: guard.Transport(base)}
	s.RegisterActivity(byosdk.New(governed, option.WithBaseURL(srv.BaseURL(scripted.OpenAI)), option.WithAPIKey("k")))
	return s
}

func TestSummaryIsInTheLedger(t *testing.T) {
	s := newShop(t, wflo.USD)
	s.ExecuteWorkflow(byosdk.Summarise, "It rained.")
	if err := s.GetWorkflowError(); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := s.GetWorkflowResult(&got); err != nil || !strings.Contains(got, "It rained.") {
		t.Errorf("%q, %v", got, err)
	}
	run := s.model.Calls()
	entries, err := s.guard.Ledger().Entries(t.Context(), s.run(t).RootID())
	if err != nil || len(entries) != 1 || len(run) != 1 {
		t.Fatalf("entries %+v, %v, after %d calls", entries, err, len(run))
	}
	if e := entries[0]; e.State != wflo.HoldSettled || e.Usage != run[0].Usage || e.Run.User != "ann" || e.Amount <= 0 {
		t.Errorf("entry %+v", e)
	}
}

func TestBudgetStopsTheSDK(t *testing.T) {
	s := newShop(t, wflo.MicroUSD)
	s.ExecuteWorkflow(byosdk.Summarise, "It rained.")
	err := s.GetWorkflowError()
	if err == nil || !strings.Contains(err.Error(), "budget") || len(s.model.Calls()) != 0 {
		t.Errorf("error %v after %d calls", err, len(s.model.Calls()))
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("it was tried until the time was over: %v", err)
	}
}

// run is the run as the plugin knows it.
func (s *shop) run(t *testing.T) wflo.Run {
	t.Helper()
	v, err := s.QueryWorkflow(wflo.QueryStatus)
	if err != nil {
		t.Fatal(err)
	}
	var status wflo.Status
	if err := v.Get(&status); err != nil {
		t.Fatal(err)
	}
	return status.Run
}
