package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

// ExitFindings is how `wflo policy` ends when what it was asked to look at was read,
// and is wrong: mistakes, lint with --strict, tests that fail.
const ExitFindings = 10

// maxPolicyFile is more than package policy takes, which says so.
const maxPolicyFile = 1<<20 + 1

func (a *app) policyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check, test, explain and simulate policies",
		Long: `Check, test, explain and simulate files of policies. None of it changes what
runs are governed by: workers take their policies from their configuration, and a
run keeps those that it began with.

check, test, and explain and simulate with --facts need no server.

Exit codes of their own: ` + fmt.Sprint(ExitFindings) + ` when a file has mistakes or a test fails.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.policyCheckCmd(), a.policyTestCmd(), a.policyExplainCmd(), a.policySimulateCmd())
	return cmd
}

// checkedPolicies is what `wflo policy check` says of one file.
type checkedPolicies struct {
	File string `json:"file"`
	OK   bool   `json:"ok"`
	// Hash names the policies in records; empty where there are mistakes.
	Hash     string           `json:"hash,omitempty"`
	Policies int              `json:"policies"`
	Risk     int              `json:"risk"`
	Mistakes policy.Problems  `json:"mistakes,omitempty"`
	Lint     []policy.Finding `json:"lint,omitempty"`
}

func (a *app) policyCheckCmd() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "List every mistake in files of policies, and what is probably not meant",
		Long: `List every mistake in files of policies, with its place, and what is allowed and
probably not meant: rules that never match, that let too much pass, or that mean
something else than they seem to. Print the hash of what is fine, which records
name it by.

With --strict, warnings fail too. - reads standard input.`,
		Example: "  wflo policy check policies.yaml\n  wflo policy check --strict policies/*.yaml -o json",
		Args:    atLeast("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			return a.policyCheck(cmd.Context(), files, strict)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "let warnings fail too")
	return cmd
}

// atLeast wants one argument or more.
func atLeast(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if len(given) == 0 {
			return Usage("see: "+cmd.CommandPath()+" --help", "%s: %s is missing", cmd.CommandPath(), name)
		}
		return nil
	}
}

func (a *app) policyCheck(ctx context.Context, files []string, strict bool) error {
	var all []checkedPolicies
	bad := 0
	for _, path := range files {
		data, err := a.readInput(ctx, path, maxPolicyFile)
		if err != nil {
			return err
		}
		c, err := checkPolicies(path, data, strict)
		if err != nil {
			return err
		}
		if !c.OK {
			bad++
		}
		all = append(all, c)
	}
	if err := a.printChecked(all); err != nil {
		return err
	}
	if bad > 0 {
		return &exitError{ExitFindings, wflo.Errorf(wflo.CodeInvalid, "mend what is listed", "%d of %s failed the check", bad, plural(len(files), "file"))}
	}
	return nil
}

func checkPolicies(path string, data []byte, strict bool) (checkedPolicies, error) {
	c := checkedPolicies{File: path}
	set, err := policy.Load(path, data)
	if errors.As(err, &c.Mistakes) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("load %s: %w", path, err)
	}
	r := set.Rules()
	c.OK, c.Hash, c.Policies, c.Risk, c.Lint = true, set.Hash(), len(r.Policies), len(r.Risk), set.Lint()
	for _, f := range c.Lint {
		if f.Severity == wflo.SeverityError || f.Severity == wflo.SeverityCritical || strict && f.Severity == wflo.SeverityWarning {
			c.OK = false
		}
	}
	return c, nil
}

func (a *app) printChecked(all []checkedPolicies) error {
	if a.format != formatText {
		return printAll(a, all, nil, nil)
	}
	var b strings.Builder
	for _, c := range all {
		for _, p := range c.Mistakes {
			fmt.Fprintln(&b, Escape(p.Error()))
		}
		for _, f := range c.Lint {
			fmt.Fprintln(&b, escapeLine(f.String()))
		}
		if c.Hash != "" {
			fmt.Fprintf(&b, "%s: %s, %s, hash %s\n", escapeLine(c.File), policyCount(c.Policies), plural(c.Risk, "risk rule"), c.Hash)
		}
	}
	_, err := fmt.Fprint(a.deps.Stdout, b.String())
	return err
}

func policyCount(n int) string {
	if n == 1 {
		return "1 policy"
	}
	return fmt.Sprintf("%d policies", n)
}

// loadPolicies reads a file of policies that must be free of mistakes.
func (a *app) loadPolicies(ctx context.Context, path string) (*policy.Set, error) {
	data, err := a.readInput(ctx, path, maxPolicyFile)
	if err != nil {
		return nil, err
	}
	set, err := policy.Load(path, data)
	return set, asMistakes(err, "see all that is wrong with it: wflo policy check "+shellWord(path))
}

// asMistakes gives the mistakes of a file their exit code, and shows all of them.
func asMistakes(err error, hint string) error {
	var p policy.Problems
	if !errors.As(err, &p) || len(p) == 0 {
		return err
	}
	return &exitError{ExitFindings, &wflo.Error{Code: wflo.CodeInvalid, Message: p.Error(), Hint: hint}}
}

func (a *app) policyTestCmd() *cobra.Command {
	var tests []string
	cmd := &cobra.Command{
		Use:   "test FILE --tests FILE",
		Short: "Judge the facts of test files, and compare the rulings with what they want",
		Long: `Judge the facts of test files, and compare the rulings with what they want. What
