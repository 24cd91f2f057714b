package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/mcpserver"
)

func (a *app) mcpCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "mcp",
		Short: "Let a coding agent look at runs, over the Model Context Protocol",
		Long: `Serve the Model Context Protocol on standard input and output, for a coding agent
that starts this command. Its tools read runs, their stories, logs and spend, what
waits for approval, and snapshots.

It asks the API at --api, with your key (wflo login, or WFLO_TOKEN): the agent sees
what you may see. It only reads. There is no tool that approves, and none that
changes or stops anything.`,
		Example: "  wflo mcp\n  claude mcp add wflo -- wflo mcp --api https://wflo.example.com",
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.mcp(cmd.Context()) },
	}
}

// mcp serves until its input ends.
func (a *app) mcp(ctx context.Context) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	server := mcpserver.New(mcpserver.Config{Read: c.get, Version: a.deps.Version})
	err = server.Run(ctx, &mcp.IOTransport{Reader: io.NopCloser(a.deps.Stdin), Writer: unclosed{a.deps.Stdout}})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve the Model Context Protocol: %w", err)
	}
	return ctx.Err()
}

// unclosed is a writer that stays open when its user is done.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
