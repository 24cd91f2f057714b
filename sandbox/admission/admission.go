// Package admission decides when an execution may begin on this host, so that
// the sandboxes of one worker together never need more memory than the host
// has, and no tenant's storm holds up the others.
//
// The two things to call are [New] and [Controller.Acquire]; what Acquire gives
// is held until [Ticket.Release].
//
// Who comes next: within a tenant, first come, first served. Between tenants in
// turn: the one whose last turn is longest ago. A tenant that its own [Quota]
// holds back loses no turn and delays nobody. A request that does not fit into
// what is free is passed by others that fit, but not for ever: once [MaxPassed]
// later requests have passed it, or it has been first of its tenant without room
// for [Patience], it is owed: everything but requests that are owed for longer
// waits until it fits. What waits for one that is owed comes to be owed as well.
//
// The package refuses requests that can never fit, and more waiting ones than
// Config.Queue. It does not measure or limit what runs: the runner does. It
// starts no goroutines, so there is nothing to close.
package admission

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// When a request that does not fit is owed the next room; see the package.
const (
	MaxPassed = 100
	Patience  = 30 * time.Second
)

// What zero means in a Config and a Quota.
const (
	DefaultOvercommit = 4
	DefaultQueue      = 1000
	DefaultWindow     = time.Hour
	// MemoryShare is the part of the machine's memory that sandboxes may have.
	MemoryShare = 0.8
)

