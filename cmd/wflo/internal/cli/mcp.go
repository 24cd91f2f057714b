package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/mcpserver"
)

// mcpFlags are those of wflo mcp.
type mcpFlags struct {
	writes            bool
	listen, cert, key string
}

func (a *app) mcpCmd() *cobra.Command {
	var f mcpFlags
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Let a coding agent look at runs, over the Model Context Protocol",
		Long: `Serve the Model Context Protocol on standard input and output, for a coding agent
that starts this command. Its tools and resources read runs, their stories, logs and
spend, what waits for approval, and snapshots.

It asks the API at --api, with your key (wflo login, or WFLO_TOKEN): the agent sees
what you may see. It only reads. With --allow-writes it can also halt and cancel
runs, as far as your key may. There is no tool that approves.

With --listen it serves streamable HTTP instead, at /mcp. Then every request brings
a key of its own, as Authorization: Bearer, and your key is not used. Beyond this
machine it needs --tls-cert and --tls-key.`,
		Example: "  wflo mcp\n  claude mcp add wflo -- wflo mcp --api https://wflo.example.com\n  wflo mcp --listen 127.0.0.1:7246",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.listen != "" {
				return a.mcpListen(cmd.Context(), f)
			}
			if f.cert != "" || f.key != "" {
				return Usage("leave them out, or add --listen HOST:PORT", "--tls-cert and --tls-key are for --listen")
			}
			return a.mcp(cmd.Context(), f)
		},
	}
	cmd.Flags().BoolVar(&f.writes, "allow-writes", false, "also offer tools that halt and cancel runs")
	cmd.Flags().StringVar(&f.listen, "listen", "", "serve HTTP on HOST:PORT instead of standard input and output")
	cmd.Flags().StringVar(&f.cert, "tls-cert", "", "file with the certificate, in PEM")
	cmd.Flags().StringVar(&f.key, "tls-key", "", "file with the certificate's key, in PEM")
	return cmd
}

// mcp serves until its input ends.
func (a *app) mcp(ctx context.Context, f mcpFlags) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	server := mcpserver.New(a.mcpConfig(c, f))
	err = server.Run(ctx, &mcp.IOTransport{Reader: io.NopCloser(a.deps.Stdin), Writer: unclosed{a.deps.Stdout}})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve the Model Context Protocol: %w", err)
	}
	return ctx.Err()
}

// mcpConfig is a server that asks as whoever c asks as.
func (a *app) mcpConfig(c *api, f mcpFlags) mcpserver.Config {
	cfg := mcpserver.Config{Read: c.get, Version: a.version()}
	if f.writes {
		cfg.Write = func(ctx context.Context, path string, in, out any) error {
			return c.write(ctx, http.MethodPost, path, in, out)
		}
	}
	return cfg
}

// unclosed is a writer that stays open when its user is done.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
