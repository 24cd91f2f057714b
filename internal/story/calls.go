package story

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// foldActivity takes what happens to activities.
func (a *account) foldActivity(ctx context.Context, e *historypb.HistoryEvent) bool {
	switch e.GetEventType() {
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		a.scheduled(ctx, e)
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED:
		x := e.GetActivityTaskStartedEventAttributes()
		if i, ok := a.events[x.GetScheduledEventId()]; ok {
			r := &a.rows[i]
			r.Began, r.Worker, r.Attempts = e.GetEventTime().AsTime(), x.GetIdentity(), int(x.GetAttempt())
		}
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		x := e.GetActivityTaskCompletedEventAttributes()
		a.completed(ctx, e, x.GetScheduledEventId(), first(x.GetResult()))
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		x := e.GetActivityTaskFailedEventAttributes()
		a.failed(e, x.GetScheduledEventId(), x.GetFailure())
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		x := e.GetActivityTaskTimedOutEventAttributes()
		a.failed(e, x.GetScheduledEventId(), x.GetFailure())
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
		a.over(e, e.GetActivityTaskCanceledEventAttributes().GetScheduledEventId(), wrong{state: StateCancelled})
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
	default:
		return false
	}
	return true
}

// own says that an activity is wflo's.
func own(activity string) bool { return strings.HasPrefix(activity, "wflo.") }

// scheduled begins the row of an activity, or serves the row that it belongs to.
func (a *account) scheduled(ctx context.Context, e *historypb.HistoryEvent) {
	x := e.GetActivityTaskScheduledEventAttributes()
	name := x.GetActivityType().GetName()
	header, _ := a.header(x.GetHeader())
	undo, undoing := a.undoOf(x.GetHeader(), a.summaryOf(e))
	kind, label, quiet := a.kindOf(name)
	if undoing {
		kind, label, quiet = KindCompensation, name, false
	}
	if quiet {
		a.quiet[e.GetEventId()] = name
		a.serves(ctx, e, name, first(x.GetInput()))
		return
	}
	r := a.row(e, kind, label)
	r.activityID, r.Step, r.forKey = x.GetActivityId(), header.Step, header.Step
	if header.Step != "" {
		r.effect = header.EffectKey()
	}
	a.read.near(x.GetHeader().GetFields()[wflo.HeaderEffect], &r.effects)
	a.describe(r, e, first(x.GetInput()))
	if undoing {
		r.undoes, r.effects = undo.ID, nil
		r.Name = line(cmp.Or(afterPrefix(a.summaryOf(e), "undo: ", "probe: "), name))
		if undo.Probe {
			r.Kind, r.Name = KindActivity, name
		}
	}
	i := a.add(r, a.placed(e, r, header.Step, name))
	if r.effect != "" {
		a.paid[r.effect] = i
	}
	for _, id := range r.effects {
		a.effects[id] = append(a.effects[id], i)
		if p := a.rows[i].parent; p >= 0 && a.rows[p].Kind == KindStep {
			a.rows[p].effects = union(a.rows[p].effects, id)
			a.effects[id] = union(a.effects[id], p)
		}
	}
}

func union[T comparable](all []T, one T) []T {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

// undoOf says that a call undoes an effect. Old histories say so in the summary alone.
func (a *account) undoOf(h *commonpb.Header, summary string) (u step.UndoCall, ok bool) {
	if a.read.near(h.GetFields()[wflo.HeaderUndoOf], &u) {
		return u, true
	}
	var undoing bool
	a.read.near(h.GetFields()[wflo.HeaderUndo], &undoing)
	return u, strings.HasPrefix(summary, "undo: ") && (undoing || h.GetFields()[wflo.HeaderRun] != nil)
}

func afterPrefix(s string, prefixes ...string) string {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(s, p); ok {
			return rest
		}
	}
	return ""
}

// kindOf is what the rows of an activity are, and how they are called. Those of wflo's
// that keep books have none.
func (a *account) kindOf(name string) (kind Kind, label string, quiet bool) {
	switch {
	case !own(name) && a.workflow == wflo.WorkflowAgent:
		return KindTool, cmp.Or(a.tools[name], name), false
	case !own(name):
		return KindActivity, name, false
	case name == nameChat:
		return KindModel, "model", false
	case name == nameRun:
		return KindSandbox, "program", false
	case name == nameRead:
		return KindTool, wflo.ToolRead, false
	case name == nameWrite:
		return KindTool, wflo.ToolWrite, false
	case name == nameOpen:
		return KindApproval, "gate", false
	case name == nameTake:
		return KindSnapshot, "snapshot", false
	case name == nameLoad:
		return KindRestore, "come back", false
	case name == nameBring:
		return KindRestore, "bring back parts", false
	case strings.HasPrefix(name, recoveryPrefix):
		return KindRestore, strings.ToLower(strings.TrimPrefix(name, recoveryPrefix)), false
	case name == nameAlert:
		return KindActivity, "budget alert", false
	}
	return "", "", true
}

