package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// MostBatch bounds the decisions of one batch.
const MostBatch = 100

// Request is what a person decides about a gate that they were shown.
type Request struct {
	// Nonce and Digest are those of the gate as it was shown.
	Nonce   string       `json:"nonce"`
	Digest  string       `json:"digest"`
	Verdict wflo.Verdict `json:"verdict"`
	Reason  string       `json:"reason,omitempty"`
	// Text or Form answer with wflo.VerdictRespond; Edit is the whole payload that
	// wflo.VerdictEdit wants instead.
	Text string          `json:"text,omitempty"`
	Form json.RawMessage `json:"form,omitempty"`
	Edit json.RawMessage `json:"edit,omitempty"`
	// ID tells two decisions of the same kind apart: a form has its own each time it
	// is shown, so that a double click is one decision. It may be empty.
	ID string `json:"id,omitempty"`
	// Origin is where it came from, for the trail.
	Origin Origin `json:"-"`
}

// Origin is the way by which a decision came in.
type Origin struct {
	Channel string // page, api or slack
	Address string // the peer's
}

// Decide makes a signed decision of what the person wants and gives the gate as it
// is after it. What does not count is an *wflo.Error with a hint, and nothing has
// changed, except with ErrUnconfirmed: then the run has not answered.
//
// The same request again is the same decision. Every refusal is in the trail.
func (d *Desk) Decide(ctx context.Context, id wflo.Identity, req Request) (wflo.Gate, error) {
	a := attempt{id: id, origin: req.Origin, decision: req.decision(), update: req.update(id)}
	if err := d.admitCaller(id, req); err != nil {
		return wflo.Gate{}, d.refuse(ctx, a, err)
	}
	indexed, err := d.indexed(ctx, id, req.Nonce)
	switch {
	case errors.Is(err, ErrNotFound):
		return wflo.Gate{}, d.refuse(ctx, a, err)
	case err != nil:
		return wflo.Gate{}, err
	}
	if a, err := d.attempt(a, indexed, req); err == nil && !counts(indexed, a.decision) {
		// The run judges it in any case: asking it before would only cost time. What the
		// index would refuse may be news that it has not got yet.
		return d.deliver(ctx, a)
	}
	v := d.view(ctx, id, indexed)
	if !v.Live && v.Status == wflo.GateOpen {
		return v.Gate, refused(ErrUnavailable, "nothing was decided: "+v.Note, "see that a worker of the run is up, and decide again")
	}
	a, err = d.attempt(a, v.Gate, req)
	switch {
	case counts(v.Gate, a.decision):
		return v.Gate, nil // a click too many
	case err != nil:
		return v.Gate, d.refuse(ctx, a, err)
	}
	return d.deliver(ctx, a)
}

// attempt makes the signed decision about a gate, or says why it would not count.
func (d *Desk) attempt(a attempt, g wflo.Gate, req Request) (attempt, error) {
	a.gate = g
	a.decision = req.on(g, a.id, d.groups(a.id), a.update)
	a.decision.At = d.now().UTC()
	a.update = since(g, a.id, a.update)
	if err := d.admit(a, req); err != nil {
		return a, err
	}
	a.decision = d.Sign(a.decision)
	return a, nil
}

// Outcome is what became of one decision of a batch.
type Outcome struct {
	Nonce string
	Gate  wflo.Gate
	Err   error
}

// Batch decides several gates, one after the other. Each is a decision of its own,
// with its own signature and record; one that is refused does not stop the others.
func (d *Desk) Batch(ctx context.Context, id wflo.Identity, all []Request) ([]Outcome, error) {
	if len(all) > MostBatch {
		return nil, wflo.Invalid("batch", fmt.Sprintf("has %d decisions", len(all)), fmt.Sprintf("decide at most %d at once", MostBatch))
	}
	out := make([]Outcome, 0, len(all))
	for _, req := range all {
		g, err := d.Decide(ctx, id, req)
		out = append(out, Outcome{Nonce: req.Nonce, Gate: g, Err: err})
	}
	return out, nil
}

// update names the decision, for the gate and for Temporal, which does an update with
// the same name once.
func (r Request) update(id wflo.Identity) string {
	return hash("wflo.desk.v1", r.Nonce, r.Digest, id.Subject, string(r.Verdict), r.ID)
}

// decision is the request before its gate is known.
func (r Request) decision() wflo.Decision {
	return wflo.Decision{
		ID: r.ID, Digest: r.Digest, Verdict: r.Verdict, Nonce: r.Nonce, Reason: r.Reason, Text: r.Text, Form: r.Form, Edit: r.Edit,
	}
}

