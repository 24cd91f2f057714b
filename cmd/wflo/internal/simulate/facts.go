package simulate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

var noArgs = json.RawMessage("{}")

// facts are those of a call, whatever it is. They are made as package workflows makes
// them, from what history has.
func (w *walk) facts(run wflo.Run, activity string) wflo.Facts {
	f := wflo.Facts{
		Kind: wflo.FactsActivity, Operation: activity, Step: scopes(run.Step, activity)[0],
		User: run.User, Team: run.Team, Org: run.Org, Agent: run.Agent, Tags: run.Tags, Cost: w.spent + w.children, Calls: w.calls,
		Workflow: wflo.WorkflowFacts{
			ID: run.WorkflowID, Type: run.Workflow, Namespace: run.Namespace, Generation: run.Generation, Epoch: run.Epoch,
		},
		Args: noArgs,
	}
	id := run.BudgetID()
	for _, line := range run.Lines {
		if line.ID == id && line.Limit > 0 {
			f.Budget = wflo.BudgetFacts{Limit: line.Limit, Spent: f.Cost, Left: max(0, line.Limit-f.Cost), Used: f.Cost.Float() / line.Limit.Float() * 100}
		}
	}
	return w.timed(f, w.nows[len(w.nows)-1])
}

// timed are the facts at a moment.
func (w *walk) timed(f wflo.Facts, now time.Time) wflo.Facts {
	f.ExecutionTime, f.Time = now.Sub(w.past.Began).Seconds(), wflo.TimeFactsAt(now)
	return f
}

// scopes are what the step may be named that a call is within, by its key, the most
// likely first; "" where it is within none. Keys are NAME#N or NAME/KEY, after
// those of the steps around it, and names may hold slashes.
func scopes(key, activity string) []string {
	i := strings.LastIndex(key, "/"+activity+"#")
	if i < 0 {
		return []string{""}
	}
	parts := strings.Split(key[:i], "/")
	if g, ok := strings.CutPrefix(parts[0], "g"); ok && g != "" && strings.Trim(g, "0123456789") == "" {
		parts = parts[1:]
	}
	if len(parts) == 0 {
		return []string{""}
	}
	last, numbered := parts[len(parts)-1], true
	if j := strings.LastIndexByte(last, '#'); j >= 0 {
		last = last[:j]
	} else {
		numbered = false // it has a key of its own, after its name
	}
	parts = append(slices.Clone(parts[:len(parts)-1]), last)
	var all []string
	for from := range parts {
		for to := len(parts); to > from; to-- {
			all = append(all, strings.Join(parts[from:to], "/"))
		}
	}
	likely := parts[0]
	if numbered {
		likely = last
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == likely })
	return append(append([]string{likely}, all[:min(len(all), mostScopes)]...), "")
}

// mostScopes bounds the names that are tried.
const mostScopes = 20

// call adds what the input says.
func (w *walk) call(f *wflo.Facts, name string, input *commonpb.Payloads) error {
	args, err := w.arguments(input)
	if err != nil {
		return err
	}
	switch name {
	case string(step.LLMChat):
		f.Kind = wflo.FactsModel
		var p wflo.Prompt
		if err := w.payloads(input, &p); err != nil {
			return fmt.Errorf("read prompt: %w", err)
		}
		f.Model = p.Model
		f.Args, err = promptArgs(p)
		return err
	case string(step.SandboxRun):
		f.Kind = wflo.FactsSandbox
		var spec sandbox.Spec
		if err := w.payloads(input, &spec); err != nil {
			return fmt.Errorf("read specification: %w", err)
		}
		f.Sandbox = sandboxFacts(spec)
	}
	f.Args, err = argsOf(args)
	return err
}

// gate are the facts of a gate that a workflow asks for. ours says that policies
// opened it.
func (w *walk) gate(f wflo.Facts, input *commonpb.Payloads) (_ wflo.Facts, ours bool, err error) {
	var g wflo.Gate
	if err := w.payloads(input, &g); err != nil {
		return f, false, fmt.Errorf("read gate: %w", err)
	}
	f.Kind, f.Operation, f.Activity, f.Risk = wflo.FactsGate, g.Approval.Gate, g.Approval.Activity, g.Approval.Risk
	f.Step = ""
	if len(g.Approval.Payload) > 0 {
		f.Args, err = argsOf([]json.RawMessage{g.Approval.Payload})
	}
	return f, strings.HasPrefix(g.Approval.Gate, "policy/"), err
}

// arguments are the input of an activity as JSON; what has none is base64 text.
func (w *walk) arguments(input *commonpb.Payloads) (args []json.RawMessage, err error) {
	for _, p := range input.GetPayloads() {
		var raw converter.RawValue
		if err := w.reader.Converter.FromPayload(p, &raw); err != nil {
			return nil, fmt.Errorf("read input: %w", err)
		}
		var arg json.RawMessage
		switch p := raw.Payload(); string(p.GetMetadata()[converter.MetadataEncoding]) {
		case converter.MetadataEncodingJSON, converter.MetadataEncodingProtoJSON:
			arg = p.GetData()
		case converter.MetadataEncodingNil:
			arg = json.RawMessage("null")
		case converter.MetadataEncodingBinary:
			if arg, err = json.Marshal(p.GetData()); err != nil {
				return nil, fmt.Errorf("read input: %w", err)
			}
		default:
			return nil, errors.New("read input: its encoding is not known here")
		}
		args = append(args, arg)
	}
	return args, nil
}

// argsOf are the arguments as conditions see them: the members of the one object,
// or "0", "1", ...
func argsOf(args []json.RawMessage) (json.RawMessage, error) {
	if len(args) == 1 && strings.HasPrefix(strings.TrimLeft(string(args[0]), " \t\r\n"), "{") {
		return legible(args[0])
	}
	members := map[string]json.RawMessage{}
	for i, arg := range args {
		members[strconv.Itoa(i)] = arg
	}
	data, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("read input: %w", err)
	}
	return legible(data)
}

// legible is the canonical form, with a question mark for text that could not be
// read.
func legible(data json.RawMessage) (json.RawMessage, error) {
	text := strings.NewReplacer("\uFFFD", "?", `\ufffd`, "?", `\uFFFD`, "?").Replace(string(data))
	out, err := wflo.Canonical([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("read input: JSON that %w", err)
	}
	return out, nil
}

// promptArgs leave the conversation out.
func promptArgs(p wflo.Prompt) (json.RawMessage, error) {
	tools, fallback := []string{}, p.Fallback
	for _, t := range p.Tools {
		tools = append(tools, t.Name)
	}
	if fallback == nil {
		fallback = []string{}
	}
	return json.Marshal(map[string]any{
		"model": p.Model, "max_tokens": p.MaxTokens, "messages": p.Count(), "tools": tools, "fallback": fallback,
	})
}

func sandboxFacts(spec sandbox.Spec) wflo.SandboxFacts {
	limits := spec.Limits.WithDefaults()
	network := "allow-list"
	switch n := spec.Network; {
	case n.Mode == sandbox.NetworkOpen:
		network = "open"
	case n.Mode == sandbox.NetworkNone && len(n.Allow)+len(n.Inject) == 0:
		network = "none"
	}
	return wflo.SandboxFacts{
		Image: spec.Image, Language: string(spec.Language), Network: network, Runtime: spec.Security.Runtime,
		Memory: limits.Memory, CPUs: limits.CPUs, Timeout: limits.Timeout.Seconds(), Secrets: slices.Sorted(maps.Keys(spec.Secrets)),
	}
}
