package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// specFlags are a sandbox.Spec as people write it.
type specFlags struct {
	image                                       string
	memory, workspace, tmp, output, outputTotal string
	cpus                                        float64
	pids                                        int64
	timeout, cpuTime                            time.Duration
	allow                                       []string
	open, noStdin                               bool
	runtime, seccomp                            string
	require, env, secrets, files, artifacts     []string
	language, source                            string
}

func (f *specFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.image, "image", "", "container image, which must be on the engine (also WFLO_SANDBOX_IMAGE; default wflo/sandbox:1)")
	flags.StringVar(&f.language, "language", "", "run a script: python, bash or node")
	flags.StringVar(&f.source, "source-file", "", "the script, or - for standard input")
	flags.StringVar(&f.memory, "memory", "", "memory, such as 512m (default 512m)")
	flags.Float64Var(&f.cpus, "cpus", 0, "processors (default 0.5)")
	flags.Int64Var(&f.pids, "pids", 0, "processes and threads (default 128)")
	flags.DurationVar(&f.timeout, "timeout", 0, "the program is ended after this time (default 5m)")
	flags.DurationVar(&f.cpuTime, "cpu-time", 0, "the program is ended after this much CPU time (default cpus x timeout)")
	flags.StringVar(&f.workspace, "workspace", "", "size of /workspace (default half of the memory)")
	flags.StringVar(&f.tmp, "tmp", "", "size of /tmp (default 64m)")
	flags.StringVar(&f.output, "output-limit", "", "how much of each stream -o json keeps (default 1m)")
	flags.StringVar(&f.outputTotal, "output-total", "", "the program is ended after writing so much (default 4g)")
	flags.StringArrayVar(&f.allow, "allow", nil, "what the program may reach, as HOST:PORT or *.NAME:PORT; repeat it for more (default: nothing)")
	flags.BoolVar(&f.open, "open-network", false, "give the program the engine's network: it reaches whatever this host does")
	flags.StringVar(&f.runtime, "runtime", "", "container runtime: runc or runsc (default: the engine's)")
	flags.StringVar(&f.seccomp, "seccomp", "", "system calls: strict, or engine for the engine's wider profile (default strict)")
	flags.StringSliceVar(&f.require, "require", nil, "refuse to run without these defences: apparmor, gvisor, userns")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "variable as NAME=VALUE, or NAME for the value that it has here; repeat it for more")
	flags.StringArrayVar(&f.secrets, "secret", nil, "variable with a secret, as NAME=VARIABLE of this environment, or NAME; its value is masked in the output")
	flags.StringArrayVar(&f.files, "file", nil, "put a file into /workspace, as LOCAL or LOCAL:NAME; repeat it for more")
	flags.StringArrayVar(&f.artifacts, "artifact", nil, "bring back files of /workspace, such as 'out/*.csv' or '**/*.png'; repeat it for more")
	flags.BoolVar(&f.noStdin, "no-stdin", false, "do not read standard input; otherwise it is passed on unless it is a terminal")
}

// spec translates the flags and reads what they name. Whatever is wrong is a
// usage error: nothing has been run.
func (a *app) spec(ctx context.Context, f specFlags, argv []string) (sandbox.Spec, error) {
	s := sandbox.Spec{Image: f.image, Artifacts: f.artifacts, Language: sandbox.Language(f.language)}
	if len(argv) > 0 {
		s.Argv = argv
	}
	if s.Image == "" {
		s.Image = os.Getenv("WFLO_SANDBOX_IMAGE")
	}
	s.Security = sandbox.Security{Runtime: f.runtime, Profile: f.seccomp, Require: f.require}
	steps := []func() error{
		func() (err error) { s.Limits, err = f.limits(); return err },
		func() (err error) { s.Network, err = f.network(); return err },
		func() (err error) { s.Env, err = pairs("--env", f.env, os.LookupEnv); return err },
		func() (err error) { s.Secrets, err = secretNames(f.secrets); return err },
		func() (err error) { s.Files, err = localFiles(f.files); return err },
		func() (err error) { s.Source, err = a.source(ctx, f, argv); return err },
		func() (err error) {
			if f.source != "-" && !f.noStdin && !isTerminal(a.deps.Stdin) {
				s.Stdin, err = a.stdin(ctx, sandbox.MaxStdin, "put what is larger into a file, with --file")
			}
			return err
		},
		func() error { return s.Validate() },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			var fixed *exitError
			if errors.As(err, &fixed) || errors.Is(err, context.Canceled) {
				return s, err
			}
			return s, &exitError{ExitUsage, err}
		}
	}
	return s, nil
}

func (f *specFlags) limits() (sandbox.Limits, error) {
	l := sandbox.Limits{CPUs: f.cpus, PIDs: f.pids, Timeout: f.timeout, CPUTime: f.cpuTime}
	for _, size := range []struct {
		flag, text string
		into       *int64
	}{
		{"memory", f.memory, &l.Memory}, {"workspace", f.workspace, &l.Workspace}, {"tmp", f.tmp, &l.Tmp},
		{"output-limit", f.output, &l.Output}, {"output-total", f.outputTotal, &l.OutputTotal},
	} {
		if size.text == "" {
			continue
		}
		n, err := sandbox.ParseSize(size.text)
		if err != nil {
			return l, Usage(wflo.HintOf(err), "--%s is %q", size.flag, size.text)
		}
		*size.into = n
	}
	return l, nil
}

