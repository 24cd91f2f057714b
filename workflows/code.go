package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// agentOutput bounds each output stream of an agent's programs, in bytes: the
// history keeps the result, and the model sees toolText of it.
const agentOutput = 64 << 10

// changeRefusal is the version marker of the change that a refusal by the
// worker's rules ends an agent.
const changeRefusal = "wflo.agent.sandbox-refusal-is-final"

// interpreter is a tool that runs what the model writes.
type interpreter struct {
	language     sandbox.Language
	does         string // the description's first sentence
	param, holds string // the argument
	hint         string // the description's last sentence
}

var interpreters = map[string]interpreter{
	wflo.ToolPython: {sandbox.Python, "Run a Python 3 program in the sandbox.", "code", "the program", " Print what you want to see."},
	wflo.ToolShell:  {sandbox.Bash, "Run a bash script in the sandbox.", "command", "the script", ""},
	wflo.ToolNode:   {sandbox.Node, "Run a JavaScript program with Node.js in the sandbox.", "code", "the program", " Print what you want to see."},
}

func (in interpreter) tool(name string, box wflo.Box) tool {
	about := in.does + " Its working directory is /workspace, which keeps its files between calls. " + surroundings(box) + in.hint
	return tool{
		Tool: describeTool(name, about, in.param, in.holds),
		call: withArg(in.param, func(ctx workflow.Context, a *agent, source string) (string, error) {
			return a.execute(ctx, in.language, source)
		}),
	}
}

// surroundings tells the model what its programs can reach, so that it does not
// find out by trying.
func surroundings(box wflo.Box) string {
	text := "There is no network."
	switch {
	case box.OpenNetwork:
		text = "There is a network."
	case len(box.Network) > 0:
		text = "The network reaches nothing but " + strings.Join(box.Network, ", ") + ", by HTTP and HTTPS through the proxy that the environment names."
	}
	if len(box.Secrets) > 0 {
		text += " Secrets are in the variables " + strings.Join(workflow.DeterministicKeys(box.Secrets), ", ") + "; use them and do not print them."
	}
	return text
}

// specOf is the specification that a task's choices make, without a program.
func specOf(box wflo.Box) sandbox.Spec {
	spec := sandbox.Spec{
		Image: box.Image, Secrets: box.Secrets,
		Security: sandbox.Security{Runtime: box.Runtime, Profile: box.Profile, Require: box.Require},
		Limits: sandbox.Limits{
			Memory: box.Memory, CPUs: box.CPUs, PIDs: box.PIDs, Timeout: box.Timeout, CPUTime: box.CPUTime,
			Workspace: box.Workspace, Output: box.Output,
		},
	}
	switch {
	case box.OpenNetwork:
		spec.Network = sandbox.Open()
	case len(box.Network) > 0:
		spec.Network = sandbox.Allow(box.Network...)
	}
	if spec.Limits.Output == 0 {
		spec.Limits.Output = agentOutput
	}
	return spec
}

// refusedError is what no other program of the model can mend: the worker
// refuses what the task chose.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// execute runs code with the task's choices and says how it ended in words that
// a model understands.
func (a *agent) execute(ctx workflow.Context, language sandbox.Language, source string) (string, error) {
	spec := specOf(a.task.Sandbox)
	spec.Language, spec.Source = language, source
	// What is wrong here is the model's: the rest was checked when it began.
	if err := spec.Validate(); err != nil {
		return "", err
	}
	res, err := RunSandboxed(ctx, spec)
	if err != nil {
		return "", blame(ctx, err)
	}
	var b strings.Builder
	b.WriteString(verdict(res))
	b.WriteByte('\n')
	section(&b, "stdout", res.Stdout)
	section(&b, "stderr", res.Stderr)
	if !res.OK() {
		return "", fmt.Errorf("%s", b.String())
	}
	return b.String(), nil
}

// blame marks a refusal by the worker's rules. Agents that began before that
// was final go on as they did.
func blame(ctx workflow.Context, err error) error {
	switch wflo.CodeOf(err) {
	case wflo.CodeInvalid, wflo.CodePolicyDenied:
		if workflow.GetVersion(ctx, changeRefusal, workflow.DefaultVersion, 1) == 1 {
			return &refusedError{err}
		}
	}
	return err
}

// verdict is one line on how an execution ended: the outcome, why, which limits
// it ran into, what it was refused, and what is missing of its output.
func verdict(res sandbox.Result) string {
	parts := []string{fmt.Sprintf("outcome: %s (exit code %d)", res.Outcome, res.ExitCode)}
	if res.Reason != "" {
		parts = append(parts, oneLine(res.Reason, 300))
	}
	if len(res.Hit) > 0 {
		parts = append(parts, "limits reached: "+strings.Join(res.Hit, ", "))
	}
	if res.Traffic != nil && len(res.Traffic.Refused) > 0 {
		parts = append(parts, "network refused: "+refusals(res.Traffic.Refused))
	}
	for _, s := range []struct {
		name    string
		dropped int64
	}{{"stdout", res.StdoutTruncated}, {"stderr", res.StderrTruncated}} {
		if s.dropped > 0 {
			parts = append(parts, fmt.Sprintf("%d bytes in the middle of %s were dropped, write large output to a file", s.dropped, s.name))
		}
	}
	return strings.Join(parts, "; ")
}

// refusals names the first few destinations. A program chooses them, so they
// are cut to one line each.
func refusals(all []sandbox.Refusal) string {
	const most = 5
	var names []string
	for _, r := range all[:min(len(all), most)] {
		names = append(names, oneLine(r.To, 100)+" ("+oneLine(r.Reason, 100)+")")
	}
	if len(all) > most {
		names = append(names, fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(names, ", ")
}

func section(b *strings.Builder, name, text string) {
	if text != "" {
		fmt.Fprintf(b, "%s:\n%s\n", name, middle(text, toolText*3/4))
	}
}
