package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
)

// backOffice is an office over runs that can go back.
type backOffice struct {
	*office
	runs *recoverytest.Runs
	// root administers all orgs, op operates them, looks only looks.
	root, op, looks string
}

func newBackOffice(t testing.TB, change func(*recoverytest.Runs, *Config)) *backOffice {
	t.Helper()
	b := &backOffice{}
	b.office = newOffice(t, func(c *Config) {
		ledger, ok := c.Ledger.(interface{ Recovery() activities.Recovery })
		if !ok {
			t.Fatal("the ledger keeps no snapshots")
		}
		b.runs = recoverytest.New(nil, ledger.Recovery())
		b.runs.Plan = recoverytest.SomePlan()
		if change != nil {
			change(b.runs, c)
		}
		c.Client = b.runs
	})
	b.runs.Runs = b.office.runs
	if err := b.runs.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.root, b.op, b.looks = b.key("root", "", wflo.RoleAdmin), b.key("olga", "", wflo.RoleOperator), b.key("vic", "", wflo.RoleViewer)
	return b
}

const (
	snapA = "snap-00000000000000000001" // of refund-17, which is acme's
	snapB = "snap-00000000000000000002"
	snapC = "snap-00000000000000000003" // of deal-9, which is rival's
)

// trailed are the types in the trail of a chain, about runs and snapshots.
func (b *backOffice) trailed(chain string) (types []string) {
	b.t.Helper()
	all, err := b.records.ReadAudit(b.t.Context(), wflo.AuditQuery{Chain: chain})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range all {
		types = append(types, string(r.Type)+" "+r.Actor)
	}
	return types
}

func TestSnapshotsOfAPI(t *testing.T) {
	b := newBackOffice(t, nil)
	list := "/api/v1/snapshots"
	wants(t, "all", b.api(b.looks, "GET", list, ""), 200, snapA, snapB, snapC)
	wants(t, "of a run", b.api(b.looks, "GET", list+"?run=refund-17&first_run=first-17", ""), 200, snapA, snapB, "!"+snapC)
	wants(t, "by name", b.api(b.looks, "GET", list+"?run=refund-17&name=before-charge&kind=manual&limit=5", ""), 200, snapA, "!"+snapB)
	wants(t, "until", b.api(b.looks, "GET", list+"?run=refund-17&before=2026-11-22T10:00:30Z", ""), 200, snapA, "!"+snapB)
	wants(t, "none", b.api(b.looks, "GET", list+"?run=none", ""), 200, "[]")
	for _, bad := range []string{"?kind=odd", "?before=soon", "?limit=0", "?limit=1001", "?org=acme", "?after=none"} {
		wants(t, bad, b.api(b.looks, "GET", list+bad, ""), 422, "hint")
	}
	wants(t, "one", b.api(b.looks, "GET", list+"/"+snapA, ""), 200, `"name":"before-charge"`, `"digest"`)
	wants(t, "absent", b.api(b.looks, "GET", list+"/snap-none", ""), 404, "no such snapshot")
	wants(t, "diff", b.api(b.looks, "GET", list+"/"+snapB+"/diff?to="+snapA, ""), 200, `"from":{"id":"`+snapA, `"op":"changed","before":900,"after":1800`, `"kind":"workspace"}`)
	wants(t, "diff with nothing", b.api(b.looks, "GET", list+"/"+snapA+"/diff", ""), 422, "plan a restore")
	wants(t, "diff with another run", b.api(b.looks, "GET", list+"/"+snapA+"/diff?to="+snapC, ""), 422, "another run")

	wants(t, "pin", b.api(b.op, "POST", list+"/"+snapA+"/pin", ""), 200, `"pinned":true`)
	wants(t, "remove a pinned one", b.api(b.root, "DELETE", list+"/"+snapA, ""), 422, string(wflo.CodeConflict), "unpin it first")
	wants(t, "unpin", b.api(b.op, "DELETE", list+"/"+snapA+"/pin", ""), 200, "!pinned")
	wants(t, "remove", b.api(b.root, "DELETE", list+"/"+snapA, ""), 200, snapA)
	wants(t, "removed", b.api(b.looks, "GET", list+"/"+snapA, ""), 404)
	wants(t, "remove again", b.api(b.root, "DELETE", list+"/"+snapA, ""), 404)
	if diff := cmp.Diff([]string{"snapshot.pinned olga", "snapshot.unpinned olga", "snapshot.dropped root"}, b.trailed("acme")); diff != "" {
		t.Errorf("trail (-want +got):\n%s", diff)
	}
}

