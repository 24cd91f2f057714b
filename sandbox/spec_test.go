package sandbox

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

func TestSpecValidate(t *testing.T) {
	good := Spec{Argv: []string{"true"}}
	many := make([]wflo.File, MaxFileCount+1)
	for i := range many {
		many[i].Name = fmt.Sprint("f", i)
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		field  string // in the error; empty means valid
	}{
		"argv":              {func(s *Spec) {}, ""},
		"python":            {func(s *Spec) { s.Argv, s.Language, s.Source = nil, Python, "1" }, ""},
		"empty argument":    {func(s *Spec) { s.Argv = []string{"echo", ""} }, ""},
		"digest":            {func(s *Spec) { s.Image = "r.example:5000/a/b@sha256:" + strings.Repeat("a", 64) }, ""},
		"nothing":           {func(s *Spec) { s.Argv = nil }, "spec.source"},
		"both":              {func(s *Spec) { s.Source = "1" }, "spec.argv"},
		"empty program":     {func(s *Spec) { s.Argv = []string{""} }, "spec.argv[0]"},
		"unknown language":  {func(s *Spec) { s.Argv, s.Language, s.Source = nil, "ruby", "1" }, "spec.language"},
		"no language":       {func(s *Spec) { s.Argv, s.Source = nil, "1" }, "spec.language"},
		"NUL in source":     {func(s *Spec) { s.Argv, s.Language, s.Source = nil, Bash, "a\x00" }, "spec.source"},
		"long source":       {func(s *Spec) { s.Argv, s.Language, s.Source = nil, Bash, strings.Repeat("a", MaxSource+1) }, "spec.source"},
		"long argument":     {func(s *Spec) { s.Argv = []string{"a", strings.Repeat("a", MaxArg+1)} }, "spec.argv[1]"},
		"NUL in argument":   {func(s *Spec) { s.Argv = []string{"a", "\x00"} }, "spec.argv[1]"},
		"arguments in all":  {func(s *Spec) { s.Argv = slicesRepeat(strings.Repeat("a", 1<<16), 17) }, "spec.argv and spec.env"},
		"variable's name":   {func(s *Spec) { s.Env = map[string]string{"A=B": ""} }, "spec.env"},
		"empty variable":    {func(s *Spec) { s.Env = map[string]string{"": ""} }, "spec.env"},
		"NUL in variable":   {func(s *Spec) { s.Env = map[string]string{"A": "\x00"} }, "spec.env"},
		"long variable":     {func(s *Spec) { s.Env = map[string]string{"A": strings.Repeat("a", MaxArg)} }, "spec.env"},
		"image flag":        {func(s *Spec) { s.Image = "--privileged" }, "spec.image"},
		"image path":        {func(s *Spec) { s.Image = "host:1/../x" }, "spec.image"},
		"image space":       {func(s *Spec) { s.Image = "a b" }, "spec.image"},
		"box newline":       {func(s *Spec) { s.Box = "a\nb" }, "box"},
		"box UTF-8":         {func(s *Spec) { s.Box = "\xff" }, "box"},
		"long key":          {func(s *Spec) { s.Key = strings.Repeat("k", MaxName+1) }, "spec.key"},
		"long stdin":        {func(s *Spec) { s.Stdin = make([]byte, MaxStdin+1) }, "spec.stdin"},
		"absolute file":     {func(s *Spec) { s.Files = []wflo.File{{Name: "/etc/passwd"}} }, "files[0].name"},
		"dotted file":       {func(s *Spec) { s.Files = []wflo.File{{Name: "a"}, {Name: "b/../../c"}} }, "files[1].name"},
		"unclean file":      {func(s *Spec) { s.Files = []wflo.File{{Name: "a//b"}} }, "files[0].name"},
		"empty file name":   {func(s *Spec) { s.Files = []wflo.File{{}} }, "files[0].name"},
		"dot":               {func(s *Spec) { s.Files = []wflo.File{{Name: "."}} }, "files[0].name"},
		"newline in file":   {func(s *Spec) { s.Files = []wflo.File{{Name: "a\n"}} }, "files[0].name"},
		"long part":         {func(s *Spec) { s.Files = []wflo.File{{Name: strings.Repeat("a", 256)}} }, "files[0].name"},
		"deep file":         {func(s *Spec) { s.Files = []wflo.File{{Name: strings.Repeat("a/", 32) + "a"}} }, "files[0].name"},
		"same file":         {func(s *Spec) { s.Files = []wflo.File{{Name: "a"}, {Name: "a"}} }, "files[1].name"},
		"file as directory": {func(s *Spec) { s.Files = []wflo.File{{Name: "a/b/c"}, {Name: "a"}} }, "files[0].name"},
		"many files":        {func(s *Spec) { s.Files = many }, "files"},
		"large files":       {func(s *Spec) { s.Files = []wflo.File{{Name: "a", Data: make([]byte, MaxFiles+1)}} }, "files"},
		"memory":            {func(s *Spec) { s.Limits.Memory = 1 }, "limits.memory"},
		"negative memory":   {func(s *Spec) { s.Limits.Memory = -1 }, "limits.memory"},
		"cpus":              {func(s *Spec) { s.Limits.CPUs = 65 }, "limits.cpus"},
		"cpus NaN":          {func(s *Spec) { s.Limits.CPUs = math.NaN() }, "limits.cpus"},
		"cpus infinite":     {func(s *Spec) { s.Limits.CPUs = math.Inf(1) }, "limits.cpus"},
		"pids":              {func(s *Spec) { s.Limits.PIDs = 4097 }, "limits.pids"},
		"timeout":           {func(s *Spec) { s.Limits.Timeout = 25 * time.Hour }, "limits.timeout"},
		"tmp":               {func(s *Spec) { s.Limits.Tmp = 1 }, "limits.tmp"},
		"file limit":        {func(s *Spec) { s.Limits.File = 1 }, "limits.file"},
		"open":              {func(s *Spec) { s.Limits.Open = 1 }, "limits.open"},
		"output":            {func(s *Spec) { s.Limits.Output = 1 }, "limits.output"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := good
			c.change(&spec)
			err := spec.Validate()
			if c.field == "" {
				if err != nil {
					t.Fatalf("Validate: %v", err)
				}
				return
			}
			var e *wflo.Error
			if !errors.As(err, &e) || e.Code != wflo.CodeInvalid || e.Hint == "" {
				t.Fatalf("Validate = %v, want CodeInvalid with a hint", err)
			}
			if !strings.HasPrefix(e.Message, c.field) {
				t.Errorf("message %q does not start with %q", e.Message, c.field)
			}
		})
	}
}

