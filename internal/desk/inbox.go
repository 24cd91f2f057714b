package desk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// MostItems bounds a page of the inbox.
const MostItems = 500

// Query selects gates. The zero value means the first 100 that are open.
type Query struct {
	// Mine gives the gates that name the person or one of their groups, at a level
	// that is still to come too, and those that name nobody.
	Mine bool
	// Approver, a user or "group:NAME", and WorkflowID are filters; empty means all.
	Approver, WorkflowID string
	// Closed gives gates that are over, the latest first.
	Closed bool
	// After is the nonce of the last item that was seen, for reading on.
	After string
	Limit int // zero means 100
}

// Item is a gate with what it means to one person.
type Item struct {
	wflo.Gate
	// Have and Need count approvals over all sets of approvers.
	Have int      `json:"have"`
	Need int      `json:"need"`
	You  Standing `json:"you"`
}

// Standing is what one person may do at a gate.
type Standing struct {
	// Eligible says that the person is among those who are asked now.
	Eligible bool `json:"eligible"`
	// Excluded says that four eyes are needed, and that the person is behind the run
	// or changed the action.
	Excluded bool `json:"excluded,omitempty"`
	// Voted is the verdict that counts for the person at present.
	Voted wflo.Verdict `json:"voted,omitempty"`
	// Can are the verdicts that would be taken.
	Can []wflo.Verdict `json:"can,omitempty"`
	// Why says why the person cannot approve; empty where they can.
	Why string `json:"why,omitempty"`
}

// View is a gate as it is now.
type View struct {
	Item
	// Sets are the sets of approvers that each must approve.
	Sets []Set `json:"sets"`
	// Live says that the run itself answered. Else the view is the index's, which
	// may be behind, and Note says why.
	Live bool   `json:"live"`
	Note string `json:"note,omitempty"`
}

// Set is a set of approvers with the approvals that it has.
type Set struct {
	Approvers []string `json:"approvers"` // none means anybody
	Have      int      `json:"have"`
	Need      int      `json:"need"`
	Rule      string   `json:"rule,omitempty"`
}

// Inbox lists gates from the index, those that time out first first. Items leave
// out what can be large: payloads, details, forms, and what votes hold of them; Gate
// has it. Somebody bound to an org sees
// those of the org only.
func (d *Desk) Inbox(ctx context.Context, id wflo.Identity, q Query) ([]Item, error) {
	if err := mayView(id); err != nil {
		return nil, err
	}
	if q.Limit < 0 || q.Limit > MostItems {
		return nil, wflo.Invalid("limit", fmt.Sprintf("is %d", q.Limit), fmt.Sprintf("use a number from 1 to %d", MostItems))
	}
	query := activities.GateQuery{Org: id.Org, WorkflowID: q.WorkflowID, Closed: q.Closed, After: q.After, Limit: q.Limit}
	switch {
	case q.Mine:
		query.Approvers = append(query.Approvers, id.Subject)
		for _, g := range d.groups(id) {
			query.Approvers = append(query.Approvers, "group:"+g)
		}
	case q.Approver != "":
		query.Approvers = []string{q.Approver}
	}
	gates, err := d.Records.ListGates(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list gates: %w", err)
	}
	items := make([]Item, 0, len(gates))
	for _, g := range gates {
		if visible(id, g) != nil {
			continue // the store has filtered; this wall does not rest on it
		}
		item := d.item(id, g)
		item.Gate = listed(g)
		items = append(items, item)
	}
	return items, nil
}

// listed is a gate without what can be large. Its digest and signatures cannot be
// checked any more.
func listed(g wflo.Gate) wflo.Gate {
	g.Approval.Payload, g.Approval.Details, g.Approval.Form, g.Original = nil, "", nil, nil
	g.Votes = slices.Clone(g.Votes)
	for i, v := range g.Votes {
		g.Votes[i] = brief(v)
	}
	if g.Decision != nil {
		last := brief(*g.Decision)
		g.Decision = &last
	}
	return g
}

// brief is a decision without what was written for the gate alone.
func brief(v wflo.Decision) wflo.Decision {
	v.Text, v.Form, v.Edit, v.Groups = "", nil, nil, nil
	return v
}

// Gate reads one gate by its nonce: from its run, or from the index where no worker
// answers. A gate that the index has open and whose run is over is marked as
// cancelled. That the person saw it is written down, once.
func (d *Desk) Gate(ctx context.Context, id wflo.Identity, nonce string) (View, error) {
	if err := mayView(id); err != nil {
		return View{}, err
	}
	v, err := d.look(ctx, id, nonce)
	if err != nil {
		return View{}, err
	}
	if err := d.viewed(ctx, id, v.Gate); err != nil {
		d.log().ErrorContext(ctx, "record who saw a gate", "gate", v.ID, "nonce", nonce, "error", err.Error())
	}
	return v, nil
}

// Peek is Gate without the record, for what nobody has seen yet: a browser that
// fetches pages before somebody asks for them.
func (d *Desk) Peek(ctx context.Context, id wflo.Identity, nonce string) (View, error) {
	if err := mayView(id); err != nil {
		return View{}, err
	}
	return d.look(ctx, id, nonce)
}

// look reads a gate for those who may see it.
func (d *Desk) look(ctx context.Context, id wflo.Identity, nonce string) (View, error) {
	indexed, err := d.indexed(ctx, id, nonce)
	if err != nil {
		return View{}, err
	}
	return d.view(ctx, id, indexed), nil
}