// What is different within parts is known to whoever has the blobs.
func TestDiffWithin(t *testing.T) {
	b := newBackOffice(t, func(_ *recoverytest.Runs, c *Config) { c.Compare = compareFiles })
	wants(t, "diff", b.api(b.looks, "GET", "/api/v1/snapshots/"+snapA+"/diff?to="+snapB, ""), 200, `"name":"a.txt"`)
}

func TestTakeSnapshotByAPI(t *testing.T) {
	b := newBackOffice(t, nil)
	path := "/api/v1/runs/refund-17/snapshots"
	first := b.api(b.op, "POST", path, `{"id":"x1","name":"by hand","parts":{"workspace":true}}`)
	wants(t, "take", first, 200, `"name":"by hand"`, `"kind":"manual"`)
	if again := b.api(b.op, "POST", path, `{"id":"x1","name":"by hand","parts":{"workspace":true}}`); again.body != first.body {
		t.Errorf("the same request took another one: %s", again.body)
	}
	for _, bad := range []string{"", "{}", `{"id":"x","nam":"y"}`, `{"id":"x","name":"a\u0001"}`, `{"id":"` + strings.Repeat("x", 600) + `"}`} {
		wants(t, bad, b.api(b.op, "POST", path, bad), 422, "hint")
	}
	wants(t, "unknown run", b.api(b.op, "POST", "/api/v1/runs/none/snapshots", `{"id":"x"}`), 404, "no such run")
	b.runs.Add(wflo.Run{WorkflowID: "over", FirstRunID: "f"}, false)
	wants(t, "closed run", b.api(b.op, "POST", "/api/v1/runs/over/snapshots", `{"id":"x"}`), 422, "has ended")
}

func TestRestoreByAPI(t *testing.T) {
	b := newBackOffice(t, nil)
	path := "/api/v1/runs/refund-17/restores"
	wants(t, "plan", b.api(b.op, "POST", path, `{"to":{"snapshot":"before-charge"},"dry_run":true}`), 200, `"spent":`, "refund of order 17", `"mode":"in-place"`, `"by":"olga"`)
	wants(t, "go back", b.api(b.op, "POST", path, `{"id":"r1","to":{"snapshot":"`+snapA+`"},"reason":"wrong account","by":"ceo"}`), 202, `"id":"r1"`, `"planning":true`, `"by":"olga"`)
	wants(t, "followed", b.api(b.looks, "GET", "/api/v1/restores/r1", ""), 200, `"state":"done"`, `"epoch":1`, `"reason":"wrong account"`)
	wants(t, "again", b.api(b.op, "POST", path, `{"id":"r1","to":{"snapshot":"`+snapA+`"},"reason":"wrong account"}`), 200, `"state":"done"`)
	wants(t, "another under the id", b.api(b.op, "POST", path, `{"id":"r1","to":{"snapshot":"`+snapB+`"},"reason":"wrong account"}`), 422, "with another request")
	if n := len(b.runs.Orders()); n != 2 {
		t.Errorf("%d workflows for a plan and a restore", n)
	}
	wants(t, "fork", b.api(b.op, "POST", path, `{"id":"r2","to":{"snapshot":"before-charge"},"mode":"fork","new_id":"twin","reason":"try"}`), 202)
	wants(t, "lineage", b.api(b.looks, "GET", "/api/v1/runs/refund-17/lineage", ""), 200, `"run":"refund-17/first-17"`, `"into":"twin/forked"`, `"mode":"in-place"`, `"undone":1`, `"name":"before-charge"`)
	wants(t, "no restore", b.api(b.looks, "GET", "/api/v1/restores/none", ""), 404, "no such restore")
	wants(t, "no snapshot", b.api(b.op, "POST", path, `{"to":{"snapshot":"none"},"dry_run":true}`), 422, "has no snapshot", "wflo snapshot list")
	wants(t, "no run", b.api(b.op, "POST", "/api/v1/runs/none/restores", `{"to":{"snapshot":"x"},"dry_run":true}`), 404, "no such run")
	for _, bad := range []string{
		"", "{}", `{"to":{"snapshot":"x"}}`, `{"to":{"snapshot":"x","time":"2026-11-22T10:00:00Z"},"dry_run":true}`, `{"to":{"snapshot":"x"},"mode":"sideways","dry_run":true}`,
		`{"to":{"snapshot":"x"},"workflow_id":"deal-9","dry_run":true}`, `{"to":{"snapshot":"x"},"reason":"a\u0007"}`, `{"to":{"snapshot":"x"},"dryrun":true}`, `{"to":{"snapshot":"x"},"new_id":"y","dry_run":true}`,
	} {
		wants(t, bad, b.api(b.op, "POST", path, bad), 422, "hint")
	}
}

