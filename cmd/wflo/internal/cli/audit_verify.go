package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

type auditVerifyFlags struct {
	file, chain   string
	temporal, own bool
	keys          auditKeyFlags
	trail         trailFlags
}

func (a *app) auditVerifyCmd() *cobra.Command {
	var f auditVerifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Say whether the trail is all there, unchanged, and follows the rules",
		Long: fmt.Sprintf(`Say whether the trail is all there, unchanged, and follows the rules: each record
has its hash and follows the one before, no checkpoint is for a record that is gone,
and every action that needed people began once, in time, on a quorum of votes that
prove who approved exactly it.

Keys and checkpoints must come from elsewhere than the trail: --keys with
--checkpoints, or --checkpoint-key. Without them the trail cannot be more than
incomplete. With --own-keys, those in an export are believed, which shows damage,
but not a forgery by who could write the export.

With --temporal, the decisions on record are compared with those that Temporal's
histories accepted, which no worker can rewrite. Runs whose history is gone are
counted.

Exit codes:

   0  everything is there and right
  %d  tampered: records are not those that were written
  %d  incomplete: what is there is right, and something is missing to be sure
  %d  policy breach: the records are genuine, and show that a rule was broken`, ExitTampered, ExitIncomplete, ExitBreach),
		Example: `  wflo audit verify --keys worker.yaml
  wflo audit verify --database wflo.db --keys keys.json --checkpoints /mnt/checkpoints
  wflo audit verify --file trail.jsonl --keys keys.json --temporal -o json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.auditVerify(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "file", "", "verify this export, and no database; - is standard input")
	flags.StringVar(&f.chain, "chain", "", "only this chain")
	flags.BoolVar(&f.temporal, "temporal", false, "compare with Temporal's histories")
	flags.BoolVar(&f.own, "own-keys", false, "with --file: believe the keys in the export")
	f.keys.add(flags)
	f.trail.add(flags)
	return cmd
}

func (f auditVerifyFlags) check() error {
	switch {
	case f.file != "" && (f.trail.database != "" || f.trail.schema != ""):
		return Usage("give one of them", "--file and --database exclude each other")
	case f.own && f.file == "":
		return Usage("they are in exports only; see --keys", "--own-keys is for --file")
	case f.own && (f.keys.keys != "" || len(f.keys.marks) > 0):
		return Usage("give one of them", "--own-keys excludes --keys and --checkpoint-key")
	}
	return nil
}

func (a *app) auditVerify(ctx context.Context, f auditVerifyFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	known, err := a.auditKeys(ctx, f.keys)
	if err != nil {
		return err
	}
	source, err := a.verifiable(ctx, f, &known)
	if err != nil {
		return err
	}
	defer source.close()
	options := known.options(source.marks)
	if f.temporal {
		c, err := a.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		options.History = &pastDecisions{conn: c, converter: a.converter()}
	}
	p := newProgress(a.deps.Stderr, a.animated())
	n := 0
	report, err := audit.Verify(ctx, counted(source.records, func() { n++; p.set(plural(n, "record")) }), options)
	p.stop()
	if err != nil {
		return err
	}
	if err := a.printReport(report, f); err != nil {
		return err
	}
	if code := report.Class().ExitCode(); code != ExitOK {
		return told(code)
	}
	return nil
}

// verifiable is what is verified: records, with the checkpoints for them.
type verifiable struct {
	records iter.Seq2[wflo.AuditRecord, error]
	marks   []wflo.Checkpoint
	close   func()
}

func (a *app) verifiable(ctx context.Context, f auditVerifyFlags, known *auditKeys) (v verifiable, err error) {
	if f.file == "" {
		// Checkpoints come first; see Options.
		if v.marks, err = known.marks(ctx, f.chain, nil); err != nil {
			return v, err
		}
		t, err := a.openTrail(ctx, f.trail)
		if err != nil {
			return v, err
		}
		v.close = t.close
		v.records = audit.Records(ctx, t, f.chain)
		return v, nil
	}
	in, closing := a.deps.Stdin, func() {}
	if f.file != "-" {
		file, err := os.Open(f.file)
		if err != nil {
			return v, wflo.Errorf(wflo.CodeInvalid, "check the path; - reads standard input", "read the export: %w", err)
		}
		in, closing = file, func() { _ = file.Close() } // it was only read
	}
	header, records, err := audit.ReadExport(in)
	if err != nil {
		closing()
		return v, err
	}
	if f.own {
		known.own(header)
	}
	if v.marks, err = known.marks(ctx, f.chain, header.Checkpoints); err != nil {
		closing()
		return v, err
	}
	v.records, v.close = ofChain(records, f.chain), closing
	return v, nil
}

// ofChain leaves other chains out.
func ofChain(records iter.Seq2[wflo.AuditRecord, error], chain string) iter.Seq2[wflo.AuditRecord, error] {
	if chain == "" {
		return records
	}
	return func(yield func(wflo.AuditRecord, error) bool) {
		for r, err := range records {
			if (err != nil || r.Chain == chain) && !yield(r, err) {
				return
			}
		}
	}
}

// verdict is the report with its class in words.
type verdict struct {
	Verdict string `json:"verdict"`
	// OwnKeys says that the keys are those of the export itself.
	OwnKeys bool `json:"own_keys,omitempty"`
	*audit.Report
}

// mostShown bounds the findings of a report in text; JSON has them all.
const mostShown = 50

func (a *app) printReport(r *audit.Report, f auditVerifyFlags) error {
	if a.format != formatText {
		return a.printJSON(verdict{r.Class().String(), f.own, r})
	}
	var b strings.Builder
	for i, finding := range r.Findings {
		if i == mostShown {
			fmt.Fprintf(&b, "... and %d more; see -o json\n", len(r.Findings)-i+r.More)
			break
		}
		where := "trail"
		if finding.Chain != "" {
			where = "chain " + finding.Chain
		}
		if finding.Seq > 0 {
			where += fmt.Sprintf(" record %d", finding.Seq)
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", escapeLine(where), finding.Kind, escapeLine(finding.What))
	}
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "chain %s: records %d to %d, covered by checkpoints up to %d\n", escapeLine(c.Chain), c.First, c.Seq, c.Anchored)
	}
	fmt.Fprintf(&b, "%s, %s, %s on approvals", plural(int(r.Records), "record"), plural(r.Checkpoints, "checkpoint"), plural(r.Uses, "action"))
	if f.temporal {
		fmt.Fprintf(&b, ", %s without a history", plural(r.Unchecked, "run"))
	}
	fmt.Fprintf(&b, "\n%s\n", r.Class())
	if _, err := fmt.Fprint(a.deps.Stdout, b.String()); err != nil {
		return err
	}
	if f.own {
		a.note("warning: verified with the export's own keys, which shows damage, but not a forgery by who could write it")
	}
	return nil
}

// goneIf turns what Temporal says of a history that is not kept any more into
// fs.ErrNotExist.
func goneIf(err error, gone bool) error {
	if err != nil && gone {
		return errors.Join(fs.ErrNotExist, err)
	}
	return err
}
