package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup"
	"github.com/wflo-ai/wflo-go/examples/dbcleanup/customers"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// The people of the fourth part. The agent works for ana, who is of senior-ops
// herself.
var (
	ana  = person("ana", "senior-ops")
	ben  = person("ben", "senior-ops")
	eve  = person("eve", "senior-ops")
	cleo = person("cleo", "directors")
	dan  = person("dan", "directors")
)

func person(name, group string) wflo.Identity {
	return wflo.Identity{Subject: name, Groups: []string{group}, Roles: []wflo.AccessRole{wflo.RoleApprover}, Method: "demo"}
}

// judged is what came of the fourth part.
type judged struct {
	gate wflo.Gate
	// selfRefused and editorRefused say that those who must not approve could not;
	// voided that the edit left no vote standing.
	selfRefused, editorRefused, voided bool
	// left are the customers that are still in the database.
	left   []int64
	report dbcleanup.Report
	trail  trail
}

// escalation is the fourth agent: it wants to do what it may not do alone.
func (d *demo) escalation(ctx context.Context) (judged, error) {
	d.title("4. An agent wants to delete customers in production; a policy asks people first")
	o, err := d.openOffice(ctx)
	if err != nil {
		return judged{}, err
	}
	defer o.close()
	ctx = wflo.WithRun(ctx, wflo.Run{User: ana.Subject, Team: "sales"})
	run, err := o.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "demo-cleanup", TaskQueue: dbcleanup.TaskQueue, StaticSummary: "wflo demo",
	}, dbcleanup.Name, dbcleanup.Input{Before: customers.Before})
	if err != nil {
		return judged{}, fmt.Errorf("start %s: %w", dbcleanup.Name, err)
	}
	d.line("  watch it at %s%s/%s", d.ui, run.GetID(), run.GetRunID())
	d.line("  people decide in the inbox, with wflo approve, in Slack or by mail; here the demo plays them")
	j, err := o.decide(ctx, run)
	if err != nil {
		return j, err
	}
	if err := run.Get(ctx, &j.report); err != nil {
		return j, fmt.Errorf("the agent that two people approved did not end well: %w", err)
	}
	if j.left, err = customers.IDs(ctx, o.db); err != nil {
		return j, err
	}
	o.at("deleted %d customers, which are those that were approved; %v are left", j.report.Deleted, j.left)
	j.trail, err = o.verify(ctx)
	return j, err
}

// decide plays the people: the time of the first level passes; the one who asked
// tries to approve; one has approved when another takes a customer off the list, so
// that all are asked again; and two others approve.
func (o *office) decide(ctx context.Context, run client.WorkflowRun) (j judged, err error) {
	g, err := o.asked(ctx, run)
	if err != nil {
		return j, err
	}
	g, err = o.await(ctx, run, "an escalation", func(g wflo.Gate) bool { return g.Level > 0 })
	if err != nil {
		return j, err
	}
	o.at("nobody answered; a durable timer escalates to %s", strings.Join(g.Approval.Escalation[0].Approvers, ", "))
	if j.selfRefused, err = o.refused(ctx, ana, g); err != nil {
		return j, err
	}
	if g, err = o.vote(ctx, ben, g, nil); err != nil {
		return j, err
	}
	less, err := without(g, customers.Loyal)
	if err != nil {
		return j, err
	}
	if g, err = o.vote(ctx, eve, g, less); err != nil {
		return j, err
	}
	have, need := g.Need(o.terms())
	j.voided = have == 0 && len(g.Votes) == 0
	o.at("what %s approved is not what is asked now, so the vote is void: %d of %d", ben.Subject, have, need)
	if j.editorRefused, err = o.refused(ctx, eve, g); err != nil {
		return j, err
	}
	for _, p := range []wflo.Identity{cleo, dan} {
		if g, err = o.vote(ctx, p, g, nil); err != nil {
			return j, err
		}
	}
	j.gate = g
	return j, nil
}

// without is what the gate asks for but for one customer.
func without(g wflo.Gate, id int64) (json.RawMessage, error) {
	var d dbcleanup.Deletion
	if err := json.Unmarshal(g.Approval.Payload, &d); err != nil {
		return nil, fmt.Errorf("read what is asked for: %w", err)
	}
	d.IDs = slices.DeleteFunc(d.IDs, func(other int64) bool { return other == id })
	return json.Marshal(d)
}

// asked waits for the run's gate and shows it.
func (o *office) asked(ctx context.Context, run client.WorkflowRun) (wflo.Gate, error) {
	g, err := o.await(ctx, run, "a gate", func(wflo.Gate) bool { return true })
	if err != nil {
		return g, err
	}
	o.at("policy %s asks %d of %s, and never %s, for whom the agent works:",
		strings.Join(g.Approval.Rules, ", "), g.Approval.Quorum, strings.Join(g.Approval.Approvers, ", "), g.User)
	o.block(string(g.Approval.Payload), 3)
	return g, nil
}

// await waits until the run's gate is as ok says.
func (o *office) await(ctx context.Context, run client.WorkflowRun, what string, ok func(wflo.Gate) bool) (g wflo.Gate, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var gates []wflo.Gate
		v, err := o.client.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), wflo.QueryGates)
		if err == nil {
			err = v.Get(&gates)
		}
		if err == nil && len(gates) > 0 && ok(gates[0]) {
			return gates[0], nil
		}
		select {
		case <-ctx.Done():
			return g, errors.Join(fmt.Errorf("wait for %s: %w", what, ctx.Err()), err)
		case <-tick.C:
		}
	}
}

// patience is how long the demo waits for what must come within seconds.
const patience = time.Minute

// vote decides as a person at the desk would, and shows how far the gate is.
func (o *office) vote(ctx context.Context, who wflo.Identity, g wflo.Gate, edit json.RawMessage) (wflo.Gate, error) {
	req := desk.Request{Nonce: g.Nonce, Digest: g.Digest, Verdict: wflo.VerdictApprove, Edit: edit, Origin: desk.Origin{Channel: "api"}}
	did := "approves"
	if edit != nil {
		req.Verdict, did = wflo.VerdictEdit, fmt.Sprintf("takes customer %d off the list", customers.Loyal)
	}
	after, err := o.desk.Decide(ctx, who, req)
	if err != nil {
		return after, fmt.Errorf("%s %s: %w", who.Subject, did, err)
	}
	have, need := after.Need(o.terms())
	o.at("%s of %s %s: %d of %d", who.Subject, who.Groups[0], did, have, need)
	return after, nil
}

// refused has somebody approve who must not, and says whether that was refused for
// the reason that counts.
func (o *office) refused(ctx context.Context, who wflo.Identity, g wflo.Gate) (bool, error) {
	_, err := o.desk.Decide(ctx, who, desk.Request{Nonce: g.Nonce, Digest: g.Digest, Verdict: wflo.VerdictApprove, Origin: desk.Origin{Channel: "api"}})
	if err == nil {
		return false, fmt.Errorf("%s approved what they asked for or changed", who.Subject)
	}
	message, hint := wflo.Explain(err)
	o.at("%s tries to approve, and is refused: %s", who.Subject, hint)
	return errors.Is(err, wflo.ErrInvalid) && strings.Contains(message, "asked for this or changed it"), nil
}