// What cannot be undone happens again only where an administrator accepts it.
func TestIrreversibleNeedsAdmin(t *testing.T) {
	b := newBackOffice(t, func(r *recoverytest.Runs, _ *Config) { r.Plan = recoverytest.Irreversible(r.Plan) })
	path := "/api/v1/runs/refund-17/restores"
	wants(t, "without", b.api(b.op, "POST", path, `{"id":"r1","to":{"snapshot":"before-charge"},"reason":"x"}`), 202)
	wants(t, "refused", b.api(b.looks, "GET", "/api/v1/restores/r1", ""), 200, `"state":"failed"`, `"code":"wflo.Conflict"`, "mail#1", "accept_irreversible")
	accepting := `{"to":{"snapshot":"before-charge"},"reason":"x","accept_irreversible":true}`
	wants(t, "by an operator", b.api(b.op, "POST", path, accepting), 403, "the role admin is missing")
	wants(t, "planned by an operator", b.api(b.op, "POST", path, `{"to":{"snapshot":"before-charge"},"dry_run":true,"accept_irreversible":true}`), 200)
	wants(t, "by an administrator", b.api(b.root, "POST", path, accepting), 202)
}

// A plan that takes long, and a restore that is under way, are followed.
func TestSlowRestore(t *testing.T) {
	hold := make(chan struct{})
	b := newBackOffice(t, func(r *recoverytest.Runs, _ *Config) { r.Hold = hold })
	path := "/api/v1/runs/refund-17/restores"
	wants(t, "go back", b.api(b.op, "POST", path, `{"id":"r1","to":{"snapshot":"before-charge"},"reason":"x"}`), 202)
	wants(t, "on record", b.api(b.looks, "GET", "/api/v1/restores/r1", ""), 200, `"state":"planned"`, "!planning")
	wants(t, "one that is not", b.api(b.op, "POST", path, `{"id":"r2","to":{"time":"2026-11-22T10:00:00Z"},"reason":"x"}`), 202)
	wants(t, "looked at", b.api(b.looks, "GET", "/api/v1/restores/r2", ""), 200, `"planning":true`, `"workflow_id":"refund-17"`)
	close(hold)
	wants(t, "in the way of another", b.api(b.looks, "GET", "/api/v1/restores/r2", ""), 200, `"state":"failed"`, string(wflo.CodeConflict))
}