// indexed gives a gate as it was known last, where the person may see it.
func (d *Desk) indexed(ctx context.Context, id wflo.Identity, nonce string) (wflo.Gate, error) {
	if nonce == "" {
		return wflo.Gate{}, noGate(nonce)
	}
	g, err := d.Records.Gate(ctx, nonce)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wflo.Gate{}, noGate(nonce)
	case err != nil:
		return wflo.Gate{}, fmt.Errorf("read gate: %w", err)
	}
	return g, visible(id, g)
}

// view is the gate as its run has it, if that answers.
func (d *Desk) view(ctx context.Context, id wflo.Identity, indexed wflo.Gate) View {
	g, live, note := d.live(ctx, indexed)
	v := View{Item: d.item(id, g), Live: live, Note: note}
	shown := d.counted(g)
	for _, f := range g.Asked() {
		need := max(f.Quorum, 1)
		v.Sets = append(v.Sets, Set{Approvers: f.Approvers, Have: min(shown.Has(f, d.shownTerms()), need), Need: need, Rule: f.Rule})
	}
	return v
}

// live asks the run for the gate, and says why where it does not have it.
func (d *Desk) live(ctx context.Context, indexed wflo.Gate) (g wflo.Gate, live bool, note string) {
	all, err := d.ask(ctx, indexed.WorkflowID)
	if err == nil {
		i := slices.IndexFunc(all, func(g wflo.Gate) bool { return g.Nonce == indexed.Nonce && g.FirstRunID == indexed.FirstRunID })
		if i >= 0 {
			if all[i].Status != wflo.GateOpen || !d.over(ctx, indexed) {
				return whole(all[i], indexed), true, ""
			}
			return d.cancelled(ctx, all[i]), true, "its run is over"
		}
	}
	if indexed.Status != wflo.GateOpen {
		return indexed, false, "its run does not show it any more"
	}
	if d.over(ctx, indexed) {
		return d.cancelled(ctx, indexed), false, "its run is over"
	}
	if err == nil {
		return indexed, false, "its run does not ask this any more: it was restored, or asks anew"
	}
	d.log().WarnContext(ctx, "ask a run for its gates", "workflow_id", indexed.WorkflowID, "error", err.Error())
	return indexed, false, "no worker answers for its run; this is what was known last"
}

// whole is a gate as its run has it, with what a run leaves out of gates that are
// closed and the index has.
func whole(g, indexed wflo.Gate) wflo.Gate {
	if !g.Closed() || len(g.Approval.Payload) > 0 || indexed.Digest != g.Digest {
		return g
	}
	g.Approval, g.Original = indexed.Approval, indexed.Original
	return g
}

// ask gives the gates of a run as it knows them.
func (d *Desk) ask(ctx context.Context, workflowID string) (all []wflo.Gate, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	value, err := d.Client.QueryWorkflow(ctx, workflowID, "", wflo.QueryGates)
	if err != nil {
		return nil, err
	}
	err = value.Get(&all)
	return all, err
}

func (d *Desk) item(id wflo.Identity, g wflo.Gate) Item {
	item := Item{Gate: g, You: d.standing(id, g)}
	item.Have, item.Need = d.counted(g).Need(d.shownTerms())
	return item
}

// groups are those of the person, as the identity and the workers' terms know them.
func (d *Desk) groups(id wflo.Identity) []string {
	all := slices.Clone(id.Groups)
	for name, members := range d.Terms.Groups {
		if slices.Contains(members, id.Subject) && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// counted is the gate for showing: its run has verified the votes already, so that
// their signatures need not be proved again by keys that the desk may not have.
func (d *Desk) counted(g wflo.Gate) wflo.Gate {
	g.Approval.SignedOnly = false
	g.Votes = slices.Clone(g.Votes)
	for i, v := range g.Votes {
		if s, ok := d.Terms.Signers[v.Key]; ok && s.Subject == v.By {
			g.Votes[i].Groups = s.Groups
		}
		g.Votes[i].Signature = ""
	}
	return g
}

// shownTerms take every vote that the run took.
func (d *Desk) shownTerms() wflo.Terms {
	return wflo.Terms{AllowUnsigned: true, Groups: d.Terms.Groups}
}

func (d *Desk) standing(id wflo.Identity, g wflo.Gate) Standing {
	s := Standing{Eligible: g.Eligible(id.Subject, d.groups(id)), Excluded: g.Excluded(id.Subject)}
	for _, v := range g.Votes {
		if v.By == id.Subject {
			s.Voted = v.Verdict
		}
	}
	switch {
	case !id.May(wflo.RoleApprover):
		s.Why = "you do not have the role approver"
	case g.Status != wflo.GateOpen && !(g.Granted() && !g.Used && s.Eligible):
		s.Why = "it is " + string(g.Status)
	case !s.Eligible:
		s.Why = "you are not asked here"
	case g.Status != wflo.GateOpen:
		s.Why, s.Can = "it is "+string(g.Status), []wflo.Verdict{wflo.VerdictReject}
	default:
		s.Can = open(s, g)
		switch {
		case s.Excluded:
			s.Why = "four eyes are needed: you asked for this, or changed it"
		case s.Voted == wflo.VerdictApprove:
			s.Why = "you have approved; others must too"
		}
	}
	return s
}

// open lists what somebody who is asked may say at an open gate.
func open(s Standing, g wflo.Gate) []wflo.Verdict {
	var can []wflo.Verdict
	for _, v := range g.Answers() {
		affirms := v != wflo.VerdictReject
		if affirms && s.Excluded || v == s.Voted && v != wflo.VerdictRespond && v != wflo.VerdictEdit {
			continue
		}
		can = append(can, v)
	}
	if g.Level < len(g.Approval.Escalation) {
		can = append(can, wflo.VerdictEscalate)
	}
	if g.AckedBy == "" {
		can = append(can, wflo.VerdictAck)
	}
	return can
}
