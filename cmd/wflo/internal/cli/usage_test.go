package cli

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wflo-ai/wflo-go"
)

var update = flag.Bool("update", false, "write the golden files")

// Every error of the command line is exit code 2, a message and a hint, and
// nothing on standard output.
func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"frobnicate", []string{`wflo: unknown command "frobnicate"`, "hint: "}},
		{"lst", []string{"hint: did you mean list"}},
		{"list --nope", []string{"unknown flag: --nope"}},
		{"list extra", []string{`too many arguments: "extra"`}},
		{"list -o yaml", []string{`--output is "yaml"`, "hint: use text, json, jsonl"}},
		{"list --state odd", []string{`--state is "odd"`, "waiting_approval"}},
		{"list --limit 0", []string{"--limit is 0"}},
		{"list --since soon", []string{"--since", "hint: such as 7d"}},
		{"list --user a'b", []string{"--user has a quote", "--text"}},
		{"list --jq .[", []string{`--jq ".["`, "jqlang.org"}},
		{"list --jq .id -o text", []string{"--jq and --output text exclude"}},
		{"doctor --check nix", []string{`--check is "nix"`, "temporal"}},
		{"tail --last -1", []string{"--last is -1"}},
		{"init Odd!", []string{`name is "odd!"`, "hint: use small letters"}},
		{"man", []string{"DIR is missing"}},
		{"status", []string{"wflo status: ID is missing"}},
		{"run", []string{"wflo run: NAME is missing"}},
		{"run x --budget 0", []string{"--budget is $0.00", "hint: give a positive amount of dollars"}},
		{"run x --budget -1", []string{"--budget is -$1.00", "hint: "}},
		{"run x --budget lots", []string{`--budget: amount "lots"`, "hint: "}},
		{"run x --budget 1e9", []string{`--budget: amount "1e9"`}},
		{"run x --budget=", []string{"--budget: amount", "hint: "}},
		{"run x --input {", []string{"--input is not JSON", "@file.json"}},
		{"run x --input @/does/not/exist", []string{"no such file"}},
		{"run x --input @-", []string{"--input is not JSON"}},
		{"run x --prompt hi", []string{"--prompt is for wflo.Agent"}},
		{"run agent", []string{"the agent needs a task", "--prompt"}},
		{"run agent --prompt hi", []string{"task.model is empty", "hint: name a model"}},
		{"run agent --prompt hi --model m --tools bash", []string{`task.tools[0] is "bash"`, "hint: use run_python"}},
		{"run agent --prompt hi --input {}", []string{"exclude each other"}},
		{"approve", []string{"GATE is missing"}},
		{"approve g", []string{"no terminal to ask on", "--yes"}},
		{"reject g", []string{"--reason is missing"}},
		{"respond g", []string{"--text is missing"}},
		{"escalate g", []string{"no terminal to ask on", "--yes"}},
		{"approve --all extra", []string{"too many arguments"}},
		{"approve --all", []string{"no terminal to ask on", "--yes"}},
		{"approve --all --yes --edit x", []string{"--all takes no --edit"}},
		{"approve --all --yes --mine --group ops", []string{"--mine and --group exclude"}},
		{"approve g --mine --yes", []string{"--mine and --group are for --all"}},
		{"approve g --yes --edit /does/not/exist", []string{"no such file"}},
		{"approve g --yes --edit x --text y", []string{"exclude each other"}},
		{"approvals --mine --group ops", []string{"exclude each other"}},
		{"approvals --closed", []string{"index of the API"}},
		{"keys create --subject s --role viewer --yes", []string{"--name is missing"}},
		{"keys create --name n --role viewer --yes", []string{"--subject is missing"}},
		{"keys create --name n --subject s --yes", []string{"--role is missing"}},
		{"keys create --name n --subject s --role boss --yes", []string{"role is boss"}},
		{"keys create --name n --subject s --role viewer --expires soon --yes", []string{"--expires"}},
		{"keys create --name n --subject s --role viewer", []string{"no terminal to ask on"}},
		{"keys revoke", []string{"ID is missing"}},
		{"keys revoke x", []string{"no terminal to ask on"}},
		{"keys rotate", []string{"unknown command"}},
		{"notify list --state odd", []string{"--state is \"odd\""}},
		{"notify list --limit 0", []string{"--limit is 0"}},
		{"notify retry", []string{"ID is missing"}},
		{"notify retry --all", []string{"no terminal to ask on"}},
		{"login --api http://wflo.example.com", []string{"a key is not sent in the clear", "https"}},
		{"halt x", []string{"--reason is missing"}},
		{"list --color red", []string{"--color", "red", "auto, always"}},
		{"list --no-color --color always", []string{"exclude each other"}},
		{"cancel", []string{"ID is missing"}},
		{"keygen", []string{"FILE is missing"}},
		{"list --profile nix", []string{"connection settings", "hint: "}},
	} {
		t.Run(tc.line, func(t *testing.T) {
			invoke(t, &fakeTemporal{}, strings.Fields(tc.line)...).want(t, ExitUsage, nil, tc.want)
		})
	}
}

