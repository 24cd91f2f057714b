package workflows

import (
	"encoding/json"
	"strconv"
	"strings"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
)

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
		"model": p.Model, "max_tokens": p.MaxTokens, "messages": p.Count(), "tools": tools, "fallback": fallback,
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
