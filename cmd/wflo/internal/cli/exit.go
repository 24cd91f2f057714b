package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// Exit codes. Scripts depend on them.
const (
	ExitOK          = 0
	ExitError       = 1
	ExitUsage       = 2
	ExitDenied      = 3
	ExitAuth        = 4
	ExitBudget      = 5
	ExitTimeout     = 6
	ExitRefused     = 7
	ExitLate        = 8
	ExitInterrupted = 130
)

// Exit codes of `wflo sandbox run`, which otherwise passes on the program's:
// those that timeout, docker and shells use for the same.
const (
	ExitSandboxTime   = 124
	ExitSandbox       = 125
	ExitSandboxStart  = 126
	ExitSandboxAbsent = 127
)

// errTold marks an end about which everything has been said.
var errTold = errors.New("told already")

// told ends the process with a code and without another word.
func told(code int) error { return &exitError{code, errTold} }

// exitError fixes the exit code of an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Usage is an error of the command line: exit code 2.
func Usage(hint, format string, args ...any) error {
	return &exitError{code: ExitUsage, err: wflo.Errorf(wflo.CodeInvalid, hint, format, args...)}
}

// asUsage turns what the command-line parser says into a usage error.
func asUsage(err error) error {
	var e *exitError
	if errors.As(err, &e) {
		return err
	}
	// The parser adds suggestions on lines of their own.
	msg, more, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	hint := "see: wflo --help"
	if names := strings.Fields(strings.TrimPrefix(strings.TrimSpace(more), "Did you mean this?")); len(names) > 0 {
		hint = "did you mean " + strings.Join(names, " or ") + "?"
	}
	return Usage(hint, "%s", msg)
}

func oneOf(flag, value string, allowed ...string) error {
	for _, v := range allowed {
		if v == value {
			return nil
		}
	}
	return Usage("use "+strings.Join(allowed, ", "), "%s is %q", flag, value)
}

// exitCode says how the process ends.
func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var fixed *exitError
	if errors.As(err, &fixed) {
		return fixed.code
	}
	switch wflo.CodeOf(err) {
	case wflo.CodeApprovalRejected, wflo.CodePolicyDenied, wflo.CodeHalted:
		return ExitDenied
	case wflo.CodeMissingKey:
		return ExitAuth
	case wflo.CodeBudgetExceeded:
		return ExitBudget
	case wflo.CodeApprovalTimeout:
		return ExitTimeout
	}
	var denied *serviceerror.PermissionDenied
	var deadline *serviceerror.DeadlineExceeded
	switch {
	case errors.As(err, &denied), isUnauthenticated(err):
		return ExitAuth
	case errors.As(err, &deadline), errors.Is(err, context.DeadlineExceeded), temporal.IsTimeoutError(err):
		return ExitTimeout
	}
	return ExitError
}

// printError writes "wflo: message" and the hint on a line of its own.
func (a *app) printError(err error) {
	if err == nil || exitCode(err) == ExitInterrupted || errors.Is(err, errTold) {
		return // whoever pressed Ctrl-C knows
	}
	writeError(a.deps.Stderr, err)
}

func writeError(w io.Writer, err error) {
	msg, hint := wflo.Explain(err)
	fmt.Fprintf(w, "wflo: %s\n", Escape(msg))
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", Escape(hint))
	}
	if r := refusalIn(err); r != nil {
		fmt.Fprint(w, refusalText(r, time.Now()))
	}
}

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of wflo:

    0  success
    1  an error that no other code names
    2  usage: unknown command, flag, argument or workflow type
    3  denied: a person rejected it, a policy forbids it, the run was halted, or
       the API knows you and you lack the role
    4  authentication: no key, a key that is not trusted, or a gate that does not
       ask you
    5  budget: the worst case did not fit what may be spent
    6  timeout: nobody decided in time, or a run or a server took too long
    7  refused: the gate changed since it was shown, or does not take that answer;
       a restore is refused, or would be; a snapshot or a compensation is in a
       state that does not allow it
    8  late: the gate was closed already, or the action has begun
   10  findings of wflo policy: mistakes in a file, a test that failed
   20  wflo audit verify: tampered, records are not those that were written
   21  wflo audit verify: incomplete, something is missing to be sure
   22  wflo audit verify: a policy was broken, as genuine records show
  130  interrupted (a run that was being followed goes on)

wflo sandbox run passes on the program's exit code; of its own it has 2, 130 and

  124  the timeout or the limit on CPU time ended the program
  125  there was no sandbox: no engine, no image, refused, or lost underway
  126  the program could not be started
  127  there is no such program`,
	}
}

func environmentTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "Environment variables that wflo reads",
		Long: `Environment variables that wflo reads:

  TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_...
                     where Temporal is; --address and --namespace win.
                     TEMPORAL_API_KEY_FILE is read again when it changes
  TEMPORAL_CONFIG_FILE, TEMPORAL_PROFILE
                     the TOML file with connection profiles, and the profile
  WFLO_API           the API of the worker or the console, for approvals, keys,
                     notices, budgets, costs, alerts and recovery; --api wins
  WFLO_TOKEN         your API key; wflo login keeps one instead
  WFLO_TOKEN_FILE    a file that holds it, which only its owner may read
  XDG_CONFIG_HOME    wflo login keeps keys in $XDG_CONFIG_HOME/wflo/login
                     (default ~/.config/wflo/login)
  WFLO_CONFIG        the worker's configuration file (YAML): its budgets, routes
                     and caches; wflo dev reads it too
  WFLO_USER          who you are, for --user, --as and changes of budgets; default:
                     the login name
  WFLO_APPROVER_KEY  file with the Ed25519 key that signs your decisions
  WFLO_SANDBOX_HOST, DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH
                     the container engine of wflo sandbox; the first wins
  WFLO_OWNER         whose sandboxes wflo sandbox is about
  WFLO_MAX_TOKENS    the longest answer that wflo cost estimate reckons with
  WFLO_PRICES        your own price book, laid over the one that is built in
  WFLO_SANDBOX_IMAGE the image of wflo sandbox run (default wflo/sandbox:1)
  WFLO_DATA_DIR      data of the worker on this machine (default: of wflo dev)
  WFLO_PAYLOAD_KEYS, WFLO_PAYLOAD_KEYS_FILE, WFLO_PAYLOAD_REFUSE_PLAIN
                     the keys that what Temporal keeps is sealed with, and whether
                     anything else is refused
  WFLO_PAYLOAD_STORE where large values are: a directory or s3://BUCKET/PREFIX
                     (default: in WFLO_DATA_DIR)
  XDG_DATA_HOME      wflo dev keeps its data in $XDG_DATA_HOME/wflo
                     (default ~/.local/share/wflo)
  NO_COLOR, TERM=dumb
                     no colour and no animation; --color always wins
  CLICOLOR_FORCE, CLICOLOR=0
                     colours in a pipe too; no colours. NO_COLOR wins`,
	}
}
