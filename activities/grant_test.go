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
	run     wflo.Run // whose gates it has
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
		run: counterRun, records: ledger.Records(), key: private,
		terms: wflo.Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(public)}},
	}
}

// counterRun is the run of the SDK's test environment.
var counterRun = wflo.Run{
	Namespace: "default-test-namespace", WorkflowID: "default-test-workflow-id", FirstRunID: "r", Epoch: 1, Step: "g0/move#1", User: "uma",
}

// granted is a gate that ann approved, for payload.
func (c *counter) granted(t *testing.T, payload string) wflo.Gate {
	t.Helper()
	return c.approve(t, wflo.Approval{
		Gate: "move", Action: "move money", Activity: "move", Payload: json.RawMessage(payload), Approvers: []string{"ann"}, FourEyes: true,
	})
}

// open puts a gate on record, as opening does.
func (c *counter) open(t *testing.T, a wflo.Approval, at time.Time) wflo.Gate {
	t.Helper()
	g := c.run.Ask(a.Gate, a, at).Seal(strings.Repeat("a", 32))
	c.save(t, g)
	return g
}

func (c *counter) save(t *testing.T, g wflo.Gate) {
	t.Helper()
	if err := c.records.SaveGate(context.Background(), g); err != nil {
		t.Fatal(err)
	}
}

func (c *counter) approve(t *testing.T, a wflo.Approval) wflo.Gate {
	t.Helper()
	now := time.Now()
	g := c.open(t, a, now)
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
		"without an end":    {change: func(_ *counter, g *wflo.Gate) { g.UseBy = time.Time{} }, want: "longer than"},
		"a later end": {change: func(_ *counter, g *wflo.Gate) {
			g.UseBy, g.ClosedAt = g.UseBy.AddDate(1, 0, 0), g.ClosedAt.AddDate(1, 0, 0)
		}, want: "longer than"},
		"an end by minutes later than on record": {change: func(c *counter, g *wflo.Gate) {
			_ = c.records.SaveGate(context.Background(), *g)
			g.UseBy, g.ClosedAt = g.UseBy.Add(time.Minute), g.ClosedAt.Add(time.Minute)
		}, want: "on record is good until"},
		"rejected on record": {change: func(c *counter, g *wflo.Gate) {
			kept := *g
			kept.Status = wflo.GateRejected
			_ = c.records.SaveGate(context.Background(), kept)
		}, want: "is rejected"},
		"requesters left out": {change: func(_ *counter, g *wflo.Gate) { g.Requesters = nil }, want: "not what it shows"},
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

// TestOtherRuns: an approval is for the run that asked, by its own header and by what
// Temporal says.
func TestOtherRuns(t *testing.T) {
	for name, change := range map[string]func(*wflo.Run){
		"another namespace": func(r *wflo.Run) { r.Namespace = "other" },
		"another workflow":  func(r *wflo.Run) { r.WorkflowID = "other" },
		"another first run": func(r *wflo.Run) { r.FirstRunID = "other" },
		"another epoch":     func(r *wflo.Run) { r.Epoch++ },
	} {
		for _, who := range []string{"the gate", "the header", "both"} {
			t.Run(name+" of "+who, func(t *testing.T) {
				c, header := newCounter(t), counterRun
				if who != "the header" {
					change(&c.run)
				}
				if who != "the gate" {
					change(&header)
				}
				g := c.granted(t, `{"to":"bob","amount":5}`)
				err := c.call(t, header, g, "move", transfer{To: "bob", Amount: 5})
				// Temporal does not know of first runs and epochs.
				known := who != "both" || name == "another namespace" || name == "another workflow"
				if (err == nil) == known || c.moved == 1 == known || known && !strings.Contains(err.Error(), "is for run") {
					t.Errorf("%v, moved %d times", err, c.moved)
				}
			})
		}
	}
}

// TestGateThatNobodyOpened: where decisions without a signature count, and where time
// approves, a header would be all that it takes.
func TestGateThatNobodyOpened(t *testing.T) {
	const payload = `{"to":"bob","amount":5}`
	low := wflo.Approval{Gate: "move", Action: "move money", Activity: "move", Payload: json.RawMessage(payload), OnTimeout: wflo.OnTimeoutApprove, Risk: wflo.RiskLow}
	timed := func(g wflo.Gate) wflo.Gate { return g.Pass(wflo.EventTimeout, g.ExpiresAt) }
	tests := map[string]struct {
		make func(t *testing.T, c *counter) wflo.Gate
		want string // in the error; empty for none
	}{
		"unsigned and unheard of": {func(t *testing.T, c *counter) wflo.Gate {
			c.terms = wflo.Terms{AllowUnsigned: true}
			g := counterRun.Ask("move", wflo.Approval{Gate: "move", Action: "x", Activity: "move", Payload: json.RawMessage(payload)}, time.Now()).Seal("made up")
			g, err := g.Apply(g.Decide(wflo.VerdictApprove, "eve"), c.terms, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return g
		}, "no such gate"},
		"unsigned, on the nonce of another question": {func(t *testing.T, c *counter) wflo.Gate {
			c.terms = wflo.Terms{AllowUnsigned: true}
			a := wflo.Approval{Gate: "move", Action: "x", Activity: "move", Payload: json.RawMessage(payload), Approvers: []string{"ann"}}
			g := c.open(t, a, time.Now())
			g.Approval.Approvers = nil
			g = g.Seal(g.Nonce)
			g, err := g.Apply(g.Decide(wflo.VerdictApprove, "eve"), c.terms, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return g
		}, "not what the gate on record asks"},
		"time approved": {func(t *testing.T, c *counter) wflo.Gate {
			return timed(c.open(t, low, time.Now().Add(-wflo.DefaultApprovalTimeout)))
		}, ""},
		"time approved, and on record": {func(t *testing.T, c *counter) wflo.Gate {
			g := timed(c.open(t, low, time.Now().Add(-wflo.DefaultApprovalTimeout)))
			c.save(t, g)
			return g
		}, ""},
		"time approved, before it was up": {func(t *testing.T, c *counter) wflo.Gate {
			return timed(c.open(t, low, time.Now()))
		}, "not up"},
		"time approved, and unheard of": {func(*testing.T, *counter) wflo.Gate {
			return timed(counterRun.Ask("move", low, time.Now().Add(-wflo.DefaultApprovalTimeout)).Seal("made up"))
		}, "no such gate"},
		"time approved what somebody rejected": {func(t *testing.T, c *counter) wflo.Gate {
			open := c.open(t, low, time.Now().Add(-wflo.DefaultApprovalTimeout))
			no, err := open.Apply(open.Decide(wflo.VerdictReject, "ann"), wflo.Terms{AllowUnsigned: true}, open.OpenedAt)
			if err != nil {
				t.Fatal(err)
			}
			c.save(t, no)
			return timed(open)
		}, "is rejected"},
		"time approved what asks for people": {func(t *testing.T, c *counter) wflo.Gate {
			a := low
			a.OnTimeout, a.Risk = "", ""
			open := c.open(t, a, time.Now().Add(-wflo.DefaultApprovalTimeout))
			open.Approval.OnTimeout, open.Approval.Risk = low.OnTimeout, low.Risk
			return timed(open.Seal(open.Nonce))
		}, "not what the gate on record asks"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t)
			g := tt.make(t, c)
			err := c.call(t, counterRun, g, "move", transfer{To: "bob", Amount: 5})
			if tt.want == "" && (err != nil || c.moved != 1) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || c.moved != 0) {
				t.Errorf("%v; want %q; moved %d times", err, tt.want, c.moved)
			}
		})
	}
}

