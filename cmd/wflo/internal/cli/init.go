package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/scaffold"
)

func (a *app) initCmd() *cobra.Command {
	var c scaffold.Config
	cmd := &cobra.Command{
		Use:   "init NAME",
		Short: "Begin a project: an agent with a budget, a gate, a sandbox and an undo, with its test",
		Long: `Begin a project in the new directory NAME: an agent with a budget, a tool that runs
in a sandbox, an approval gate and an undo; its test, which needs no key and no
server; a worker and a starter. Read its README.md first.

In a source tree of wflo, or with --source, the project is built against that tree;
else against the release that this command is of, which go mod tidy downloads.`,
		Example: "  wflo init invoices\n  wflo init invoices --module example.com/you/invoices",
		Args:    args("NAME"),
		RunE: func(cmd *cobra.Command, names []string) error {
			c.Dir = names[0]
			return a.begin(cmd.Context(), c)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&c.Module, "module", "", "the project's module path (default: NAME)")
	cmd.Flags().StringVar(&c.Source, "source", "", "build against this source tree of wflo")
	return cmd
}

// begun is the data of `wflo init`.
type begun struct {
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
}

func (a *app) begin(ctx context.Context, c scaffold.Config) error {
	if c.Source == "" {
		c.Source = scaffold.FindSource(".")
	}
	if v := a.version(); strings.HasPrefix(v, "v") && !strings.Contains(v, "+dirty") {
		c.Version = v
	}
	files, err := scaffold.Write(c)
	if err != nil {
		var usage *exitError
		if wflo.CodeOf(err) == wflo.CodeInvalid && !errors.As(err, &usage) {
			return &exitError{ExitUsage, err}
		}
		return err
	}
	a.tidy(ctx, c)
	if a.format != formatText {
		return a.printJSON(begun{c.Dir, files})
	}
	for _, name := range files {
		if _, err := fmt.Fprintln(a.deps.Stdout, escapeLine(c.Dir+"/"+name)); err != nil {
			return err
		}
	}
	work := ""
	if scaffold.FindSource(c.Dir) != "" {
		work = "export GOWORK=off; " // the workspace of the source tree does not have the project
	}
	a.note("next: cd %s && %sgo test ./...", shellWord(c.Dir), work)
	return nil
}

// tidy has the go command download what a release needs. Where that fails, a person has
// to do it, and is told how.
func (a *app) tidy(ctx context.Context, c scaffold.Config) {
	if c.Source != "" {
		return // go.mod and go.sum are complete
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "tidy")
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), "GOWORK=off")
	cmd.Stdout, cmd.Stderr = a.deps.Stderr, a.deps.Stderr
	if err := cmd.Run(); err != nil {
		a.note("go mod tidy failed (%v); run it in %s before anything else", err, shellWord(c.Dir))
	}
}
