package console

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/notify/slack"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// checkpointEvery is how often the trail is looked at.
const checkpointEvery = 5 * time.Second

// signer is the console's own key.
func (c *Console) signer() (func(wflo.Decision) wflo.Decision, error) {
	path := c.file.Console.Key
	switch path {
	case "":
		return nil, wflo.Errorf(wflo.CodeMissingKey, "make one with: wflo keygen console.key, and name it as key of console", "the console has no key to sign decisions with")
	case c.file.Audit.Key:
		return nil, wflo.Invalid("console.key", "is the key of the checkpoints too", "make another with wflo keygen: whoever signs decisions must not vouch for the trail")
	}
	name, key, err := config.ReadKey(path)
	if err != nil {
		return nil, fmt.Errorf("console.key: %w", err)
	}
	name = c.known(name, key)
	return func(d wflo.Decision) wflo.Decision { return d.Sign(name, key) }, nil
}

// known is the name that the file's approvals have for a key. A key that they do not
// have is not refused here, because workers may have another file; it is told.
func (c *Console) known(name string, key ed25519.PrivateKey) string {
	public, _ := key.Public().(ed25519.PublicKey)
	text := base64.StdEncoding.EncodeToString(public)
	keys := c.file.Approvals.Terms.Keys
	if keys[name] == text {
		return name
	}
	for other, k := range keys {
		if k == text {
			return other
		}
	}
	c.logger.Warn("the console's key is not under approvals.keys of this file; workers must trust it", "name", name, "public", text)
	return name
}

// slack takes clicks; nil where the file does not say whose.
func (c *Console) slack() (*console.Slack, error) {
	set := c.file.Console.Slack
	if set == nil {
		return nil, nil //nolint:nilnil // see above
	}
	secret, err := set.Secret.Read("signing_secret of slack")
	if err != nil {
		return nil, fmt.Errorf("console.slack: %w", err)
	}
	return &console.Slack{
		Verify: func(header http.Header, body []byte, now time.Time) error {
			return slack.Verify(secret, header, body, now)
		},
		Parse: func(body []byte) (console.Click, error) {
			i, err := slack.ParseInteraction(body)
			return console.Click{Team: i.TeamID, User: i.User, Nonce: i.Nonce, Digest: i.Digest, Verdict: i.Verdict, ResponseURL: i.ResponseURL}, err
		},
		Reply:  slack.NewReplier(set.API, set.Outbound).Reply,
		People: set.People,
	}, nil
}

// rounds signs checkpoints while the console runs, where it has a key for them.
type rounds struct {
	signs   *audit.Checkpointer // nil without a key
	metrics *telemetry.Metrics
	logger  *slog.Logger
}

func (c *Console) checkpoints() (*rounds, error) {
	r := &rounds{metrics: telemetry.NewMetrics(telemetry.Config{Logger: c.logger}), logger: c.logger}
	a := c.file.Audit
	if a.Checkpoints == "" {
		return r, nil
	}
	name, key, err := config.ReadKey(a.Key)
	if errors.Is(err, fs.ErrNotExist) {
		c.logger.Info("no checkpoints of the audit trail are made here: their key is not on this machine", "key", a.Key)
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit.key: %w", err)
	}
	r.signs = &audit.Checkpointer{
		Audit: c.records, Store: &audit.Directory{Path: a.Checkpoints},
		Sign: func(point wflo.Checkpoint) wflo.Checkpoint { return point.Sign(name, key) },
	}
	return r, nil
}

// begin starts the rounds; end waits for the last.
func (r *rounds) begin(ctx context.Context) (end func()) {
	if r.signs == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(checkpointEvery)
		defer tick.Stop()
		for {
			made, err := r.signs.Round(ctx)
			if ctx.Err() != nil {
				return
			}
			r.metrics.Checkpointed(made, err != nil)
			if err != nil {
				r.logger.Error("sign checkpoints", "error", err.Error())
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
