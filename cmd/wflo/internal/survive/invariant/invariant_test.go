package invariant

import (
	"context"
	"encoding/base64"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
)

// In a sound world there is nothing to find, and each invariant has seen something.
func TestSoundWorld(t *testing.T) {
	r, err := Check(t.Context(), sound(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) > 0 {
		t.Errorf("found in a sound world:\n%s", r)
	}
	for name := range Names {
		if r.Seen[name] == 0 {
			t.Errorf("%s has seen nothing", name)
		}
	}
	if got := strings.Count(r.String(), "holds"); got < len(Names) {
		t.Errorf("the report says %d times that something holds:\n%s", got, r)
	}
}

// violation is what is changed in a sound world, and what must be said of it.
type violation struct {
	invariant, name, says string
	sql                   string
	change                func(*World)
}

// planted are violations: each is found, under its invariant, in words that say it.
var planted = []violation{
	{"I1", "an invoice nobody booked", "in no entry", "", func(w *World) {
		w.Invoices = append(w.Invoices, Invoice{Response: "resp2", Model: model, Input: 1})
	}},
	{"I1", "billed twice", "billed the answer resp1 twice", "", func(w *World) { w.Invoices = append(w.Invoices, w.Invoices[0]) }},
	{"I1", "booked without an invoice", "which nobody billed", "", func(w *World) { w.Invoices = nil }},
	{"I1", "another price", "costs 120100", "", func(w *World) { w.Rates[model] = Rate{Input: 751, Output: 4500} }},
	{"I1", "other tokens", "is booked as", "", func(w *World) { w.Invoices[0].Output++ }},
	{"I1", "settled twice", "settled twice", `INSERT INTO wflo.entries (key, attempt, state, adjusts, root_run, run, provider, model, response_id, usage, price, reserved_nano, amount_nano, overdraft_nano)
		SELECT key, 2, state, adjusts, root_run, run, provider, model, response_id, usage, price, reserved_nano, amount_nano, overdraft_nano FROM wflo.entries`, nil},
	{"I2", "an account that lost money", "spent", `UPDATE wflo.accounts SET spent_nano = spent_nano - 1`, nil},
	{"I2", "a reservation of nobody", "reserved", `UPDATE wflo.accounts SET reserved_nano = 5`, nil},
	{"I2", "a limit that was passed", "of a limit", `UPDATE wflo.accounts SET limit_nano = 1000`, nil},
	{"I2", "a hold that stays", "open holds", `UPDATE wflo.holds SET state = 'open', closed_at = NULL, settled_nano = NULL`, nil},
	{"I2", "a hold of another amount", "its entries come to", `UPDATE wflo.holds SET settled_nano = settled_nano + 1`, nil},
	{"I3", "an open gate", "is open", `UPDATE wflo.gates SET doc = convert_to(replace(convert_from(doc, 'UTF8'), '"approved"', '"open"'), 'UTF8')`, nil},
	{"I3", "a second opening", "opened 2 times", `INSERT INTO wflo.audit (chain, seq, id, at, type, severity, actor, namespace, workflow_id, first_run_id, step, gate, data, prev, hash)
		SELECT chain, 9, 'again', at, type, severity, actor, namespace, workflow_id, first_run_id, step, gate, data, prev, hash FROM wflo.audit WHERE seq = 1`, nil},
	{"I3", "a stranger", "who is no approver", `UPDATE wflo.gates SET doc = convert_to(replace(convert_from(doc, 'UTF8'), '["ann"]', '["eve"]'), 'UTF8')`, nil},
	{"I3", "who asked", "who asked for it", `UPDATE wflo.gates SET doc = convert_to(replace(convert_from(doc, 'UTF8'), '"bob"', '"ann"'), 'UTF8')`, nil},
	{"I3", "an old epoch", "of epoch 1", `UPDATE wflo.gates SET doc = convert_to(replace(convert_from(doc, 'UTF8'), '"epoch":1', '"epoch":2'), 'UTF8')`, nil},
	{"I3", "without an approval", "without an approval", `DELETE FROM wflo.grants`, nil},
	{"I3", "before the approval", "before its approval", "", func(w *World) { w.Effects[0].At = moment.AddDate(0, 0, -1) }},
	{"I3", "used before the decision", "used before it was decided", `UPDATE wflo.grants SET at = '2020-01-01'`, nil},
	{"I3", "a use without a record", "does not have that once", `ALTER TABLE wflo.audit DISABLE TRIGGER ALL; UPDATE wflo.audit SET type = 'approval.viewed' WHERE type = 'approval.used'`, nil},
	{"I5", "not undone", "still has it", "", func(w *World) { w.Effects = w.Effects[:3] }},
	{"I5", "undone and kept", "is kept, and was undone", `UPDATE wflo.compensations SET state = 'kept' WHERE height = 1`, nil},
	{"I5", "done again", "happened again", "", func(w *World) { w.Effects = append(w.Effects, w.Effects[0]) }},
	{"I5", "in the wrong order", "was undone before", "", func(w *World) {
		w.Effects[2], w.Effects[3] = w.Effects[3], w.Effects[2]
	}},
	{"I5", "left open", "is executed", `UPDATE wflo.compensations SET state = 'executed' WHERE height = 2`, nil},
	{"I5", "a silent dead letter", "without a reason", `UPDATE wflo.compensations SET state = 'dead_letter' WHERE height = 2`, nil},
	{"I5", "a row that was lost", "which no row is about", `DELETE FROM wflo.compensations WHERE height = 2`, nil},
	{"I5", "an effect that never began", "never began", `UPDATE wflo.compensations SET begun = false WHERE height = 2`, nil},
	{"I6", "a record that was changed", "is not what was hashed", `ALTER TABLE wflo.audit DISABLE TRIGGER ALL; UPDATE wflo.audit SET actor = 'eve' WHERE seq = 2`, nil},
	{"I6", "a record that was cut out", "follows record 1", `ALTER TABLE wflo.audit DISABLE TRIGGER ALL; DELETE FROM wflo.audit WHERE seq = 2`, nil},
	{"I6", "an end that was cut off", "its head is 4", `ALTER TABLE wflo.audit DISABLE TRIGGER ALL; DELETE FROM wflo.audit WHERE seq = 4`, nil},
	{"I6", "a gate without a record", "does not have the gate", `INSERT INTO wflo.gates (nonce, changes, org, workflow_id, open, expires_at, closed_at, doc)
		SELECT 'n-2', changes, org, workflow_id, open, expires_at, closed_at, doc FROM wflo.gates`, nil},
	{"I6", "a dead letter without a record", "does not have the dead compensation", `UPDATE wflo.compensations SET state = 'dead_letter', error = 'no' WHERE height = 2`, nil},
	{"I7", "a notice nobody got", "no receiver has taken it", "", func(w *World) { w.Deliveries = w.Deliveries[:1] }},
	{"I7", "two wordings", "two wordings", "", func(w *World) { w.Deliveries[0].Body = "another" }},
	{"I7", "a notice that waits", "waits", `UPDATE wflo.notices SET state = 'pending', delivered_at = NULL`, nil},
	{"I7", "a message from nowhere", "in no outbox", "", func(w *World) { w.Deliveries = append(w.Deliveries, Delivery{"msg_x", "?", true}) }},
	{"I7", "a silent dead letter", "without a reason", `UPDATE wflo.notices SET state = 'dead_letter', delivered_at = NULL`, nil},
	{"I8", "a run without an end", "still runs", "", func(w *World) { w.Temporal = &histories{status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING} }},
	{"I8", "a task that went astray", "went another way: lost", "", func(w *World) { w.Temporal = &histories{event: strayed("lost")} }},
	{"I9", "a manifest that was changed", "not what was sealed", `UPDATE wflo.snapshots SET manifest = convert_to(replace(convert_from(manifest, 'UTF8'), 'acme', 'evil'), 'UTF8')`, nil},
	{"I9", "a blob that is lost", "cannot be read", "", func(w *World) {
		w.Blob = func(context.Context, string) ([]byte, error) { return nil, context.Canceled }
	}},
	{"I9", "a blob of something else", "holds something else", "", func(w *World) {
		w.Blob = func(context.Context, string) ([]byte, error) { return []byte("hallo"), nil }
	}},
	{"I10", "a secret in a row", "in table", `UPDATE wflo.notices SET error = 'by canary-4711-0815-secret'`, nil},
	{"I10", "a secret in bytes", "in table", `UPDATE wflo.notices SET doc = 'by canary-4711-0815-secret'`, nil},
	{"I10", "a secret in a log", "in worker", "", func(w *World) {
		w.Said["worker"] = "xy" + base64.StdEncoding.EncodeToString([]byte("abcanary-4711-0815-secretz"))
	}},
	{"I10", "a secret in a history", "in the history of", "", func(w *World) { w.Temporal = &histories{event: strayed("canary-4711-0815-secret")} }},
	{"I11", "descriptors that stay", "descriptors: 10 before, 12 now", "", func(w *World) { w.Counts[0].Now = 12 }},
	{"I12", "a row of another tenant", `belongs to "evil"`, `UPDATE wflo.gates SET org = 'evil'`, nil},
	{"I12", "money of another tenant", `belongs to "evil"`, `UPDATE wflo.holds SET run = replace(run::text, 'acme', 'evil')::json`, nil},
}

func TestPlantedViolations(t *testing.T) {
	whole := sound(t)
	for _, p := range planted {
		t.Run(p.invariant+" "+p.name, func(t *testing.T) {
			w := whole
			w.Invoices, w.Effects, w.Deliveries = slices.Clone(w.Invoices), slices.Clone(w.Effects), slices.Clone(w.Deliveries)
			w.Rates, w.Said, w.Counts = maps.Clone(w.Rates), maps.Clone(w.Said), slices.Clone(w.Counts)
			// What is planted is gone when the transaction is.
			if _, err := w.DB.Exec(t.Context(), "BEGIN; "+p.sql); err != nil {
				t.Fatal(err)
			}
			if p.change != nil {
				p.change(&w)
			}
			wantFound(t, w, p.invariant, p.says)
			if _, err := w.DB.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		})
	}
	for name := range Names {
		if !slices.ContainsFunc(planted, func(p violation) bool { return p.invariant == name }) && name != "I4" {
			t.Errorf("nothing is planted for %s", name)
		}
	}
}

// What is left on the engine is found by its label.
func TestPlantedVolume(t *testing.T) {
	w := sound(t)
	name := w.Owner + "-left"
	docker(t, "volume", "create", "--label", "wflo.owner="+w.Owner, name)
	defer docker(t, "volume", "rm", name)
	wantFound(t, w, "I4", "volume "+name)
	w.Grace = time.Hour
	if r, err := Check(t.Context(), w); err != nil || len(r.Findings) > 0 {
		t.Errorf("what is young is not left alone: %v\n%s", err, r)
	}
}

func docker(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
		t.Errorf("docker %v: %v: %s", args, err, out)
	}
}

// wantFound checks that an invariant is broken, in these words.
func wantFound(t *testing.T, w World, invariant, says string) {
	t.Helper()
	r, err := Check(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Invariant == invariant && strings.Contains(f.What, says) }) {
		t.Errorf("nobody found %q:\n%s", says, r)
	}
	if !strings.Contains(r.String(), "BROKEN") {
		t.Errorf("the report does not say it:\n%s", r)
	}
}
