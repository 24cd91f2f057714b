package wflo

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Box is the part of a sandbox specification that a task or a run chooses.
// Zero fields mean the worker's defaults; the worker's configuration bounds and
// may refuse each of them.
type Box struct {
	Image string `json:"image,omitempty"`
	// Memory is in bytes, CPUs in cores. PIDs counts processes and threads.
	Memory int64   `json:"memory,omitempty"`
	CPUs   float64 `json:"cpus,omitempty"`
	PIDs   int64   `json:"pids,omitempty"`
	// Timeout is the wall clock per execution, CPUTime the time of all its
	// processes.
	Timeout time.Duration `json:"timeout,omitempty"`
	CPUTime time.Duration `json:"cpu_time,omitempty"`
	// Workspace is how many bytes /workspace may hold, Output how many bytes of
	// each output stream are kept.
	Workspace int64 `json:"workspace,omitempty"`
	Output    int64 `json:"output,omitempty"`
	// Network lists what programs may reach, as HOST:PORT, such as
	// "api.github.com:443" or "*.pypi.org:443"; see sandbox.Network. None means
	// no network. OpenNetwork gives them the engine's network instead.
	Network     []string `json:"network,omitempty"`
	OpenNetwork bool     `json:"open_network,omitempty"`
	// Secrets adds variables to programs: name of the variable to name of the
	// worker's secret. The values are in no history.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Runtime is runc or runsc, Profile strict or engine, and Require lists the
	// defences (apparmor, gvisor, userns) without which nothing runs.
	Runtime string   `json:"runtime,omitempty"`
	Profile string   `json:"profile,omitempty"`
	Require []string `json:"require,omitempty"`
}

// boxRanges are those of sandbox.Limits; a test in package workflows holds the
// two together.
var boxRanges = []struct {
	field       string
	of          func(Box) int64
	least, most int64
	hint        string
}{
	{"memory", func(b Box) int64 { return b.Memory }, 16 << 20, 64 << 30, "use 16 MiB to 64 GiB in bytes"},
	{"pids", func(b Box) int64 { return b.PIDs }, 1, 4096, "use 1 to 4096"},
	{"timeout", func(b Box) int64 { return int64(b.Timeout) }, int64(100 * time.Millisecond), int64(24 * time.Hour), "use 100ms to 24h"},
	{"cpu_time", func(b Box) int64 { return int64(b.CPUTime) }, int64(10 * time.Millisecond), int64(64 * 24 * time.Hour), "use 10ms to 1536h"},
	{"workspace", func(b Box) int64 { return b.Workspace }, 64 << 10, 1 << 40, "use 64 KiB to 1 TiB in bytes"},
	{"output", func(b Box) int64 { return b.Output }, 1 << 10, 64 << 20, "use 1 KiB to 64 MiB in bytes"},
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// Validate says what is wrong with the choice, if anything, as far as that can
// be seen without package sandbox, whose own rules an agent checks before it
// starts.
func (b Box) Validate() error {
	for _, r := range boxRanges {
		if v := r.of(b); v != 0 && (v < r.least || v > r.most) {
			return Invalid("task.sandbox."+r.field, fmt.Sprintf("is %d", v), r.hint+", or 0 for the default")
		}
	}
	// Written so that NaN is refused too.
	if b.CPUs != 0 && !(b.CPUs >= 0.01 && b.CPUs <= 64) {
		return Invalid("task.sandbox.cpus", fmt.Sprintf("is %g", b.CPUs), "use 0.01 to 64 cores, or 0 for the default")
	}
	if b.OpenNetwork && len(b.Network) > 0 {
		return Invalid("task.sandbox.open_network", "comes with an allow-list", "set one of network and open_network")
	}
	for i, to := range b.Network {
		host, port := "", ""
		if at := strings.LastIndexByte(to, ':'); at >= 0 {
			host, port = to[:at], to[at+1:]
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
			return Invalid(fmt.Sprintf("task.sandbox.network[%d]", i), fmt.Sprintf("is %.80q", to), "write it as api.example.com:443 or *.example.com:443")
		}
	}
	return b.validateDefences()
}

func (b Box) validateDefences() error {
	for _, name := range sortedNames(b.Secrets) {
		if !variableName.MatchString(name) || b.Secrets[name] == "" {
			return Invalid(fmt.Sprintf("task.sandbox.secrets[%.40q]", name), "is not a variable with the name of a secret", "map names such as TOKEN to secrets of the worker")
		}
	}
	if !slices.Contains([]string{"", "strict", "engine"}, b.Profile) {
		return Invalid("task.sandbox.profile", fmt.Sprintf("is %.40q", b.Profile), "use strict or engine, or nothing for the default")
	}
	for i, r := range b.Require {
		if !slices.Contains([]string{"apparmor", "gvisor", "userns"}, r) {
			return Invalid(fmt.Sprintf("task.sandbox.require[%d]", i), fmt.Sprintf("is %.40q", r), "use apparmor, gvisor or userns")
		}
	}
	return nil
}

// sortedNames are a map's keys in order: workflow code validates tasks and runs,
// and must come to the same error each time.
func sortedNames[T any](m map[string]T) []string {
	return slices.Sorted(maps.Keys(m)) //workflowcheck:ignore
}
