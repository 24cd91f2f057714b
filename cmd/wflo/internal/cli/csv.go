package cli

import (
	"encoding/csv"
	"strings"

	"github.com/spf13/cobra"
)

const (
	formatTable = "table"
	formatCSV   = "csv"
)

// offersCSV marks commands that print CSV too.
const offersCSV = "wflo.csv"

// withCSV lets a command print CSV, and calls its text a table.
func withCSV(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{offersCSV: "yes"}
	return cmd
}

// checkFormat refuses a format that the command does not have.
func (a *app) checkFormat(cmd *cobra.Command) error {
	formats := []string{formatText, formatJSON, formatJSONL}
	if cmd.Annotations[offersCSV] != "" {
		formats = append(formats, formatTable, formatCSV)
	}
	if err := oneOf("--output", a.format, formats...); err != nil {
		return err
	}
	if cmd.Flags().Changed("jq") {
		if cmd.Flags().Changed("output") && a.format != formatJSON && a.format != formatJSONL {
			return Usage("leave out -o, or use json or jsonl", "--jq and --output %s exclude each other", a.format)
		}
		code, err := compileFilter(a.jq)
		if err != nil {
			return err
		}
		if a.filter = code; a.format != formatJSONL {
			a.format = formatJSON
		}
	}
	if a.format == formatTable {
		a.format = formatText
	}
	return nil
}

// printCSV writes CSV as RFC 4180 has it, with a header. Text cells are made
// safe for spreadsheets; amounts and numbers must not be among them.
func (a *app) printCSV(header []string, texts int, rows [][]string) error {
	w := csv.NewWriter(a.deps.Stdout)
	w.UseCRLF = true
	if err := w.Write(header); err != nil {
		return err
	}
	for _, row := range rows {
		for i := range texts {
			row[i] = textCell(row[i])
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// textCell keeps a spreadsheet from taking a stranger's text for a formula: an
// apostrophe before it makes it text.
func textCell(s string) string {
	s = escapeLine(s)
	if strings.IndexAny(s, "=+-@＝＋－＠") == 0 {
		return "'" + s
	}
	return s
}
