package story

import (
	"cmp"
	"context"
	"path"
	"strconv"
	"strings"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// asked fills in what a program was to run under.
func (r *entry) asked(spec sandbox.Spec) {
	r.Name = line(cmp.Or(string(spec.Language), programOf(spec.Argv), r.Name))
	if r.Sandbox == nil {
		r.Sandbox = &Sandbox{}
	}
	r.Sandbox.Image, r.Sandbox.Network = cmp.Or(r.Sandbox.Image, spec.Image), networkOf(spec.Network)
	r.Sandbox.Runtime = cmp.Or(r.Sandbox.Runtime, spec.Security.Runtime)
	r.Sandbox.Limits = limitsOf(spec.WithDefaults().Limits)
}

// programOf is the name of a program, without its arguments.
func programOf(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	return path.Base(argv[0])
}

func networkOf(n sandbox.Network) string {
	if n.Mode == sandbox.NetworkNone {
		return "none"
	}
	return n.Mode
}

// limitsOf are limits in words.
func limitsOf(l sandbox.Limits) map[string]string {
	return map[string]string{
		"memory": bytes(l.Memory), "cpus": strconv.FormatFloat(l.CPUs, 'f', -1, 64), "pids": strconv.FormatInt(l.PIDs, 10),
		"timeout": l.Timeout.String(), "cpu_time": l.CPUTime.String(), "tmp": bytes(l.Tmp), "workspace": bytes(l.Workspace),
		"file": bytes(l.File), "open": strconv.FormatInt(l.Open, 10), "output": bytes(l.Output),
		"output_total": bytes(l.OutputTotal), "artifacts": bytes(l.Artifacts),
	}
}

// bytes is a number of bytes in words; whole units only, for limits are.
func bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + " " + units[i]
}

// ran takes what became of a program. What is too large waits until somebody looks.
func (a *account) ran(r *entry, result *commonpb.Payload) {
	var res sandbox.Result
	if a.read.near(result, &res) {
		r.became(res)
		return
	}
	if r.far == nil {
		r.far = &far{}
	}
	r.far.result = result
	a.size += int64(len(result.GetData()))
}

func (r *entry) became(res sandbox.Result) {
	if r.Sandbox == nil {
		r.Sandbox = &Sandbox{}
	}
	s := r.Sandbox
	s.Outcome, s.ExitCode = string(res.Outcome), res.ExitCode
	s.Image, s.Runtime = cmp.Or(res.Image, s.Image), cmp.Or(res.Runtime, s.Runtime)
	s.Took, s.CPU, s.Memory = res.Duration, res.CPUTime, res.PeakMemory
	s.Changed = len(res.Changed) + res.ChangedMore
	s.Stdout, s.Stderr = int64(len(res.Stdout))+res.StdoutTruncated, int64(len(res.Stderr))+res.StderrTruncated
	s.Profiles = map[string]string{}
	for _, p := range res.Profiles {
		name, value, _ := strings.Cut(p, "=")
		s.Profiles[name] = cmp.Or(value, "on")
	}
	for _, name := range res.Missing {
		s.Profiles[name] = "missing"
	}
	if !res.OK() {
		r.Error = line(cmp.Or(res.Reason, strings.ReplaceAll(string(res.Outcome), "_", " ")))
	}
}

// fetch reads what was too far away when the history was read. What cannot be fetched
// stays unknown.
func (r *entry) fetch(ctx context.Context, read reader) error {
	if r.far == nil {
		return nil
	}
	var spec sandbox.Spec
	var res sandbox.Result
	if r.far.input != nil {
		if err := read.into(ctx, r.far.input, &spec); err != nil {
			return err
		}
		r.Row.Sandbox = clone(r.Row.Sandbox)
		r.asked(spec)
	}
	if r.far.result != nil {
		if err := read.into(ctx, r.far.result, &res); err != nil {
			return err
		}
		r.Row.Sandbox = clone(r.Row.Sandbox)
		r.became(res)
	}
	r.far = nil
	return nil
}

// clone copies what a pointer has, so that rows that were given out do not change.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
