package activities_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// transfer is what the approved activity of these tests takes.
type transfer struct {
	To     string            `json:"to"`
	Amount int64             `json:"amount"`
	Tags   map[string]string `json:"tags,omitempty"`
}

// counter is a worker with one activity that acts on approvals.
type counter struct {
	records activities.Records
	terms   wflo.Terms
	key     ed25519.PrivateKey
	moved   int
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	ledger, err := sqlite.Open(context.Background(), sqlite.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &counter{
		records: ledger.Records(), key: private,
		terms: wflo.Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(public)}},
	}
}

var counterRun = wflo.Run{Namespace: "ns", WorkflowID: "w", FirstRunID: "r", Step: "g0/move#1", User: "uma"}

// granted is a gate that ann approved, for payload.
func (c *counter) granted(t *testing.T, payload string) wflo.Gate {
	t.Helper()
	now := time.Now()
	g := counterRun.Ask("move", wflo.Approval{
		Gate: "move", Action: "move money", Activity: "move", Payload: json.RawMessage(payload), Approvers: []string{"ann"}, FourEyes: true,
	}, now).Seal(strings.Repeat("a", 32))
	d := g.Decide(wflo.VerdictApprove, "ann")
	d.At = now
	g, err := g.Apply(d.Sign("console", c.key), c.terms, now)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// call runs the activity with a gate in its header, as a workflow would, and a hostile
// worker might.
func (c *counter) call(t *testing.T, run wflo.Run, gate any, name string, args ...any) error {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{activities.NewInterceptor(activities.InterceptorConfig{
		Logger: slog.New(slog.DiscardHandler), Observer: telemetry.NewMetrics(telemetry.Config{}), Records: c.records, Terms: func() wflo.Terms { return c.terms },
	})}})
	fields := map[string]*commonpb.Payload{}
	for name, v := range map[string]any{wflo.HeaderRun: run, wflo.HeaderGate: gate} {
		p, err := converter.GetDefaultDataConverter().ToPayload(v)
		if err != nil {
			t.Fatal(err)
		}
		fields[name] = p
	}
	env.SetHeader(&commonpb.Header{Fields: fields})
	for _, name := range []string{"move", "destroy"} {
		env.RegisterActivityWithOptions(func(context.Context, transfer) error { c.moved++; return nil }, activity.RegisterOptions{Name: name})
	}
	env.RegisterActivityWithOptions(func(context.Context, string, int64) error { c.moved++; return nil }, activity.RegisterOptions{Name: "two"})
	_, err := env.ExecuteActivity(name, args...)
	return err
}

