package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/simulate"
	"github.com/wflo-ai/wflo-go/policy"
)

type explainFlags struct {
	facts, run, step string
	history          bool
	trail            trailFlags
}

func (a *app) policyExplainCmd() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain [FILE]",
		Short: "Say what policies make of some facts, and why; or what they made of a run",
		Long: `With FILE and --facts, say what the policies make of the facts, how every rule
came out, and what each part of its condition came to. The facts are YAML or JSON
with the names of conditions: {kind: activity, activity: Refund, args: {amount: 900}}.

With --run, show the rulings on a run as they were recorded, with the inputs that
the conditions looked at. Nothing is judged again: facts are not recorded, only
their hash is. The rulings come from the audit trail, through the worker's API or
from --database; there, what was plainly allowed is not on record. With --history
they come from Temporal, where every ruling is, without the step it was about.`,
		Example: `  wflo policy explain policies.yaml --facts facts.yaml
  echo '{"kind":"step","operation":"delete"}' | wflo policy explain policies.yaml --facts -
  wflo policy explain --run nightly-42 --step pay`,
		Args: func(cmd *cobra.Command, given []string) error {
			if f.run != "" {
				return args()(cmd, given)
			}
			return args("FILE")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			switch {
			case f.run != "" && f.facts != "":
				return Usage("give one of them", "--run and --facts exclude each other")
			case f.run != "":
				return a.explainRun(cmd.Context(), f)
			case f.facts == "":
				return Usage("name a file, or - for standard input; or a run with --run", "--facts is missing")
			}
			return a.explainFacts(cmd.Context(), given[0], f.facts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.facts, "facts", "", "file of facts, YAML or JSON; - is standard input")
	flags.StringVar(&f.run, "run", "", "workflow id of a run whose rulings to show")
	flags.StringVar(&f.step, "step", "", "with --run: only rulings on steps whose key has this in it")
	flags.BoolVar(&f.history, "history", false, "with --run: read Temporal's history and not the trail")
	f.trail.add(flags)
	return cmd
}

func (a *app) explainFacts(ctx context.Context, path, from string) error {
	if path == "-" && from == "-" {
		return Usage("give one of them as a file", "FILE and --facts both read standard input")
	}
	set, err := a.loadPolicies(ctx, path)
	if err != nil {
		return err
	}
	all, err := a.readFacts(ctx, from)
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return Usage("give one set of facts; wflo policy simulate takes lists", "%s has %d sets of facts", from, len(all))
	}
	e := set.Explain(all[0])
	if a.format != formatText {
		return a.printJSON(e)
	}
	var b strings.Builder
	rulingText(&b, e.Ruling)
	for _, r := range e.Rules {
		mark := "no "
		if r.Matched {
			mark = "yes"
		}
		fmt.Fprintf(&b, "\n%s  %s (%s): %s\n", mark, escapeLine(r.Rule), r.Effect, escapeLine(r.Why))
		for _, p := range r.Parts {
			value := p.Value
			if p.Error != "" {
				value = "error: " + p.Error
			}
			fmt.Fprintf(&b, "     %s%s  = %s\n", strings.Repeat("  ", p.Depth), escapeLine(p.Text), escapeLine(value))
		}
		inputsText(&b, r.Inputs)
	}
	_, err = fmt.Fprint(a.deps.Stdout, b.String())
	return err
}

// readFacts reads a file of facts.
func (a *app) readFacts(ctx context.Context, path string) ([]wflo.Facts, error) {
	data, err := a.readInput(ctx, path, maxPolicyFile)
	if err != nil {
		return nil, err
	}
	all, err := policy.ReadFacts(path, data)
	return all, asMistakes(err, "facts have the names of conditions; see docs/policies.md")
}

// rulingText shows what a ruling asks for.
func rulingText(b *strings.Builder, r wflo.Ruling) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%-9s %s\n", name, escapeLine(value))
		}
	}
	line("effect", string(r.Effect))
	for _, ask := range r.Approvals {
		who := strings.Join(ask.Approvers, ", ")
		for _, f := range ask.Factors {
			who = strings.TrimPrefix(who+"; "+fmt.Sprintf("%d of %s", max(f.Quorum, 1), strings.Join(f.Approvers, ", ")), "; ")
		}
		if who == "" {
			who = "anybody whom the worker admits"
		}
		line("approval", fmt.Sprintf("%d of %s, for %s", max(ask.Quorum, 1), who, strings.Join(ask.Rules, ", ")))
	}
	if r.Risk != "" {
		auto := ""
		if r.AutoApprove {
			auto = ", which needs nobody"
		}
		line("risk", r.Risk+auto)
	}
	if r.Halt != nil {
		line("halt", r.Halt.Reason+" (policy "+r.Halt.Policy+")")
	}
	line("model", r.Model)
	if r.Limit != 0 {
		line("limit", r.Limit.String())
	}
	line("notify", strings.Join(r.Notify, ", "))
	line("severity", string(r.Severity))
	line("bundle", r.Bundle)
	line("facts", r.Facts)
}

