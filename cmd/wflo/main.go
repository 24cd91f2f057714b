// Command wflo runs, watches and governs AI agents on Temporal. Everything it
// does is in internal/cli; `wflo dev`, which embeds a Temporal server, is in
// internal/dev.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // budgets have time zones, and small images have no zone files

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
)

func main() {
	os.Exit(cli.MainAs(context.Background(), deps(), os.Args, os.Setenv))
}
