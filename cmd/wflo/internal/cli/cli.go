// Package cli is the command line of wflo: it starts runs and follows them,
// lists them, shows what waits for a decision, decides, and halts. A program
// calls [Main] with its [Deps]; commands that need more than a Temporal client,
// such as `wflo dev`, are injected, so this package links no server.
//
// Data goes to standard output and nothing else does; progress, questions and
// errors go to standard error. Whatever a run, a model or a stranger wrote is
// shown with its control and bidirectional characters escaped, because a
// person decides by what the terminal shows.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/itchyny/gojq"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// DefaultTaskQueue is where `wflo dev` and the shipped worker take work from.
const DefaultTaskQueue = "wflo"

// Alias is a short name for a workflow.
type Alias struct {
	// Name is what people type after `wflo run`.
	Name string
	// Workflow is the workflow type.
	Workflow string
	// Input is the JSON argument when --input is not given; empty means none.
	Input string
	// About says what it does, in one line.
	About string
}

// Deps is what the commands need from the program. The zero value works.
type Deps struct {
	// Stdin, Stdout and Stderr are those of the process when nil.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Dial connects to Temporal; nil means client.DialContext.
	Dial func(context.Context, client.Options) (client.Client, error)
	// Configure is called with the options of each client before it connects:
	// the place for the client interceptor and the payload codec. May be nil.
	Configure func(*client.Options)
	// Aliases are the short names for `wflo run`.
	Aliases []Alias
	// TaskQueue is the default of --task-queue; empty means DefaultTaskQueue.
	TaskQueue string
	// Commands are added to the root command.
	Commands []*cobra.Command
	// Sandboxes connects to the container engine; nil means docker.New.
	Sandboxes func(context.Context, docker.Config) (Sandboxes, error)
	// Version is the program's version; empty means that of the build info.
	Version string
	// Parts are versions of what is built in, by name, for `wflo version`.
	Parts map[string]string
}

func (d Deps) withDefaults() Deps {
	if d.Stdin == nil {
		d.Stdin = os.Stdin
	}
	if d.Stdout == nil {
		d.Stdout = os.Stdout
	}
	if d.Stderr == nil {
		d.Stderr = os.Stderr
	}
	if d.Dial == nil {
		d.Dial = dialTemporal
	}
	if d.Sandboxes == nil {
		d.Sandboxes = dockerSandboxes
	}
	if d.TaskQueue == "" {
		d.TaskQueue = DefaultTaskQueue
	}
	return d
}

// app is one invocation of the program.
type app struct {
	deps Deps
	conn connFlags
	// parsed says that the command line was understood, so that whatever fails
	// from there on is not a usage error.
	parsed bool
	format string
	// colour is what --color says, and never with --no-color.
	colour   string
	noColour bool
	// jq is what --jq says; filter is it when it is understood, and nil without.
	jq     string
	filter *gojq.Code
	// sandboxHost is what --host of wflo sandbox says.
	sandboxHost string
}

// Main runs the command line and returns the exit code. An interrupt cancels
// the command's context; a second one ends the process.
func Main(ctx context.Context, deps Deps, args []string) int {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	defer context.AfterFunc(ctx, release)()

	a := &app{deps: deps.withDefaults()}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.parsed {
		err = asUsage(err)
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = &exitError{code: ExitInterrupted, err: err}
	}
	a.printError(err)
	return exitCode(err)
}

// MainAs is Main for the whole command line of a process, with the program's name: as
// temporal-wflo it takes the flags of Temporal's command. setenv is os.Setenv.
func MainAs(ctx context.Context, deps Deps, line []string, setenv func(name, value string) error) int {
	given, err := FromTemporal(line[0], line[1:], setenv)
	if err != nil {
		deps = deps.withDefaults()
		writeError(deps.Stderr, err)
		return exitCode(err)
	}
	return Main(ctx, deps, given)
}

// NewRoot is the root command, for documentation generators; programs call Main.
func NewRoot(deps Deps) *cobra.Command {
	a := &app{deps: deps.withDefaults()}
	return a.root()
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "wflo",
		Short: "Run, watch and govern AI agents on Temporal",
		Long: `wflo runs AI agents as Temporal workflows, with budgets, approval gates,
sandboxed tools and undo.

First steps:

  wflo dev                 start Temporal and its Web UI on this machine
  wflo run NAME            start a workflow and follow it
  wflo approvals           see what waits for a person
  wflo cost                see what was spent, and on what
  wflo budget set ID       limit what a user, a team, a model ... may spend
  wflo alerts              see which budgets got full

What it reads from the environment: wflo help environment`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkFormat(cmd); err != nil {
				return err
			}
			if err := a.checkColour(cmd); err != nil {
				return err
			}
			a.parsed = true
			return nil
		},
	}
	root.SetIn(a.deps.Stdin)
	root.SetOut(a.deps.Stdout)
	root.SetErr(a.deps.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Usage("see: "+cmd.CommandPath()+" --help", "%s", err)
	})
	flags := root.PersistentFlags()
	flags.StringVarP(&a.format, "output", "o", formatText, "how to print data: text, json or jsonl")
	flags.StringVar(&a.jq, "jq", "", "print what this jq expression makes of the data (implies -o json)")
	flags.StringVar(&a.colour, "color", colourAuto, "when to use colours: auto, always or never")
	flags.BoolVar(&a.noColour, "no-color", false, "no colour and no animation: --color never (also NO_COLOR)")
	a.conn.add(flags)
	for flag, words := range map[string][]string{
		"output": {formatText, formatJSON, formatJSONL}, "color": {colourAuto, colourAlways, colourNever},
	} {
		if err := root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag was added above
		}
	}
	root.AddCommand(
		a.runCmd(), a.listCmd(), a.statusCmd(), a.approvalsCmd(),
		a.approveCmd(), a.rejectCmd(), a.respondCmd(), a.escalateCmd(), a.ackCmd(),
		a.loginCmd(), a.logoutCmd(), a.whoamiCmd(), a.keysCmd(), a.notifyCmd(),
		a.haltCmd(), a.cancelCmd(), a.keygenCmd(), a.sandboxCmd(), a.pricesCmd(),
		a.costCmd(), a.budgetCmd(), a.alertsCmd(), a.policyCmd(), a.auditCmd(),
		a.snapshotCmd(), a.restoreCmd(), a.lineageCmd(), a.compensationsCmd(), a.versionCmd(), a.logsCmd(), a.mcpCmd(),
		a.debugCmd(), a.traceCmd(), a.tailCmd(), a.doctorCmd(), a.initCmd(), a.manCmd(),
		exitCodesTopic(), environmentTopic(),
	)
	root.AddCommand(a.deps.Commands...)
	return root
}

// args checks the number of positional arguments and names them in the error.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < len(names):
			return Usage("see: "+cmd.CommandPath()+" --help", "%s: %s is missing", cmd.CommandPath(), names[len(given)])
		case len(given) > len(names):
			return Usage("quote text that has spaces; see: "+cmd.CommandPath()+" --help",
				"%s: too many arguments: %q", cmd.CommandPath(), given[len(names)])
		}
		return nil
	}
}
