package docker

import (
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/system"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestAdmit(t *testing.T) {
	argv := sandbox.Spec{Argv: []string{"true"}}
	with := func(change func(*sandbox.Spec)) sandbox.Spec {
		spec := argv
		change(&spec)
		return spec
	}
	image := with(func(s *sandbox.Spec) { s.Image = "other:1" })
	pinned := with(func(s *sandbox.Spec) { s.Image = "other@sha256:" + strings.Repeat("a", 64) })
	gvisor := with(func(s *sandbox.Spec) { s.Security.Runtime = "runsc" })
	engines := with(func(s *sandbox.Spec) { s.Security.Profile = sandbox.Engine })
	open := with(func(s *sandbox.Spec) { s.Network = sandbox.Open() })
	large := with(func(s *sandbox.Spec) { s.Limits.Memory = sandbox.GiB })
	for name, c := range map[string]struct {
		config Config
		spec   sandbox.Spec
		want   wflo.Code
	}{
		"plain":                        {Config{}, argv, ""},
		"no program":                   {Config{}, sandbox.Spec{}, wflo.CodeInvalid},
		"every owner":                  {Config{Owner: AnyOwner}, argv, wflo.CodePolicyDenied},
		"the default image":            {Config{}, with(func(s *sandbox.Spec) { s.Image = DefaultImage }), ""},
		"another image":                {Config{}, image, wflo.CodePolicyDenied},
		"a listed image":               {Config{Images: []string{"other:1"}}, image, ""},
		"another tag":                  {Config{Images: []string{"other:2", "other"}}, image, wflo.CodePolicyDenied},
		"another digest":               {Config{Images: []string{"other", "other:1", "other@sha256:" + strings.Repeat("b", 64)}}, pinned, wflo.CodePolicyDenied},
		"any image":                    {Config{Images: []string{AnyImage}}, pinned, ""},
		"a runtime":                    {Config{}, gvisor, wflo.CodePolicyDenied},
		"the engine's runtime":         {Config{}, with(func(s *sandbox.Spec) { s.Security.Runtime = "crun" }), ""},
		"a listed runtime":             {Config{Runtimes: []string{"runsc"}}, gvisor, ""},
		"the configured runtime":       {Config{Runtime: "runsc"}, gvisor, ""},
		"not the configured runtime":   {Config{Runtime: "runsc"}, with(func(s *sandbox.Spec) { s.Security.Runtime = "runc" }), wflo.CodePolicyDenied},
		"the engine's profile":         {Config{}, engines, wflo.CodePolicyDenied},
		"the engine's profile allowed": {Config{AllowEngineProfile: true}, engines, ""},
		"open network":                 {Config{}, open, wflo.CodePolicyDenied},
		"open network allowed":         {Config{AllowOpenNetwork: true}, open, ""},
		"above the maximum":            {Config{Max: sandbox.Limits{Memory: 512 * sandbox.MiB}}, large, wflo.CodeInvalid},
		"the maximum":                  {Config{Max: sandbox.Limits{Memory: sandbox.GiB}}, large, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := c.config.withDefaults()
			spec, err := config.admit(c.spec)
			if err == nil {
				_, err = config.runtime(spec.Security.Runtime, "crun")
			}
			if got := wflo.CodeOf(err); got != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("admit: %v, want code %q", err, c.want)
			}
			if err == nil && (spec.Security.Profile == "" || spec.Image == "" || spec.Limits.Memory == 0) {
				t.Errorf("admitted %+v, without its defaults", spec)
			}
		})
	}
}

