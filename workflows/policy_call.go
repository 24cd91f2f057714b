package workflows

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// toolKey marks the calls that an agent's tool makes; its value is the tool's name.
type toolKey struct{}

// policyGateKey marks a gate that policies have been asked about already; its value
// is the []string of the rules that it meets.
type policyGateKey struct{}

var noArgs = json.RawMessage("{}")

// govern asks the policies of the run about one call and waits until it may be
// made. It returns the arguments to make it with, which a reviewer may have edited
// and whose model a policy may have replaced, and the context to make it in.
func (st *state) govern(ctx workflow.Context, key, activity string, args []any, local bool) (workflow.Context, []any, error) {
	if undoing(ctx) {
		// What undoes is recorded, and never kept from happening.
		if f, prompt, err := st.callFacts(ctx, activity, args); err == nil && st.regime.judges() {
			if _, err := st.judge(ctx, key, f, prompt); err != nil {
				workflow.GetLogger(ctx).Error("record a compensation", "activity", activity, "error", err.Error())
			}
		}
		return ctx, args, nil
	}
	if err := st.released(ctx); err != nil || !st.regime.judges() {
		return ctx, args, err
	}
	c := &judged{st: st, key: key, activity: activity, args: args, local: local}
	asks, err := c.judge(ctx, nil)
	if err != nil || len(asks) == 0 {
		return ctx, c.args, firstOf(err, st.released(ctx))
	}
	g, err := c.ask(ctx, asks)
	if err != nil {
		return ctx, nil, err
	}
	ctx = st.withGrant(ctx, g)
	if g.Revision == 0 {
		return ctx, c.args, st.released(ctx)
	}
	if err := c.edit(g.Approval.Payload); err != nil {
		return ctx, nil, err
	}
	if asks, err = c.judge(ctx, g.Approval.Rules); err == nil && len(asks) > 0 {
		_, err = st.askAgain(ctx, key, g.Approval, asks)
	}
	return ctx, c.args, firstOf(err, st.released(ctx))
}

// released waits while a policy about time holds the run.
func (st *state) released(ctx workflow.Context) error {
	if st.regime.held > 0 {
		if err := workflow.Await(ctx, func() bool { return st.regime.held == 0 }); err != nil {
			if refused := st.refusal(ctx); refused != nil {
				return refused
			}
			return err
		}
	}
	return st.refusal(ctx)
}

// judged is one call that policies are asked about.
type judged struct {
	st            *state
	key, activity string
	args          []any
	// local says that the call is made within the workflow task, where no other
	// worker checks the approval again.
	local  bool
	facts  wflo.Facts
	ruling wflo.Ruling
}

// judge asks, and gives the approvals that the call needs besides those of the
// rules that are met.
func (c *judged) judge(ctx workflow.Context, met []string) ([]wflo.Approval, error) {
	f, prompt, err := c.st.callFacts(ctx, c.activity, c.args)
	if err != nil {
		return nil, err
	}
	r, err := c.st.judge(ctx, c.key, f, prompt)
	if err != nil {
		return nil, err
	}
	if err := c.st.obey(ctx, r); err != nil {
		return nil, err
	}
	if prompt != nil && r.Model != "" {
		p := *prompt
		p.Model = r.Model
		c.args, f.Model = []any{p}, r.Model
	}
	c.facts, c.ruling = f, r
	return c.st.asks(ctx, r, met), nil
}

// ask opens the gate of the call.
func (c *judged) ask(ctx workflow.Context, asks []wflo.Approval) (*openGate, error) {
	st, f := c.st, c.facts
	a := union(nil, asks)
	if a.Gate = gateName(a.Rules); !c.local {
		a.Activity = c.activity
	}
	switch {
	case f.Tool != "":
		a.Action = fmt.Sprintf("Run activity %s for the tool %s", f.Activity, f.Tool)
	case f.Kind == wflo.FactsModel:
		a.Action = "Ask the model " + f.Model
	case f.Kind == wflo.FactsSandbox:
		a.Action = "Run a program in the sandbox"
	default:
		a.Action = "Run activity " + f.Activity
	}
	if len(st.grantsFor(ctx, c.activity)) > 0 {
		a.Answers = yesOrNo // others approved just this
	}
	var err error
	if a.Payload, err = inputOf(c.args); err != nil {
		return nil, err
	}
	g, err := st.askPolicies(ctx, c.key, a)
	if err == nil {
		s, _ := ctx.Value(stepKey{}).(*scope)
		st.given(s, c.ruling, a.Rules)
	}
	return g, err
}

