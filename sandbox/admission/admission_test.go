package admission

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a host that holds ten requests of one GiB or one core.
var small = Config{Memory: 10 * sandbox.GiB, CPUs: 10}

func open(t testing.TB, c Config) *Controller {
	t.Helper()
	admission, err := New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return admission
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		field  string
	}{
		"memory":            {Config{Memory: -1}, "admission.memory"},
		"cpus":              {Config{CPUs: -1}, "admission.cpus"},
		"cpus NaN":          {Config{CPUs: math.NaN()}, "admission.cpus"},
		"cpus infinite":     {Config{CPUs: math.Inf(1)}, "admission.cpus"},
		"overcommit":        {Config{Overcommit: math.NaN()}, "admission.overcommit"},
		"sandboxes":         {Config{Sandboxes: -1}, "admission.sandboxes"},
		"queue":             {Config{Queue: -1}, "admission.queue"},
		"nameless tenant":   {Config{Tenants: map[string]Quota{"": {}}}, "admission.tenants"},
		"tenant concurrent": {Config{Tenants: map[string]Quota{"a": {Concurrent: -1}}}, `admission.tenants["a"].concurrent`},
		"tenant cpu":        {Config{Tenants: map[string]Quota{"a": {CPUSeconds: math.NaN()}}}, `admission.tenants["a"].cpu_seconds`},
		"default cpu":       {Config{Default: Quota{CPUSeconds: -1}}, "admission.default.cpu_seconds"},
		"short window":      {Config{Default: Quota{Window: time.Millisecond}}, "admission.default.window"},
		"long window":       {Config{Default: Quota{Window: 31 * 24 * time.Hour}}, "admission.default.window"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.config)
			if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" || !strings.HasPrefix(err.Error(), c.field+" ") {
				t.Errorf("New = %v, want CodeInvalid with a hint about %s", err, c.field)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	u := open(t, Config{}).Snapshot()
	if u.MemoryTotal < 64*sandbox.MiB || u.CPUsTotal != float64(DefaultOvercommit*runtime.NumCPU()) {
		t.Errorf("totals are %d B and %g cores", u.MemoryTotal, u.CPUsTotal)
	}
	if got := open(t, Config{Overcommit: 1.5}).Snapshot().CPUsTotal; got != 1.5*float64(runtime.NumCPU()) {
		t.Errorf("with overcommit 1.5 there are %g cores", got)
	}
	spec := sandbox.Spec{Origin: sandbox.Origin{Tenant: "a"}, Limits: sandbox.Limits{CPUs: 2}}
	if diff := cmp.Diff(Request{Tenant: "a", Memory: 512 * sandbox.MiB, CPUs: 2}, For(spec)); diff != "" {
		t.Errorf("For (-want +got):\n%s", diff)
	}
}

func TestNeverFits(t *testing.T) {
	c := open(t, small)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tt := range map[string]struct {
		ctx     context.Context
		request Request
		code    wflo.Code
		says    string
	}{
		"memory":          {t.Context(), Request{Memory: 11 * sandbox.GiB, CPUs: 1}, wflo.CodePolicyDenied, "limits.memory is 11 GiB, but all sandboxes of this worker together have 10 GiB"},
		"memory of a lot": {t.Context(), Request{Memory: math.MaxInt64, CPUs: 1}, wflo.CodePolicyDenied, "limits.memory"},
		"cpus":            {t.Context(), Request{Memory: 1, CPUs: 10.5}, wflo.CodePolicyDenied, "limits.cpus is 10.5, but all sandboxes of this worker together have 10"},
		"cpus infinite":   {t.Context(), Request{Memory: 1, CPUs: math.Inf(1)}, wflo.CodePolicyDenied, "limits.cpus"},
		"no memory":       {t.Context(), Request{CPUs: 1}, wflo.CodeInvalid, "limits.memory"},
		"no cpus":         {t.Context(), Request{Memory: 1}, wflo.CodeInvalid, "limits.cpus"},
		"cpus NaN":        {t.Context(), Request{Memory: 1, CPUs: math.NaN()}, wflo.CodeInvalid, "limits.cpus"},
		"ended":           {ended, Request{Memory: 1, CPUs: 1}, "", context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			ticket, err := c.Acquire(tt.ctx, tt.request)
			if ticket != nil || err == nil || wflo.CodeOf(err) != tt.code || !strings.HasPrefix(err.Error(), tt.says) {
				t.Fatalf("Acquire = %v, %v, want code %q", ticket, err, tt.code)
			}
			if tt.code != "" && wflo.HintOf(err) == "" {
				t.Errorf("%v has no hint", err)
			}
		})
	}
	if u := c.Snapshot(); u.Running+u.Waiting != 0 || u.Memory != 0 {
		t.Errorf("refused requests are counted: %+v", u)
	}
}

