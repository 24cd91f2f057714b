package sandbox

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// What a specification may hold at most, in bytes unless noted. The kernel sets
// MaxArg and MaxArgs; the others keep one execution from being a burden.
const (
	MaxArg    = 128*KiB - 1 // one argument or NAME=value
	MaxArgs   = 1 * MiB     // all arguments and variables
	MaxSource = 1 * MiB
	MaxStdin  = 64 * MiB
	MaxFiles  = 64 * MiB // all files together
	// MaxFileCount is how many files a specification may bring.
	MaxFileCount = 1000
	// MaxName is the longest name of a file, a box or a key.
	MaxName = 512
)

// leastCPUTime is the least that Limits.CPUTime may be; the default of a small
// share of a short timeout would be less.
const leastCPUTime = 10 * time.Millisecond

// defences are what a specification may require of the host.
var defences = []string{"apparmor", "gvisor", "userns"}

var languages = []Language{Python, Bash, Node}

var (
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	runtimeName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	imageRef    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,254}$`)
)

// WithDefaults fills the zero limits. A one-shot's workspace is in memory, so it
// has half of it.
func (s Spec) WithDefaults() Spec {
	inMemory := s.Box == "" && s.Limits.Workspace == 0
	s.Limits = s.Limits.WithDefaults()
	if inMemory {
		s.Limits.Workspace = s.Limits.Memory / 2
	}
	return s
}

// Validate says what is wrong with the specification, if anything, as an
// *wflo.Error with CodeInvalid that names the field and what it may hold. Zero
// limits are fine: they mean the defaults.
func (s Spec) Validate() error {
	checks := []func() error{
		s.validateNames, s.validateProgram, s.validateEnv, s.Limits.Validate,
		func() error { return ValidateFiles(s.Files) },
		func() error { return validatePatterns(s.Artifacts) },
		s.Network.Validate, s.Security.validate, s.Origin.validate,
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	if len(s.Stdin) > MaxStdin {
		return tooLong("spec.stdin", int64(len(s.Stdin)), MaxStdin, "pass it as a file of the workspace")
	}
	return nil
}

func (s Spec) validateNames() error {
	if s.Box != "" {
		if err := ValidateBox(s.Box); err != nil {
			return err
		}
	}
	if s.Key != "" {
		if err := label("spec.key", s.Key); err != nil {
			return err
		}
	}
	if s.Image != "" && (!imageRef.MatchString(s.Image) || strings.Contains(s.Image, "..")) {
		return wflo.Invalid("spec.image", fmt.Sprintf("is %.80q", s.Image), "name an image as registry/name:tag or name@sha256:digest")
	}
	return nil
}

func (s Spec) validateProgram() error {
	const oneOf = "set argv, or language and source"
	switch {
	case len(s.Argv) > 0 && (s.Source != "" || s.Language != ""):
		return wflo.Invalid("spec.argv", "comes with a language or a source", oneOf)
	case len(s.Argv) > 0 && s.Argv[0] == "":
		return wflo.Invalid("spec.argv[0]", "is empty", "name the program")
	case len(s.Argv) > 0:
		return s.validateArgv()
	case s.Source == "":
		return wflo.Invalid("spec.source", "is empty", oneOf)
	case !slices.Contains(languages, s.Language):
		return wflo.Invalid("spec.language", fmt.Sprintf("is %.40q", string(s.Language)), fmt.Sprintf("use %s, %s or %s", Python, Bash, Node))
	case len(s.Source) > MaxSource:
		return tooLong("spec.source", int64(len(s.Source)), MaxSource, "bring the bulk as files")
	}
	return text("spec.source", s.Source)
}

func (s Spec) validateArgv() error {
	for i, arg := range s.Argv {
		field := fmt.Sprintf("spec.argv[%d]", i)
		if len(arg) > MaxArg {
			return tooLong(field, int64(len(arg)), MaxArg, "pass it on stdin or as a file")
		}
		if err := text(field, arg); err != nil {
			return err
		}
	}
	return nil
}

func (s Spec) validateEnv() error {
	total := 0
	for _, arg := range s.Argv {
		total += len(arg) + 1
	}
	// In order, so that the same specification is refused in the same words.
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		secret := s.Secrets[name]
		field := fmt.Sprintf("spec.secrets[%.40q]", name)
		switch _, twice := s.Env[name]; {
		case !envName.MatchString(name):
			return wflo.Invalid(field, "is not a variable's name", "use letters, digits and _, at most 128, not starting with a digit")
		case twice:
			return wflo.Invalid(field, "is in spec.env too", "set it once")
		case secret == "":
			return wflo.Invalid(field, "names no secret", "name a secret of the worker")
		}
		if err := label(field, secret); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		value := s.Env[name]
		field := fmt.Sprintf("spec.env[%.40q]", name)
		switch {
		case !envName.MatchString(name):
			return wflo.Invalid(field, "is not a variable's name", "use letters, digits and _, at most 128, not starting with a digit")
		case len(name)+1+len(value) > MaxArg:
			return tooLong(field, int64(len(name)+1+len(value)), MaxArg, "pass it on stdin or as a file")
		}
		if err := text(field, value); err != nil {
			return err
		}
		total += len(name) + len(value) + 2
	}
	if total > MaxArgs {
		return tooLong("spec.argv and spec.env", int64(total), MaxArgs, "pass the bulk on stdin or as files")
	}
	return nil
}

// WithDefaults fills the zero limits.
func (l Limits) WithDefaults() Limits {
	fill := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	fill(&l.Memory, 512*MiB)
	fill(&l.PIDs, 128)
	fill(&l.Tmp, 64*MiB)
	fill(&l.File, 256*MiB)
	fill(&l.Open, 1024)
	fill(&l.Output, 1*MiB)
	fill(&l.Workspace, 1*GiB)
	fill(&l.OutputTotal, 4*GiB)
	fill(&l.Artifacts, 16*MiB)
	if l.CPUs == 0 {
		l.CPUs = 0.5
	}
	if l.Timeout == 0 {
		l.Timeout = 300 * time.Second
	}
	if l.CPUTime == 0 {
		l.CPUTime = max(time.Duration(l.CPUs*float64(l.Timeout)), leastCPUTime)
	}
	return l
}

// Validate refuses limits that are out of range: memory 16 MiB to 64 GiB, CPUs
// 0.01 to 64, PIDs 1 to 4096, timeout 100 ms to 24 h, CPU time 10 ms to 64 days,
// tmp 64 KiB to 16 GiB, workspace 64 KiB to 1 TiB, file 4 KiB to 64 GiB, open 32
// to 65536, output 1 KiB to 64 MiB, output total 1 KiB to 1 TiB, artifacts 1 KiB
// to 64 MiB. Zero is the default.
func (l Limits) Validate() error {
	return l.within(
		Limits{
			Memory: 16 * MiB, CPUs: 0.01, PIDs: 1, Timeout: 100 * time.Millisecond, CPUTime: leastCPUTime,
			Tmp: 64 * KiB, Workspace: 64 * KiB, File: 4 * KiB, Open: 32, Output: 1 * KiB, OutputTotal: 1 * KiB, Artifacts: 1 * KiB,
		},
		Limits{
			Memory: 64 * GiB, CPUs: 64, PIDs: 4096, Timeout: 24 * time.Hour, CPUTime: 64 * 24 * time.Hour,
			Tmp: 16 * GiB, Workspace: 1024 * GiB, File: 64 * GiB, Open: 65536, Output: 64 * MiB, OutputTotal: 1024 * GiB, Artifacts: 64 * MiB,
		},
	)
}

// Within refuses limits above most, in which zero means that there is no upper
// bound besides that of Validate.
func (l Limits) Within(most Limits) error { return l.within(Limits{}, most) }

// Lower gives l with every limit reduced to most's, where most has one.
func (l Limits) Lower(most Limits) Limits {
	lower := func(v *int64, m int64) {
		if m != 0 && *v > m {
			*v = m
		}
	}
	lower(&l.Memory, most.Memory)
	lower(&l.PIDs, most.PIDs)
	lower(&l.Tmp, most.Tmp)
	lower(&l.File, most.File)
	lower(&l.Open, most.Open)
	lower(&l.Output, most.Output)
	lower(&l.Workspace, most.Workspace)
	lower(&l.OutputTotal, most.OutputTotal)
	lower(&l.Artifacts, most.Artifacts)
	lower((*int64)(&l.Timeout), int64(most.Timeout))
	lower((*int64)(&l.CPUTime), int64(most.CPUTime))
	if most.CPUs != 0 && l.CPUs > most.CPUs {
		l.CPUs = most.CPUs
	}
	return l
}

func (l Limits) within(least, most Limits) error {
	plain := func(n int64) string { return fmt.Sprint(n) }
	wall := func(n int64) string { return time.Duration(n).String() }
	for _, c := range []struct {
		field            string
		got, least, most int64
		show             func(int64) string
	}{
		{"memory", l.Memory, least.Memory, most.Memory, FormatSize},
		{"pids", l.PIDs, least.PIDs, most.PIDs, plain},
		{"timeout", int64(l.Timeout), int64(least.Timeout), int64(most.Timeout), wall},
		{"cpu_time", int64(l.CPUTime), int64(least.CPUTime), int64(most.CPUTime), wall},
		{"workspace", l.Workspace, least.Workspace, most.Workspace, FormatSize},
		{"output_total", l.OutputTotal, least.OutputTotal, most.OutputTotal, FormatSize},
		{"artifacts", l.Artifacts, least.Artifacts, most.Artifacts, FormatSize},
		{"tmp", l.Tmp, least.Tmp, most.Tmp, FormatSize},
		{"file", l.File, least.File, most.File, FormatSize},
		{"open", l.Open, least.Open, most.Open, plain},
		{"output", l.Output, least.Output, most.Output, FormatSize},
	} {
		if c.got != 0 && (c.got < c.least || c.most != 0 && c.got > c.most) {
			return wflo.Invalid("limits."+c.field, "is "+c.show(c.got), fmt.Sprintf("use %s to %s, or 0 for the default", c.show(c.least), c.show(c.most)))
		}
	}
	// Written so that NaN is refused too.
	if l.CPUs != 0 && !(l.CPUs >= least.CPUs && (most.CPUs == 0 || l.CPUs <= most.CPUs)) {
		return wflo.Invalid("limits.cpus", fmt.Sprintf("is %g", l.CPUs), fmt.Sprintf("use %g to %g, or 0 for the default", least.CPUs, most.CPUs))
	}
	return nil
}

func (s Security) validate() error {
	if s.Runtime != "" && !runtimeName.MatchString(s.Runtime) {
		return wflo.Invalid("spec.security.runtime", fmt.Sprintf("is %.40q", s.Runtime), "use runc or runsc")
	}
	if s.Profile != "" && s.Profile != Strict && s.Profile != Engine {
		return wflo.Invalid("spec.security.profile", fmt.Sprintf("is %.40q", s.Profile), fmt.Sprintf("use %s or %s", Strict, Engine))
	}
	for i, r := range s.Require {
		if !slices.Contains(defences, r) {
			return wflo.Invalid(fmt.Sprintf("spec.security.require[%d]", i), fmt.Sprintf("is %.40q", r), "use "+strings.Join(defences, ", "))
		}
	}
	return nil
}

func (o Origin) validate() error {
	for _, c := range []struct{ field, value string }{
		{"spec.origin.tenant", o.Tenant}, {"spec.origin.run", o.Run}, {"spec.origin.step", o.Step},
	} {
		if c.value == "" {
			continue
		}
		if err := label(c.field, c.value); err != nil {
			return err
		}
	}
	if o.Attempt < 0 {
		return wflo.Invalid("spec.origin.attempt", fmt.Sprintf("is %d", o.Attempt), "count attempts from 1, or leave it out")
	}
	return nil
}

// ValidateBox refuses the name of a box that is empty, longer than MaxName, or
// not plain text.
func ValidateBox(box string) error { return label("box", box) }

// ValidateFiles refuses files that are too many, too large, named twice, or
// named so that they could leave the workspace.
func ValidateFiles(files []wflo.File) error {
	if len(files) > MaxFileCount {
		return wflo.Invalid("files", fmt.Sprintf("are %d", len(files)), fmt.Sprintf("bring at most %d, or pack them", MaxFileCount))
	}
	var total int64
	names := make(map[string]bool, len(files))
	for i, f := range files {
		field := fmt.Sprintf("files[%d].name", i)
		if err := validateName(field, f.Name); err != nil {
			return err
		}
		if names[f.Name] {
			return wflo.Invalid(field, fmt.Sprintf("is %q again", f.Name), "give every file once")
		}
		names[f.Name] = true
		total += int64(len(f.Data))
	}
	if total > MaxFiles {
		return tooLong("files", total, MaxFiles, "bring fewer or smaller files")
	}
	for i, f := range files {
		for dir := path.Dir(f.Name); dir != "."; dir = path.Dir(dir) {
			if names[dir] {
				return wflo.Invalid(fmt.Sprintf("files[%d].name", i), fmt.Sprintf("is %q, but %q is a file too", f.Name, dir), "a name is a file or a directory")
			}
		}
	}
	return nil
}

// ValidateName refuses a file's name that is not clean, relative and printable.
func ValidateName(name string) error { return validateName("name", name) }

func validateName(field, name string) error {
	problem := ""
	switch {
	case !fs.ValidPath(name) || name == ".":
		problem = "is not relative and clean"
	case len(name) > MaxName:
		problem = "is too long"
	case strings.Count(name, "/") >= 32:
		problem = "is too deep"
	case !plain(name):
		problem = "holds control characters"
	}
	for _, part := range strings.Split(name, "/") {
		if len(part) > 255 {
			problem = "has too long a part"
		}
	}
	if problem == "" {
		return nil
	}
	return wflo.Invalid(field, fmt.Sprintf("%.80q %s", name, problem),
		fmt.Sprintf("use a name such as data/in.csv below the workspace: no \"..\", at most %d bytes and 32 levels", MaxName))
}

func label(field, s string) error {
	switch {
	case s == "":
		return wflo.Invalid(field, "is empty", "name it")
	case len(s) > MaxName:
		return tooLong(field, int64(len(s)), MaxName, "shorten it")
	case !plain(s):
		return wflo.Invalid(field, "is not plain text", "use printable UTF-8")
	}
	return nil
}

// text refuses what would not reach the program as it is: the kernel ends strings
// at NUL, and JSON, which carries specifications, replaces what is not UTF-8.
func text(field, s string) error {
	switch {
	case strings.ContainsRune(s, 0):
		return wflo.Invalid(field, "holds a NUL byte", "remove it, or pass it on stdin or as a file")
	case !utf8.ValidString(s):
		return wflo.Invalid(field, "is not UTF-8", "pass other bytes on stdin or as a file")
	}
	return nil
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func tooLong(field string, n, most int64, hint string) error {
	return wflo.Invalid(field, fmt.Sprintf("has %d bytes, more than %d", n, most), hint)
}
