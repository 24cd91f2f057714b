package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"

	"github.com/wflo-ai/wflo-go"
)

// redeem lets an activity begin that acts on an approval: it looks at everything
// again, because the approval came over the wire, may be old, and what is done is what
// this worker does. A call without an approval begins as it is.
func (in *inbound) redeem(ctx context.Context, info activity.Info, args []any) error {
	p, ok := interceptor.Header(ctx)[wflo.HeaderGate]
	if !ok {
		return nil
	}
	var g wflo.Gate
	if err := in.cfg.Converter.FromPayload(p, &g); err != nil {
		return wflo.Errorf(wflo.CodeConflict, "let all workers and clients have the same data converter", "activity %s: the approval in its header cannot be read", info.ActivityType.Name)
	}
	if in.cfg.Records == nil || in.cfg.Terms == nil {
		return noRecords(g)
	}
	run, _ := wflo.RunFrom(ctx)
	use := wflo.AuditUse{
		Gate: g.Nonce, Digest: g.Digest, PayloadSHA256: payloadHash(g), Activity: info.ActivityType.Name, Effect: run.EffectKey(),
	}
	err := in.mayBegin(ctx, g, info, args, &use)
	if err == nil {
		return in.recordUse(ctx, g, use)
	}
	if wflo.CodeOf(err) == "" {
		return err // nobody refused; the store could not be asked
	}
	use.Error = err.Error()
	if auditErr := in.recordRefusal(ctx, g, use, wflo.CodeOf(err)); auditErr != nil {
		return auditErr
	}
	return err
}

// mayBegin says why the activity may not act on the approval. An error without a code
// is a store that could not be asked.
func (in *inbound) mayBegin(ctx context.Context, g wflo.Gate, info activity.Info, args []any, use *wflo.AuditUse) error {
	if g.Approval.Activity != info.ActivityType.Name {
		return wflo.Errorf(wflo.CodeConflict, "ask about this activity", "gate %s: the approval is for activity %s, not for %s", g.ID, g.Approval.Activity, info.ActivityType.Name)
	}
	if err := belongs(ctx, g, info); err != nil {
		return err
	}
	kept, err := in.cfg.Records.Gate(ctx, g.Nonce)
	known := !errors.Is(err, fs.ErrNotExist)
	if known && err != nil {
		return fmt.Errorf("read gate %s: %s", g.ID, err.Error())
	}
	now := time.Now()
	if began := info.Attempt > 1 && known && kept.Used; began && now.After(g.UseBy) {
		now = g.UseBy // it must begin in time; what has begun may be tried again later
	}
	if err := g.Authorizes(in.cfg.Terms(), now); err != nil {
		return err
	}
	if err := onRecord(g, kept, known); err != nil {
		return err
	}
	if err := in.sameInput(g, args, use); err != nil {
		return err
	}
	if err := in.cfg.Records.UseGrant(ctx, g.Nonce, use.Effect); err != nil {
		return fmt.Errorf("use the approval of gate %s: %w", g.ID, err)
	}
	return nil
}

// belongs refuses an approval that was carried over from another run: headers are what
// their sender writes, and only the workflow's name is Temporal's own word. The first
// run and the epoch stay when a run is reset; the activity's own run id does not.
func belongs(ctx context.Context, g wflo.Gate, info activity.Info) error {
	run, _ := wflo.RunFrom(ctx)
	id, space := info.WorkflowExecution.ID, info.Namespace
	if g.WorkflowID == id && run.WorkflowID == id && g.Namespace == space && run.Namespace == space && g.FirstRunID == run.FirstRunID && g.Epoch == run.Epoch {
		return nil
	}
	return wflo.Errorf(wflo.CodeConflict, "ask in the run that acts", "gate %s: the approval is for run %s, not for %s", g.ID, g.WorkflowID, id)
}

// onRecord refuses an approval of a gate that never opened, or that asked something
// else: opening is recorded before anybody is asked. Its end is recorded while the
// activity is on its way, so that the index may have the gate open still. Where time
// approved there is no signature, and it must have been up.
func onRecord(g, kept wflo.Gate, known bool) error {
	hint := "ask again"
	switch {
	case !known:
		return wflo.Errorf(wflo.CodeConflict, hint, "gate %s: no such gate was opened", g.ID)
	case !g.Continues(kept):
		return wflo.Errorf(wflo.CodeConflict, hint, "gate %s: what was approved is not what the gate on record asks", g.ID)
	case kept.Closed() && !kept.Granted():
		return wflo.Errorf(wflo.CodeApprovalRejected, hint, "gate %s is %s", g.ID, kept.Status)
	case kept.Granted() && !kept.UseBy.Equal(g.UseBy):
		return wflo.Errorf(wflo.CodeConflict, hint, "gate %s: the approval on record is good until %s", g.ID, kept.UseBy.UTC().Format(time.RFC3339))
	case g.Decision == nil && !kept.Granted() && time.Now().Before(kept.ExpiresAt):
		return wflo.Errorf(wflo.CodeConflict, hint, "gate %s: nobody approved it, and its time is not up", g.ID)
	}
	return nil
}

