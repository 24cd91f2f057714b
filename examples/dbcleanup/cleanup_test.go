package dbcleanup_test

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup/customers"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// gate is the one that the policy opens.
const gate = "policy/deleting-customers"

// consoleKey signs what people decide, as a console's key does.
var consoleKey = ed25519.NewKeyFromSeed([]byte("a seed of 32 bytes, for tests !!"))

// says is a signed decision of somebody of a group.
func says(g wflo.Gate, v wflo.Verdict, by, group string, change func(*wflo.Decision)) wflo.Decision {
	d := g.Decide(v, by)
	d.Groups, d.At, d.Method = []string{group}, g.OpenedAt.Add(time.Second), "ldap"
	if change != nil {
		change(&d)
	}
	return d.Sign("console", consoleKey)
}

func approves(by, group string) func(wflo.Gate) wflo.Decision {
	return func(g wflo.Gate) wflo.Decision { return says(g, wflo.VerdictApprove, by, group, nil) }
}

// company is a worker with the example's policies, and its database.
func company(t *testing.T, script scripted.Script) (*wflotest.Env, *sql.DB) {
	t.Helper()
	set, err := dbcleanup.Policies()
	if err != nil {
		t.Fatal(err)
	}
	public := base64.StdEncoding.EncodeToString(consoleKey.Public().(ed25519.PublicKey))
	env := wflotest.New(t, wflotest.Config{
		Script: script, User: "ana",
		Decide: func(wflo.Gate) wflo.Decision { return wflo.Decision{} },
		Plugin: func(c *plugin.Config) {
			c.Policies, c.Approvals = set, wflo.Terms{Keys: map[string]string{"console": public}}
		},
	})
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "customers.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := customers.Fill(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	dbcleanup.Register(env, &dbcleanup.Activities{DB: db})
	return env, db
}

func wantLeft(t *testing.T, db *sql.DB, want ...int64) {
	t.Helper()
	got, err := customers.IDs(context.Background(), db)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the table has %v, want %v; %v", got, want, err)
	}
}

// TestTwoPeopleDelete is the whole story: who asked cannot approve, one takes a loyal
// customer off the list, and two others approve what is left of it.
func TestTwoPeopleDelete(t *testing.T) {
	env, db := company(t, customers.Model)
	env.After(time.Minute, gate, approves("ana", "senior-ops"))
	env.After(2*time.Minute, gate, approves("ben", "senior-ops"))
	env.After(3*time.Minute, gate, func(g wflo.Gate) wflo.Decision {
		if have, _ := g.Need(wflo.Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(consoleKey.Public().(ed25519.PublicKey))}}); have != 1 || g.Refused != 1 {
			t.Errorf("%d approvals, %d refused, want 1 and 1: %s", have, g.Refused, g.LastRefusal)
		}
		return says(g, wflo.VerdictEdit, "eve", "senior-ops", func(d *wflo.Decision) { d.Edit = without(t, g, customers.Loyal) })
	})
	env.After(4*time.Minute, gate, func(g wflo.Gate) wflo.Decision {
		if len(g.Votes) != 0 || g.Revision != 1 {
			t.Errorf("votes %+v at revision %d after the edit", g.Votes, g.Revision)
		}
		return approves("eve", "senior-ops")(g)
	})
	env.After(5*time.Minute, gate, approves("ben", "senior-ops"))
	env.After(6*time.Minute, gate, approves("gil", "senior-ops"))
	if err := env.Run(dbcleanup.Cleanup, dbcleanup.Input{Before: customers.Before}); err != nil {
		t.Fatal(err)
	}
	var report dbcleanup.Report
	env.Result(&report)
	if report != (dbcleanup.Report{Looked: 4, Deleted: 3}) {
		t.Errorf("report %+v", report)
	}
	wantLeft(t, db, 1, customers.Loyal)
	if g, _ := env.Gate(gate); g.Status != wflo.GateApproved || g.Refused != 2 || len(g.Votes) != 2 {
		t.Errorf("gate %s, %d refused (%s), votes %+v", g.Status, g.Refused, g.LastRefusal, g.Votes)
	}
}

// without is the gate's payload without one customer.
func without(t *testing.T, g wflo.Gate, id int64) json.RawMessage {
	t.Helper()
	var d dbcleanup.Deletion
	if err := json.Unmarshal(g.Approval.Payload, &d); err != nil {
		t.Fatal(err)
	}
	d.IDs = slices.DeleteFunc(d.IDs, func(other int64) bool { return other == id })
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDirectorsAreAskedAfterAnHour has nobody of the first level answer.
func TestDirectorsAreAskedAfterAnHour(t *testing.T) {
	env, db := company(t, customers.Model)
	env.After(59*time.Minute, gate, approves("cleo", "directors"))
	// Signed decisions are fresh: the clock of these is that of the second hour.
	late := func(by string) func(wflo.Gate) wflo.Decision {
		return func(g wflo.Gate) wflo.Decision {
			return says(g, wflo.VerdictApprove, by, "directors", func(d *wflo.Decision) { d.At = g.LevelAt.Add(time.Minute) })
		}
	}
	env.After(62*time.Minute, gate, late("cleo"))
	env.After(63*time.Minute, gate, late("dan"))
	if err := env.Run(dbcleanup.Cleanup, dbcleanup.Input{Before: customers.Before}); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, db, 1)
	if g, _ := env.Gate(gate); g.Level != 1 || g.Refused != 1 {
		t.Errorf("level %d, %d refused: %s", g.Level, g.Refused, g.LastRefusal)
	}
}

func TestNobodyAnswersAndNothingIsDeleted(t *testing.T) {
	env, db := company(t, customers.Model)
	err := env.Run(dbcleanup.Cleanup, dbcleanup.Input{Before: customers.Before})
	if app := new(temporal.ApplicationError); !errors.As(err, &app) || app.Type() != string(wflo.CodeApprovalTimeout) {
		t.Errorf("got %v", err)
	}
	wantLeft(t, db, 1, 2, 3, 4, 5)
}

// A model that names somebody who was not on the list is not even asked about.
func TestModelInventsCustomers(t *testing.T) {
	for name, text := range map[string]string{
		"stranger": `{"ids":[2,999],"reason":"x"}`, "twice": `{"ids":[2,2],"reason":"x"}`, "prose": `delete them all`, "more": `{"ids":[2],"table":"orders"}`,
	} {
		t.Run(name, func(t *testing.T) {
			env, db := company(t, func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: text} })
			if err := env.Run(dbcleanup.Cleanup, dbcleanup.Input{Before: customers.Before}); err == nil || len(env.Gates()) != 0 {
				t.Errorf("got %v and gates %+v", err, env.Gates())
			}
			wantLeft(t, db, 1, 2, 3, 4, 5)
		})
	}
}

func TestPolicies(t *testing.T) {
	set, err := dbcleanup.Policies()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("policies_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	report, err := policy.RunTests(set, "policies_test.yaml", source)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		for _, d := range r.Differences {
			t.Errorf("%s: %s", r.Name, d)
		}
	}
	if len(report.Untested) > 0 || len(report.Results) != 3 {
		t.Errorf("%d tests; untested: %v", len(report.Results), report.Untested)
	}
}
