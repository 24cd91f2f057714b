package plugin

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// FromEnv reads a configuration from the environment, for workers that are
// configured by their deployment. Unset variables give the zero value's
// defaults; providers come from [ProvidersFromEnv].
//
//	WFLO_CONFIG           a file, see FromFile; the variables below count where both set something
//	WFLO_DATA_DIR         Config.DataDir
//	WFLO_DATABASE         Config.Database
//	WFLO_OWNER            Config.Owner
//	WFLO_APPROVER_KEYS    NAME=BASE64,...: Ed25519 public keys that decisions may be signed with
//	WFLO_ALLOW_UNSIGNED   true: decisions without a signature count; for development
//	WFLO_REQUIRE_APPROVAL  Config.RequireApproval, a list with commas
//	WFLO_POLICIES         Config.PolicyFile
//	WFLO_EMERGENCY_POLICIES  Config.EmergencyFile
//	WFLO_PRICES           a price book file whose rows stand above the embedded ones
//	WFLO_MAX_TOKENS       Config.MaxTokens
//	WFLO_ESTIMATES        strict or learned: Config.Strict
//	WFLO_CACHE_TTL        Config.CacheTTL, such as 10m; 0s for none
//	WFLO_REDIS_URL        Config.CacheURL, which may hold a password here
//	WFLO_MAX_RESULT       Config.MaxResult, such as 8m
//	WFLO_PAYLOAD_KEYS     Config.Payloads.Keys, or WFLO_PAYLOAD_KEYS_FILE, a file that holds them
//	WFLO_PAYLOAD_REFUSE_PLAIN  Config.Payloads.RefusePlain
//	WFLO_SECRETS_DIR      Config.SecretsDir
//	WFLO_SECRET_<NAME>    the secret <NAME> for programs in sandboxes
//	<NAME>_FILE           a file with the secret of the variable <NAME>, see SecretsFromFiles
//
// and for the sandbox, where sizes are written like 512m or 2g, durations like
// 90s or 1h, lists with commas, and switches as true or false:
//
//	WFLO_SANDBOX_HOST                   Docker.Host
//	WFLO_SANDBOX_HOSTS                  Docker.Hosts in place of it, a list of NAME=ADDRESS
//	WFLO_SANDBOX_CERTS                  a directory with ca.pem, cert.pem and key.pem for tcp addresses, or with one
//	                                    such directory per host, by its name
//	WFLO_SANDBOX_HOST_GONE              Docker.HostGone
//	WFLO_SANDBOX_KEEP                   steps (default) or snapshots: Docker.KeepLess
//	WFLO_SANDBOX_IMAGE, _IMAGES         Docker.Image and Docker.Images, a list; * is any
//	WFLO_SANDBOX_PIN_IMAGES             Config.PinImages
//	WFLO_SANDBOX_RUNTIME, _RUNTIMES     Docker.Runtime and Docker.Runtimes, a list
//	WFLO_SANDBOX_REQUIRE_APPARMOR       Docker.RequireAppArmor
//	WFLO_SANDBOX_ALLOW_OPEN_NETWORK     Docker.AllowOpenNetwork
//	WFLO_SANDBOX_ALLOW_ENGINE_PROFILE   Docker.AllowEngineProfile
//	WFLO_SANDBOX_PRIVATE_NETWORKS       Docker.Egress.Private, a list of ADDRESS/BITS
//	WFLO_SANDBOX_MAX_<LIMIT>            Docker.Max; <LIMIT> is MEMORY, CPUS, PIDS, TIMEOUT, CPU_TIME, TMP,
//	                                    WORKSPACE, FILE, OPEN, OUTPUT, OUTPUT_TOTAL or ARTIFACTS
//	WFLO_SANDBOX_POOL, _POOL_MAX        Docker.Pool.Size, -1 for none, and Docker.Pool.Max
//	WFLO_SANDBOX_POOL_AGE               Docker.Pool.MaxAge
//	WFLO_SANDBOX_IDLE                   Docker.Idle
//	WFLO_SANDBOX_HOST_MEMORY            Docker.Admission.Memory: of all sandboxes together
//	WFLO_SANDBOX_HOST_CPUS              Docker.Admission.CPUs
//	WFLO_SANDBOX_OVERCOMMIT             Docker.Admission.Overcommit
//	WFLO_SANDBOX_CONCURRENT             Docker.Admission.Sandboxes
//	WFLO_SANDBOX_QUEUE                  Docker.Admission.Queue
//	WFLO_SANDBOX_QUOTAS                 Docker.Admission.Tenants, a list of TENANT=CONCURRENT/CPU TIME/WINDOW,
//	                                    such as *=8,books=4/30m/1h; * is who is not listed, 0 is no bound
//	WFLO_SANDBOX_STARTS                 Docker.Starts
//	WFLO_SANDBOX_ENGINE_TIMEOUT         Docker.EngineTimeout
//	WFLO_SANDBOX_SWEEP                  Config.SweepEvery
func FromEnv() (Config, error) {
	if err := SecretsFromFiles(); err != nil {
		return Config{}, err
	}
	if path := os.Getenv("WFLO_CONFIG"); path != "" {
		return FromFile(path)
	}
	return overlay(Config{})
}

