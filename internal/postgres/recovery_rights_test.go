package postgres

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// saved keeps a small snapshot.
func saved(t *testing.T, r activities.Recovery, id string) {
	t.Helper()
	s := wflo.Snapshot{ID: id, Kind: wflo.SnapshotManual, Run: wflo.Run{WorkflowID: "w", FirstRunID: "f", Org: "acme"}, Spent: 7}
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SaveSnapshot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestLeastRightsAreEnoughForRecovery: a worker that may not change the schema does
// all there is.
func TestLeastRightsAreEnoughForRecovery(t *testing.T) {
	address := server.Database(t)
	owner := mustOpen(t, Config{URL: address, MaxConns: 2})
	role := fmt.Sprint("wflo_test_recovery_", os.Getpid())
	if err := server.Exec(t.Context(), "CREATE ROLE "+role); err != nil {
		t.Fatal(err)
	}
	// Registered after the database, so that it is dropped before.
	t.Cleanup(func() {
		_, err := owner.pool.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Error(err)
		}
	})
	if _, err := owner.pool.Exec(t.Context(), strings.ReplaceAll(leastRights, "wflo_worker", role), pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("role", role)
	u.RawQuery = query.Encode()
	l := mustOpen(t, Config{URL: u.String(), MaxConns: 2})
	r, ctx, run := l.Recovery(), t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "f"}
	saved(t, r, "s")
	storetest.NoteOne(t, r, run, "u")
	asked := wflo.Restored{Restore: wflo.Restore{ID: "r", WorkflowID: "w"}, From: "w/f", State: wflo.RestorePlanned}
	for what, do := range map[string]func() error{
		"pin":            func() error { return r.PinSnapshot(ctx, "s", false) },
		"drop":           func() error { return r.DropSnapshots(ctx, "none") },
		"list snapshots": func() error { _, err := r.ListSnapshots(ctx, activities.SnapshotQuery{}); return err },
		"restore": func() error {
			if _, err := r.BeginRestore(ctx, asked); err != nil {
				return err
			}
			_, err := r.NoteRestore(ctx, asked)
			return err
		},
		"list restores": func() error { _, err := r.ListRestores(ctx, "w"); return err },
		"begin":         func() error { return r.BeginEffect(ctx, "u") },
		"undo":          func() error { _, err := r.BeginUndo(ctx, "u", ""); return err },
		"close":         func() error { return r.NoteCompensations(ctx, run, step.CompensationNotes{Closed: true}) },
		"adopt":         func() error { return r.AdoptCompensations(ctx, run, run, 1) },
		"list":          func() error { _, err := r.ListCompensations(ctx, activities.CompensationQuery{}); return err },
	} {
		if err := do(); err != nil && (what != "begin" || wflo.CodeOf(err) != wflo.CodeConflict) { // in any order
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := l.pool.Exec(ctx, "DROP TABLE wflo.compensations"); err == nil {
		t.Error("a worker could drop the compensations")
	}
}

// TestSnapshotsAreVerified: who has the database can change a manifest, and it is not
// used then.
func TestSnapshotsAreVerified(t *testing.T) {
	l := mustOpen(t, Config{})
	r, ctx := l.Recovery(), t.Context()
	for name, change := range map[string]string{
		"another tenant": "manifest = convert_to(replace(convert_from(manifest, 'UTF8'), 'acme', 'evil'), 'UTF8')",
		"another's":      "(manifest, digest) = (SELECT manifest, digest FROM wflo.snapshots WHERE id = 'b')",
		"no JSON":        "manifest = 'x'",
		"another digest": "digest = 'x'",
	} {
		saved(t, r, "a")
		saved(t, r, "b")
		if done, err := l.pool.Exec(ctx, "UPDATE wflo.snapshots SET "+change+" WHERE id = 'a'"); err != nil || done.RowsAffected() != 1 {
			t.Fatal(done, err)
		}
		if _, err := r.Snapshot(ctx, "a"); wflo.CodeOf(err) != wflo.CodeConflict || wflo.HintOf(err) == "" {
			t.Errorf("%s: read gave %v", name, err)
		}
		if _, err := r.ListSnapshots(ctx, activities.SnapshotQuery{}); wflo.CodeOf(err) != wflo.CodeConflict {
			t.Errorf("%s: list gave %v", name, err)
		}
		if err := r.DropSnapshots(ctx, "a"); err != nil {
			t.Error(err)
		}
	}
}

// TestFenceIsOneRoundTrip: it is in front of every attempt of an effect.
func TestFenceIsOneRoundTrip(t *testing.T) {
	u := server.Database(t)
	mustOpen(t, Config{URL: u})
	conf, err := Config{URL: u}.parse()
	if err != nil {
		t.Fatal(err)
	}
	var sent counter
	conf.ConnConfig.Tracer = &sent
	l, err := connect(t.Context(), conf, DefaultSchema)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := l.Recovery()
	storetest.NoteOne(t, r, wflo.Run{WorkflowID: "w", FirstRunID: "f"}, "u")
	if sent.statements != 1 {
		t.Errorf("a note sent %d statements", sent.statements)
	}
	sent.statements = 0
	if err := r.BeginEffect(t.Context(), "u"); err != nil || sent.statements != 1 {
		t.Errorf("the fence sent %d statements, %v", sent.statements, err)
	}
}

// TestRecoveryIgnoresTheUsersSession: whatever isolation the address asks for.
func TestRecoveryIgnoresTheUsersSession(t *testing.T) {
	u := server.Database(t)
	mustOpen(t, Config{URL: u})
	for _, options := range []string{"&search_path=nowhere&default_transaction_isolation=serializable", "&default_query_exec_mode=exec"} {
		l := mustOpen(t, Config{URL: u + options})
		r, run := l.Recovery(), wflo.Run{WorkflowID: "w", FirstRunID: "f"}
		id := "u" + options
		storetest.NoteOne(t, r, run, id)
		saved(t, r, "s"+options)
		if err := r.BeginEffect(t.Context(), id); err != nil {
			t.Error(err)
		}
		c, err := r.BeginUndo(t.Context(), id, "")
		if err != nil || c.State != wflo.CompensationRunning {
			t.Errorf("undo is %s, %v", c.State, err)
		}
		if err := r.NoteCompensations(t.Context(), run, step.CompensationNotes{Marks: []step.CompensationMark{{ID: id, State: wflo.CompensationDone}}, Closed: true}); err != nil {
			t.Error(err)
		}
		if err := r.DropSnapshots(t.Context(), "s"+options); err != nil {
			t.Error(err)
		}
	}
}
