package demo

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/etl"
	"github.com/wflo-ai/wflo-go/examples/etl/shop"
)

// takenBack is what came of the fifth part.
type takenBack struct {
	// rolledBack says that the wrong program left nothing behind.
	rolledBack bool
	plan       wflo.RestorePlan
	done       wflo.Restored
	// withdrawn says that the figures were not there after the restore, before they
	// were approved once more.
	withdrawn bool
	// asked are the nonces of the gates at which people approved.
	asked []string
	// before and after are the run around the restore.
	before, after wflo.Status
	// dead is the dead letter of the run that was terminated, and buried what became of it.
	dead, buried wflo.CompensationRecord
	// left are the run's compensations in the end, sold the cents in its table.
	left   []wflo.CompensationRecord
	sold   int64
	public bool
	boxes  int
}

// takeBack is the fifth agent: it is rolled back, taken back, and terminated.
func (d *demo) takeBack(ctx context.Context) (t takenBack, err error) {
	d.title("5. A nightly load is rolled back, taken back to a time, and terminated")
	n, err := d.openNight(ctx)
	if err != nil {
		return t, err
	}
	defer n.close()
	run, err := n.client.ExecuteWorkflow(wflo.WithRun(ctx, wflo.Run{User: "demo", Team: "finance"}), client.StartWorkflowOptions{
		ID: nightID, TaskQueue: etl.TaskQueue, StaticSummary: "wflo demo",
	}, etl.Name, etl.Input{Day: shop.Day})
	if err != nil {
		return t, fmt.Errorf("start %s: %w", etl.Name, err)
	}
	d.line("  watch it at %s%s", d.ui, run.GetID())
	moment, err := n.load(ctx, &t)
	if err == nil {
		err = n.restore(ctx, moment, &t)
	}
	if err == nil {
		err = n.terminate(ctx, &t)
	}
	if err == nil {
		err = n.books(ctx, &t)
	}
	return t, err
}

// load follows the run until its figures are published, and gives the moment before they
// were approved.
func (n *nightly) load(ctx context.Context, t *takenBack) (moment time.Time, err error) {
	g, err := n.asked(ctx, 0)
	if err != nil {
		return moment, err
	}
	s, err := n.status(ctx)
	if err != nil {
		return moment, err
	}
	for _, step := range s.Steps {
		if step.Error != "" {
			n.at("%s failed: %s", step.Key, step.Error)
			n.at("the step is rolled back, rows and files; %s stay spent", s.Spent)
		}
	}
	undone, err := n.compensations(ctx, s.Run)
	if err != nil {
		return moment, err
	}
	sold, err := n.sold(ctx)
	if err != nil {
		return moment, err
	}
	// The second program found the orders that the first one had overwritten, or its
	// sums would not be right.
	t.rolledBack = sold == shop.Paid && len(undone) == 2 && undone[1].State == wflo.CompensationDone
	n.at("another program is right: %d cents; the run is saved as %q, and asks:", sold, etl.BeforePublish)
	n.block(g.Approval.Action, 3)
	moment = time.Now()
	t.asked = append(t.asked, g.Nonce)
	if err := n.approve(ctx, g); err != nil {
		return moment, err
	}
	n.at("approved by %s, and published", reviewer)
	t.before, err = n.status(ctx)
	return moment, err
}

// restore shows what going back to the moment before the approval would do, and does it.
func (n *nightly) restore(ctx context.Context, moment time.Time, t *takenBack) (err error) {
	r := wflo.Restore{WorkflowID: nightID, To: wflo.RestorePoint{Time: moment}, By: operator, Reason: "the figures are to be checked once more"}
	n.at("an operator would now type: wflo restore %s --to %s --dry-run", nightID, moment.UTC().Format(time.RFC3339Nano))
	if t.plan, err = n.back.Plan(ctx, r); err != nil {
		return fmt.Errorf("plan the restore: %w", err)
	}
	n.block(planned(&t.plan), 20)
	n.at("and the same with --reason, without --dry-run")
	if t.done, err = n.back.Do(ctx, r); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	there, err := n.published()
	if err != nil {
		return err
	}
	t.withdrawn = !there
	n.at("%s: the run goes on in epoch %d; what was given up is kept as %s", t.done.State, t.done.Epoch, t.done.PreRestore)
	g, err := n.asked(ctx, t.done.Epoch)
	if err != nil {
		return err
	}
	t.asked = append(t.asked, g.Nonce)
	n.at("people are asked again: what they approved before does not count any more")
	if err := n.approve(ctx, g); err != nil {
		return err
	}
	n.at("approved by %s, and published once more", reviewer)
	t.after, err = n.status(ctx)
	return err
}

