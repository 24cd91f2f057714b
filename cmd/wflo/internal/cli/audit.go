package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

// Exit codes of `wflo audit verify`: those of [audit.Class.ExitCode].
const (
	ExitTampered   = 20
	ExitIncomplete = 21
	ExitBreach     = 22
)

func (a *app) auditCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read, export and verify the audit trail",
		Long: `Read, export and verify the trail of who decided what: records in chains, one
per organisation, that nobody can change without it showing.

Records are read through the worker's API, or with --database from the database
itself, which is never changed. Auditors who trust no worker use --database, or an
export, with keys and checkpoints that they have from elsewhere.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.auditListCmd(), a.auditExportCmd(), a.auditVerifyCmd())
	return cmd
}

type auditListFlags struct {
	chain, run, kind string
	limit            int
	span             spanFlags
	trail            trailFlags
}

func (a *app) auditListCmd() *cobra.Command {
	var f auditListFlags
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List records, the newest first",
		Example: "  wflo audit list --run nightly-42\n  wflo audit list --type approval.refused --since 7d\n  wflo audit list --chain acme --limit 5000 -o jsonl",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.auditList(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.chain, "chain", "", "only records of this organisation, or main")
	flags.StringVar(&f.run, "run", "", "only records about this workflow id")
	flags.StringVar(&f.kind, "type", "", "only records of this type, such as approval.decided")
	flags.IntVar(&f.limit, "limit", 100, "at most so many; more than "+strconv.Itoa(maxAuditPage)+" need --chain")
	f.span.add(flags, "")
	f.trail.add(flags)
	return cmd
}

func (a *app) auditList(ctx context.Context, f auditListFlags) error {
	from, to, err := f.span.bounds(time.Now(), 0)
	switch {
	case err != nil:
		return err
	case f.limit < 1:
		return Usage("give a positive number", "--limit is %d", f.limit)
	case f.limit > maxAuditPage && f.chain == "":
		return Usage("name the chain with --chain, or ask for a shorter time", "--limit is %d", f.limit)
	}
	t, err := a.openTrail(ctx, f.trail)
	if err != nil {
		return err
	}
	defer t.close()
	q := wflo.AuditQuery{Chain: f.chain, WorkflowID: f.run, Type: wflo.AuditType(f.kind), From: from, To: to, Latest: true}
	records, err := readLatest(ctx, t, q, f.limit)
	if err != nil {
		return err
	}
	if len(records) == 0 && a.format == formatText {
		a.note("no records")
	}
	return printAll(a, records, []string{"CHAIN", "SEQ", "AT", "TYPE", "ACTOR", "RUN", "ABOUT", "WHAT"}, func(r wflo.AuditRecord) []string {
		about := r.Gate
		if about == "" {
			about = r.Step
		}
		return []string{r.Chain, strconv.FormatInt(r.Seq, 10), r.At.UTC().Format(time.RFC3339), string(r.Type), r.Actor, r.WorkflowID, about, gist(r)}
	})
}

// readLatest reads on until there are enough records. Without a chain there is one
// page, because only the numbers of a chain say where to read on.
func readLatest(ctx context.Context, t audit.Trail, q wflo.AuditQuery, limit int) (all []wflo.AuditRecord, err error) {
	for {
		q.Limit = min(limit-len(all), maxAuditPage)
		some, err := t.ReadAudit(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(all) >= limit || len(some) < q.Limit || q.Chain == "" {
			return all, nil
		}
		q.After = all[len(all)-1].Seq
	}
}

// gist is what a record says, on one line.
func gist(r wflo.AuditRecord) string {
	var d struct {
		Decision wflo.Decision `json:"decision"`
		Gate     gateGist      `json:"gate"`
		Error    string        `json:"error"`
		Effect   wflo.Effect   `json:"effect"`
		Matches  []wflo.Match  `json:"matches"`
	}
	_ = json.Unmarshal(r.Data, &d) // what another type has is left out
	switch r.Type {
	case wflo.AuditGateSent, wflo.AuditGateDecided, wflo.AuditGateRefused:
		text := string(d.Decision.Verdict)
		if d.Decision.Reason != "" {
			text += ": " + d.Decision.Reason
		}
		if d.Error != "" {
			text += " (refused: " + d.Error + ")"
		}
		return text
	case wflo.AuditGateOpened:
		return d.Gate.Approval.Action
	case wflo.AuditGateClosed:
		return string(d.Gate.Status)
	case wflo.AuditPolicyRuled:
		var rules []string
		for _, m := range d.Matches {
			rules = append(rules, m.Rule)
		}
		return strings.TrimSuffix(string(d.Effect)+": "+strings.Join(rules, ", "), ": ")
	}
	return d.Error
}

// gateGist is a gate where the data has one; elsewhere it has the nonce.
type gateGist struct{ wflo.Gate }

// UnmarshalJSON takes the nonce for a gate of which nothing else is known.
func (g *gateGist) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &g.Nonce)
	}
	return json.Unmarshal(data, &g.Gate)
}

type auditExportFlags struct {
	chain string
	keys  auditKeyFlags
	trail trailFlags
}

func (a *app) auditExportCmd() *cobra.Command {
	var f auditExportFlags
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the trail with its checkpoints and keys to a file of JSON lines",
		Long: `Write the trail to a file of JSON lines, which wflo audit verify --file reads and