// Every command says what it does, shows how or why, and its help is on record. A
// command that is added without is found here.
func TestHelp(t *testing.T) {
	walk(NewRoot(Deps{}), func(cmd *cobra.Command) {
		words := strings.Fields(cmd.CommandPath())[1:]
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			if cmd.Short == "" || len(words) > 0 && cmd.Example == "" && cmd.Long == "" {
				t.Error("lacks Short, or Example and Long")
			}
			file, line := "help-"+strings.Join(words, "-")+".txt", append(words, "--help")
			if cmd.IsAdditionalHelpTopicCommand() {
				line = append([]string{"help"}, words...)
			}
			golden(t, file, invoke(t, &fakeTemporal{}, line...))
		})
	})
}

// walk calls each with a command and all below it that people see.
func walk(cmd *cobra.Command, each func(*cobra.Command)) {
	each(cmd)
	for _, below := range cmd.Commands() {
		if !below.Hidden && below.Name() != "help" && below.Name() != "completion" {
			walk(below, each)
		}
	}
}

func golden(t *testing.T, name string, r result) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(r.out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), r.out); diff != "" || r.code != 0 || r.errOut != "" {
		t.Errorf("exit code %d, stderr %q, output (-want +got):\n%s", r.code, r.errOut, diff)
	}
}

func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{errors.New("x"), ExitError},
		{wflo.Errorf(wflo.CodeApprovalRejected, "", "x"), ExitDenied},
		{wflo.Errorf(wflo.CodePolicyDenied, "", "x"), ExitDenied},
		{wflo.Errorf(wflo.CodeHalted, "", "x"), ExitDenied},
		{wflo.Errorf(wflo.CodeMissingKey, "", "x"), ExitAuth},
		{wflo.Errorf(wflo.CodeBudgetExceeded, "", "x"), ExitBudget},
		{wflo.Errorf(wflo.CodeApprovalTimeout, "", "x"), ExitTimeout},
		{serviceerror.NewPermissionDenied("x", ""), ExitAuth},
		{status.Error(codes.Unauthenticated, "x"), ExitAuth},
		{serviceerror.NewDeadlineExceeded("x"), ExitTimeout},
		{context.DeadlineExceeded, ExitTimeout},
		{errors.Join(errors.New("y"), wflo.Errorf(wflo.CodeBudgetExceeded, "", "x")), ExitBudget},
	} {
		if got := exitCode(tc.err); got != tc.want {
			t.Errorf("exitCode(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		code int
		want []string
	}{
		"unreachable": {serviceerror.NewUnavailable("refused"), ExitError, []string{"wflo: no Temporal server answers at 10.0.0.9:7233", "hint: start one with `wflo dev`"}},
		"slow":        {context.DeadlineExceeded, ExitError, []string{"no Temporal server answers"}},
		"stranger":    {serviceerror.NewPermissionDenied("who?", ""), ExitAuth, []string{"connect to Temporal at 10.0.0.9:7233"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut strings.Builder
			var got client.Options
			t.Setenv("TEMPORAL_ADDRESS", "10.0.0.9:7233")
			t.Setenv("TEMPORAL_CONFIG_FILE", "")
			code := Main(t.Context(), Deps{Stdout: &out, Stderr: &errOut, Dial: func(_ context.Context, o client.Options) (client.Client, error) {
				got = o
				return nil, tc.err
			}}, []string{"list", "--namespace", "prod"})
			result{code, out.String(), errOut.String()}.want(t, tc.code, nil, tc.want)
			if got.HostPort != "10.0.0.9:7233" || got.Namespace != "prod" {
				t.Errorf("dialled %s, namespace %s", got.HostPort, got.Namespace)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	invoke(t, &fakeTemporal{}, "version").want(t, 0, []string{"wflo v1.2.3\n", "go go1."}, nil)
	invoke(t, &fakeTemporal{}, "version", "-o", "json").want(t, 0, []string{`"wflo": "v1.2.3"`}, nil)
}

func TestKeygen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ann.key")
	invoke(t, &fakeTemporal{}, "keygen", file).want(t, 0, []string{"ann="}, []string{"--key"})
	invoke(t, &fakeTemporal{}, "keygen", file).want(t, ExitError, nil, []string{"file exists"})
}