// TestAdmitFits holds that defaults are never above what fits.
func TestAdmitFits(t *testing.T) {
	c := Config{Max: sandbox.Limits{Memory: 64 * sandbox.MiB, Timeout: time.Minute}}.withDefaults()
	spec, err := c.admit(sandbox.Spec{Argv: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	l := spec.Limits
	if l.Memory != 64*sandbox.MiB || l.Tmp > l.Memory/2 || l.Workspace > l.Memory/2 || l.CPUTime > 30*time.Second {
		t.Errorf("limits %+v do not fit into %+v", l, c.Max)
	}
	spec, err = c.admit(sandbox.Spec{Argv: []string{"true"}, Box: "b"})
	if err != nil || spec.Limits.Workspace != sandbox.GiB {
		t.Errorf("workspace of a box: %d, %v, want that it is no memory", spec.Limits.Workspace, err)
	}
}

func TestConfigValidate(t *testing.T) {
	for name, c := range map[string]Config{
		"starts": {Starts: -1}, "timeout": {EngineTimeout: -1}, "pool": {Pool: Pool{Max: -1}}, "age": {Pool: Pool{MaxAge: -1}},
		"owner": {Owner: "a\nb"}, "image": {Image: "UPPER"}, "flag": {Image: "--privileged"}, "images": {Images: []string{"a b"}},
		"maximum": {Max: sandbox.Limits{PIDs: -1}},
	} {
		if _, err := New(t.Context(), c); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	if _, err := New(t.Context(), Config{Host: "nonsense"}); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("an address that is none: %v", err)
	}
}

func TestAssess(t *testing.T) {
	good := func(change func(*system.Info)) system.Info {
		info := system.Info{
			OSType: "linux", MemoryLimit: true, PidsLimit: true, CPUCfsQuota: true, NCPU: 4, DefaultRuntime: "runc", Architecture: "x86_64",
			SecurityOptions: []string{"name=apparmor", "name=seccomp,profile=builtin"},
			Runtimes:        map[string]system.RuntimeWithStatus{"runc": {}},
		}
		change(&info)
		return info
	}
	bare := func(i *system.Info) { i.SecurityOptions = []string{"name=seccomp,profile=default"} }
	for name, c := range map[string]struct {
		info    system.Info
		config  Config
		want    wflo.Code
		missing string
	}{
		"good":                     {info: good(func(*system.Info) {})},
		"names alone":              {info: good(func(i *system.Info) { i.SecurityOptions = []string{"apparmor", "seccomp"} })},
		"SELinux":                  {info: good(func(i *system.Info) { i.SecurityOptions[0] = "name=selinux" })},
		"no AppArmor":              {info: good(bare), missing: "apparmor"},
		"no AppArmor but required": {info: good(bare), config: Config{RequireAppArmor: true}, want: wflo.CodeSandboxUnavailable},
		"no seccomp":               {info: good(func(i *system.Info) { i.SecurityOptions = i.SecurityOptions[:1] }), want: wflo.CodeSandboxUnavailable},
		"nearly seccomp":           {info: good(func(i *system.Info) { i.SecurityOptions[1] = "name=seccomp2" }), want: wflo.CodeSandboxUnavailable},
		"Windows":                  {info: good(func(i *system.Info) { i.OSType = "windows" }), want: wflo.CodeSandboxUnavailable},
		"no memory limit":          {info: good(func(i *system.Info) { i.MemoryLimit = false }), want: wflo.CodeSandboxUnavailable},
		"no PID limit":             {info: good(func(i *system.Info) { i.PidsLimit = false }), want: wflo.CodeSandboxUnavailable},
		"no CPU limit":             {info: good(func(i *system.Info) { i.CPUCfsQuota = false }), want: wflo.CodeSandboxUnavailable},
		"no such runtime":          {info: good(func(*system.Info) {}), config: Config{Runtime: "runsc"}, want: wflo.CodeSandboxUnavailable},
		"nothing":                  {want: wflo.CodeSandboxUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := assess(c.info, c.config)
			if wflo.CodeOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("assess: %v, want code %q", err, c.want)
			}
			if got := strings.Join(e.Missing, ","); got != c.missing {
				t.Errorf("missing %q, want %q", got, c.missing)
			}
		})
	}
}