func TestReasons(t *testing.T) {
	clock := time.Date(2026, 3, 1, 13, 0, 30, 0, time.UTC)
	for name, tt := range map[string]struct {
		tenant string
		why    cause
		want   string
	}{
		"memory":     {"a", cause{kind: hostMemory}, "memory of the host"},
		"cpus":       {"a", cause{kind: hostCPUs}, "CPUs of the host"},
		"sandboxes":  {"a", cause{kind: hostSandboxes, n: 7, of: 7}, "sandboxes of the host: 7 of 7 running"},
		"owed":       {"a", cause{kind: hostOwed}, "room of the host: a larger request has waited too long and goes first"},
		"concurrent": {"payments", cause{kind: quotaConcurrent, n: 4, of: 4}, "tenant payments: 4 of 4 running"},
		"nobody":     {"", cause{kind: quotaConcurrent, n: 4, of: 4}, "without a tenant: 4 of 4 running"},
		"minute":     {"x", cause{kind: quotaCPU, until: 64*time.Minute + 40*time.Second}, "tenant x: CPU quota used up until 14:05Z"},
		"second":     {"x", cause{kind: quotaCPU, until: 10*time.Second + 1}, "tenant x: CPU quota used up until 13:00:31Z"},
		"day":        {"x", cause{kind: quotaCPU, until: 10*time.Second + 24*time.Hour}, "tenant x: CPU quota used up until 2026-03-02T13:00:30Z"},
		"year":       {"x", cause{kind: quotaCPU, until: 365*24*time.Hour - 20*time.Second}, "tenant x: CPU quota used up until 2027-03-01T13:00Z"},
		"long name":  {strings.Repeat("é", 100), cause{kind: quotaConcurrent}, "tenant " + strings.Repeat("é", 80) + ": 0 of 0 running"},
	} {
		t.Run(name, func(t *testing.T) {
			got := place{3, tt.why}.state(tt.tenant, clock, 10*time.Second)
			if diff := cmp.Diff(State{3, tt.want}, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSnapshot(t *testing.T) {
	clock := time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	config := small
	config.Now = func() time.Time { return clock }
	config.Sandboxes = 2
	config.Tenants = map[string]Quota{"b": {Concurrent: 1, CPUSeconds: 5}}
	c := open(t, config)
	if diff := cmp.Diff(Usage{MemoryTotal: 10 * sandbox.GiB, CPUsTotal: 10, Sandboxes: 2}, c.Snapshot()); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	a, errA := c.Acquire(t.Context(), Request{Tenant: "a", Memory: sandbox.GiB, CPUs: 0.1})
	b, errB := c.Acquire(t.Context(), Request{Tenant: "b", Memory: sandbox.GiB, CPUs: 0.2})
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	a.Release(1500 * time.Millisecond)
	a.Release(time.Hour) // is not counted
	want := Usage{
		Running: 1, Memory: sandbox.GiB, MemoryTotal: 10 * sandbox.GiB, CPUs: 0.2, CPUsTotal: 10, Sandboxes: 2,
		Tenants: []TenantUsage{
			{Tenant: "a", CPUSeconds: 1.5, Quota: Quota{Window: time.Hour}},
			{Tenant: "b", Running: 1, Quota: Quota{Concurrent: 1, CPUSeconds: 5, Window: time.Hour}},
		},
	}
	if diff := cmp.Diff(want, c.Snapshot()); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
	if _, err := json.Marshal(want); err != nil {
		t.Error(err)
	}
	b.Release(-time.Second) // counts nothing
	clock = clock.Add(62 * time.Minute)
	if diff := cmp.Diff(Usage{MemoryTotal: 10 * sandbox.GiB, CPUsTotal: 10, Sandboxes: 2}, c.Snapshot()); diff != "" {
		t.Errorf("when the window is over (-want +got):\n%s", diff)
	}
}

// TestForgetsTenants keeps names that come once from filling the memory.
func TestForgetsTenants(t *testing.T) {
	c := open(t, small)
	for i := range 10 * fewTenants {
		ticket, err := c.Acquire(t.Context(), Request{Tenant: strings.Repeat("x", i+1), Memory: 1, CPUs: 1})
		if err != nil {
			t.Fatal(err)
		}
		ticket.Release(0)
	}
	if n := len(c.host.tenants); n > fewTenants {
		t.Errorf("%d tenants are remembered, want at most %d", n, fewTenants)
	}
}

func BenchmarkAcquire(b *testing.B) {
	c := open(b, Config{Memory: 10 * sandbox.GiB, CPUs: 10, Default: Quota{Concurrent: 100, CPUSeconds: 1e9}})
	request := Request{Tenant: "payments", Memory: sandbox.GiB, CPUs: 0.5}
	b.ReportAllocs()
	for b.Loop() {
		ticket, err := c.Acquire(b.Context(), request)
		if err != nil {
			b.Fatal(err)
		}
		ticket.Release(time.Millisecond)
	}
}
