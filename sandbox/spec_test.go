package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
		"node":              {func(s *Spec) { s.Argv, s.Language, s.Source = nil, Node, "1" }, ""},
		"argument UTF-8":    {func(s *Spec) { s.Argv = []string{"a", "\xff"} }, "spec.argv[1]"},
		"source UTF-8":      {func(s *Spec) { s.Argv, s.Language, s.Source = nil, Bash, "\xff" }, "spec.source"},
		"variable UTF-8":    {func(s *Spec) { s.Env = map[string]string{"A": "\xff"} }, "spec.env"},
		"cpu time":          {func(s *Spec) { s.Limits.CPUTime = time.Second }, ""},
		"short cpu time":    {func(s *Spec) { s.Limits.CPUTime = time.Millisecond }, "limits.cpu_time"},
		"long cpu time":     {func(s *Spec) { s.Limits.CPUTime = 65 * 24 * time.Hour }, "limits.cpu_time"},
		"workspace":         {func(s *Spec) { s.Limits.Workspace = 1 }, "limits.workspace"},
		"large workspace":   {func(s *Spec) { s.Limits.Workspace = 1024*GiB + 1 }, "limits.workspace"},
		"output total":      {func(s *Spec) { s.Limits.OutputTotal = 1 }, "limits.output_total"},
		"negative total":    {func(s *Spec) { s.Limits.OutputTotal = -1 }, "limits.output_total"},
		"artifacts limit":   {func(s *Spec) { s.Limits.Artifacts = 64*MiB + 1 }, "limits.artifacts"},
		"secret":            {func(s *Spec) { s.Secrets = map[string]string{"TOKEN": "github"} }, ""},
		"secret's variable": {func(s *Spec) { s.Secrets = map[string]string{"A B": "x"} }, `spec.secrets["A B"]`},
		"secret twice":      {func(s *Spec) { s.Secrets, s.Env = map[string]string{"A": "x"}, map[string]string{"A": ""} }, `spec.secrets["A"]`},
		"nameless secret":   {func(s *Spec) { s.Secrets = map[string]string{"A": ""} }, `spec.secrets["A"]`},
		"secret newline":    {func(s *Spec) { s.Secrets = map[string]string{"A": "x\n"} }, `spec.secrets["A"]`},
		"long secret":       {func(s *Spec) { s.Secrets = map[string]string{"A": strings.Repeat("x", MaxName+1)} }, `spec.secrets["A"]`},
		"first of secrets":  {func(s *Spec) { s.Secrets = map[string]string{"C": "", "B": "", "D": ""} }, `spec.secrets["B"]`},
		"security":          {func(s *Spec) { s.Security = Security{Runsc, Engine, []string{"apparmor", "gvisor", "userns"}} }, ""},
		"runtime":           {func(s *Spec) { s.Security.Runtime = "../runc" }, "spec.security.runtime"},
		"profile":           {func(s *Spec) { s.Security.Profile = "unconfined" }, "spec.security.profile"},
		"defence":           {func(s *Spec) { s.Security.Require = []string{"apparmor", "selinux"} }, "spec.security.require[1]"},
		"origin":            {func(s *Spec) { s.Origin = Origin{"payments", "order/1", "s", 1} }, ""},
		"tenant":            {func(s *Spec) { s.Origin.Tenant = "a\tb" }, "spec.origin.tenant"},
		"run":               {func(s *Spec) { s.Origin.Run = "\xff" }, "spec.origin.run"},
		"step":              {func(s *Spec) { s.Origin.Step = strings.Repeat("s", MaxName+1) }, "spec.origin.step"},
		"attempt":           {func(s *Spec) { s.Origin.Attempt = -1 }, "spec.origin.attempt"},
		"artifacts":         {func(s *Spec) { s.Artifacts = []string{"out/*.csv", "**/*.png", "**", "[a-c]?", `a\*`} }, ""},
		"many artifacts":    {func(s *Spec) { s.Artifacts = slicesRepeat("a", MaxArtifacts+1) }, "spec.artifacts"},
		"absolute artifact": {func(s *Spec) { s.Artifacts = []string{"a", "/etc/*"} }, "spec.artifacts[1]"},
		"artifact outside":  {func(s *Spec) { s.Artifacts = []string{"../*"} }, "spec.artifacts[0]"},
		"artifact above":    {func(s *Spec) { s.Artifacts = []string{".."} }, "spec.artifacts[0]"},
		"artifact itself":   {func(s *Spec) { s.Artifacts = []string{"."} }, "spec.artifacts[0]"},
		"no artifact":       {func(s *Spec) { s.Artifacts = []string{""} }, "spec.artifacts[0]"},
		"unclean artifact":  {func(s *Spec) { s.Artifacts = []string{"a//b"} }, "spec.artifacts[0]"},
		"open bracket":      {func(s *Spec) { s.Artifacts = []string{"a/[b"} }, "spec.artifacts[0]"},
		"bracket and slash": {func(s *Spec) { s.Artifacts = []string{"[a/b]"} }, "spec.artifacts[0]"},
		"backslash":         {func(s *Spec) { s.Artifacts = []string{`a\`} }, "spec.artifacts[0]"},
		"artifact newline":  {func(s *Spec) { s.Artifacts = []string{"a\n"} }, "spec.artifacts[0]"},
		"long artifact":     {func(s *Spec) { s.Artifacts = []string{strings.Repeat("a", MaxName+1)} }, "spec.artifacts[0]"},
		"network":           {func(s *Spec) { s.Network = Allow("api.github.com") }, "spec.network.allow[0]"},
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

func TestLowerReachesEveryLimit(t *testing.T) {
	least := Limits{
		Memory: 16 * MiB, CPUs: 0.01, PIDs: 1, Timeout: time.Second, CPUTime: time.Second, Tmp: 64 * KiB, Workspace: 64 * KiB,
		File: 4 * KiB, Open: 32, Output: KiB, OutputTotal: KiB, Artifacts: KiB,
	}
	for i := range reflect.TypeFor[Limits]().NumField() {
		name := reflect.TypeFor[Limits]().Field(i).Name
		if reflect.ValueOf(least).Field(i).IsZero() {
			t.Errorf("this test knows no %s", name)
		}
		if reflect.ValueOf(Limits{}.WithDefaults()).Field(i).IsZero() {
			t.Errorf("%s has no default", name)
		}
		var one Limits
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(least).Field(i))
		if err := (Limits{}).WithDefaults().Within(one); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("Within does not look at %s: %v", name, err)
		}
	}
	if diff := cmp.Diff(least, Limits{}.WithDefaults().Lower(least)); diff != "" {
		t.Errorf("Lower (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	for name, tt := range map[string]struct {
		spec Spec
		want Limits // only what matters
	}{
		"one-shot's workspace": {Spec{Limits: Limits{Memory: 64 * MiB}}, Limits{Workspace: 32 * MiB, CPUTime: 150 * time.Second}},
		"box's workspace":      {Spec{Box: "b", Limits: Limits{Memory: 64 * MiB}}, Limits{Workspace: GiB, CPUTime: 150 * time.Second}},
		"given workspace":      {Spec{Limits: Limits{Workspace: MiB}}, Limits{Workspace: MiB, CPUTime: 150 * time.Second}},
		"CPU time of a little": {Spec{Limits: Limits{CPUs: 0.01, Timeout: 100 * time.Millisecond}}, Limits{Workspace: 256 * MiB, CPUTime: 10 * time.Millisecond}},
		"CPU time of a lot":    {Spec{Limits: Limits{CPUs: 64, Timeout: 24 * time.Hour}}, Limits{Workspace: 256 * MiB, CPUTime: 64 * 24 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			got := tt.spec.WithDefaults().Limits
			if got.Workspace != tt.want.Workspace || got.CPUTime != tt.want.CPUTime {
				t.Errorf("workspace %d, CPU time %s, want %d, %s", got.Workspace, got.CPUTime, tt.want.Workspace, tt.want.CPUTime)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("the defaults are refused: %v", err)
			}
		})
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

// FuzzSpecValidate reads what anybody may send: nothing stops Validate, its errors
// say what to do, and what passes is the same after another trip over the wire.
func FuzzSpecValidate(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"argv":["true"]}`, `{"language":"python","source":"1","secrets":{"A":"b"}}`, `{"argv":["a","\u0000"]}`,
		`{"argv":["a"],"limits":{"cpus":0.01,"timeout":100000000,"memory":16777216},"artifacts":["**/*.png","[a"]}`,
		`{"argv":["a"],"network":{"mode":"allow","allow":["*.pypi.org:443"],"inject":[{"to":"a.b:1","header":"A","secret":"s","format":"B %s"}]}}`,
		`{"argv":["a"],"files":[{"name":"a/b","data":"AAE="},{"name":"a"}],"origin":{"tenant":"t","attempt":-1},"box":"-"}`,
		`{"argv":["a"],"security":{"runtime":"runsc","profile":"strict","require":["gvisor"]},"stdin":"AA==","env":{"A":"\ud800"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var spec, again Spec
		if json.Unmarshal(data, &spec) != nil {
			return
		}
		if err := spec.Validate(); err != nil {
			if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
				t.Fatalf("Validate = %v, want CodeInvalid with a hint", err)
			}
			return
		}
		if err := spec.WithDefaults().Validate(); err != nil {
			t.Fatalf("it is refused with its defaults: %v", err)
		}
		sent, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(sent, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(spec, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("after a trip (-before +after):\n%s", diff)
		}
		if err := again.Validate(); err != nil {
			t.Fatalf("it is refused after a trip: %v", err)
		}
	})
}