// planned is a plan in words.
func planned(p *wflo.RestorePlan) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("back to %s, %s; %d outcomes are kept", p.At.UTC().Format("15:04:05.000"), p.Mode, p.Kept)
	for _, c := range p.Undo {
		say("undo:          %s, by %s", c.Name, c.Activity)
	}
	for _, i := range p.Irreversible {
		say("stays:         %s %s: %s", i.Kind, i.Key, i.Note)
	}
	for _, i := range p.Void {
		say("void:          approval %s: %s", i.Key, i.Note)
	}
	for _, i := range p.Again {
		say("done again:    %s %s", i.Kind, i.Key)
	}
	say("money:         %s spent since then, %s in all; it stays spent", p.Spent, p.SpentTotal)
	for _, d := range p.Diffs {
		for _, c := range d.Changes {
			say("%-14s %s %s", string(d.Kind)+":", c.Name, c.Op)
		}
	}
	for _, w := range p.Warnings {
		say("note:          %s", w)
	}
	for _, r := range p.Refusals {
		say("refused:       %s", r)
	}
	return b.String()
}

// terminate ends the run as Temporal's own command line does, so that no code of it runs
// any more, while the directory of the figures is away.
func (n *nightly) terminate(ctx context.Context, t *takenBack) error {
	away := n.public + ".away"
	if err := os.Rename(n.public, away); err != nil {
		return fmt.Errorf("take the directory away: %w", err)
	}
	if err := n.client.TerminateWorkflow(ctx, nightID, "", "somebody was in a hurry"); err != nil {
		return fmt.Errorf("terminate the run: %w", err)
	}
	n.at("the web server's disk is gone, and somebody types: temporal workflow terminate -w %s", nightID)
	err := n.until(ctx, "a dead letter", func() (bool, error) {
		all, err := n.compensations(ctx, t.after.Run)
		open := false
		for _, c := range all {
			if c.State == wflo.CompensationDead {
				t.dead = c
			}
			open = open || !c.State.Ended() && c.State != wflo.CompensationDead
		}
		return t.dead.ID != "" && !open, err
	})
	if err != nil {
		return err
	}
	n.at("no code of the run is left, so the worker's sweep undoes what it did; one cannot be undone:")
	n.block(fmt.Sprintf("%s %s %q: %s", t.dead.ID, t.dead.State, t.dead.Name, t.dead.Error), 3)
	if err := os.Rename(away, n.public); err != nil {
		return fmt.Errorf("bring the directory back: %w", err)
	}
	n.at("the disk is back, and the operator types: wflo compensations retry %s", t.dead.ID)
	again, err := n.desk.Retry(ctx, t.dead.ID, operator)
	if err == nil {
		err = again.Get(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("retry the dead letter: %w", err)
	}
	if t.buried, err = n.desk.Show(ctx, t.dead.ID); err != nil {
		return err
	}
	n.at("%s %s", t.buried.Name, t.buried.State)
	return nil
}

// books reads what is left.
func (n *nightly) books(ctx context.Context, t *takenBack) (err error) {
	if t.left, err = n.compensations(ctx, t.after.Run); err != nil {
		return err
	}
	if t.sold, err = n.sold(ctx); err != nil {
		return err
	}
	if t.public, err = n.published(); err != nil {
		return err
	}
	return n.until(ctx, "the end of the sandbox", func() (bool, error) {
		boxes, err := n.guard.Boxes(ctx)
		t.boxes = len(boxes)
		return t.boxes == 0, err
	})
}

// named are the names of compensations.
func named(all []wflo.CompensationRecord) string {
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// wentBack checks the books of the fifth agent.
func (d *demo) wentBack(t takenBack) bool {
	ok := d.check(t.rolledBack, "a program that got the sums wrong left neither rows nor files behind")
	ok = d.check(len(t.plan.Undo) == 1 && len(t.plan.Refusals) == 0 && t.done.State == wflo.RestoreDone &&
		len(t.done.Plan.Undo) == 1 && t.done.Plan.Undo[0].ID == t.plan.Undo[0].ID && t.withdrawn,
		"the restore to a time undid what its dry run had said, and nothing else: %s", named(t.plan.Undo)) && ok
	ok = d.check(len(t.asked) == 2 && t.asked[0] != t.asked[1] && t.after.Run.Epoch == 1 && t.after.Spent == t.before.Spent && t.before.Spent > 0,
		"the figures were published again when somebody had approved again; %s stayed spent", t.after.Spent) && ok
	ended := 0
	for _, c := range t.left {
		if c.State.Ended() && c.State != wflo.CompensationKept {
			ended++
		}
	}
	ok = d.check(t.dead.State == wflo.CompensationDead && t.buried.State == wflo.CompensationDone && ended == len(t.left) && ended > 0 && t.sold == 0 && !t.public,
		"all %d effects of the terminated run are undone, one of them by hand", ended) && ok
	return ok
}
