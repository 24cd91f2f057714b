package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker/profile"
)

// Defence is one thing that stands between a program and the host.
type Defence struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail says what was found, Hint what to do when it is not OK.
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
	// Required defences are those without which nothing runs.
	Required bool `json:"required,omitempty"`
	// Host is the name of the host that it is about; who asks several fills it in.
	Host string `json:"host,omitempty"`
}

// Defences says which defences the engine and its host have. What can be tried
// is tried: a sandbox is started and looked at from the inside. The error is for
// an engine that cannot be asked at all; the list then says so too.
func (r *Runner) Defences(ctx context.Context) ([]Defence, error) {
	quick, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	info, err := r.engine.Info(quick)
	if err != nil {
		err = wflo.Errorf(wflo.CodeSandboxUnavailable, setupHint, "no container engine answers: %w", err)
		return []Defence{{Name: "engine", Detail: "no container engine answers", Hint: setupHint, Required: true}}, err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o+",", "name="+name+",") })
	}
	e, err := r.Check(ctx)
	list := []Defence{
		{Name: "engine", OK: true, Required: true, Detail: fmt.Sprintf("%s, control groups v%s, kernel %s", info.ServerVersion, info.CgroupVersion, info.KernelVersion)},
		{Name: "locked down", OK: err == nil, Required: true, Detail: lockedDown(e, err), Hint: wflo.HintOf(err)},
		{Name: "limits", OK: info.MemoryLimit && info.PidsLimit && info.CPUCfsQuota, Required: true, Detail: "memory, processes, CPU", Hint: "enable the memory, pids and cpu control groups of the host"},
		{Name: "swap limit", OK: info.SwapLimit, Detail: "no swap beyond the memory limit", Hint: "boot with swapaccount=1, or without swap"},
		{Name: "seccomp", OK: has("seccomp"), Required: true, Detail: "wflo's own profile, native calls only", Hint: "use a kernel and an engine with seccomp"},
		{
			Name: "apparmor", OK: has("apparmor") && e.facts.apparmor != "", Detail: appArmor(has("apparmor"), e),
			Hint: "enable AppArmor and load " + profile.AppArmorName + " with apparmor_parser -r",
		},
		{Name: "user namespaces", OK: has("userns"), Detail: "root in a sandbox would be nobody on the host; sandboxes never run as root in any case", Hint: "start dockerd with --userns-remap=default"},
	}
	_, gvisor := info.Runtimes[sandbox.Runsc]
	return append(list, Defence{
		Name: "gvisor", OK: gvisor, Detail: "a kernel of its own for sandboxes with runtime runsc",
		Hint: "install runsc and add it to the engine's runtimes",
	}), err
}

func lockedDown(e Engine, err error) string {
	if err != nil {
		message, _ := wflo.Explain(err)
		return message
	}
	how := "no network at all"
	if e.facts.plumbed {
		how = "an empty network"
	}
	return "a probe inside found no capabilities, no root, no writable root, " + how
}

func appArmor(host bool, e Engine) string {
	switch {
	case !host:
		return "the host has none"
	case e.facts.apparmor == "":
		return "the engine's own profile; wflo's is not loaded"
	}
	return e.facts.apparmor
}