// TestActivityLooksAgain gives a worker approvals that another one might have made up.
func TestActivityLooksAgain(t *testing.T) {
	const payload = `{"to":"bob","amount":5,"tags":{"b":"2","a":"1"}}`
	right := transfer{To: "bob", Amount: 5, Tags: map[string]string{"a": "1", "b": "2"}}
	tests := map[string]struct {
		change func(*counter, *wflo.Gate)
		name   string
		arg    transfer
		want   string // in the error; empty for none
	}{
		"right":                {want: ""},
		"another amount":       {arg: transfer{To: "bob", Amount: 6, Tags: right.Tags}, want: "not approved"},
		"a tag less":           {arg: transfer{To: "bob", Amount: 5, Tags: map[string]string{"a": "1"}}, want: "not approved"},
		"another activity":     {name: "destroy", want: "not for destroy"},
		"open":                 {change: func(_ *counter, g *wflo.Gate) { g.Status = wflo.GateOpen }, want: "is open"},
		"revoked":              {change: func(_ *counter, g *wflo.Gate) { g.Status = wflo.GateRevoked }, want: "is revoked"},
		"revoked in the store": {change: func(c *counter, g *wflo.Gate) { _, _ = c.records.RevokeGrant(context.Background(), g.Nonce, "bob") }, want: "taken back"},
		"used by another":      {change: func(c *counter, g *wflo.Gate) { _ = c.records.UseGrant(context.Background(), g.Nonce, "other") }, want: "another action"},
		"payload swapped":      {change: func(_ *counter, g *wflo.Gate) { g.Approval.Payload = json.RawMessage(`{"to":"eve","amount":5}`) }, arg: transfer{To: "eve", Amount: 5}, want: "not what it shows"},
		"payload resealed": {change: func(_ *counter, g *wflo.Gate) {
			g.Approval.Payload = json.RawMessage(`{"to":"eve","amount":5}`)
			*g = g.Seal(g.Nonce)
		}, arg: transfer{To: "eve", Amount: 5}, want: "something else"},
		"votes resealed too": {change: func(_ *counter, g *wflo.Gate) {
			g.Approval.Payload = json.RawMessage(`{"to":"eve","amount":5}`)
			*g = g.Seal(g.Nonce)
			g.Votes[0].Digest = g.Digest
		}, arg: transfer{To: "eve", Amount: 5}, want: "not enough"},
		"approvers widened": {change: func(_ *counter, g *wflo.Gate) { g.Approval.Approvers = nil }, want: "not what it shows"},
		"no votes":          {change: func(_ *counter, g *wflo.Gate) { g.Votes = nil }, want: "not enough"},
		"time approved": {change: func(_ *counter, g *wflo.Gate) {
			g.Votes, g.Decision, g.Approval.OnTimeout = nil, nil, wflo.OnTimeoutApprove
		}, want: "not what it shows"},
		"of an old version": {change: func(_ *counter, g *wflo.Gate) { g.Version = 0 }, want: "not what it shows"},
		"too late":          {change: func(_ *counter, g *wflo.Gate) { g.UseBy = time.Now().Add(-time.Second) }, want: "good until"},
		"key removed":       {change: func(c *counter, _ *wflo.Gate) { c.terms = wflo.Terms{AllowUnsigned: true} }, want: "not enough"},
		"no records":        {change: func(c *counter, _ *wflo.Gate) { c.records = nil }, want: "no records"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t)
			g, records := c.granted(t, payload), c.records
			if tt.change != nil {
				tt.change(c, &g)
			}
			if tt.name == "" {
				tt.name = "move"
			}
			if tt.arg.To == "" {
				tt.arg = right
			}
			err := c.call(t, counterRun, g, tt.name, tt.arg)
			if tt.want == "" && (err != nil || c.moved != 1) {
				t.Fatalf("%v, moved %d times", err, c.moved)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || c.moved != 0) {
				t.Errorf("%v; want %q; moved %d times", err, tt.want, c.moved)
			}
			refused, readErr := records.ReadAudit(context.Background(), wflo.AuditQuery{Chain: "main", Type: wflo.AuditGrantRefused})
			if want := tt.want != "" && c.records != nil; readErr != nil || (len(refused) == 1) != want {
				t.Errorf("%d refusals recorded, %v", len(refused), readErr)
			}
		})
	}
}

// TestRetryActsAgain: the same effect may be tried again, and another one may not.
func TestRetryActsAgain(t *testing.T) {
	c := newCounter(t)
	g := c.granted(t, `{"to":"bob","amount":5}`)
	arg := transfer{To: "bob", Amount: 5}
	for range 2 {
		if err := c.call(t, counterRun, g, "move", arg); err != nil {
			t.Fatal(err)
		}
	}
	other := counterRun
	other.Step = "g0/move#2"
	if err := c.call(t, other, g, "move", arg); err == nil || c.moved != 2 {
		t.Errorf("%v, moved %d times", err, c.moved)
	}
	used, err := c.records.ReadAudit(context.Background(), wflo.AuditQuery{Chain: "main", Type: wflo.AuditGrantUsed})
	if err != nil || len(used) != 1 {
		t.Errorf("%d uses recorded, %v", len(used), err)
	}
}

// TestSeveralArguments are approved as an array.
func TestSeveralArguments(t *testing.T) {
	for payload, ok := range map[string]bool{`["bob",5]`: true, `["bob",6]`: false, `["bob"]`: false, `["bob",5,1]`: false, `{"to":"bob"}`: false} {
		c := newCounter(t)
		now := time.Now()
		g := counterRun.Ask("two", wflo.Approval{Gate: "two", Action: "act", Activity: "two", Payload: json.RawMessage(payload)}, now).Seal(strings.Repeat("b", 32))
		d := g.Decide(wflo.VerdictApprove, "ann")
		d.At = now
		g, err := g.Apply(d.Sign("console", c.key), c.terms, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.call(t, counterRun, g, "two", "bob", int64(5)); (err == nil) != ok || c.moved == 1 != ok {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// TestUnreadableGate is no way around: it does not run as if there was none.
func TestUnreadableGate(t *testing.T) {
	c := newCounter(t)
	if err := c.call(t, counterRun, "nonsense", "move", transfer{}); err == nil || c.moved != 0 {
		t.Errorf("%v, moved %d times", err, c.moved)
	}
}