needs no database for. The first line has the checkpoints and the public keys, if
they are given; the others are the records, chain by chain. FILE must not exist; -
is standard output.

Exports hold what people were asked to approve, with its payload: keep them as
confidential as the trail.`,
		Example: "  wflo audit export trail.jsonl --database wflo.db --checkpoints /mnt/checkpoints --keys worker.yaml\n  wflo audit export - --chain acme | gzip > acme.jsonl.gz",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.auditExport(cmd.Context(), given[0], f)
		},
	}
	cmd.Flags().StringVar(&f.chain, "chain", "", "only this chain")
	f.keys.add(cmd.Flags())
	f.trail.add(cmd.Flags())
	return cmd
}

func (a *app) auditExport(ctx context.Context, path string, f auditExportFlags) error {
	known, err := a.auditKeys(ctx, f.keys)
	if err != nil {
		return err
	}
	// Checkpoints come first: one of a record that was not there yet would look like
	// one of a record that is gone.
	marks, err := known.marks(ctx, f.chain, nil)
	if err != nil {
		return err
	}
	t, err := a.openTrail(ctx, f.trail)
	if err != nil {
		return err
	}
	defer t.close()
	header := audit.Header{Terms: known.Terms, CheckpointKeys: known.named(marks), Checkpoints: marks}
	p := newProgress(a.deps.Stderr, a.animated())
	n := 0
	records := counted(audit.Records(ctx, t, f.chain), func() { n++; p.set(plural(n, "record")) })
	write := func(w io.Writer) error { return audit.Export(w, header, records) }
	if path == "-" {
		err = write(a.deps.Stdout)
	} else {
		err = newFile(path, write)
	}
	p.stop()
	if err != nil {
		return err
	}
	if len(marks) == 0 {
		a.note("warning: there are no checkpoints in it; without them nothing shows whether the end was cut off")
	}
	a.note("exported %s", plural(n, "record"))
	return nil
}

// counted calls tick for each record that passes.
func counted(records iter.Seq2[wflo.AuditRecord, error], tick func()) iter.Seq2[wflo.AuditRecord, error] {
	return func(yield func(wflo.AuditRecord, error) bool) {
		for r, err := range records {
			tick()
			if !yield(r, err) {
				return
			}
		}
	}
}

// newFile writes a file that was not there, readable by its owner only, or nothing.
func newFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return wflo.Errorf(wflo.CodeConflict, "choose a file that does not exist yet", "write the export: %w", err)
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path))
	}
	return nil
}

// unmarshal reads JSON; nothing at all is the zero value.
func unmarshal(data []byte, into any) error {
	if len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, into)
}
