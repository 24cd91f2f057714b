package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/pricing"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// DefaultInline is the largest payload that stays in Temporal's history, in
// bytes; larger ones are stored as blobs and referred to.
const DefaultInline = 128 << 10

// Config sets up a plugin. The zero value is a worker on one machine: SQLite
// and blobs in DataDir, providers from the environment, Docker as sandbox, the
// embedded price book, and no approver, so that gates cannot be opened.
type Config struct {
	// DataDir holds the database and the blobs of the embedded default. Empty
	// means $XDG_DATA_HOME/wflo, or ~/.local/share/wflo.
	DataDir string
	// Database is the ledger's: empty for SQLite in DataDir, "memory" for one
	// that is gone after Close, or a URL postgres://USER@HOST/DATABASE.
	Database string
	// Providers are the model vendors; nil means [ProvidersFromEnv].
	Providers []Provider
	// Prices is the price book; nil means the embedded one.
	Prices activities.Prices
	// Sandbox runs untrusted code; nil means Docker, connected at first use.
	// Without an engine a sandboxed step fails; it never runs on the host.
	Sandbox sandbox.Runner
	// Docker configures the sandbox where Sandbox is nil: images, caps on what
	// workflows may ask for, pool, quotas, network, defences. The zero value is
	// safe. Owner, Logger, Secrets and Observer are filled in where they are not
	// set.
	Docker docker.Config
	// PinImages refuses images of Docker.Image and Docker.Images that are not
	// named by their digest.
	PinImages bool
	// SecretsDir holds secrets for programs in sandboxes, one file each, besides
	// the variables WFLO_SECRET_<NAME>. Where Docker.Secrets is set, neither is
	// looked at.
	SecretsDir string
	// SweepEvery is how often sandboxes, gates and compensations of runs that were
	// terminated are looked for, and removed, closed or undone; zero means a minute. A
	// compensation is left alone for that time after its state changed.
	SweepEvery time.Duration
	// Owner marks sandboxes of this installation, so that the sweep of dead
	// runs leaves others alone. Workers of one Temporal namespace should share
	// it. Empty means Temporal's address and namespace.
	Owner string
	// Budgets are declared at the start: made, or changed where the declaration
	// is another one than the last time, so that a start does not undo what
	// operators set. Budgets that are not declared any more stay. No two may have
	// the same scope and name.
	Budgets []wflo.Budget
	// Strict reserves for the most tokens that a prompt can be counted as, so that
	// no call costs more than was reserved for it, whoever writes it: the model
	// activity, an SDK over Transport, or a caller of the endpoint. Else the size
	// of prompts is learned from what like calls were billed, and a call may cost
	// more than was reserved, which is recorded and refuses the next one that meets
	// the budget.
	Strict bool
	// Routes send calls to other models than they ask for; the first that matches
	// counts.
	Routes []activities.Route
	// CacheTTL is how long answers of models are kept, to be used again for the
	// same question of the same team; zero means no cache.
	CacheTTL time.Duration
	// Cache keeps them; nil means CacheURL. New does not close it.
	Cache activities.Cache
	// CacheURL is a Redis server that all workers share, redis:// or rediss://;
	// empty means the worker's memory.
	CacheURL string
	// GatewayKeys are the keys that open the worker's OpenAI-compatible endpoint,
	// see [Plugin.Gateway]; none means that there is no endpoint.
	GatewayKeys []GatewayKey
	// Meter says how calls of SDKs and of that endpoint are accounted for.
	Meter Meter
	// OnBudgetAlert are called when a threshold of a budget is crossed, and
	// OnBudgetExceeded when a call does not fit one for the first time in its
	// window: in an activity, in this order, at least once per alert. See
	// activities.AlertHandler. Workers of a task queue should agree.
	OnBudgetAlert, OnBudgetExceeded []func(ctx context.Context, a wflo.BudgetAlert) error
	// AlertEvery is how often the worker looks for alerts; zero means two
	// seconds.
	AlertEvery time.Duration
	// HoldSweepEvery is how often the worker looks for reservations that nobody
	// will close, because a worker died or a run was terminated; zero means a
	// minute. Reservations are left alone for three times as long.
	HoldSweepEvery time.Duration
	// Approvals says which decisions count at approval gates. The zero value
	// trusts nobody, and then opening a gate fails.
	Approvals wflo.Terms
	// RequireApproval are the registered names of activities that this worker never
	// begins without an approval, whatever workflow code says and whoever schedules them:
	// see activities.InterceptorConfig. Workers of a task queue should agree.
	RequireApproval []string
	// ApprovalDefaults fill in what gates do not say themselves.
	ApprovalDefaults activities.ApprovalDefaults
	// Channels are where notices go, by the names that gates and policies use, such as
	// "slack://ops-channel". FromFile fills them; a Channel of your own may be among
	// them. This worker delivers, unless there are none. A notice to a name that is
	// not there is a dead letter.
	Channels map[string]Channel
	// ChannelFallback names, for a channel, the one that gets what it could not deliver.
	ChannelFallback map[string]string
	// NoticesEvery is how often notices are looked for; zero means a second.
	NoticesEvery time.Duration
	// Checkpoints are of the audit trail; the zero value makes none.
	Checkpoints Checkpoints
	// Policies govern runs that begin on this worker, each for as long as it lasts;
	// or PolicyFile, which is loaded again when it changes. Neither means no
	// policies. Runs that have some keep them on workers without.
	Policies   *policy.Set
	PolicyFile string
	// EmergencyFile has policies that stop runs which have begun: the file as it is
	// now, before every attempt of an activity. They can halt and audit. The file is
	// loaded again when it changes; it must be there from the start, and may
	// have no policies ("default: allow").
	EmergencyFile string
	// Snapshots says where snapshots of runs are kept, what they may hold and for how long.
	// The zero value keeps them in DataDir.
	Snapshots Snapshots
	// Payloads says how what Temporal keeps of runs is sealed. The zero value takes what the
	// environment says; see envelope.ReadEnv.
	Payloads Payloads
	// MaxTokens bounds an answer when the prompt does not; zero means
	// activities.DefaultMaxTokens.
	MaxTokens int64
	// MaxResult is the largest result of any activity, in bytes of JSON; zero
	// means activities.DefaultMaxResult.
	MaxResult int
	// Inline is the largest payload that stays in history, in bytes; zero means
	// DefaultInline.
	Inline int
	// CaptureContent puts what models are asked and answer on the spans of their calls, as
	// gen_ai.input.messages and gen_ai.output.messages, cut to 32 KiB each. False keeps it
	// out of traces: whoever may read those may read prompts.
	CaptureContent bool
	// NoSearchAttributes is for namespaces that do not have wflo's search
	// attributes and will not get them. Workers of a task queue must agree.
	NoSearchAttributes bool
	// Logger is the worker's; nil means slog.Default. [Plugin.Logger] is what becomes of it.
	Logger *slog.Logger
	// Logs says which lines of runs are kept in the database; the zero value keeps them
	// for a week.
	Logs Logs
	// Registry receives the Prometheus metrics; nil means a new one.
	Registry *prometheus.Registry
}

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Inline == 0 {
		c.Inline = DefaultInline
	}
	if c.MaxResult == 0 {
		c.MaxResult = activities.DefaultMaxResult
	}
	if c.Inline < 0 || c.MaxResult < 0 || c.MaxTokens < 0 {
		return c, wflo.Invalid("plugin.Config", "has a negative limit", "use 0 for the default")
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = sweepEvery
	}
	if err := c.validateBudgets(); err != nil {
		return c, err
	}
	if c.AlertEvery == 0 {
		c.AlertEvery = alertEvery
	}
	if c.NoticesEvery == 0 {
		c.NoticesEvery = noticesEvery
	}
	if c.Snapshots.CollectEvery == 0 {
		c.Snapshots.CollectEvery = collectEvery
	}
	if c.HoldSweepEvery == 0 {
		c.HoldSweepEvery = holdSweepEvery
	}
	if err := c.validateSandbox(); err != nil {
		return c, err
	}
	if c.Prices == nil {
		c.Prices = pricing.Default()
	}
	if slices.Contains(c.RequireApproval, "") {
		return c, wflo.Invalid("plugin.Config.RequireApproval", "has an empty name", "name activities as they are registered")
	}
	if err := c.validateCost(); err != nil {
		return c, err
	}
	if c.Providers == nil {
		c.Providers = ProvidersFromEnv()
	}
	if c.Payloads.Keys == "" {
		var err error
		if c.Payloads, err = c.Payloads.overlaid(); err != nil {
			return c, err
		}
	}
	if c.DataDir == "" {
		dir, err := defaultDataDir()
		if err != nil {
			return c, err
		}
		c.DataDir = dir
	}
	return c, nil
}