func (f *specFlags) network() (sandbox.Network, error) {
	switch {
	case f.open && len(f.allow) > 0:
		return sandbox.Network{}, Usage("an open network reaches everything; leave one of them out", "--open-network and --allow exclude each other")
	case f.open:
		return sandbox.Open(), nil
	case len(f.allow) > 0:
		return sandbox.Allow(f.allow...), nil
	}
	return sandbox.Network{}, nil
}

// pairs reads NAME=VALUE, and gives NAME alone the value that lookup has.
func pairs(flag string, given []string, lookup func(string) (string, bool)) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			if value, ok = lookup(name); !ok {
				return nil, Usage("write it as NAME=VALUE, or set it", "%s %s: this environment has no %s", flag, name, name)
			}
		}
		if _, twice := all[name]; twice {
			return nil, Usage("give it once", "%s %s is there twice", flag, name)
		}
		all[name] = value
	}
	return all, nil
}

func secretNames(given []string) (map[string]string, error) {
	names, err := pairs("--secret", given, func(name string) (string, bool) { return name, true })
	for _, name := range names {
		if os.Getenv(name) == "" {
			return nil, Usage("export it before, from where you keep secrets", "--secret: this environment has no %s", name)
		}
	}
	return names, err
}

// envSecrets finds secrets in the environment of this process.
type envSecrets struct{}

// Secret gives the value of the variable.
func (envSecrets) Secret(_ context.Context, name string) ([]byte, error) {
	value := os.Getenv(name)
	if value == "" {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "export it before, from where you keep secrets", "the secret %s is not in this environment", name)
	}
	return []byte(value), nil
}

func localFiles(given []string) ([]wflo.File, error) {
	var files []wflo.File
	var total int64
	for _, text := range given {
		// The last colon, so that LOCAL may have some if NAME is given.
		local, name := text, filepath.Base(text)
		if i := strings.LastIndexByte(text, ':'); i > 0 {
			local, name = text[:i], text[i+1:]
		}
		about, err := os.Stat(local)
		switch {
		case err != nil:
			return nil, Usage("check the path; write it as LOCAL or LOCAL:NAME", "--file: %w", err)
		case !about.Mode().IsRegular():
			return nil, Usage("name the files one by one, or pack them into one with tar", "--file: %s is not a regular file", local)
		case total+about.Size() > sandbox.MaxFiles:
			return nil, Usage("bring fewer or smaller files", "--file: the files are larger than %s together", sandbox.FormatSize(sandbox.MaxFiles))
		}
		data, err := os.ReadFile(local)
		if err != nil {
			return nil, Usage("check the path", "--file: %w", err)
		}
		total += int64(len(data))
		files = append(files, wflo.File{Name: name, Data: data})
	}
	return files, nil
}

// source reads the script; languages and programs exclude each other.
func (a *app) source(ctx context.Context, f specFlags, argv []string) (string, error) {
	const example = "such as: wflo sandbox run --language python --source-file script.py, or: wflo sandbox run -- python3 -V"
	switch {
	case f.language == "" && f.source == "" && len(argv) == 0:
		return "", Usage(example, "there is nothing to run")
	case f.language == "" && f.source == "":
		return "", nil
	case len(argv) > 0:
		return "", Usage(example, "a script and the program %q exclude each other", argv[0])
	case f.language == "" || f.source == "":
		return "", Usage(example, "--language and --source-file go together")
	case !slices.Contains([]sandbox.Language{sandbox.Python, sandbox.Bash, sandbox.Node}, sandbox.Language(f.language)):
		return "", Usage("use python, bash or node", "--language is %q", f.language)
	case f.source == "-":
		data, err := a.stdin(ctx, sandbox.MaxSource, "bring the bulk as files, with --file")
		return string(data), err
	}
	data, err := os.ReadFile(f.source)
	if err != nil {
		return "", Usage("check the path; - reads standard input", "--source-file: %w", err)
	}
	return string(data), nil
}

// stdin reads all of standard input, and not more than most bytes. Nothing can
// interrupt a read of a pipe that nobody writes to, so when the command is
// interrupted its reader stays behind until the process ends.
func (a *app) stdin(ctx context.Context, most int64, hint string) ([]byte, error) {
	type input struct {
		data []byte
		err  error
	}
	done := make(chan input, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(a.deps.Stdin, most+1))
		done <- input{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case in := <-done:
		if in.err != nil {
			return nil, fmt.Errorf("read standard input: %w", in.err)
		}
		if int64(len(in.data)) > most {
			return nil, Usage(hint, "standard input has more than %s", sandbox.FormatSize(most))
		}
		return in.data, nil
	}
}