func inputsText(b *strings.Builder, inputs map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		fmt.Fprintf(b, "     where %s is %s\n", escapeLine(name), escapeLine(inputs[name]))
	}
}

// recordedRuling is a ruling on a run as it was recorded.
type recordedRuling struct {
	At time.Time `json:"at"`
	// Seq and Step are those of the record; About and Event those of the history.
	Seq    int64       `json:"seq,omitempty"`
	Step   string      `json:"step,omitempty"`
	Event  int64       `json:"event,omitempty"`
	About  string      `json:"about,omitempty"`
	Ruling wflo.Ruling `json:"ruling"`
}

func (a *app) explainRun(ctx context.Context, f explainFlags) error {
	read := a.rulingsOnRecord
	if f.history {
		if f.step != "" {
			return Usage("leave --history out: the trail has the steps", "--history and --step exclude each other")
		}
		read = a.rulingsInHistory
	}
	all, err := read(ctx, f)
	if err != nil {
		return err
	}
	if a.format != formatText {
		return printAll(a, all, nil, nil)
	}
	if len(all) == 0 {
		a.note("no ruling on %s is on record: nothing governed it, or it was all plainly allowed (see --history)", escapeLine(f.run))
	}
	var b strings.Builder
	for i, r := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		about := r.About
		if r.Step != "" {
			about = "step " + r.Step
		}
		fmt.Fprintf(&b, "%s  %s\n", r.At.UTC().Format(time.RFC3339), escapeLine(about))
		rulingText(&b, r.Ruling)
		for _, m := range r.Ruling.Matches {
			fmt.Fprintf(&b, "  rule %s (%s)", escapeLine(m.Rule), m.Effect)
			if m.Observed {
				b.WriteString(", in audit mode")
			}
			if m.Error != "" {
				fmt.Fprintf(&b, ": it could not be judged: %s", escapeLine(m.Error))
			}
			b.WriteString("\n")
			inputsText(&b, m.Inputs)
		}
	}
	_, err = fmt.Fprint(a.deps.Stdout, b.String())
	return err
}

// rulingsInHistory reads them from Temporal.
func (a *app) rulingsInHistory(ctx context.Context, f explainFlags) ([]recordedRuling, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	past, err := simulate.Reader{Client: c, Converter: a.converter(), Namespace: c.namespace}.Read(ctx, f.run, "")
	if err != nil {
		return nil, c.explain(err, f.run)
	}
	var all []recordedRuling
	for _, r := range past.Rulings {
		all = append(all, recordedRuling{At: r.At, Event: r.Event, About: r.About, Ruling: r.Ruling})
	}
	return all, nil
}

// converter is what the program's clients read payloads with.
func (a *app) converter() converter.DataConverter {
	var opts client.Options
	if a.deps.Configure != nil {
		a.deps.Configure(&opts)
	}
	return opts.DataConverter
}

// rulingsOnRecord reads them from the trail.
func (a *app) rulingsOnRecord(ctx context.Context, f explainFlags) ([]recordedRuling, error) {
	t, err := a.openTrail(ctx, f.trail)
	if err != nil {
		if errors.Is(err, errNoAPI) {
			return nil, fmt.Errorf("%w; or read Temporal's history, with --history", err)
		}
		return nil, err
	}
	defer t.close()
	records, err := t.ReadAudit(ctx, wflo.AuditQuery{WorkflowID: f.run, Type: wflo.AuditPolicyRuled, Limit: maxAuditPage})
	if err != nil {
		return nil, err
	}
	var all []recordedRuling
	for _, r := range records {
		if !strings.Contains(r.Step, f.step) {
			continue
		}
		one := recordedRuling{At: r.At, Seq: r.Seq, Step: r.Step}
		if err := unmarshal(r.Data, &one.Ruling); err != nil {
			return nil, fmt.Errorf("read record %d of chain %s: %w", r.Seq, r.Chain, err)
		}
		all = append(all, one)
	}
	return all, nil
}