// sameInput holds what the activity got against what was approved, both as the
// activity's own types, and notes the hashes of both. Comparing text would take
// {"amount":1,"amount":2} for what a person saw, which programs read in different ways.
func (in *inbound) sameInput(g wflo.Gate, args []any, use *wflo.AuditUse) error {
	differ := wflo.Errorf(wflo.CodeConflict, "ask again about what is to be done", "gate %s: activity %s was called with an input that was not approved", g.ID, g.Approval.Activity)
	var err error
	if use.RanSHA256, err = in.inputHash(args); err != nil {
		return wflo.Errorf(wflo.CodeConflict, "approve an activity whose arguments are plain JSON", "gate %s: input of activity %s: %w", g.ID, g.Approval.Activity, err)
	}
	parts := []json.RawMessage{g.Approval.Payload}
	if len(args) != 1 {
		parts = nil
		if err := json.Unmarshal(orNull(g.Approval.Payload), &parts); err != nil || len(parts) != len(args) {
			return differ
		}
	}
	approved := make([]any, len(args))
	for i, arg := range args {
		want, ok := in.readAs(orNull(parts[i]), arg)
		if !ok || !same(want, arg) {
			return differ
		}
		approved[i] = want
	}
	read, err := in.inputHash(approved)
	if err != nil || read != use.RanSHA256 {
		return differ
	}
	if read != use.PayloadSHA256 {
		use.ReadSHA256 = read
	}
	return nil
}

func orNull(data json.RawMessage) json.RawMessage {
	if len(data) == 0 {
		return json.RawMessage("null")
	}
	return data
}

// readAs gives approved JSON as a value of the argument's type.
func (in *inbound) readAs(approved json.RawMessage, arg any) (any, bool) {
	if arg == nil {
		return nil, string(approved) == "null"
	}
	want := reflect.New(reflect.TypeOf(arg))
	payload := &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingJSON)}, Data: approved}
	if err := in.cfg.Converter.FromPayload(payload, want.Interface()); err != nil {
		return nil, false
	}
	return want.Elem().Interface(), true
}

func same(want, arg any) bool {
	if raw, ok := arg.(json.RawMessage); ok {
		approved, _ := want.(json.RawMessage)
		a, errA := wflo.CanonicalSHA256(approved)
		b, errB := wflo.CanonicalSHA256(raw)
		return errA == nil && errB == nil && a == b
	}
	return reflect.DeepEqual(want, arg)
}

// inputHash is the hash of what an activity was called with, as it would go over the
// wire: of its one argument, or the array of several.
func (in *inbound) inputHash(args []any) (string, error) {
	parts := make([]json.RawMessage, len(args))
	for i, arg := range args {
		p, err := in.cfg.Converter.ToPayload(arg)
		if err != nil {
			return "", fmt.Errorf("encode argument %d: %w", i, err)
		}
		if parts[i] = p.GetData(); json.Valid(parts[i]) {
			continue
		}
		if parts[i], err = json.Marshal(arg); err != nil { // it goes encrypted, or is no JSON
			return "", fmt.Errorf("encode argument %d: %w", i, err)
		}
	}
	if len(parts) == 1 {
		return wflo.CanonicalSHA256(parts[0])
	}
	input, err := json.Marshal(parts)
	if err != nil {
		return "", fmt.Errorf("encode arguments: %w", err)
	}
	return wflo.CanonicalSHA256(input)
}

// recordUse writes down that the action begins. The end of the gate is written before
// it, if the run has not come to it yet: a trail in which somebody acts on an
// approval that nobody has given would be wrong. What is not written down is not done.
func (in *inbound) recordUse(ctx context.Context, g wflo.Gate, use wflo.AuditUse) error {
	used := gateEvent(g, wflo.AuditGrantUsed, "used", workerName)
	used.Data = data(use)
	if err := in.cfg.Records.Append(ctx, append(closingEvents(g), used)...); err != nil {
		return fmt.Errorf("record the use of gate %s: %s", g.ID, err.Error())
	}
	g.Used = true
	g.Changes++
	if err := in.cfg.Records.SaveGate(ctx, g); err != nil {
		return fmt.Errorf("save gate %s: %s", g.ID, err.Error())
	}
	return nil
}

func (in *inbound) recordRefusal(ctx context.Context, g wflo.Gate, use wflo.AuditUse, code wflo.Code) error {
	refused := gateEvent(g, wflo.AuditGrantRefused, fmt.Sprintf("use_refused:%s:%s", use.Effect, code), workerName)
	refused.Severity, refused.Data = wflo.SeverityError, data(use)
	if err := in.cfg.Records.Append(ctx, refused); err != nil {
		return fmt.Errorf("record a refused use of gate %s: %s", g.ID, err.Error())
	}
	return nil
}
