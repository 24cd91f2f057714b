package client_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/api/client"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// office is a real console over runs that wait and can go back.
type office struct {
	url  string
	runs *recoverytest.Runs
	keys *apikey.Keys
}

func newOffice(t testing.TB) *office {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	o := &office{}
	logger := slog.New(slog.DiscardHandler)
	waiting, err := desktest.New(ledger.Records(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	o.runs = recoverytest.New(waiting, ledger.Recovery())
	o.runs.Plan = recoverytest.SomePlan()
	if err := o.runs.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o.keys, err = apikey.New(apikey.Config{Store: ledger.Records(), Logger: logger}); err != nil {
		t.Fatal(err)
	}
	handler := console.NewHandler(console.Config{
		Client: o.runs, Ledger: ledger, Logger: logger, Auth: o.keys, Keys: o.keys, Metrics: http.NotFoundHandler(),
		Desk: &desk.Desk{Client: o.runs, Records: ledger.Records(), Sign: waiting.Sign, Logger: logger},
	})
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		handler.Wait()
	})
	o.url = server.URL
	return o
}

// as gives a client of somebody with a role.
func (o *office) as(t testing.TB, role wflo.AccessRole) *client.Client {
	t.Helper()
	key, _, err := o.keys.Make(t.Context(), apikey.Spec{Name: "test", Subject: "pat", Roles: []wflo.AccessRole{role}, MadeBy: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: o.url, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAgainstTheConsole(t *testing.T) {
	o, ctx := newOffice(t), t.Context()
	c := o.as(t, wflo.RoleAdmin)
	me, err := c.Whoami(ctx)
	if err != nil || me.Subject != "pat" {
		t.Fatalf("%+v, %v", me, err)
	}
	v, err := c.GetVersion(ctx)
	if err != nil || v.Temporal != desktest.ServerVersion || v.Schema == nil {
		t.Errorf("%+v, %v", v, err)
	}
	if all, err := c.ListSnapshots(ctx, client.ListSnapshotsParams{Run: "refund-17", Name: "before-charge", Kind: wflo.SnapshotManual}); err != nil || len(all) != 1 || all[0].Name != "before-charge" {
		t.Errorf("%+v, %v", all, err)
	}
	spend, err := c.SetBudget(ctx, "team:ops", client.SetBudgetBody{Limit: 5 * wflo.USD, Period: wflo.PeriodDaily})
	if err != nil || spend.Limit != 5*wflo.USD {
		t.Errorf("%+v, %v", spend, err)
	}
	if back, err := c.GetBudget(ctx, "team:ops"); err != nil || back.Limit != 5*wflo.USD {
		t.Errorf("%+v, %v", back, err)
	}
	halt, err := c.HaltRun(ctx, "refund-17", client.ControlRequest{Reason: "wrong customer"})
	if err != nil || halt.State != "halting" || !halt.Recorded || len(o.runs.Stops()) != 1 {
		t.Errorf("%+v, %v", halt, err)
	}
	plan, err := c.RestoreRun(ctx, "refund-17", client.RestoreRunBody{To: wflo.RestorePoint{Snapshot: "before-charge"}, DryRun: true})
	if err != nil || plan.Restore.WorkflowID != "refund-17" || !plan.Restore.DryRun {
		t.Errorf("%+v, %v", plan, err)
	}
	trail, err := c.ListAudit(ctx, client.ListAuditParams{Chain: "acme", Latest: true, Limit: 1})
	if err != nil || len(trail) != 1 || trail[0].Type != wflo.AuditRunHalted {
		t.Errorf("%+v, %v", trail, err)
	}
}

// A budget without thresholds alerts never, and one that says none of them at the usual ones.
func TestNoThresholdsAreNotTheUsualOnes(t *testing.T) {
	c, ctx := newOffice(t).as(t, wflo.RoleAdmin), t.Context()
	for name, thresholds := range map[string][]int64{"team:quiet": {}, "team:usual": nil, "team:own": {80}} {
		body := client.SetBudgetBody{Limit: wflo.USD, Period: wflo.PeriodDaily, Thresholds: thresholds}
		if _, err := c.SetBudget(ctx, name, body); err != nil {
			t.Fatal(err)
		}
		back, err := c.GetBudget(ctx, name)
		if err != nil || back.Rule == nil || (back.Rule.Thresholds == nil) != (thresholds == nil) || len(back.Rule.Thresholds) != len(thresholds) {
			t.Errorf("%s: %+v, %v", name, back.Rule, err)
		}
	}
}

// What the API refuses is told with what it says, and can be told apart.
func TestErrors(t *testing.T) {
	o, ctx := newOffice(t), t.Context()
	c := o.as(t, wflo.RoleOperator)
	for name, tt := range map[string]struct {
		err    error
		status int
		want   string
	}{
		"not there":  {second(c.GetSnapshot(ctx, "none")), 404, "no such snapshot"},
		"wrong":      {second(c.HaltRun(ctx, "refund-17", client.ControlRequest{})), 422, "reason is missing (say why"},
		"too much":   {second(c.ListKeys(ctx)), 403, "role admin is missing"},
		"strange id": {second(c.GetSnapshot(ctx, "../keys")), 404, "no such snapshot"},
		"only dots":  {second(c.GetSnapshot(ctx, "..")), 404, "no such snapshot"},
	} {
		var e *client.Error
		if !errors.As(tt.err, &e) || client.StatusOf(tt.err) != tt.status || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	if err := second(c.HaltRun(ctx, "refund-17", client.ControlRequest{})); !errors.Is(err, wflo.ErrInvalid) || wflo.HintOf(err) == "" {
		t.Errorf("%v is no error of wflo's", err)
	}
	stranger, err := client.New(client.Config{URL: o.url})
	if err != nil {
		t.Fatal(err)
	}
	if err := second(stranger.Whoami(ctx)); client.StatusOf(err) != 401 {
		t.Errorf("a stranger: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestEachRun(t *testing.T) {
	o := newOffice(t)
	c := o.as(t, wflo.RoleViewer)
	var pages, whole []string
	for run, err := range c.EachRun(t.Context(), client.ListRunsParams{Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, run.ID)
	}
	all, err := c.ListRuns(t.Context(), client.ListRunsParams{})
	if err != nil || len(all) < 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, run := range all {
		whole = append(whole, run.ID)
	}
	if diff := cmp.Diff(whole, pages); diff != "" {
		t.Errorf("page by page (-at once +by pages):\n%s", diff)
	}
	for range c.EachRun(t.Context(), client.ListRunsParams{Limit: 1}) {
		break // the loop may end before the runs do
	}
	for _, err := range c.EachRun(t.Context(), client.ListRunsParams{State: "asleep"}) {
		if client.StatusOf(err) != 422 {
			t.Errorf("a state that is none: %v", err)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, bad := range []client.Config{
		{URL: "wflo.example.com"}, {URL: "ftp://x"}, {URL: "https://user:secret@x"}, {URL: "https://x?key=secret"}, {URL: "http://wflo.example.com", Key: "wflo_secret"},
	} {
		_, err := client.New(bad)
		if !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad.URL, err)
		}
	}
	for _, good := range []client.Config{{}, {URL: "http://wflo.example.com"}, {URL: "https://wflo.example.com/", Key: "k"}, {URL: "http://[::1]:7244", Key: "k"}} {
		if _, err := client.New(good); err != nil {
			t.Errorf("%s: %v", good.URL, err)
		}
	}
}

// A key follows no redirect, and stands in no error.
func TestKeyStays(t *testing.T) {
	const key = "wflo_0123_secret"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked with %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	answers := map[string]func(http.ResponseWriter, *http.Request){
		"/api/v1/whoami": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"/api/v1/version": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"message":"who is `+r.Header.Get("Authorization")+`"}`, http.StatusForbidden)
		},
		"/api/v1/budgets": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w, r) }))
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL, Key: key, HTTP: &http.Client{}})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"302 Found": second(c.Whoami(t.Context())), "[key]": second(c.GetVersion(t.Context())), "read the answer": second(c.ListBudgets(t.Context()))} {
		if err == nil || strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// stream serves text as the events of a run, and keeps the connection.
func stream(t *testing.T, text string, ask func(*http.Request)) *client.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask(r)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFollow(t *testing.T) {
	var path, last string
	c := stream(t, ": still here\n\nid: a-1\nevent: rows\ndata: {\"rows\":[],\ndata: \"open\":true}\n\nid: a-2\nevent: head\ndata: {\"workflow_id\":\"r/1\"}\n\nevent: later\ndata: 1\n\nevent: end\ndata: {}\n\nevent: head\ndata: {}\n\n",
		func(r *http.Request) { path, last = r.URL.RequestURI(), r.Header.Get("Last-Event-ID") })
	var kinds []string
	for e, err := range c.Follow(t.Context(), "r/1", client.FollowParams{Run: "x", After: "a-0"}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, e.ID+" "+e.Kind)
		if e.Kind == client.EventRows && (e.Rows == nil || !e.Rows.Open) || e.Kind == client.EventHead && (e.Head == nil || e.Head.WorkflowID != "r/1") {
			t.Errorf("%+v", e)
		}
	}
	if diff := cmp.Diff([]string{"a-1 rows", "a-2 head", " later", " end"}, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if path != "/api/v1/runs/r%2F1/events?run=x" || last != "a-0" {
		t.Errorf("asked for %s after %q", path, last)
	}
}

// Interruptions end a loop with an error, never in silence.
func TestFollowIsInterrupted(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "half an event": "event: rows\ndata: {", "no JSON": "event: rows\ndata: {\n\n"} {
		var got error
		for _, err := range stream(t, text, func(*http.Request) {}).Follow(t.Context(), "r1", client.FollowParams{}) {
			got = err
		}
		if got == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got error
	for _, err := range stream(t, "event: later\n\n", func(*http.Request) {}).Follow(ctx, "r1", client.FollowParams{}) {
		cancel()
		got = err
	}
	if !errors.Is(got, context.Canceled) {
		t.Errorf("after the end of the context: %v", got)
	}
}