// Names of wflo's activities that have rows.
const (
	nameChat       = string(step.LLMChat)
	nameRun        = string(step.SandboxRun)
	nameRead       = string(step.SandboxRead)
	nameWrite      = string(step.SandboxWrite)
	nameOpen       = string(step.ApprovalOpen)
	nameTake       = string(step.SnapshotTake)
	nameLoad       = string(step.SnapshotLoad)
	nameBring      = string(step.SnapshotBring)
	nameAlert      = string(step.BudgetAlert)
	recoveryPrefix = step.PrefixRecovery
)

// describe fills in what the call itself says of its row.
func (a *account) describe(r *entry, e *historypb.HistoryEvent, input *commonpb.Payload) {
	summary := a.summaryOf(e)
	switch r.Kind {
	case KindModel:
		// The rest of the summary is of the prompt.
		if asked, ok := strings.CutPrefix(summary, "ask "); ok {
			if model, _, ok := strings.Cut(asked, ": "); ok {
				r.Name = line(model)
			}
		}
	case KindSandbox:
		var spec sandbox.Spec
		if a.read.near(input, &spec) {
			r.asked(spec)
		} else {
			r.far = &far{input: input}
			a.size += int64(len(input.GetData()))
		}
	case KindSnapshot:
		r.Name = line(cmp.Or(strings.TrimPrefix(summary, "snapshot "), r.Name))
		r.State = StateRunning
	case KindApproval:
		var g wflo.Gate
		if a.read.near(input, &g) {
			a.showGate(r, g)
		}
	case KindRestore:
		r.Summary = line(summary)
	}
}

// numbered is what ends the key of a call, or of a step that is tried again.
var (
	numbered = regexp.MustCompile(`#\d+$`)
	retried  = regexp.MustCompile(`~\d+$`)
)

// placed is the place of the row that a call is within; -1 where that is the run.
func (a *account) placed(e *historypb.HistoryEvent, r *entry, key, activity string) int {
	if r.Kind == KindCompensation { // of a step of an earlier run, perhaps
		if i, ok := a.named[retried.ReplaceAllString(scopeOf(key, activity), "")]; ok {
			return i
		}
		return -1
	}
	if r.Kind != KindApproval {
		return a.around(e, key, activity)
	}
	if !strings.HasPrefix(r.Name, "policy/") {
		if r.forKey == "" {
			return -1
		}
		return a.step(e, r.forKey) // before it, or within it
	}
	// Policies ask about a step or about a call: which, its row will tell.
	if i, ok := a.named[r.forKey]; ok {
		return i
	}
	return a.around(e, r.forKey, "")
}

// around is the place of the step that a call is within; -1 where it is within none.
func (a *account) around(e *historypb.HistoryEvent, key, activity string) int {
	scope := scopeOf(key, activity)
	if scope == "" {
		return -1
	}
	return a.step(e, scope)
}

// scopeOf is the key of the step that the key of a call is made of; empty for calls
// outside of steps.
func scopeOf(key, activity string) string {
	rest := numbered.ReplaceAllString(key, "")
	if rest == key {
		return ""
	}
	if scope, ok := strings.CutSuffix(rest, "/"+activity); ok && activity != "" {
		return inGeneration(scope)
	}
	if i := strings.Index(rest, "/wflo."); i > 0 {
		return inGeneration(rest[:i])
	}
	if i := strings.Index(rest, "/undo:"); i > 0 {
		return inGeneration(rest[:i])
	}
	if i := strings.LastIndexByte(rest, '/'); i > 0 {
		return inGeneration(rest[:i])
	}
	return ""
}

var generation = regexp.MustCompile(`^g\d+$`)

// inGeneration leaves out what is no step.
func inGeneration(scope string) string {
	if generation.MatchString(scope) {
		return ""
	}
	return scope
}

