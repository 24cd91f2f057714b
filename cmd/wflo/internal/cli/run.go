package cli

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
)

type runFlags struct {
	input, user, team, org, id, queue string
	tags                              []string
	budget, onExceeded, thresholds    string
	detach                            bool
	prompt, model, system             string
	tools                             []string
}

func (a *app) runCmd() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Start a workflow and follow it",
		Long:  "Start a workflow and follow it until it ends. The result goes to standard\noutput, everything else to standard error.\n\n" + a.aliasHelp(),
		Example: `  wflo run agent --model gpt-5.4-mini --prompt "How many primes are below 1000?" --tools run_python
  wflo run billing.Invoice --input '{"customer": 7}' --budget 5.00 --detach
  wflo run billing.Invoice --input @invoice.json -o json
  wflo run billing.Invoice --team payments --tag env=prod --budget 5.00 --on-exceeded ask`,
		Args:              args("NAME"),
		ValidArgsFunction: cobra.FixedCompletions(a.aliasNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, names []string) error {
			plan, err := a.plan(cmd, names[0], f)
			if err != nil {
				return err
			}
			return a.run(cmd.Context(), plan)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.input, "input", "i", "", "the argument: JSON, @FILE, or @- for standard input")
	flags.StringVar(&f.user, "user", "", "for whom the run acts (also WFLO_USER; default: the login name)")
	flags.StringVar(&f.team, "team", "", "the team that pays")
	flags.StringVar(&f.org, "org", "", "the organisation that pays")
	flags.StringArrayVar(&f.tags, "tag", nil, "an attribute for budgets and reports, such as env=prod; repeat it for more")
	flags.StringVar(&f.budget, "budget", "", "the most that the run may spend, in dollars, such as 5.00")
	flags.StringVar(&f.onExceeded, "on-exceeded", "", "what happens to a call that does not fit --budget: halt, ask, alert or ignore (default halt)")
	flags.StringVar(&f.thresholds, "thresholds", "", "percentages of --budget that alert, such as 50,75,90, or none (default 50,75,90)")
	flags.StringVar(&f.id, "id", "", "workflow id (default: made up)")
	flags.StringVar(&f.queue, "task-queue", a.deps.TaskQueue, "task queue of the worker")
	flags.BoolVarP(&f.detach, "detach", "d", false, "print the id and return at once")
	flags.StringVar(&f.prompt, "prompt", "", "agent: the task")
	flags.StringVar(&f.model, "model", "", "agent: the language model")
	flags.StringVar(&f.system, "system", "", "agent: instructions before the task")
	flags.StringSliceVar(&f.tools, "tools", nil, "agent: tools that it may call, with commas: run_python, run_node, run_shell, read_file, write_file, ask_human")
	completeOnExceeded(cmd)
	return cmd
}

func (a *app) aliasNames() []string {
	var names []string
	for _, alias := range a.deps.Aliases {
		names = append(names, alias.Name)
	}
	return names
}

