package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

type sandboxRunFlags struct {
	ownerFlags
	specFlags
	dir            string
	overwrite, raw bool
}

func (a *app) sandboxRunCmd() *cobra.Command {
	var f sandboxRunFlags
	cmd := &cobra.Command{
		Use:   "run [flags] [--] PROGRAM [ARGUMENT...]",
		Short: "Run a program in a sandbox of its own",
		Long: `Run a program in a new sandbox and throw the sandbox away. It has no network, no
rights, and limits on everything; the flags loosen single bonds.

What the program writes arrives as it is written. On a terminal, characters that
control it are shown as \x1b; --raw passes them on. Standard input is passed on
unless it is a terminal. Ctrl-C ends the program at once.

The exit code is the program's, 128 plus the number of the signal that ended it,
or one of wflo's own:

    2  usage: nothing was run
  124  the timeout or the limit on CPU time ended the program
  125  there was no sandbox: no engine, no image, refused, or lost underway
  126  the program could not be started (127: there is no such program)
  130  interrupted`,
		Example: `  wflo sandbox run -- python3 -c 'print(6 * 7)'
  wflo sandbox run --timeout 10s --memory 256m --language python --source-file job.py
  sort < big.txt | wflo sandbox run -- uniq -c
  wflo sandbox run --file data.csv --artifact 'out/*.png' --artifacts-dir plots -- python3 plot.py
  wflo sandbox run --allow api.github.com:443 --secret GITHUB_TOKEN -- python3 issues.py
  wflo sandbox run -o json -- sh -c 'exit 3'`,
		RunE: func(cmd *cobra.Command, argv []string) error {
			return a.sandboxRun(cmd.Context(), f, argv)
		},
	}
	flags := cmd.Flags()
	// What follows the program's name is the program's.
	flags.SetInterspersed(false)
	f.specFlags.add(flags)
	f.ownerFlags.add(flags)
	flags.StringVar(&f.dir, "artifacts-dir", "", "directory for the artifacts; it must be empty or new")
	flags.BoolVar(&f.overwrite, "overwrite", false, "artifacts may replace files of the directory")
	flags.BoolVar(&f.raw, "raw", false, "pass control characters on to the terminal")
	return cmd
}

func (a *app) sandboxRun(ctx context.Context, f sandboxRunFlags, argv []string) error {
	if err := a.checkArtifactsDir(f); err != nil {
		return err
	}
	owner, err := a.sandboxOwner(f.ownerFlags)
	if err != nil {
		return err
	}
	spec, err := a.spec(ctx, f.specFlags, argv)
	if err != nil {
		return err
	}
	config := docker.Config{
		// Who can talk to the engine could name any of these to it.
		Images: []string{docker.AnyImage}, Runtimes: []string{sandbox.Runc, sandbox.Runsc},
		AllowOpenNetwork: true, AllowEngineProfile: true, Secrets: envSecrets{},
	}
	return a.withSandboxes(ctx, owner, config, func(boxes Sandboxes) error {
		return a.execute(ctx, boxes, spec, f)
	})
}

// execute runs spec and tells its end.
func (a *app) execute(ctx context.Context, boxes Sandboxes, spec sandbox.Spec, f sandboxRunFlags) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Without this a reader that goes away would end the process and leave the
	// sandbox behind.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)

	var out *echo
	var watch func(sandbox.Stream, []byte)
	if a.format == formatText {
		out = newEcho(a.deps.Stdout, a.deps.Stderr, f.raw, stop)
		watch = out.write
	}
	res, err := boxes.Run(a.queued(ctx), spec, watch)
	if out != nil {
		out.flush()
	}
	switch {
	case err != nil:
		return noSandbox(err)
	case out != nil && out.err != nil && errors.Is(out.err, syscall.EPIPE):
		return told(128 + int(syscall.SIGPIPE)) // as for every program whose reader is gone
	case out != nil && out.err != nil:
		return fmt.Errorf("write the program's output: %w", out.err)
	}
	stored := error(nil)
	if f.dir != "" {
		stored = storeArtifacts(f.dir, res.Artifacts, f.overwrite)
		for i := range res.Artifacts {
			res.Artifacts[i].Data = nil // it is in the directory
		}
	}
	if a.format != formatText {
		if err := a.printJSON(res); err != nil {
			return err
		}
	} else {
		a.tell(spec.WithDefaults().Limits, res)
	}
	if code := runCode(res); code != ExitOK || stored == nil {
		if stored != nil {
			writeError(a.deps.Stderr, stored)
		}
		return told(code)
	}
	return stored
}