var pinned = regexp.MustCompile(`(^|@)sha256:[0-9a-f]{64}$`)

// validateSandbox finds what would only show when the first program is to run.
func (c Config) validateSandbox() error {
	if c.SweepEvery < 0 {
		return wflo.Invalid("plugin.Config.SweepEvery", "is negative", "use 0 for a minute")
	}
	if c.Owner == docker.AnyOwner || c.Docker.Owner == docker.AnyOwner {
		return wflo.Invalid("plugin.Config.Owner", "is everybody", "name this installation: the worker removes sandboxes of its owner whose runs it does not know")
	}
	if !c.PinImages {
		return nil
	}
	for _, image := range append([]string{c.Docker.Image}, c.Docker.Images...) {
		if !pinned.MatchString(image) {
			return wflo.Invalid("plugin.Config.PinImages", fmt.Sprintf("is set, but the image %.80q has no digest", image),
				"name every image as NAME@sha256:DIGEST, as docker image inspect shows it under RepoDigests")
		}
	}
	return nil
}

func defaultDataDir() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "wflo"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", wflo.Errorf(wflo.CodeInvalid, "set plugin.Config.DataDir", "find a directory for wflo's data: %w", err)
	}
	return filepath.Join(home, ".local", "share", "wflo"), nil
}