// on is the decision about a gate, made by the person whose identity was proved.
func (r Request) on(g wflo.Gate, id wflo.Identity, groups []string, update string) wflo.Decision {
	dec := g.Decide(r.Verdict, id.Subject)
	dec.ID, dec.Digest, dec.Groups, dec.Method = update, r.Digest, groups, id.Method
	dec.Reason, dec.Text, dec.Form, dec.Edit = r.Reason, r.Text, r.Form, r.Edit
	return dec
}

// admitCaller refuses what can be refused without the gate.
func (d *Desk) admitCaller(id wflo.Identity, r Request) error {
	switch {
	case id.Subject == "" || !id.May(wflo.RoleApprover):
		return refused(ErrForbidden, named(id)+" may not decide: the role approver is missing", "ask an administrator for it")
	case d.Sign == nil:
		return refused(ErrUnavailable, "this console has no key to sign decisions with", "configure its key, or decide with `wflo approve` and a key of your own")
	case r.Digest == "":
		return wflo.Invalid("decision.digest", "is empty", "send the digest of what was shown")
	}
	if err := r.Verdict.Validate(); err != nil {
		return err
	}
	for _, text := range []struct{ field, value string }{{"reason", r.Reason}, {"text", r.Text}, {"id", r.ID}} {
		if hidden := strings.IndexFunc(text.value, garbles); hidden >= 0 || !utf8.ValidString(text.value) {
			return wflo.Invalid("decision."+text.field, "has characters that cannot be seen", "write plain text")
		}
	}
	if len(r.ID) > 200 {
		return wflo.Invalid("decision.id", "is too long", "use at most 200 bytes")
	}
	return nil
}

// garbles says that a rune has no place in what somebody writes by hand.
func garbles(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' || r == utf8.RuneError
}

// admit asks the gate whether the decision would count once it is signed.
func (d *Desk) admit(a attempt, req Request) error {
	g := a.gate
	switch {
	case g.Digest != g.ComputeDigest():
		return wflo.Errorf(wflo.CodeConflict, "do not decide; tell who runs the workers", "gate %s: its digest is not that of what it shows", g.ID)
	case req.Digest != g.Digest:
		return wflo.Invalid("decision.digest", "is not the gate's: it changed since it was shown", "look at it again, and decide on what it is now")
	}
	if err := d.counted(g).Admit(a.decision, d.shownTerms(), d.now()); err != nil {
		return err
	}
	if a.decision.Verdict != wflo.VerdictRespond {
		if len(req.Form) > 0 {
			return wflo.Invalid("decision.form", "is given", "answers go with the verdict respond")
		}
		return nil
	}
	switch {
	case len(g.Approval.Form) > 0:
		return CheckForm(g.Approval.Form, req.Form)
	case len(req.Form) > 0:
		return wflo.Invalid("decision.form", "is given, and the gate has none", "answer with text")
	case strings.TrimSpace(req.Text) == "":
		return wflo.Invalid("decision.text", "is empty", "write the answer")
	}
	return nil
}

// counts says that the gate has the decision already.
func counts(g wflo.Gate, dec wflo.Decision) bool {
	same := func(v wflo.Decision) bool {
		return v.ID == dec.ID && v.By == dec.By && v.Verdict == dec.Verdict && v.Digest == dec.Digest
	}
	return g.Decision != nil && same(*g.Decision) || slices.ContainsFunc(g.Votes, same)
}

// since gives the update of somebody who changes their mind another name: the run
// would answer a name that it knows with what it said then.
func since(g wflo.Gate, id wflo.Identity, update string) string {
	for _, v := range g.Votes {
		if v.By == id.Subject {
			return hash(update, v.ID, v.At.UTC().Format(time.RFC3339Nano))
		}
	}
	return update
}

// refuse records what does not count, and gives the reason.
func (d *Desk) refuse(ctx context.Context, a attempt, why error) error {
	if err := d.record(context.WithoutCancel(ctx), a, wflo.AuditGateRefused, why); err != nil {
		d.log().ErrorContext(ctx, "record a refused decision", "by", a.id.Subject, "gate", a.gate.ID, "error", err.Error())
	}
	return why
}

// TurnedAway records that somebody was refused before their decision came this far:
// without the role, or by a page that is not ours.
func (d *Desk) TurnedAway(ctx context.Context, id wflo.Identity, nonce string, from Origin, why error) {
	a := attempt{id: id, origin: from, decision: wflo.Decision{Nonce: short(nonce)}, update: hash("wflo.turned.v1", nonce, id.Subject)}
	if g, err := d.Records.Gate(ctx, nonce); err == nil && visible(id, g) == nil {
		a.gate = g
	}
	_ = d.refuse(ctx, a, why)
}

