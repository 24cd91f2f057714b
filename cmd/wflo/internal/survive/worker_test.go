//go:build integration

package survive

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/plugin"
)

// Variables that make this test binary a worker.
const (
	envQueue = "WFLO_SURVIVE_QUEUE"
	envShop  = "WFLO_SURVIVE_SHOP"  // URL of the payment provider
	envPlan  = "WFLO_SURVIVE_PLAN"  // what breaks: breakings as JSON
	envNotes = "WFLO_SURVIVE_NOTES" // a file of what was hit and broken; empty: none
	envKey   = "WFLO_SURVIVE_KEY"   // the private key that signs decisions, in base64
)

// signer is the name of that key.
const signer = "desk"

// breaking is one fault: what happens at a point, the nth time that it is hit.
type breaking struct {
	Point  string `json:"point"`
	N      int    `json:"n"`
	Action string `json:"action"`
}

func (b breaking) String() string { return fmt.Sprintf("%s %s %d", b.Action, b.Point, b.N) }

// actions are what can happen. A point after a call that fails is the fault in which it
// was done and its caller heard an error.
var actions = map[string]faultpoint.Fault{
	"fail": faultpoint.Fail, "exit": faultpoint.Exit, "delay": faultpoint.Delay(2 * time.Second),
}

// arm has the worker break as it is planned, once each, and notes what it comes by.
func arm() error {
	var plan []breaking
	if err := json.Unmarshal([]byte(os.Getenv(envPlan)), &plan); err != nil {
		return fmt.Errorf("%s: %w", envPlan, err)
	}
	note := func(string) {}
	if path := os.Getenv(envNotes); path != "" {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600) //nolint:gosec // the test says where
		if err != nil {
			return err
		}
		note = func(line string) { _, _ = file.WriteString(line + "\n") } // one write, whole or not at all
	}
	var mu sync.Mutex
	hits := map[string]int{}
	faultpoint.Arm(func(point string) error {
		mu.Lock()
		hits[point]++
		n := hits[point]
		i := slices.IndexFunc(plan, func(b breaking) bool { return b.Point == point && b.N <= n })
		var now breaking
		if i >= 0 {
			now = plan[i]
			plan = slices.Delete(plan, i, i+1)
			note("broken " + now.String())
		} else if n < 3 {
			note([]string{"hit ", "again "}[n-1] + point)
		}
		mu.Unlock()
		if i < 0 {
			return nil
		}
		return actions[now.Action](point)
	})
	return nil
}

// runWorker is a worker with the agent, and an API on which people decide.
func runWorker() error {
	if err := arm(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	key, err := base64.StdEncoding.DecodeString(os.Getenv(envKey))
	if err != nil || len(key) != ed25519.PrivateKeySize {
		return fmt.Errorf("%s is no key: %w", envKey, err)
	}
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	level := telemetry.NewLevel(0)
	cfg.Logger = telemetry.NewLogger(os.Stderr, telemetry.Config{Level: level, RunFromContext: wflo.RunFrom})
	cfg.SweepEvery, cfg.HoldSweepEvery, cfg.NoticesEvery, cfg.AlertEvery = 3*time.Second, 3*time.Second, time.Second, 2*time.Second
	if d := os.Getenv("WFLO_SURVIVE_SWEEP"); d != "" {
		if cfg.SweepEvery, err = time.ParseDuration(d); err != nil {
			return err
		}
		cfg.HoldSweepEvery = cfg.SweepEvery
	}
	guard, err := plugin.New(cfg)
	if err != nil {
		return err
	}
	defer guard.Close()
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return err
	}
	opts.Plugins = append(opts.Plugins, guard)
	c, err := client.Dial(opts)
	if err != nil {
		return err
	}
	defer c.Close()
	api, err := serve(c, guard, cfg, ed25519.PrivateKey(key))
	if err != nil {
		return err
	}
	defer api.Stop()
	// Tasks of a dead worker's cache would wait for it.
	worker.SetStickyWorkflowCacheSize(0)
	w := worker.New(c, os.Getenv(envQueue), worker.Options{WorkerStopTimeout: 20 * time.Second})
	register(w)
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	fmt.Println("worker started", api.URL(), "counts", counts())
	<-ctx.Done()
	return nil
}

// serve starts the API. Whoever asks is who they say they are; what they decide is
// signed.
func serve(c client.Client, guard *plugin.Plugin, cfg plugin.Config, key ed25519.PrivateKey) (*console.Server, error) {
	return console.Start(console.Config{
		Addr: "127.0.0.1:0", Client: c, Metrics: guard.Metrics(), Ledger: guard.Ledger(), Logger: guard.Logger(), Insecure: true,
		Desk: &desk.Desk{
			Client: c, Namespace: "default", Records: guard.Records(), Terms: cfg.Approvals, Logger: guard.Logger(),
			Sign: func(d wflo.Decision) wflo.Decision { return d.Sign(signer, key) },
		},
	})
}

// counts starts a page that tells how many goroutines there are, and gives its address.
func counts() string {
	page := &http.Server{Addr: "127.0.0.1:0", ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, runtime.NumGoroutine())
	})}
	l, err := listen()
	if err != nil {
		return err.Error()
	}
	go func() {
		if err := page.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return "http://" + l.Addr().String()
}