func TestSatisfies(t *testing.T) {
	e := Engine{Runtime: "runc", Runtimes: []string{"runc", "runsc"}, Missing: []string{"apparmor"}}
	for name, c := range map[string]struct {
		security sandbox.Security
		want     wflo.Code
	}{
		"nothing":               {sandbox.Security{}, ""},
		"a runtime":             {sandbox.Security{Runtime: "runsc"}, ""},
		"no such runtime":       {sandbox.Security{Runtime: "kata"}, wflo.CodeSandboxUnavailable},
		"AppArmor":              {sandbox.Security{Require: []string{"apparmor"}}, wflo.CodePolicyDenied},
		"user namespaces":       {sandbox.Security{Require: []string{"userns"}}, wflo.CodePolicyDenied},
		"gVisor by default":     {sandbox.Security{Require: []string{"gvisor"}}, wflo.CodePolicyDenied},
		"gVisor, asked for":     {sandbox.Security{Runtime: "runsc", Require: []string{"gvisor"}}, ""},
		"something nobody knew": {sandbox.Security{Require: []string{"magic"}}, wflo.CodePolicyDenied},
	} {
		if err := e.satisfies(c.security); wflo.CodeOf(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: %v, want code %q", name, err, c.want)
		}
	}
}

func TestJudgeProbe(t *testing.T) {
	good := "Uid\t7 7\t7 7\nCapPrm 0000000000000000\nCapEff 0000000000000000\nCapBnd 0000000000000000\nCapAmb 0000000000000000\nNoNewPrivs 1\nSeccomp 2\ndev lo\nend\n"
	own := "Uid 7 7 7 7\nCapPrm 0000000000000000\nCapEff 0000000000000000\nCapBnd 0000000000000000\nSeccomp 0\ndev lo\nend\n"
	for name, c := range map[string]struct {
		out   string
		wrong int
		in    prison
	}{
		"good":                {good, 0, prison{}},
		"without a loopback":  {strings.Replace(good, "dev lo\n", "", 1), 0, prison{}},
		"a capability":        {strings.Replace(good, "CapBnd 0000000000000000", "CapBnd 00000000a80425fb", 1), 2, prison{}},
		"root":                {strings.Replace(good, "Uid\t7 7\t7 7", "Uid 0 0 0 0", 1), 2, prison{}},
		"saved as root":       {strings.Replace(good, "7\t7 7", "7 0 7", 1), 2, prison{}},
		"privileges":          {strings.Replace(good, "NoNewPrivs 1", "NoNewPrivs 0", 1), 2, prison{}},
		"no filter":           {strings.Replace(good, "Seccomp 2", "Seccomp 0", 1), 2, prison{}},
		"a network":           {good + "dev eth0\n", 1, prison{}},
		"a route":             {good + "route\n", 1, prison{}},
		"a writable root":     {good + "writable\n", 1, prison{}},
		"a writable PID 1":    {good + "pid1\n", 1, prison{}},
		"the engine's socket": {good + "socket\n", 1, prison{}},
		"cut":                 {strings.TrimSuffix(good, "end\n"), 1, prison{}},
		"nothing":             {"", 8, prison{}},
		"a kernel":            {good + "kernel 6.1\n", 0, prison{kernel: "6.1"}},
		"gVisor":              {own + "kernel 4.4.0\n", 0, prison{true, "6.1"}},
		"gVisor as runc is":   {good + "kernel 4.4.0\n", 0, prison{true, "6.1"}},
		"not gVisor":          {good + "kernel 6.1\n", 1, prison{true, "6.1"}},
		"an unknown kernel":   {own, 1, prison{true, "6.1"}},
		"an unknown host":     {own + "kernel 4.4.0\n", 1, prison{true, ""}},
		"gVisor's lines":      {own + "kernel 4.4.0\n", 4, prison{kernel: "6.1"}},
		"two kernels":         {own + "kernel 4.4.0\nkernel 6.1\n", 1, prison{true, "6.1"}},
		"gVisor, privileges":  {own + "kernel 4.4.0\nNoNewPrivs 0\n", 1, prison{true, "6.1"}},
		"gVisor, capability":  {strings.Replace(own, "CapBnd 0000000000000000", "CapBnd 00000000a80425fb", 1) + "kernel 4.4.0\n", 2, prison{true, "6.1"}},
	} {
		if got := judgeProbe(c.out, 7, c.in); len(got) != c.wrong {
			t.Errorf("%s: %q, want %d faults", name, got, c.wrong)
		}
	}
}
