package plugin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestMovesAreOnRecord: once each, however often they are told, with the run that the box
// is of.
func TestMovesAreOnRecord(t *testing.T) {
	p, err := New(Config{DataDir: t.TempDir(), NoSearchAttributes: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	when := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	place := sandbox.Place{Box: "order/7/first", Host: "b", From: "a", Moves: 1, Moved: when, SavedAt: when.Add(-time.Minute), Part: &wflo.SnapshotPart{}}
	for range 2 {
		if err := p.moved(t.Context(), place); err != nil {
			t.Fatal(err)
		}
	}
	place.Host, place.From, place.Moves, place.Part = "a", "b", 2, nil
	if err := p.moved(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	// An activity of a tenant's run tells its tenant.
	place.Box, place.Moves = "order/8/first", 1
	if err := p.moved(wflo.WithRun(t.Context(), wflo.Run{Org: "books", WorkflowID: "order/8", FirstRunID: "first"}), place); err != nil {
		t.Fatal(err)
	}
	theirs, err := p.parts.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditBoxMoved, Chain: "books"})
	if err != nil || len(theirs) != 1 || theirs[0].WorkflowID != "order/8" {
		t.Errorf("the tenant has %+v, %v", theirs, err)
	}
	got, err := p.parts.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditBoxMoved, Chain: "main"})
	if err != nil || len(got) != 2 {
		t.Fatalf("%d records, %v, want 2", len(got), err)
	}
	for i, want := range []wflo.AuditMove{
		{Box: "order/7/first", From: "a", To: "b", SavedAt: when.Add(-time.Minute)}, {Box: "order/7/first", From: "b", To: "a"},
	} {
		var move wflo.AuditMove
		if err := json.Unmarshal(got[i].Data, &move); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, move); diff != "" || got[i].WorkflowID != "order/7" || got[i].FirstRunID != "first" || !got[i].At.Equal(when) {
			t.Errorf("record %d: %+v (-want +got):\n%s", i, got[i], diff)
		}
	}
}

// TestSandboxEngines: as a worker reads them.
func TestSandboxEngines(t *testing.T) {
	t.Setenv("WFLO_SANDBOX_HOSTS", "a=unix:///run/a.sock,b=tcp://10.0.0.1:2376")
	t.Setenv("WFLO_SANDBOX_CERTS", "/certs")
	c := Config{}
	if err := sandboxFromEnv(&c); err != nil {
		t.Fatal(err)
	}
	got, err := SandboxEngines()
	if diff := cmp.Diff(c.Docker.Hosts, got.Hosts); err != nil || diff != "" || len(got.Hosts) != 2 || got.Hosts[1].CertPath != "/certs" {
		t.Errorf("%v, (-worker +this):\n%s", err, diff)
	}
	t.Setenv("WFLO_SANDBOX_HOST", "unix:///run/c.sock")
	if _, err := SandboxEngines(); !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), "WFLO_SANDBOX_HOST") {
		t.Errorf("two ways at once: %v", err)
	}
	t.Setenv("WFLO_SANDBOX_HOSTS", "")
	if got, err := SandboxEngines(); err != nil || got.Host != "unix:///run/c.sock" || got.CertPath != "/certs" || got.Hosts != nil {
		t.Errorf("one engine: %+v, %v", got, err)
	}
}
