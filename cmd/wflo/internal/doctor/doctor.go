// Package doctor says what is wrong with an installation of wflo and how to mend it.
// [Checks] lists the examinations, each of which stands on its own, and [Run] makes them
// at the same time. Nothing is changed, but for two traces: a blob that is written to see
// that snapshots can be, and a task queue of the name [ClockQueue] in Temporal, whose
// clock cannot be read otherwise.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// State says what a check found.
type State string

// The states of findings. What is absent is not in use or not required here, and is no
// fault.
const (
	OK     State = "ok"
	Fault  State = "fault"
	Absent State = "absent"
)

// Finding is what a check has to say.
type Finding struct {
	Check string `json:"check"`
	State State  `json:"state"`
	// Detail is one line; Fix is the command, or the one thing to do, that mends a fault.
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// Check is one examination.
type Check struct {
	// Name is what people call it by; About says what it looks at, in one line.
	Name, About string
	run         func(ctx context.Context) []Finding
}

// Config says what is examined.
type Config struct {
	// Dial connects to Temporal. Required.
	Dial func(context.Context) (Temporal, error)
	// TaskQueue is where a worker should poll. Required.
	TaskQueue string
	// API asks the API of the worker or the console who we are: an error says that it does
	// not answer, or does not know us. Required.
	API func(context.Context) error
	// Versions asks the API what it is made of; an API that is older than that question is an
	// error of [ErrOldAPI]. Required.
	Versions func(context.Context) (console.Version, error)
	// Health asks the same API whether it is well, which takes no login. Nil means that
	// nobody asks.
	Health func(context.Context) error
	// Defences asks the container engine, or each of several, whose defences then have its
	// name and of which one that does not answer lacks an engine. Required.
	Defences func(context.Context) ([]docker.Defence, error)
	// Settings are those of the worker on this machine; nil means plugin.FromEnv.
	Settings func() (plugin.Config, error)
	// DataDir is the worker's data directory where Settings names none. Required.
	DataDir string
	// Keys are files that only their owner may read; those that are not there are left out.
	Keys []string
	// Version is that of this program, Parts those of what is built in.
	Version string
	Parts   map[string]string
	// Now is time.Now when nil.
	Now func() time.Time
}

// Temporal is a connection with what it was made with.
type Temporal struct {
	client.Client
	Address, Namespace string
}

// timeLimit is how long one check may take. Trying a sandbox takes longest.
const timeLimit = 30 * time.Second

// patient is a configuration in which what several checks need is made once.
type patient struct {
	Config
	temporal func() (Temporal, error)
	settings func() (plugin.Config, error)
	defences func() ([]docker.Defence, error)
}

// Checks lists the examinations of an installation, in the order in which a person would
// mend what they find. The caller ends ctx when they are done: connections live as long.
func Checks(ctx context.Context, cfg Config) []Check {
	if cfg.Settings == nil {
		cfg.Settings = plugin.FromEnv
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &patient{Config: cfg}
	p.temporal = sync.OnceValues(func() (Temporal, error) {
		c, err := cfg.Dial(ctx)
		if err == nil {
			context.AfterFunc(ctx, c.Close)
		}
		return c, err
	})
	p.settings = sync.OnceValues(cfg.Settings)
	p.defences = sync.OnceValues(func() ([]docker.Defence, error) { return cfg.Defences(ctx) })
	return []Check{
		{"config", "the configuration file and the WFLO_ variables are valid", p.config},
		{"temporal", "Temporal answers, and has the namespace", p.reach},
		{"attributes", "the namespace has wflo's search attributes", p.attributes},
		{"worker", "a worker takes work from the task queue", p.worker},
		{"clock", "this machine's clock agrees with Temporal's", p.clock},
		{"health", "the API of the worker or the console is served, whoever asks", p.health},
		{"api", "the API of the worker or the console answers, and knows you", p.api},
		{"database", "the worker's database can be read", p.database},
		{"audit", "the end of the audit trail is what was written", p.audit},
		{"snapshots", "the store of snapshots can be written", p.snapshots},
		{"disk", "the disk of the data directory has space", p.disk},
		{"keys", "only you may read your keys", p.keys},
		{"policies", "the files of policies are valid", p.policies},
		{"prices", "the price book is not old", p.prices},
		{"engine", "programs can be run in sandboxes", p.engine},
		{"versions", "the parts fit each other", p.versions},
	}
}

// Run makes checks at the same time and gives what they found, in their order.
func Run(ctx context.Context, checks []Check) []Finding {
	found := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			within, cancel := context.WithTimeout(ctx, timeLimit)
			defer cancel()
			found[i] = c.run(within)
		})
	}
	all.Wait()
	var list []Finding
	for i, c := range checks {
		for _, f := range found[i] {
			f.Check = c.Name
			list = append(list, f)
		}
	}
	return list
}

// fine is the finding of a check that has nothing to say but what it saw.
func fine(format string, args ...any) []Finding {
	return []Finding{{State: OK, Detail: fmt.Sprintf(format, args...)}}
}

func absent(format string, args ...any) []Finding {
	return []Finding{{State: Absent, Detail: fmt.Sprintf(format, args...)}}
}

func fault(fix, format string, args ...any) []Finding {
	return []Finding{{State: Fault, Detail: fmt.Sprintf(format, args...), Fix: fix}}
}

// failed is an error as a fault: its hint is the fix, unless there is none.
func failed(err error, otherwise string) []Finding {
	message, hint := wflo.Explain(err)
	if hint == "" {
		hint = otherwise
	}
	return fault(hint, "%s", message)
}

// ErrOldAPI says that an API has no path that tells its versions.
var ErrOldAPI = errors.New("it does not tell its versions")

// errNoSettings says that a check cannot be made before another fault is mended.
var errNoSettings = errors.New("see config")

// worked are the settings for checks that depend on them: config tells what is wrong
// with them, once.
func (p *patient) worked() (plugin.Config, error) {
	c, err := p.settings()
	if err != nil {
		return c, errNoSettings
	}
	if c.DataDir == "" {
		c.DataDir = p.DataDir
	}
	return c, nil
}

// unasked is what a check says that another one's fault kept from being made.
func unasked(of string) []Finding { return absent("not looked at: see %s", of) }
