package cli

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go"
)

// TestScripts runs testdata/script: lines of wflo with what comes of them.
//
//	wflo ARGS         ends with 0
//	exit N wflo ARGS  ends with N
//	stdout REGEXP     what the last one wrote; stderr is the same, ! before it negates
//
// Words may be quoted with ' . WORK is an empty directory of the script's own. The world
// is that of refundStory, and one run that waits.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			work := t.TempDir()
			f := refundStory().serves(t)
			f.runs = []*workflowpb.WorkflowExecutionInfo{info("refund-1", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, map[string]any{wflo.AttrUser: "ann"})}
			f.statuses = map[string]wflo.Status{"refund-1": {State: wflo.StateWaiting, Gates: []wflo.Gate{gate("refund-1", "pay")}}}
			var last result
			script(t, file, func(n int, line string) {
				words := quotedWords(strings.ReplaceAll(line, "WORK", work))
				negated := words[0] == "!"
				if negated {
					words = words[1:]
				}
				switch words[0] {
				case "wflo":
					last = invoke(t, f, words[1:]...)
					if last.code != 0 {
						t.Errorf("line %d: %s: exit code %d\n%s%s", n, line, last.code, last.out, last.errOut)
					}
				case "exit":
					last = invoke(t, f, words[3:]...)
					if want, err := strconv.Atoi(words[1]); err != nil || last.code != want {
						t.Errorf("line %d: %s: exit code %d\n%s%s", n, line, last.code, last.out, last.errOut)
					}
				case "stdout", "stderr":
					text := map[string]string{"stdout": last.out, "stderr": last.errOut}[words[0]]
					if regexp.MustCompile("(?m)"+words[1]).MatchString(text) == negated {
						t.Errorf("line %d: %s:\n%s", n, line, text)
					}
				default:
					t.Errorf("line %d: what is %q", n, words[0])
				}
			})
		})
	}
}

// Every command is in a script.
func TestScriptsHaveEveryCommand(t *testing.T) {
	var all strings.Builder
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		script(t, file, func(_ int, line string) { all.WriteString(line + "\n") })
	}
	walk(NewRoot(Deps{}), func(cmd *cobra.Command) {
		if !regexp.MustCompile(`(?m)^(exit \d+ )?`+regexp.QuoteMeta(cmd.CommandPath())+`( |$)`).MatchString(all.String()) && !cmd.IsAdditionalHelpTopicCommand() {
			t.Errorf("no script has %s", cmd.CommandPath())
		}
	})
}

func script(t *testing.T, file string, each func(n int, line string)) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }() // it was only read
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			each(n, line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// quotedWords splits a line at its spaces, but for those between single quotes.
func quotedWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}
