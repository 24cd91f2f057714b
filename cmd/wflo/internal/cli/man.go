package cli

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/wflo-ai/wflo-go"
)

func (a *app) manCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write a manual page for each command",
		Long: `Write a manual page for each command into a directory, which is made if it is not
there. The pages are for man: man -l DIR/wflo.1, or MANPATH.`,
		Example: "  wflo man /usr/local/share/man/man1",
		Args:    args("DIR"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := os.MkdirAll(names[0], 0o755); err != nil { //nolint:gosec // manuals are for everybody
				return wflo.Errorf("", "name a directory that may be written", "write the manual: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // no date, so that the same version has the same pages
			header := &doc.GenManHeader{Title: "WFLO", Section: "1", Source: "wflo " + a.version(), Manual: "wflo"}
			if err := doc.GenManTree(root, header, names[0]); err != nil {
				return wflo.Errorf("", "name a directory that may be written", "write the manual: %w", err)
			}
			a.note("see: man -l %s", shellWord(names[0]+"/wflo.1"))
			return nil
		},
	}
}