// deliver hands a signed decision to its run and writes down what the run says. It
// goes on when the person does not wait, so that the trail has the end.
func (d *Desk) deliver(ctx context.Context, a attempt) (wflo.Gate, error) {
	if err := d.record(ctx, a, wflo.AuditGateSent, nil); err != nil {
		d.log().ErrorContext(ctx, "record a decision", "by", a.id.Subject, "gate", a.gate.ID, "error", err.Error())
		return a.gate, refused(ErrUnavailable, "nothing was decided: the audit trail cannot be written", "see that the database is up, and decide again")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), decideTime)
	defer cancel()
	g, err := d.send(ctx, a)
	kept := context.WithoutCancel(ctx)
	switch {
	case errors.Is(err, ErrUnconfirmed):
		d.log().WarnContext(ctx, "decision not confirmed", "by", a.id.Subject, "gate", a.gate.ID, "error", err.Error())
		return a.gate, err
	case err != nil:
		return a.gate, d.refuse(kept, a, err)
	}
	// The run may have taken it when it was signed and sent before, and its answer was
	// lost: that one is what counts.
	a.decision = counted(g, a.decision)
	// What the decision let begin goes first where its worker is in this program: all
	// that follows here is on record already, as sent and in the run's history.
	runtime.Gosched()
	if err := d.record(kept, a, wflo.AuditGateDecided, nil); err != nil {
		// It counts already, and is in the trail as sent and in the run's history.
		d.log().ErrorContext(ctx, "record a decision that counted", "by", a.id.Subject, "gate", a.gate.ID, "error", err.Error())
	}
	if g.Nonce == a.gate.Nonce {
		if err := d.Records.SaveGate(kept, g); err != nil {
			d.log().WarnContext(ctx, "bring the index up to date", "gate", g.ID, "error", err.Error())
		}
	}
	return g, nil
}

// counted is the decision of a gate that says the same as the one that was sent; it may
// have been signed earlier.
func counted(g wflo.Gate, sent wflo.Decision) wflo.Decision {
	all := slices.Clone(g.Votes)
	if g.Decision != nil {
		all = append(all, *g.Decision)
	}
	for _, d := range all {
		if d.ID == sent.ID && d.By == sent.By && d.Verdict == sent.Verdict && d.Digest == sent.Digest && d.Nonce == sent.Nonce {
			return d
		}
	}
	return sent
}

// send gives the decision to the run and waits for its answer. A gate is in the index a
// moment before its run has learnt that it is open, and people can be quicker: the run
// is asked again until it knows.
func (d *Desk) send(ctx context.Context, a attempt) (wflo.Gate, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		g, err := d.updated(ctx, a)
		var own *wflo.Error
		if !errors.As(err, &own) || own.Code != wflo.CodeUnopened {
			return g, err
		}
		if a.gate.Status != wflo.GateOpen || d.now().Sub(a.gate.OpenedAt) > openingTime {
			return g, &wflo.Error{Code: wflo.CodeInvalid, Message: own.Message, Hint: own.Hint}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return g, refused(ErrUnavailable, "nothing was decided: the run of gate "+a.gate.ID+" does not know yet that it is open", "decide again in a moment")
		}
	}
}

func (d *Desk) updated(ctx context.Context, a attempt) (wflo.Gate, error) {
	var g wflo.Gate
	u, err := d.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		UpdateID: a.update, WorkflowID: a.gate.WorkflowID, UpdateName: wflo.UpdateDecide, Args: []any{a.decision},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = u.Get(ctx, &g)
	}
	if err != nil {
		return wflo.Gate{}, answer(err)
	}
	return g, nil
}

// answer tells a run's refusal from an answer that did not come.
func answer(err error) error {
	var own *wflo.Error
	var app *temporal.ApplicationError
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &app):
		var hint string
		if app.HasDetails() {
			_ = app.Details(&hint) // another kind of detail is not for people
		}
		return &wflo.Error{Code: wflo.Code(app.Type()), Message: app.Message(), Hint: hint}
	case errors.As(err, &gone):
		return wflo.Errorf(wflo.CodeInvalid, "there is nothing to decide any more", "nothing was decided: the run is over")
	}
	return &wflo.Error{
		Message: "the decision was sent, and the run has not confirmed it", Err: errors.Join(ErrUnconfirmed, err),
		Hint: "look at the gate again; sending the same decision again is harmless",
	}
}
