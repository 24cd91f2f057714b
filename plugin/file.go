package plugin

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/config"
)

// GatewayKey is a key that clients of the worker's OpenAI-compatible endpoint
// present, and for whom its calls are made.
type GatewayKey struct {
	// Name is what logs call the key.
	Name string
	// Secret is the key itself.
	Secret string
	// Run says who pays: User, Team, Org, Agent and Tags. Its Budget is that of
	// each run of the key.
	Run wflo.Run
}

// FromFile reads a configuration file and, above it, the environment: where both
// set something, the environment counts. The file has budgets, routes, the
// response cache, estimates, keys of the gateway, the meter, approvals, channels,
// policies, checkpoints, snapshots, logs and payloads; docs/wflo.example.yaml has all of it. What it gets wrong is an error with file, line and column.
//
//	budgets:
//	  - scope: team
//	    name: payments
//	    limit: "500.00"
//	    period: monthly
//	    time_zone: Europe/Berlin
//	    thresholds: [50, 75, 90]
//	    on_exceeded: ask
func FromFile(path string) (Config, error) {
	f, err := config.Load(path)
	if err != nil {
		return Config{}, err
	}
	c := Config{
		Budgets: f.Budgets, Routes: f.Routes, Strict: f.Estimates == config.EstimatesStrict,
		CacheTTL: f.Cache.TTL, CacheURL: f.Cache.Redis, Meter: Meter(f.Meter),
		Approvals: f.Approvals.Terms, RequireApproval: f.Approvals.RequiredActivities, PolicyFile: f.Policies.File, EmergencyFile: f.Policies.Emergency,
		Checkpoints: Checkpoints{Dir: f.Audit.Checkpoints, KeyFile: f.Audit.Key},
		ApprovalDefaults: activities.ApprovalDefaults{
			FourEyes: f.Approvals.FourEyes, ReasonRequired: f.Approvals.ReasonRequired, SignedOnly: f.Approvals.SignedOnly,
			Notify: f.Approvals.Notify, Timeout: f.Approvals.Timeout, Expiry: f.Approvals.Expiry,
		},
	}
	c.Logs = Logs(f.Logs)
	if c.Payloads, err = payloadsOf(f.Payloads); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if c.Snapshots, err = snapshotsOf(f.Snapshots); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if c.Channels, c.ChannelFallback, err = channelsOf(f); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, k := range f.Gateway.Keys {
		secret, err := gatewaySecret(k)
		if err != nil {
			return Config{}, fmt.Errorf("%s: %w", path, err)
		}
		c.GatewayKeys = append(c.GatewayKeys, GatewayKey{Name: k.Name, Secret: secret, Run: k.Run()})
	}
	return overlay(c)
}

// minSecret keeps keys out that can be guessed, in bytes.
const minSecret = 16

// gatewaySecret reads a key from where the file says that it is. A key that is
// not there is an error: the endpoint would refuse its client without a word.
func gatewaySecret(k config.GatewayKey) (string, error) {
	where := "variable " + k.Env
	secret := os.Getenv(k.Env)
	if k.File != "" {
		where = "file " + k.File
		data, err := os.ReadFile(k.File)
		if err != nil {
			return "", wflo.Errorf(wflo.CodeInvalid, "name a readable file", "key %s of the gateway: %w", k.Name, err)
		}
		secret = string(data)
	}
	if secret = strings.TrimSpace(secret); len(secret) < minSecret {
		return "", wflo.Errorf(wflo.CodeMissingKey, fmt.Sprintf("put a random key of at least %d characters there", minSecret),
			"key %s of the gateway: %s holds no key or a short one", k.Name, where)
	}
	return secret, nil
}

// costFromEnv reads what may stand in the file, too.
func costFromEnv(c *Config) error {
	if v := os.Getenv("WFLO_ESTIMATES"); v != "" {
		e, err := config.ParseEstimates(v)
		if err != nil {
			return wflo.Invalid("WFLO_ESTIMATES", fmt.Sprintf("is %q", v), "use strict or learned")
		}
		c.Strict = e == config.EstimatesStrict
	}
	if v := os.Getenv("WFLO_CACHE_TTL"); v != "" {
		ttl, err := time.ParseDuration(v)
		if err != nil || ttl < 0 {
			return wflo.Invalid("WFLO_CACHE_TTL", fmt.Sprintf("is %q", v), "use a duration such as 10m, or 0s for no cache")
		}
		c.CacheTTL = ttl
	}
	if v := os.Getenv("WFLO_REDIS_URL"); v != "" {
		c.CacheURL = v
	}
	return nil
}