// yesOrNo are the answers to what is fixed already.
var yesOrNo = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject}

// askPolicies opens a gate in the name of the run's policies, and waits for it.
func (st *state) askPolicies(ctx workflow.Context, key string, a wflo.Approval) (*openGate, error) {
	return st.ask(workflow.WithValue(ctx, policyGateKey{}, a.Rules), key, a, nil)
}

// askAgain asks whom the policies name for what a reviewer made of an approval that
// was granted.
func (st *state) askAgain(ctx workflow.Context, key string, done wflo.Approval, asks []wflo.Approval) (*openGate, error) {
	a := union(nil, asks)
	a.Gate, a.Action, a.Payload, a.Answers = gateName(a.Rules), done.Action, done.Payload, yesOrNo
	return st.askPolicies(ctx, key, a)
}

// firstOf is the first error that there is.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// gateName is the gate of policies: "policy/RULE", or of several joined by "+".
func gateName(rules []string) string {
	if len(rules) == 0 {
		rules = []string{"default"}
	}
	return "policy/" + strings.Join(rules, "+")
}

// edit makes the arguments what a reviewer made of them.
func (c *judged) edit(payload json.RawMessage) error {
	if c.facts.Kind == wflo.FactsModel {
		var p wflo.Prompt
		if err := json.Unmarshal(payload, &p); err != nil {
			return wflo.Invalid("the edited prompt", "cannot be read: "+err.Error(), "edit the values, and keep the form")
		}
		c.args = []any{p}
		return p.Validate()
	}
	if len(c.args) == 1 {
		c.args = []any{payload}
		return nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(payload, &parts); err != nil || len(parts) != len(c.args) {
		return wflo.Invalid("the edited input", fmt.Sprintf("is not an array of %d values", len(c.args)), "edit the values, and keep the form")
	}
	c.args = make([]any, len(parts))
	for i, part := range parts {
		c.args[i] = part
	}
	return nil
}

// callFacts are the facts of one call of an activity. prompt is that of a model
// call.
func (st *state) callFacts(ctx workflow.Context, activity string, args []any) (f wflo.Facts, prompt *wflo.Prompt, err error) {
	f = st.facts(ctx, wflo.FactsActivity)
	f.Activity = activity
	if f.Operation == "" {
		f.Operation = activity
	}
	switch activity {
	case string(step.LLMChat):
		f.Kind = wflo.FactsModel
		var p wflo.Prompt
		if err := readArg(args, &p); err != nil {
			return f, nil, err
		}
		f.Model, f.Args = p.Model, promptArgs(p)
		return f, &p, nil
	case string(step.SandboxRun):
		f.Kind = wflo.FactsSandbox
		var spec sandbox.Spec
		if err := readArg(args, &spec); err != nil {
			return f, nil, err
		}
		f.Sandbox = sandboxFacts(spec)
	}
	f.Args, err = argsOf(args)
	return f, nil, err
}

// promptArgs leave the conversation out: it may be megabytes of text that models
// and strangers wrote, which every turn would send again.
func promptArgs(p wflo.Prompt) json.RawMessage {
	tools := []string{}
	for _, t := range p.Tools {
		tools = append(tools, t.Name)
	}
	fallback := p.Fallback
	if fallback == nil {
		fallback = []string{}
	}
	data, err := json.Marshal(map[string]any{
		"model": p.Model, "max_tokens": p.MaxTokens, "messages": len(p.Messages), "tools": tools, "fallback": fallback,
	})
	if err != nil {
		return noArgs // text and whole numbers cannot fail
	}
	return data
}

func sandboxFacts(spec sandbox.Spec) wflo.SandboxFacts {
	limits := spec.Limits.WithDefaults()
	return wflo.SandboxFacts{
		Image: spec.Image, Language: string(spec.Language), Network: networkName(spec.Network), Runtime: spec.Security.Runtime,
		Memory: limits.Memory, CPUs: limits.CPUs, Timeout: limits.Timeout.Seconds(), Secrets: workflow.DeterministicKeys(spec.Secrets),
	}
}

func networkName(n sandbox.Network) string {
	switch {
	case n.Mode == sandbox.NetworkOpen:
		return "open"
	case n.Mode == sandbox.NetworkNone && len(n.Allow)+len(n.Inject) == 0:
		return "none"
	}
	return "allow-list"
}

// jsonOf is an argument as JSON, whatever form it is sent in. What has none is
// base64 text.
func jsonOf(arg any) (json.RawMessage, error) {
	p, err := converter.GetDefaultDataConverter().ToPayload(arg)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodePolicyDenied, "give activities arguments that can be written as JSON", "the policies cannot read an argument: %w", err)
	}
	switch string(p.GetMetadata()[converter.MetadataEncoding]) {
	case converter.MetadataEncodingJSON, converter.MetadataEncodingProtoJSON:
		return p.GetData(), nil
	case converter.MetadataEncodingNil:
		return json.RawMessage("null"), nil
	}
	return json.Marshal(p.GetData())
}

