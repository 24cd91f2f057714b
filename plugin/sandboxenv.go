package plugin

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/admission"
)

// sandboxFromEnv reads the variables that [FromEnv] lists for the sandbox.
func sandboxFromEnv(c *Config) error {
	d, e := &c.Docker, &environment{}
	d.Host, d.Image, d.Runtime = os.Getenv("WFLO_SANDBOX_HOST"), os.Getenv("WFLO_SANDBOX_IMAGE"), os.Getenv("WFLO_SANDBOX_RUNTIME")
	hostsFromEnv(e, d)
	d.Images, d.Runtimes = list("WFLO_SANDBOX_IMAGES"), list("WFLO_SANDBOX_RUNTIMES")
	read(e, "WFLO_SANDBOX_PIN_IMAGES", &c.PinImages, strconv.ParseBool, "true or false")
	read(e, "WFLO_SANDBOX_REQUIRE_APPARMOR", &d.RequireAppArmor, strconv.ParseBool, "true or false")
	read(e, "WFLO_SANDBOX_ALLOW_OPEN_NETWORK", &d.AllowOpenNetwork, strconv.ParseBool, "true or false")
	read(e, "WFLO_SANDBOX_ALLOW_ENGINE_PROFILE", &d.AllowEngineProfile, strconv.ParseBool, "true or false")
	read(e, "WFLO_SANDBOX_PRIVATE_NETWORKS", &d.Egress.Private, parsePrefixes, "prefixes such as 10.1.0.0/16")
	maximaFromEnv(e, &d.Max)
	e.count("WFLO_SANDBOX_POOL", &d.Pool.Size)
	e.count("WFLO_SANDBOX_POOL_MAX", &d.Pool.Max)
	e.duration("WFLO_SANDBOX_POOL_AGE", &d.Pool.MaxAge)
	e.duration("WFLO_SANDBOX_IDLE", &d.Idle)
	e.size("WFLO_SANDBOX_HOST_MEMORY", &d.Admission.Memory)
	e.fraction("WFLO_SANDBOX_HOST_CPUS", &d.Admission.CPUs)
	e.fraction("WFLO_SANDBOX_OVERCOMMIT", &d.Admission.Overcommit)
	e.count("WFLO_SANDBOX_CONCURRENT", &d.Admission.Sandboxes)
	e.count("WFLO_SANDBOX_QUEUE", &d.Admission.Queue)
	read(e, "WFLO_SANDBOX_QUOTAS", &d.Admission.Tenants, parseQuotas, "TENANT=CONCURRENT/CPU TIME/WINDOW with commas, such as *=8,books=4/30m/1h")
	d.Admission.Default = d.Admission.Tenants[otherTenants]
	delete(d.Admission.Tenants, otherTenants)
	e.count("WFLO_SANDBOX_STARTS", &d.Starts)
	e.duration("WFLO_SANDBOX_ENGINE_TIMEOUT", &d.EngineTimeout)
	e.duration("WFLO_SANDBOX_SWEEP", &c.SweepEvery)
	read(e, "WFLO_MAX_RESULT", &c.MaxResult, func(s string) (int, error) {
		n, err := sandbox.ParseSize(s)
		return int(n), err
	}, "a size such as 8m")
	return e.err
}

func maximaFromEnv(e *environment, most *sandbox.Limits) {
	for name, v := range map[string]*int64{
		"MEMORY": &most.Memory, "TMP": &most.Tmp, "WORKSPACE": &most.Workspace, "FILE": &most.File,
		"OUTPUT": &most.Output, "OUTPUT_TOTAL": &most.OutputTotal, "ARTIFACTS": &most.Artifacts,
	} {
		e.size("WFLO_SANDBOX_MAX_"+name, v)
	}
	whole := func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }
	read(e, "WFLO_SANDBOX_MAX_PIDS", &most.PIDs, whole, "a whole number")
	read(e, "WFLO_SANDBOX_MAX_OPEN", &most.Open, whole, "a whole number")
	e.fraction("WFLO_SANDBOX_MAX_CPUS", &most.CPUs)
	e.duration("WFLO_SANDBOX_MAX_TIMEOUT", &most.Timeout)
	e.duration("WFLO_SANDBOX_MAX_CPU_TIME", &most.CPUTime)
}

// environment reads variables and keeps the first mistake: a worker must not
// start with less protection than somebody wrote down.
type environment struct{ err error }

// read parses a variable that is set into out.
func read[T any](e *environment, name string, out *T, parse func(string) (T, error), use string) {
	text := os.Getenv(name)
	if text == "" || e.err != nil {
		return
	}
	v, err := parse(text)
	if err != nil {
		e.err = wflo.Invalid(name, fmt.Sprintf("is %.80q", text), "use "+use)
		return
	}
	*out = v
}

func (e *environment) size(name string, out *int64) {
	read(e, name, out, sandbox.ParseSize, "a size such as 512m or 2g")
}

func (e *environment) count(name string, out *int) {
	read(e, name, out, strconv.Atoi, "a whole number")
}

func (e *environment) duration(name string, out *time.Duration) {
	read(e, name, out, time.ParseDuration, "a duration such as 90s or 1h")
}

func (e *environment) fraction(name string, out *float64) {
	read(e, name, out, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }, "a number such as 0.5")
}

// list reads names that are separated by commas.
func list(name string) []string {
	var out []string
	for _, item := range strings.Split(os.Getenv(name), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func parsePrefixes(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, item := range strings.Split(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// otherTenants names, among quotas, the tenants that are not listed.
const otherTenants = "*"

func parseQuotas(text string) (map[string]admission.Quota, error) {
	out := map[string]admission.Quota{}
	for _, item := range strings.Split(text, ",") {
		at := strings.LastIndexByte(item, '=')
		if at < 0 {
			return nil, fmt.Errorf("%q has no =", item)
		}
		tenant, parts := strings.TrimSpace(item[:at]), strings.Split(strings.TrimSpace(item[at+1:]), "/")
		if _, twice := out[tenant]; twice || tenant == "" || len(parts) > 3 {
			return nil, fmt.Errorf("%q is not one quota of one tenant", item)
		}
		q, err := parseQuota(parts)
		if err != nil {
			return nil, err
		}
		out[tenant] = q
	}
	return out, nil
}

func parseQuota(parts []string) (q admission.Quota, err error) {
	if q.Concurrent, err = strconv.Atoi(parts[0]); err != nil {
		return q, err
	}
	var cpu time.Duration
	for i, out := range []*time.Duration{&cpu, &q.Window} {
		if i+1 < len(parts) {
			if *out, err = time.ParseDuration(parts[i+1]); err != nil {
				return q, err
			}
		}
	}
	q.CPUSeconds = cpu.Seconds()
	return q, nil
}