// Config says what the sandboxes of one worker may use together.
type Config struct {
	// Memory is in bytes. Zero means MemoryShare of the machine's memory, or of
	// the memory limit that the worker itself runs under if that is less.
	Memory int64
	// CPUs is in cores. Zero means the machine's times Overcommit.
	CPUs float64
	// Overcommit is how often each core is given away; zero means
	// DefaultOvercommit. CPUs are shared by time, memory cannot be.
	Overcommit float64
	// Sandboxes is how many run at the same time. Zero means as many as memory
	// and CPUs allow.
	Sandboxes int
	// Tenants are the quotas of single tenants. Default is that of each tenant
	// that is not listed, and of all requests without a tenant together.
	Tenants map[string]Quota
	Default Quota
	// Queue is how many requests may wait; zero means DefaultQueue. Above it the
	// tenant with the most waiting requests loses its last one.
	Queue int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Quota is what one tenant may use on this worker. The zero value has no bounds.
type Quota struct {
	// Concurrent is how many executions run at the same time; zero means any
	// number.
	Concurrent int `json:"concurrent,omitempty"`
	// CPUSeconds is how much CPU time executions that ended within the last
	// Window may have used before the next one waits; zero means any amount.
	// What runs counts when it ends, so a tenant can be over by what it had
	// running: set Concurrent too.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
	// Window is from one second to 30 days; zero means DefaultWindow. CPU time
	// counts for the window and at most a sixtieth of it longer.
	Window time.Duration `json:"window,omitempty"`
}

// Controller admits requests. Its methods may be called at the same time.
type Controller struct {
	now   func() time.Time
	start time.Time
	queue int

	mu   sync.Mutex
	host *host
}

// New makes a Controller. Fields that are out of range are an *wflo.Error with
// CodeInvalid, and so is a zero Memory where the machine does not tell.
func New(c Config) (*Controller, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Memory == 0 {
		most, err := machineMemory(os.DirFS("/"))
		if err != nil {
			return nil, &wflo.Error{
				Code: wflo.CodeInvalid, Message: "admission.memory is not set and the machine does not tell: " + err.Error(),
				Hint: "set how many bytes all sandboxes may have together", Err: err,
			}
		}
		c.Memory = int64(MemoryShare * float64(most))
	}
	if c.CPUs == 0 {
		if c.Overcommit == 0 {
			c.Overcommit = DefaultOvercommit
		}
		c.CPUs = float64(runtime.NumCPU()) * c.Overcommit
	}
	if c.Queue == 0 {
		c.Queue = DefaultQueue
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	tenants := make(map[string]limits, len(c.Tenants))
	for name, q := range c.Tenants {
		tenants[name] = q.limits()
	}
	h := newHost(amounts{c.Memory, nano(c.CPUs)}, c.Sandboxes, tenants, c.Default.limits())
	return &Controller{now: c.Now, start: c.Now(), queue: c.Queue, host: h}, nil
}

// most is far above every machine and far below an overflow.
const most = 1e6

func (c Config) validate() error {
	const unbounded = "0 means the default"
	switch {
	case c.Memory < 0:
		return wflo.Invalid("admission.memory", "is negative", "give bytes; "+unbounded)
	case !(c.CPUs >= 0 && c.CPUs <= most):
		return wflo.Invalid("admission.cpus", fmt.Sprintf("is %g", c.CPUs), "give cores; "+unbounded)
	case !(c.Overcommit >= 0 && c.Overcommit <= 1000):
		return wflo.Invalid("admission.overcommit", fmt.Sprintf("is %g", c.Overcommit), "use 1 to 1000; "+unbounded)
	case c.Sandboxes < 0:
		return wflo.Invalid("admission.sandboxes", "is negative", "0 means no bound of its own")
	case c.Queue < 0:
		return wflo.Invalid("admission.queue", "is negative", unbounded)
	}
	if err := c.Default.validate("admission.default"); err != nil {
		return err
	}
	for name, q := range c.Tenants {
		if name == "" {
			return wflo.Invalid("admission.tenants", "has an entry without a name", "requests without a tenant use admission.default")
		}
		if err := q.validate(fmt.Sprintf("admission.tenants[%.80q]", name)); err != nil {
			return err
		}
	}
	return nil
}

func (q Quota) validate(field string) error {
	switch {
	case q.Concurrent < 0:
		return wflo.Invalid(field+".concurrent", "is negative", "0 means no bound")
	case !(q.CPUSeconds >= 0 && q.CPUSeconds <= 1e9):
		return wflo.Invalid(field+".cpu_seconds", fmt.Sprintf("is %g", q.CPUSeconds), "use seconds up to 1e9; 0 means no bound")
	case q.Window != 0 && (q.Window < time.Second || q.Window > 30*24*time.Hour):
		return wflo.Invalid(field+".window", "is "+q.Window.String(), "use 1s to 720h; 0 means "+DefaultWindow.String())
	}
	return nil
}

func (q Quota) limits() limits {
	if q.Window == 0 {
		q.Window = DefaultWindow
	}
	return limits{q.Concurrent, time.Duration(math.Ceil(q.CPUSeconds * float64(time.Second))), q.Window}
}

// Request is one execution that wants to begin.
type Request struct {
	Tenant string  // empty means Config.Default
	Memory int64   // bytes, above zero
	CPUs   float64 // cores, above zero
	// Waiting, if not nil, is told at once that the request must wait, and again
	// whenever State changes; states that follow each other quickly may be told
	// as one. It is called by the goroutine that called Acquire, without a lock.
	// It should return soon, because the request does not begin meanwhile.
	Waiting func(State)
}

// For is the request of a specification, with the default limits filled in.
func For(spec sandbox.Spec) Request {
	l := spec.Limits.WithDefaults()
	return Request{Tenant: spec.Origin.Tenant, Memory: l.Memory, CPUs: l.CPUs}
}

// State says why a request waits.
type State struct {
	// Position is its place among those of its tenant that wait, from 1.
	Position int `json:"position"`
	// Reason says what the first of them waits for, such as "memory of the
	// host", "tenant payments: 4 of 4 running" or "tenant payments: CPU quota
	// used up until 14:05Z".
	Reason string `json:"reason"`
}

// nano turns cores into billionths, rounded up, so that sums are exact.
func nano(cpus float64) int64 { return int64(math.Ceil(cpus * 1e9)) }

// request checks what can never fit, and gives what r takes.
func (c *Controller) request(r Request) (amounts, error) {
	const known = "use sandbox.Limits.WithDefaults, as admission.For does"
	switch total := c.host.total; {
	case r.Memory <= 0:
		return amounts{}, wflo.Invalid("limits.memory", fmt.Sprintf("is %d B", r.Memory), known)
	case !(r.CPUs > 0):
		return amounts{}, wflo.Invalid("limits.cpus", fmt.Sprintf("is %g", r.CPUs), known)
	case r.Memory > total.memory:
		return amounts{}, wflo.Errorf(wflo.CodePolicyDenied, "lower limits.memory, or run a worker with more memory",
			"limits.memory is %s, but all sandboxes of this worker together have %s", sandbox.FormatSize(r.Memory), sandbox.FormatSize(total.memory))
	case r.CPUs > most || nano(r.CPUs) > total.cpus:
		return amounts{}, wflo.Errorf(wflo.CodePolicyDenied, "lower limits.cpus, or run a worker with more CPUs",
			"limits.cpus is %g, but all sandboxes of this worker together have %g", r.CPUs, float64(total.cpus)/1e9)
	}
	return amounts{r.Memory, nano(r.CPUs)}, nil
}