// overlay is c with what the environment sets.
func overlay(c Config) (Config, error) {
	c.DataDir, c.Database = os.Getenv("WFLO_DATA_DIR"), os.Getenv("WFLO_DATABASE")
	c.Owner, c.SecretsDir = os.Getenv("WFLO_OWNER"), os.Getenv("WFLO_SECRETS_DIR")
	c.PolicyFile = cmp.Or(os.Getenv("WFLO_POLICIES"), c.PolicyFile)
	c.EmergencyFile = cmp.Or(os.Getenv("WFLO_EMERGENCY_POLICIES"), c.EmergencyFile)
	err := sandboxFromEnv(&c)
	if err != nil {
		return c, err
	}
	if c.Payloads, err = c.Payloads.overlaid(); err != nil {
		return c, err
	}
	if err := costFromEnv(&c); err != nil {
		return c, err
	}
	if v := os.Getenv("WFLO_APPROVER_KEYS"); v != "" {
		if c.Approvals.Keys, err = parseKeys(v); err != nil {
			return c, err
		}
	}
	if v := os.Getenv("WFLO_REQUIRE_APPROVAL"); v != "" {
		c.RequireApproval = nil
		for _, name := range strings.Split(v, ",") {
			c.RequireApproval = append(c.RequireApproval, strings.TrimSpace(name))
		}
	}
	if v := os.Getenv("WFLO_ALLOW_UNSIGNED"); v != "" {
		if c.Approvals.AllowUnsigned, err = strconv.ParseBool(v); err != nil {
			return c, wflo.Invalid("WFLO_ALLOW_UNSIGNED", fmt.Sprintf("is %q", v), "use true or false")
		}
	}
	if v := os.Getenv("WFLO_MAX_TOKENS"); v != "" {
		if c.MaxTokens, err = strconv.ParseInt(v, 10, 64); err != nil || c.MaxTokens < 1 {
			return c, wflo.Invalid("WFLO_MAX_TOKENS", fmt.Sprintf("is %q", v), "use a positive number of tokens")
		}
	}
	if path := os.Getenv("WFLO_PRICES"); path != "" {
		if c.Prices, err = pricesWith(path); err != nil {
			return c, err
		}
	}
	return c, nil
}

// parseKeys reads NAME=BASE64 pairs. A key that cannot be used must stop the
// worker: silently trusting fewer people than configured is confusing, and
// trusting the wrong ones is worse.
func parseKeys(text string) (map[string]string, error) {
	keys := map[string]string{}
	for _, pair := range strings.Split(text, ",") {
		name, key, _ := strings.Cut(strings.TrimSpace(pair), "=")
		raw, err := base64.StdEncoding.DecodeString(key)
		if name == "" || err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, wflo.Invalid("WFLO_APPROVER_KEYS", fmt.Sprintf("entry %q is not NAME=BASE64 of an Ed25519 public key", name), "print the public key where the private one was made")
		}
		keys[name] = key
	}
	return keys, nil
}

func pricesWith(path string) (*pricing.Book, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "set WFLO_PRICES to a readable file", "read price book: %w", err)
	}
	defer f.Close()
	own, err := pricing.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("price book %s: %w", path, err)
	}
	return pricing.Default().With(own), nil
}