// step gives the place of a step's row, which begins with the event where there is none.
func (a *account) step(e *historypb.HistoryEvent, key string) int {
	base := retried.ReplaceAllString(key, "")
	if i, ok := a.named[base]; ok {
		a.rows[i].Attempts = max(a.rows[i].Attempts, tries(key))
		return i
	}
	r := a.row(e, KindStep, stepName(base))
	sum := sha256.Sum256([]byte(base))
	r.ID, r.Step, r.forKey = a.runID+"-s"+hex.EncodeToString(sum[:6]), line(base), base
	r.Attempts = tries(key)
	parent := -1
	if m := nested.FindStringSubmatch(base); m != nil {
		if i, ok := a.hashed[m[1]]; ok {
			parent = i
		}
	}
	i := a.add(r, parent)
	delete(a.events, r.EventID)
	a.named[base] = i
	of := sha256.Sum256([]byte(key))
	a.hashed[hex.EncodeToString(of[:4])] = i
	return i
}

// stepName is how the author called a step: a key of their own stays as it is, others
// are numbered.
func stepName(key string) string {
	if !numbered.MatchString(key) && !nested.MatchString(key) {
		return key
	}
	if of, rest, ok := strings.Cut(key, "/"); ok && generation.MatchString(of) {
		key = rest
	}
	return key[:strings.LastIndexByte(key, '#')]
}

// nested is the end of the key of a step within a step: it begins with a hash of the
// outer one's key.
var nested = regexp.MustCompile(`#([0-9a-f]{8})\.\d+$`)

// tries is how often a step was tried when it has this key.
func tries(key string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(retried.FindString(key), "~"))
	if err != nil {
		return 1
	}
	return n + 1
}

// completed ends a row well, and reads what came out.
func (a *account) completed(ctx context.Context, e *historypb.HistoryEvent, scheduled int64, result *commonpb.Payload) {
	at := e.GetEventTime().AsTime()
	if name, ok := a.quiet[scheduled]; ok {
		delete(a.quiet, scheduled)
		a.ownResult(ctx, e, name, result)
		return
	}
	i, ok := a.events[scheduled]
	if !ok {
		return
	}
	delete(a.events, scheduled)
	r := &a.rows[i]
	r.result = e.GetEventId()
	switch r.Kind {
	case KindApproval:
		a.opened(ctx, i, result)
		return // it goes on until people have decided
	case KindModel:
		var reply wflo.Reply
		if a.read.near(result, &reply) {
			r.Model = &Model{Provider: reply.Provider, Model: reply.Model, Usage: reply.Usage, Amount: reply.Cost, Saved: reply.Saved}
			r.Name = line(cmp.Or(reply.Model, r.Name))
		}
		a.calls++
	case KindSandbox:
		a.ran(r, result)
	case KindSnapshot:
		var s wflo.Snapshot
		if a.read.near(result, &s) {
			r.Snapshot = snapshotOf(s)
			r.Name = line(cmp.Or(s.Name, s.ID, r.Name))
		}
	case KindCompensation:
		a.undone(r, result)
	}
	a.end(i, at, done)
}

func snapshotOf(s wflo.Snapshot) *Snapshot {
	out := &Snapshot{ID: s.ID, Name: s.Name, Kind: s.Kind}
	for _, p := range s.Parts {
		out.Bytes += p.Bytes
	}
	return out
}

// undone marks what a compensation undid.
func (a *account) undone(r *entry, result *commonpb.Payload) {
	var state wflo.CompensationState
	a.read.near(result, &state)
	if state == wflo.CompensationSkipped {
		r.Summary = "there was nothing to undo"
		return
	}
	if r.undoes == "" { // an old history: the step is all that is known
		if r.parent > 0 {
			a.rows[r.parent].undone = true
		}
		return
	}
	a.undoneBy(r.undoes)
}

func (a *account) undoneBy(id string) {
	for _, i := range a.effects[id] {
		a.rows[i].undone = true
	}
}

func (a *account) failed(e *historypb.HistoryEvent, scheduled int64, f *failurepb.Failure) {
	if i, ok := a.events[scheduled]; ok {
		a.rows[i].result = e.GetEventId()
	}
	a.over(e, scheduled, a.read.wrongOf(f))
}

// over ends a row.
func (a *account) over(e *historypb.HistoryEvent, began int64, w wrong) {
	delete(a.quiet, began)
	if i, ok := a.events[began]; ok {
		delete(a.events, began)
		a.end(i, e.GetEventTime().AsTime(), w)
	}
}