func TestCompensationsOfAPI(t *testing.T) {
	b := newBackOffice(t, nil)
	list := "/api/v1/compensations"
	wants(t, "all", b.api(b.looks, "GET", list, ""), 200, "undo-acme", "undo-rival", "the provider is down", "!c2VjcmV0") // the argument is left out
	wants(t, "filtered", b.api(b.looks, "GET", list+"?state=dead_letter,kept&run=refund-17", ""), 200, "undo-acme", "!undo-rival")
	wants(t, "none", b.api(b.looks, "GET", list+"?state=kept", ""), 200, "[]")
	for _, bad := range []string{"?state=odd", "?limit=x", "?who=ann"} {
		wants(t, bad, b.api(b.looks, "GET", list+bad, ""), 422, "hint")
	}
	wants(t, "one", b.api(b.looks, "GET", list+"/undo-acme", ""), 200, "refund of order 17", "!c2VjcmV0")
	wants(t, "absent", b.api(b.looks, "GET", list+"/undo-none", ""), 404, "no such compensation")

	wants(t, "resolve by an operator", b.api(b.op, "POST", list+"/undo-acme/resolve", `{"reason":"by hand"}`), 403)
	wants(t, "resolve without a reason", b.api(b.root, "POST", list+"/undo-acme/resolve", ""), 422, "reason is empty")
	wants(t, "resolve", b.api(b.root, "POST", list+"/undo-acme/resolve", `{"reason":"paid back by hand"}`), 200, `"state":"compensated"`, `"by":"root"`, "!c2VjcmV0")
	wants(t, "skip what is over", b.api(b.root, "POST", list+"/undo-acme/skip", `{"reason":"x"}`), 422, "only dead letters", string(wflo.CodeConflict))
	wants(t, "retry", b.api(b.op, "POST", list+"/undo-rival/retry", ""), 200, "undo-rival")
	wants(t, "retried", b.api(b.looks, "GET", list+"/undo-rival", ""), 200, `"state":"compensated"`)
	wants(t, "retry what is over", b.api(b.op, "POST", list+"/undo-rival/retry", ""), 422, "only dead letters")
	if diff := cmp.Diff([]string{"compensation.resolved root"}, b.trailed("acme")); diff != "" {
		t.Errorf("trail (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"compensation.retried olga"}, b.trailed("rival")); diff != "" {
		t.Errorf("trail (-want +got):\n%s", diff)
	}
}

// Nobody of one org sees or changes what is another's, and nobody learns that it is there.
func TestRecoveryOfOtherOrg(t *testing.T) {
	b := newBackOffice(t, nil)
	lee := b.key("lee", "acme", wflo.RoleAdmin)
	own := b.api(b.root, "POST", "/api/v1/runs/deal-9/restores", `{"id":"theirs","to":{"snapshot":"before-charge"},"reason":"x"}`)
	wants(t, "restore of the rival", own, 202)
	plan := b.api(b.root, "POST", "/api/v1/runs/deal-9/restores", `{"id":"theirplan","to":{"snapshot":"before-charge"},"dry_run":true}`)
	wants(t, "plan of the rival", plan, 200)
	for _, path := range []string{"/api/v1/snapshots", "/api/v1/compensations", "/recovery", "/compensations"} {
		wants(t, path, b.api(lee, "GET", path, ""), 200, "refund", "!deal-9", "!rival", "!"+snapC)
	}
	to := `{"to":{"snapshot":"before-charge"},"reason":"x"}`
	for _, one := range []struct{ method, path, body string }{
		{"GET", "/api/v1/snapshots/" + snapC, ""}, {"GET", "/api/v1/snapshots/" + snapC + "/diff?to=" + snapA, ""}, {"GET", "/api/v1/snapshots/" + snapA + "/diff?to=" + snapC, ""},
		{"POST", "/api/v1/snapshots/" + snapC + "/pin", ""}, {"DELETE", "/api/v1/snapshots/" + snapC + "/pin", ""}, {"DELETE", "/api/v1/snapshots/" + snapC, ""},
		{"POST", "/api/v1/runs/deal-9/snapshots", `{"id":"x"}`}, {"POST", "/api/v1/runs/deal-9/restores", to}, {"GET", "/api/v1/restores/theirs", ""}, {"GET", "/api/v1/restores/theirplan", ""},
		{"GET", "/api/v1/runs/deal-9/lineage", ""}, {"GET", "/api/v1/compensations/undo-rival", ""}, {"POST", "/api/v1/compensations/undo-rival/retry", ""},
		{"POST", "/api/v1/compensations/undo-rival/resolve", `{"reason":"x"}`}, {"POST", "/api/v1/compensations/undo-rival/skip", `{"reason":"x"}`},
		{"POST", "/api/v1/runs/refund-17/restores", `{"id":"theirs","to":{"snapshot":"before-charge"},"reason":"x"}`},
		{"GET", "/runs/deal-9/recovery", ""}, {"GET", "/restores/theirs", ""}, {"GET", "/restores/theirplan", ""}, {"POST", "/runs/deal-9/recovery", ""}, {"POST", "/runs/deal-9/snapshots", ""},
		{"POST", "/snapshots/" + snapC + "/pin", ""}, {"POST", "/compensations/undo-rival/retry", ""}, {"POST", "/compensations/undo-rival/skip", "reason=x"},
	} {
		header := []string{}
		if one.method == "POST" && !strings.HasPrefix(one.path, "/api/") {
			header = []string{"Content-Type", formType}
			one.body += "&to=before-charge"
		}
		got := b.api(lee, one.method, one.path, one.body, header...)
		if got.status != http.StatusNotFound || strings.Contains(got.body, "rival") || strings.Contains(got.body, "first-9") {
			t.Errorf("%s %s: %d %s", one.method, one.path, got.status, got.body)
		}
	}
	if s, err := b.runs.Store.Snapshot(t.Context(), snapC); err != nil || s.Pinned {
		t.Errorf("snapshot of the rival: pinned %v, %v", s.Pinned, err)
	}
	if c, err := b.runs.Store.Compensation(t.Context(), "undo-rival"); err != nil || c.State != wflo.CompensationDead {
		t.Errorf("dead letter of the rival: %s, %v", c.State, err)
	}
	wants(t, "own restore", b.api(lee, "POST", "/api/v1/runs/refund-17/restores", `{"id":"mine","to":{"snapshot":"before-charge"},"dry_run":true}`), 200)
	orders := b.runs.Orders()
	if last := orders[len(orders)-1]; last.FirstRunID != "first-17" || last.By != "lee" {
		t.Errorf("the run is not held to be the one that was looked at: %+v", last)
	}
	wants(t, "own plan", b.api(lee, "GET", "/api/v1/restores/mine", ""), 200, "refund-17")
}

// Two administrators end one dead letter at the same time: one decision counts.
func TestTwoEndOneDeadLetter(t *testing.T) {
	b := newBackOffice(t, nil)
	var mu sync.Mutex
	codes := map[int]int{}
	var wg sync.WaitGroup
	for _, what := range []string{undoResolve, undoSkip, undoResolve, undoSkip} {
		wg.Go(func() {
			got := b.api(b.root, "POST", "/api/v1/compensations/undo-acme/"+what, `{"reason":"x"}`)
			mu.Lock()
			defer mu.Unlock()
			codes[got.status]++
		})
	}
	wg.Wait()
	c, err := b.runs.Store.Compensation(t.Context(), "undo-acme")
	if err != nil || !c.State.Ended() || codes[200] == 0 || codes[200]+codes[422] != 4 {
		t.Errorf("%v, %s, %v", codes, c.State, err)
	}
}

// Without a place to keep anything there is nothing about going back.
func TestNoRecovery(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Ledger = struct{ activities.Ledger }{c.Ledger} })
	for _, rt := range Routes(o.cfg) {
		if strings.Contains(rt.Pattern, "snapshot") || strings.Contains(rt.Pattern, "restore") || strings.Contains(rt.Pattern, "compensation") {
			t.Errorf("%s is served", rt.Pattern)
		}
	}
}

func TestRestoreStatusOver(t *testing.T) {
	var failed RestoreStatus
	if err := json.Unmarshal([]byte(`{"restore":{"id":"x"},"state":"failed"}`), &failed); err != nil || !failed.Over() {
		t.Errorf("%+v, %v", failed, err)
	}
}

func compareFiles(_ context.Context, from, to wflo.Snapshot) ([]wflo.PartDiff, error) {
	if from.ID != snapA || to.ID != snapB {
		return nil, errors.New("the older one comes first")
	}
	return []wflo.PartDiff{{Kind: wflo.PartWorkspace, Changes: []wflo.PartChange{{Name: "a.txt", Op: "added", After: 3}}}}, nil
}