func readArg(args []any, out any) error {
	if len(args) != 1 {
		return wflo.Errorf(wflo.CodePolicyDenied, "call wflo's activities by their verbs", "the policies cannot read the input: it has %d arguments", len(args))
	}
	data, err := jsonOf(args[0])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return wflo.Errorf(wflo.CodePolicyDenied, "call wflo's activities by their verbs", "the policies cannot read the input: %w", err)
	}
	return nil
}

// inputOf is the input of a call as people are shown it: its one argument, or an
// array.
func inputOf(args []any) (json.RawMessage, error) {
	if len(args) == 1 {
		return jsonOf(args[0])
	}
	parts := make([]json.RawMessage, len(args))
	for i, arg := range args {
		var err error
		if parts[i], err = jsonOf(arg); err != nil {
			return nil, err
		}
	}
	return json.Marshal(parts)
}

// argsOf are the arguments as conditions see them: the members of the one object,
// or "0", "1", ...
func argsOf(args []any) (json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	for i, arg := range args {
		data, err := jsonOf(arg)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 && isObject(data) {
			return legible(data)
		}
		members[strconv.Itoa(i)] = data
	}
	data, err := json.Marshal(members)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodePolicyDenied, "give activities arguments that can be written as JSON", "the policies cannot read the arguments: %w", err)
	}
	return legible(data)
}

func isObject(data []byte) bool {
	return strings.HasPrefix(strings.TrimLeft(string(data[:min(len(data), 64)]), " \t\r\n"), "{")
}

// legible refuses what readers of JSON disagree about: the policies would judge
// one thing, and the activity do another. The mark for text that could not be read
// is the exception, since tools write it into their results; conditions see a
// question mark there.
func legible(data json.RawMessage) (json.RawMessage, error) {
	text := strings.ReplaceAll(string(data), "\uFFFD", "?")
	for _, escaped := range []string{`\ufffd`, `\uFFFD`} {
		text = strings.ReplaceAll(text, escaped, "?")
	}
	out, err := wflo.Canonical([]byte(text))
	if err != nil {
		return nil, wflo.Errorf(wflo.CodePolicyDenied, "write each member once, and numbers in full", "the policies cannot read the arguments: JSON that %w", err)
	}
	return out, nil
}

// routed is what the policies make of an approval that a workflow asks for: they
// add to it, and where it lets them route it (Approval.Routed) they say who decides,
// or that nobody needs to (auto). It fails where they forbid the action.
func (st *state) routed(ctx workflow.Context, a wflo.Approval) (merged wflo.Approval, auto bool, err error) {
	met, asked := ctx.Value(policyGateKey{}).([]string)
	a.Rules = met
	if !st.regime.judges() || asked && strings.HasPrefix(a.Gate, "policy/") {
		return a, false, nil
	}
	r, err := st.judgeGate(ctx, a, a.Payload)
	if err != nil {
		return a, false, err
	}
	asks := st.asks(ctx, r, met)
	if a.Routed && len(asks) == 0 && r.AutoApprove {
		a.Rules = append(slices.Clone(a.Rules), r.Risk)
		return a, true, nil
	}
	if len(asks) == 0 {
		return a, false, nil
	}
	if a.Routed && slices.ContainsFunc(asks, func(t wflo.Approval) bool { return slices.Contains(t.Rules, r.Risk) }) {
		a.Approvers, a.Quorum, a.Factors, a.Escalation = nil, 0, nil, nil
	}
	return union(&a, asks), false, nil
}

// routedPast is the gate of an approval that a risk rule gives without asking
// anybody. It is in no index: the ruling is its record. No activity acts on it, since
// nobody's approval binds its input; policies judge that call for itself.
func (st *state) routedPast(ctx workflow.Context, key string, a wflo.Approval) *openGate {
	a.Activity = ""
	run := st.run
	run.Step = key
	g := &openGate{Gate: run.Ask(a.Gate, a, workflow.Now(ctx))}
	d := g.Decide(wflo.VerdictApprove, "policy "+a.Rules[len(a.Rules)-1])
	g.Status, g.Used, g.Gate.Decision, g.ClosedAt = wflo.GateApproved, true, &d, workflow.Now(ctx)
	return g
}

