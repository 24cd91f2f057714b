package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
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
	if err := in.belongs(ctx, g, info); err != nil {
		return err
	}
	err := g.Authorizes(in.cfg.Terms(), time.Now())
	if errors.Is(err, wflo.ErrApprovalExpired) && info.Attempt > 1 {
		// It must begin in time; what has begun may be tried again later.
		kept, readErr := in.cfg.Records.Gate(ctx, g.Nonce)
		if readErr != nil {
			return fmt.Errorf("read gate %s: %s", g.ID, readErr.Error())
		}
		if kept.Used {
			err = g.Authorizes(in.cfg.Terms(), g.UseBy)
		}
	}
	if err != nil {
		return err
	}
	if use.RanSHA256, err = in.sameInput(g, args); err != nil {
		return err
	}
	if err := in.cfg.Records.UseGrant(ctx, g.Nonce, use.Effect); err != nil {
		return fmt.Errorf("use the approval of gate %s: %w", g.ID, err)
	}
	return nil
}

// belongs refuses an approval that was carried over from another run: headers are what
// their sender writes, and only the workflow's name is Temporal's own word. Where time
// approved there is no signature either, and the index must know of the gate.
func (in *inbound) belongs(ctx context.Context, g wflo.Gate, info activity.Info) error {
	run, _ := wflo.RunFrom(ctx)
	if g.WorkflowID != info.WorkflowExecution.ID || g.FirstRunID != run.FirstRunID || g.Namespace != "" && g.Namespace != info.Namespace {
		return wflo.Errorf(wflo.CodeConflict, "ask in the run that acts", "gate %s: the approval is for run %s, not for %s", g.ID, g.WorkflowID, info.WorkflowExecution.ID)
	}
	if !g.Granted() || g.Decision != nil {
		return nil
	}
	kept, err := in.cfg.Records.Gate(ctx, g.Nonce)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read gate %s: %s", g.ID, err.Error())
	case kept.Digest == g.Digest && kept.Status != wflo.GateRevoked && !time.Now().Before(kept.ExpiresAt):
		return nil
	}
	return wflo.Errorf(wflo.CodeConflict, "ask again", "gate %s: nobody approved it, and no gate on record timed out like that", g.ID)
}

// sameInput holds what the activity got against what was approved, both as the
// activity's own types, and gives the hash of what is equal. Comparing text would
// take {"amount":1,"amount":2} for what a person saw, which programs read in
// different ways.
func (in *inbound) sameInput(g wflo.Gate, args []any) (string, error) {
	differ := wflo.Errorf(wflo.CodeConflict, "ask again about what is to be done", "gate %s: activity %s was called with an input that was not approved", g.ID, g.Approval.Activity)
	parts := []json.RawMessage{g.Approval.Payload}
	if len(args) != 1 {
		parts = nil
		if err := json.Unmarshal(orNull(g.Approval.Payload), &parts); err != nil || len(parts) != len(args) {
			return "", differ
		}
	}
	compared := make([]string, len(args))
	for i, arg := range args {
		part := orNull(parts[i])
		if !in.same(part, arg) {
			return "", differ
		}
		compared[i] = string(part)
	}
	input := "[" + strings.Join(compared, ",") + "]"
	if len(compared) == 1 {
		input = compared[0]
	}
	sum, err := wflo.CanonicalSHA256([]byte(input))
	if err != nil {
		return "", differ
	}
	return sum, nil
}

func orNull(data json.RawMessage) json.RawMessage {
	if len(data) == 0 {
		return json.RawMessage("null")
	}
	return data
}

// same says that an argument is what approved JSON gives as its type.
func (in *inbound) same(approved json.RawMessage, arg any) bool {
	if arg == nil {
		return string(approved) == "null"
	}
	if raw, ok := arg.(json.RawMessage); ok {
		a, errA := wflo.CanonicalSHA256(approved)
		b, errB := wflo.CanonicalSHA256(raw)
		return errA == nil && errB == nil && a == b
	}
	want := reflect.New(reflect.TypeOf(arg))
	payload := &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingJSON)}, Data: approved}
	if err := in.cfg.Converter.FromPayload(payload, want.Interface()); err != nil {
		return false
	}
	return reflect.DeepEqual(want.Elem().Interface(), arg)
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