// queued lets the runner say what it waits for, once.
func (a *app) queued(ctx context.Context) context.Context {
	said := false
	return sandbox.WithQueueWatch(ctx, func(q sandbox.QueueState) {
		if q.Waiting && !said && a.format == formatText {
			said = true
			a.note("wflo: sandbox: waiting for room: %s", escapeLine(q.Reason))
		}
	})
}

// noSandbox is a fault of the machinery, apart from every program's exit codes.
func noSandbox(err error) error {
	switch {
	case errors.Is(err, wflo.ErrInvalid):
		return &exitError{ExitUsage, err}
	case errors.Is(err, wflo.ErrSandboxLost):
		// Its own hint is for workflows, which try again by themselves.
		message, _ := wflo.Explain(err)
		err = wflo.Errorf(wflo.CodeSandboxLost, "run it again; if nobody killed it, see the engine's log", "%s", message)
	}
	return &exitError{ExitSandbox, err}
}

// runCode is the exit code for a result.
func runCode(res sandbox.Result) int {
	switch res.Outcome {
	case sandbox.Succeeded:
		return ExitOK
	case sandbox.Timeout, sandbox.CPUTimeout:
		return ExitSandboxTime
	case sandbox.StartFailed:
		if res.ExitCode == ExitSandboxAbsent {
			return ExitSandboxAbsent
		}
		return ExitSandboxStart
	case sandbox.Cancelled:
		return ExitInterrupted
	}
	if res.ExitCode <= 0 || res.ExitCode > 255 {
		return ExitError
	}
	return res.ExitCode
}

// tell says on standard error, in a line each, what the program cannot have
// said itself.
func (a *app) tell(l sandbox.Limits, res sandbox.Result) {
	say := func(format string, args ...any) {
		fmt.Fprintf(a.deps.Stderr, "wflo: sandbox: %s\n", escapeLine(fmt.Sprintf(format, args...)))
	}
	if line := ending(l, res); line != "" {
		say("%s", line)
	}
	if len(res.Hit) > 0 && (res.Outcome == sandbox.Nonzero || res.Outcome == sandbox.Signalled || res.Outcome == sandbox.Succeeded) {
		say("ran into the limit on %s", strings.Join(res.Hit, " and "))
	}
	if res.Traffic != nil {
		for _, r := range res.Traffic.Refused {
			say("refused %d x: %s %s", r.Count, r.To, r.Reason)
		}
	}
	for _, name := range res.ArtifactsMissed {
		say("artifact %s is left out: all together may have %s", name, sandbox.FormatSize(l.Artifacts))
	}
}

// ending says how the program was ended; empty when it ended itself.
func ending(l sandbox.Limits, res sandbox.Result) string {
	switch res.Outcome {
	case sandbox.Timeout:
		return "timeout after " + span(l.Timeout)
	case sandbox.CPUTimeout:
		return "CPU time used up: the limit is " + span(l.CPUTime)
	case sandbox.OutOfMemory:
		return "out of memory: the limit is " + sandbox.FormatSize(l.Memory)
	case sandbox.OutputLimit:
		return "too much output: the limit is " + sandbox.FormatSize(l.OutputTotal)
	case sandbox.DiskFull:
		return "the disk is full: /workspace has " + sandbox.FormatSize(l.Workspace)
	case sandbox.StartFailed:
		if res.Reason == "" {
			return "the program could not be started"
		}
		return "the program could not be started: " + res.Reason
	case sandbox.Signalled:
		number := res.Signal
		if number == 0 {
			number = res.ExitCode - 128
		}
		return fmt.Sprintf("ended by signal %d (%s)", number, syscall.Signal(number))
	}
	return ""
}