// TestWhatRanIsOnRecord: the trail has the hash of what the activity got, also where
// that was not approved, and where its types read more or less than people saw.
func TestWhatRanIsOnRecord(t *testing.T) {
	hash := func(data string) string {
		sum, err := wflo.CanonicalSHA256([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	const seen, more = `{"to":"bob","amount":5}`, `{"to":"bob","amount":5,"note":"please"}`
	for name, tt := range map[string]struct {
		payload string
		arg     transfer
		kind    wflo.AuditType
		want    wflo.AuditUse
	}{
		"what people saw":     {seen, transfer{To: "bob", Amount: 5}, wflo.AuditGrantUsed, wflo.AuditUse{PayloadSHA256: hash(seen), RanSHA256: hash(seen)}},
		"less than they saw":  {more, transfer{To: "bob", Amount: 5}, wflo.AuditGrantUsed, wflo.AuditUse{PayloadSHA256: hash(more), RanSHA256: hash(seen), ReadSHA256: hash(seen)}},
		"more than they saw":  {`{"to":"bob"}`, transfer{To: "bob"}, wflo.AuditGrantUsed, wflo.AuditUse{PayloadSHA256: hash(`{"to":"bob"}`), RanSHA256: hash(`{"to":"bob","amount":0}`), ReadSHA256: hash(`{"to":"bob","amount":0}`)}},
		"what they never saw": {seen, transfer{To: "eve", Amount: 6}, wflo.AuditGrantRefused, wflo.AuditUse{PayloadSHA256: hash(seen), RanSHA256: hash(`{"to":"eve","amount":6}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t)
			_ = c.call(t, counterRun, c.granted(t, tt.payload), "move", tt.arg)
			records, err := c.records.ReadAudit(context.Background(), wflo.AuditQuery{Type: tt.kind})
			if err != nil || len(records) != 1 {
				t.Fatalf("%d records, %v", len(records), err)
			}
			var use wflo.AuditUse
			if err := json.Unmarshal(records[0].Data, &use); err != nil {
				t.Fatal(err)
			}
			got := wflo.AuditUse{PayloadSHA256: use.PayloadSHA256, RanSHA256: use.RanSHA256, ReadSHA256: use.ReadSHA256}
			if got != tt.want {
				t.Errorf("%+v; want %+v", got, tt.want)
			}
		})
	}
}

// TestSeveralArguments are approved as an array.
func TestSeveralArguments(t *testing.T) {
	for payload, ok := range map[string]bool{`["bob",5]`: true, `["bob",6]`: false, `["bob"]`: false, `["bob",5,1]`: false, `{"to":"bob"}`: false} {
		c := newCounter(t)
		g := c.approve(t, wflo.Approval{Gate: "two", Action: "act", Activity: "two", Payload: json.RawMessage(payload)})
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