differs is listed, and so are the rules that no test matched.

A test file:

  tests:
    - name: a big refund asks finance
      facts: {kind: step, operation: refund, args: {amount: 900}}
      want: {effect: require_approval, rules: [refunds], approvers: ["group:finance"]}

What want does not say is not looked at; it may say effect, rules, approvers, halt,
risk and auto_approve.`,
		Example: "  wflo policy test policies.yaml --tests policies_test.yaml",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(tests) == 0 {
				return Usage("such as --tests policies_test.yaml", "--tests is missing")
			}
			return a.policyTest(cmd.Context(), given[0], tests)
		},
	}
	cmd.Flags().StringArrayVar(&tests, "tests", nil, "file of tests; may be repeated")
	return cmd
}

func (a *app) policyTest(ctx context.Context, path string, tests []string) error {
	set, err := a.loadPolicies(ctx, path)
	if err != nil {
		return err
	}
	report, untested := policy.Report{Results: []policy.Result{}}, map[string]int{}
	for _, file := range tests {
		data, err := a.readInput(ctx, file, maxPolicyFile)
		if err != nil {
			return err
		}
		one, err := policy.RunTests(set, file, data)
		if err != nil {
			return asMistakes(err, "mend the tests; wflo policy test --help shows their form")
		}
		report.Results = append(report.Results, one.Results...)
		for _, rule := range one.Untested {
			untested[rule]++
		}
	}
	for _, rule := range namesOf(set) {
		if untested[rule] == len(tests) {
			report.Untested = append(report.Untested, rule)
		}
	}
	if err := a.printTests(set, report); err != nil {
		return err
	}
	if !report.Passed() {
		return told(ExitFindings)
	}
	return nil
}

// namesOf are the names of policies and risk rules, in their order.
func namesOf(set *policy.Set) (names []string) {
	r := set.Rules()
	for _, p := range r.Policies {
		names = append(names, p.Name)
	}
	for _, p := range r.Risk {
		names = append(names, p.Name)
	}
	return names
}

func (a *app) printTests(set *policy.Set, r policy.Report) error {
	if a.format != formatText {
		return a.printJSON(r)
	}
	var b strings.Builder
	failed := 0
	for _, t := range r.Results {
		if len(t.Differences) == 0 {
			fmt.Fprintf(&b, "ok    %s\n", escapeLine(t.Name))
			continue
		}
		failed++
		fmt.Fprintf(&b, "FAIL  %s (%s)\n", escapeLine(t.Name), escapeLine(t.Position.String()))
		for _, d := range t.Differences {
			fmt.Fprintf(&b, "      %s\n", escapeLine(d))
		}
	}
	all := len(namesOf(set))
	fmt.Fprintf(&b, "%s, %d failed; %d of %s matched", plural(len(r.Results), "test"), failed, all-len(r.Untested), plural(all, "rule"))
	if len(r.Untested) > 0 {
		fmt.Fprintf(&b, ", not: %s", escapeLine(strings.Join(r.Untested, ", ")))
	}
	_, err := fmt.Fprintln(a.deps.Stdout, b.String())
	return err
}