// span is a duration as people wrote it in a flag: 60s and not 1m0s.
func span(d time.Duration) string {
	return fmt.Sprintf("%gs", d.Seconds())
}

// echo passes what a program writes on as it comes.
type echo struct {
	streams map[sandbox.Stream]*echoStream
	stop    func() // called at the first write that fails
	err     error
}

type echoStream struct {
	w     io.Writer
	plain bool // hidden characters are shown
	rest  []byte
}

func newEcho(stdout, stderr io.Writer, raw bool, stop func()) *echo {
	return &echo{
		streams: map[sandbox.Stream]*echoStream{
			sandbox.Stdout: {w: stdout, plain: !raw && isTerminal(stdout)},
			sandbox.Stderr: {w: stderr, plain: !raw && isTerminal(stderr)},
		},
		stop: stop,
	}
}

func (e *echo) write(s sandbox.Stream, p []byte) {
	stream := e.streams[s]
	if e.err != nil || stream == nil {
		return
	}
	if e.err = stream.write(p); e.err != nil {
		e.stop()
	}
}

// flush writes the beginnings of characters that never got an end.
func (e *echo) flush() {
	for _, s := range []sandbox.Stream{sandbox.Stdout, sandbox.Stderr} {
		if rest := e.streams[s].rest; len(rest) > 0 && e.err == nil {
			_, e.err = io.WriteString(e.streams[s].w, Escape(string(rest)))
		}
	}
}

func (s *echoStream) write(p []byte) error {
	if !s.plain {
		_, err := s.w.Write(p)
		return err
	}
	p = append(s.rest, p...)
	whole := len(p)
	// A character may arrive in two parts.
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if tail := p[len(p)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole = len(p) - i
			}
			break
		}
	}
	s.rest = append([]byte(nil), p[whole:]...)
	_, err := io.WriteString(s.w, Escape(string(p[:whole])))
	return err
}

// checkArtifactsDir refuses a directory with files in it before anything runs:
// the program chooses the artifacts' names, and must not choose what they
// replace.
func (a *app) checkArtifactsDir(f sandboxRunFlags) error {
	switch {
	case f.dir == "" && len(f.artifacts) > 0 && a.format == formatText:
		return Usage("name a directory with --artifacts-dir, or let -o json print them", "--artifact brings files back, but there is no place for them")
	case f.dir == "":
		return nil
	case len(f.artifacts) == 0:
		return Usage("say which files with --artifact 'out/*'", "--artifacts-dir is set, but no --artifact is")
	}
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return Usage("name a directory that can be made", "--artifacts-dir: %w", err)
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return Usage("name a directory", "--artifacts-dir: %w", err)
	}
	if len(entries) > 0 && !f.overwrite {
		return Usage("choose an empty one, or allow it with --overwrite", "--artifacts-dir: %s is not empty, and artifacts could replace its files", f.dir)
	}
	return nil
}

// storeArtifacts writes files below dir. Neither their names nor links that are
// there lead out of it.
func storeArtifacts(dir string, files []wflo.File, overwrite bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("artifacts: %w", err)
	}
	defer func() { _ = root.Close() }()
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if overwrite {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	for _, file := range files {
		if err := storeArtifact(root, file, mode); err != nil {
			return fmt.Errorf("artifact: %w", err)
		}
	}
	return nil
}

func storeArtifact(root *os.Root, file wflo.File, mode int) error {
	if err := sandbox.ValidateName(file.Name); err != nil {
		return err
	}
	if dir := path.Dir(file.Name); dir != "." {
		if err := root.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(file.Name, mode, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(file.Data)
	return errors.Join(err, f.Close())
}