// judgeGate asks the policies about an approval.
func (st *state) judgeGate(ctx workflow.Context, a wflo.Approval, payload json.RawMessage) (wflo.Ruling, error) {
	f := st.facts(ctx, wflo.FactsGate)
	if f.Operation == "" {
		f.Operation = a.Gate
	}
	f.Activity, f.Risk = a.Activity, a.Risk
	if len(payload) > 0 {
		var err error
		if f.Args, err = argsOf([]any{payload}); err != nil {
			return wflo.Ruling{}, err
		}
	}
	r, err := st.judge(ctx, st.nextKey(ctx, "policy/gate/"+a.Gate), f, nil)
	if err != nil {
		return r, err
	}
	return r, st.obey(ctx, r)
}

// rejudge asks the policies about what a reviewer made of a payload, and asks whom
// they name besides.
func (st *state) rejudge(ctx workflow.Context, key string, a wflo.Approval) error {
	if _, asked := ctx.Value(policyGateKey{}).([]string); asked || !st.regime.judges() {
		return nil // whoever opened the gate judges anew
	}
	r, err := st.judgeGate(ctx, a, a.Payload)
	if err != nil {
		return err
	}
	if asks := st.asks(ctx, r, a.Rules); len(asks) > 0 {
		_, err = st.askAgain(ctx, key, a, asks)
	}
	return err
}

// permit asks the policies about a step before it runs, and people where the
// step's own approval or a policy wants that. The result is the context for the
// step.
func (st *state) permit(ctx workflow.Context, opts StepOptions, inner *scope) (workflow.Context, error) {
	if !st.regime.judges() || undoing(ctx) {
		if opts.Approval == nil {
			return ctx, nil
		}
		return st.approveStep(ctx, inner.key, *opts.Approval)
	}
	if err := st.released(ctx); err != nil {
		return ctx, err
	}
	payload, err := stepPayload(opts)
	if err != nil {
		return ctx, fmt.Errorf("step %s: %w", inner.name, err)
	}
	within := workflow.WithValue(ctx, stepKey{}, inner)
	r, err := st.judgeStep(ctx, opts, inner, payload)
	if err != nil {
		return ctx, err
	}
	asks := st.asks(within, r, nil)
	if len(asks) == 0 && opts.Approval == nil {
		return ctx, nil
	}
	a := wflo.Approval{}
	switch {
	case len(asks) == 0:
		a = *opts.Approval
		a.Rules = nil
	case opts.Approval == nil:
		a = union(nil, asks)
		a.Gate, a.Action, a.Payload = gateName(a.Rules), "Run step "+inner.name, payload
	default:
		own := *opts.Approval
		own.Rules = nil
		a = union(&own, asks)
	}
	g, err := st.askPolicies(ctx, inner.key, a)
	if err != nil {
		return ctx, err
	}
	st.given(inner, r, a.Rules)
	if g.Revision > 0 {
		if r, err = st.judgeStep(ctx, opts, inner, g.Approval.Payload); err != nil {
			return ctx, err
		}
		if asks := st.asks(within, r, a.Rules); len(asks) > 0 {
			if _, err := st.askAgain(ctx, inner.key, g.Approval, asks); err != nil {
				return ctx, err
			}
		}
	}
	return st.withGrant(ctx, g), nil
}

func (st *state) judgeStep(ctx workflow.Context, opts StepOptions, inner *scope, payload json.RawMessage) (wflo.Ruling, error) {
	f := st.facts(workflow.WithValue(ctx, stepKey{}, inner), wflo.FactsStep)
	if f.Operation == "" {
		f.Operation = inner.name
	}
	if opts.Approval != nil {
		f.Risk, f.Activity = opts.Approval.Risk, opts.Approval.Activity
	}
	if len(payload) > 0 {
		var err error
		if f.Args, err = argsOf([]any{payload}); err != nil {
			return wflo.Ruling{}, fmt.Errorf("step %s: %w", inner.name, err)
		}
	}
	r, err := st.judge(ctx, inner.key, f, nil)
	if err != nil {
		return r, err
	}
	return r, st.obey(ctx, r)
}

// stepPayload is what conditions on a step's arguments, and people, look at.
func stepPayload(opts StepOptions) (json.RawMessage, error) {
	switch {
	case opts.Args != nil:
		return jsonOf(opts.Args)
	case opts.Approval != nil:
		return opts.Approval.Payload, nil
	}
	return nil, nil
}