func slicesRepeat(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

func TestLimits(t *testing.T) {
	defaults := Limits{}.WithDefaults()
	if err := defaults.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	most := Limits{Memory: 64 * MiB, CPUs: 0.25, Timeout: time.Second}
	if err := defaults.Within(most); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("Within = %v, want CodeInvalid", err)
	}
	want := defaults
	want.Memory, want.CPUs, want.Timeout = 64*MiB, 0.25, time.Second
	got := defaults.Lower(most)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Lower (-want +got):\n%s", diff)
	}
	if err := got.Within(most); err != nil {
		t.Errorf("lowered limits are refused: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "512m": 512 * MiB, "512M": 512 * MiB, "1.5g": 3 * GiB / 2, "64 KiB": 64 * KiB,
		"2GB": 2 * GiB, "10b": 10, "0.001k": 1, "8388607t": 8388607 << 40,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "m", "-1", "+1", "1x", "1.2.3g", "1.g", ".5g", "1.2345g", "1_0", "8388608t", "99999999999999999999", "0x10", "1 m b", "1e3"} {
		if got, err := ParseSize(in); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("ParseSize(%q) = %d, %v, want CodeInvalid", in, got, err)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"512m", "1.5g", "64KiB", "-1", "999999999999999t", "0.001k", "  "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeInvalid {
				t.Fatalf("ParseSize(%q): %v, want CodeInvalid", s, err)
			}
			return
		}
		if n < 0 {
			t.Fatalf("ParseSize(%q) = %d", s, n)
		}
		if again, err := ParseSize(FormatSize(n)); err != nil || again != n {
			t.Fatalf("ParseSize(FormatSize(%d)) = %d, %v", n, again, err)
		}
	})
}

func FuzzValidateName(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "/a", "a/../b", "a//b", "", ".", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ValidateName(s) != nil {
			return
		}
		if strings.HasPrefix(s, "/") || strings.Contains("/"+s+"/", "/../") || strings.ContainsAny(s, "\x00\n\r") || len(s) > MaxName || s == "" {
			t.Fatalf("ValidateName lets %q pass", s)
		}
	})
}