func (a *app) aliasHelp() string {
	b := strings.Builder{}
	b.WriteString("NAME is a workflow type that a worker knows")
	if len(a.deps.Aliases) == 0 {
		return b.String() + "."
	}
	b.WriteString(", or one of:\n\n")
	for _, alias := range a.deps.Aliases {
		fmt.Fprintf(&b, "  %-12s %s (%s)\n", alias.Name, alias.About, alias.Workflow)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plan is a run that is ready to start.
type plan struct {
	run    wflo.Run
	opts   client.StartWorkflowOptions
	args   []any
	detach bool
}

// plan checks everything that can be checked without a server.
func (a *app) plan(cmd *cobra.Command, name string, f runFlags) (plan, error) {
	p := plan{detach: f.detach, run: wflo.Run{User: f.user, Team: f.team, Org: f.org, Workflow: name}}
	input := f.input
	for _, alias := range a.deps.Aliases {
		if alias.Name == name {
			p.run.Workflow = alias.Workflow
			if input == "" {
				input = alias.Input
			}
		}
	}
	if p.run.User == "" {
		p.run.User = userName()
	}
	if err := f.govern(cmd, &p.run); err != nil {
		return plan{}, err
	}
	arg, err := a.argument(cmd, p.run.Workflow, input, f)
	if err != nil {
		return plan{}, err
	}
	if arg != nil {
		p.args = []any{arg}
	}
	p.opts = client.StartWorkflowOptions{
		ID: f.id, TaskQueue: f.queue, WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary: "wflo run " + name, // Temporal's Web UI shows it
	}
	if p.opts.ID == "" {
		p.opts.ID = newID(name)
	}
	return p, nil
}

// govern fills in what the run may spend and what it is attributed to.
func (f runFlags) govern(cmd *cobra.Command, run *wflo.Run) error {
	given := cmd.Flags().Changed
	var err error
	if run.Tags, err = parseTags(f.tags); err != nil {
		return err
	}
	for _, name := range []string{"on-exceeded", "thresholds"} {
		if given(name) && !given("budget") {
			return Usage("add --budget, such as --budget 5.00", "--%s is about the run's own budget, which it does not have", name)
		}
	}
	if given("budget") {
		if run.Budget.Limit, err = budget(f.budget); err != nil {
			return err
		}
	}
	if given("on-exceeded") {
		if run.Budget.OnExceeded, err = parseOnExceeded(f.onExceeded); err != nil {
			return err
		}
	}
	if given("thresholds") {
		if run.Budget.Thresholds, err = parseThresholds(f.thresholds); err != nil {
			return err
		}
	}
	if err := run.Validate(); err != nil {
		return &exitError{ExitUsage, err}
	}
	return nil
}

func budget(text string) (wflo.Money, error) {
	const hint = "give a positive amount of dollars, such as 5.00; leave --budget out for no limit of the run's own"
	limit, err := wflo.ParseMoney(text)
	if err != nil {
		return 0, Usage(hint, "--budget: %w", err)
	}
	if limit <= 0 {
		return 0, Usage(hint, "--budget is %s", limit)
	}
	return limit, nil
}

// argument is the workflow's input: a Task from the agent flags, or JSON.
func (a *app) argument(cmd *cobra.Command, workflow, input string, f runFlags) (any, error) {
	for _, name := range []string{"prompt", "model", "system", "tools"} {
		if !cmd.Flags().Changed(name) {
			continue
		}
		switch {
		case workflow != wflo.WorkflowAgent:
			return nil, Usage("give its argument with --input", "--%s is for %s, not for %s", name, wflo.WorkflowAgent, workflow)
		case f.input != "":
			return nil, Usage("put everything into --input, or use the flags alone", "--%s and --input exclude each other", name)
		}
		task := wflo.Task{Prompt: f.prompt, Model: f.model, System: f.system, Tools: f.tools}
		if err := task.Validate(); err != nil {
			return nil, &exitError{ExitUsage, err}
		}
		return task, nil
	}
	if input == "" {
		if workflow == wflo.WorkflowAgent {
			return nil, Usage("such as: wflo run agent --model gpt-5.4-mini --prompt \"...\"", "the agent needs a task")
		}
		return nil, nil
	}
	data, err := a.read(input)
	if err != nil {
		return nil, err
	}
	if !json.Valid(data) {
		return nil, Usage("quote text as JSON: --input '\"text\"', or read a file with --input @file.json", "--input is not JSON")
	}
	return json.RawMessage(data), nil
}

// read gives the text itself, or the content of @FILE or @-.
func (a *app) read(text string) ([]byte, error) {
	path, isFile := strings.CutPrefix(text, "@")
	if !isFile {
		return []byte(text), nil
	}
	var data []byte
	var err error
	if path == "-" {
		data, err = io.ReadAll(a.deps.Stdin)
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, Usage("check the path after @; @- reads standard input", "--input: %w", err)
	}
	return data, nil
}

// newID makes a short id that says what the run is.
func newID(name string) string {
	base := strings.ToLower(name[strings.LastIndex(name, ".")+1:])
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	return base + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
}

func (a *app) run(ctx context.Context, p plan) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	run, err := c.ExecuteWorkflow(wflo.WithRun(ctx, p.run), p.opts, p.run.Workflow, p.args...)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &started) {
		return wflo.Errorf(wflo.CodeConflict, "see: wflo status "+p.opts.ID+", or choose another --id", "run %s exists already", p.opts.ID)
	}
	if err != nil {
		return c.explain(err, "")
	}
	if p.detach {
		return a.detached(run, p)
	}
	return a.follow(ctx, c, run, p)
}

func (a *app) detached(run client.WorkflowRun, p plan) error {
	a.note("started; watch it with: wflo status %s", run.GetID())
	if a.format == formatText {
		_, err := fmt.Fprintln(a.deps.Stdout, run.GetID())
		return err
	}
	return a.printJSON(outcome{ID: run.GetID(), RunID: run.GetRunID(), Workflow: p.run.Workflow, State: wflo.StateRunning})
}
