package consolecmd

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/auth/session"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/notify/slack"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// checkpointEvery is how often the trail is looked at.
const checkpointEvery = 5 * time.Second

// signer is the console's own key.
func (s setup) signer() (func(wflo.Decision) wflo.Decision, error) {
	path := s.file.Console.Key
	switch path {
	case "":
		return nil, wflo.Errorf(wflo.CodeMissingKey, "make one with: wflo keygen console.key, and name it as key of console", "the console has no key to sign decisions with")
	case s.file.Audit.Key:
		return nil, wflo.Invalid("console.key", "is the key of the checkpoints too", "make another with wflo keygen: whoever signs decisions must not vouch for the trail")
	}
	name, key, err := config.ReadKey(path)
	if err != nil {
		return nil, fmt.Errorf("console.key: %w", err)
	}
	name = s.known(name, key)
	return func(d wflo.Decision) wflo.Decision { return d.Sign(name, key) }, nil
}

// known is the name that the file's approvals have for a key. A key that they do not
// have is not refused here, because workers may have another file; it is told.
func (s setup) known(name string, key ed25519.PrivateKey) string {
	public, _ := key.Public().(ed25519.PublicKey)
	text := base64.StdEncoding.EncodeToString(public)
	keys := s.file.Approvals.Terms.Keys
	if keys[name] == text {
		return name
	}
	for other, k := range keys {
		if k == text {
			return other
		}
	}
	s.logger.Warn("the console's key is not under approvals.keys of this file; workers must trust it", "name", name, "public", text)
	return name
}

// access is how people and programs prove who they are.
func (s setup) access() (console.Config, error) {
	c := s.file.Console
	out := console.Config{
		Ledger: s.ledger, Metrics: http.NotFoundHandler(), TLSCert: c.TLSCert, TLSKey: c.TLSKey, Rate: c.Rate, Logger: s.logger,
		Redirects: map[string]auth.Redirects{},
	}
	var ways []auth.Authenticator
	keys, err := apikey.New(apikey.Config{Store: s.records, Logger: s.logger})
	if err != nil {
		return out, err
	}
	if !c.NoAPIKeys {
		out.Keys, ways = keys, append(ways, keys)
	}
	for _, o := range c.OIDC {
		login, err := o.Open(s.logger)
		if err != nil {
			return out, fmt.Errorf("console.oidc %s: %w", o.Name, err)
		}
		out.Redirects[o.Name] = login
		if len(o.Audiences) == 0 {
			continue
		}
		bearer, err := login.Bearer(o.Audiences...)
		if err != nil {
			return out, fmt.Errorf("console.oidc %s: %w", o.Name, err)
		}
		ways = append(ways, bearer)
	}
	if c.LDAP != nil {
		directory, err := c.LDAP.Open(s.logger)
		if err != nil {
			return out, fmt.Errorf("console.ldap: %w", err)
		}
		out.Passwords = directory
	}
	if len(ways) == 0 && len(out.Redirects) == 0 && out.Passwords == nil {
		return out, wflo.Invalid("console", "lets nobody log in", "set oidc or ldap, or leave api_keys on")
	}
	out.Auth = auth.Chain(ways...)
	out.Logins, err = session.New(session.Config{
		// A proxy that speaks TLS is in front where the address says so.
		Store: s.records, Plain: c.TLSCert == "" && !strings.HasPrefix(c.URL, "https://"), Lifetime: c.Lifetime, Idle: c.Idle, Logger: s.logger,
	})
	if err != nil {
		return out, err
	}
	out.Slack, err = s.slack()
	return out, err
}

// slack takes clicks; nil where the file does not say whose.
func (s setup) slack() (*console.Slack, error) {
	c := s.file.Console.Slack
	if c == nil {
		return nil, nil //nolint:nilnil // see above
	}
	secret, err := c.Secret.Read("signing_secret of slack")
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
		Reply:  slack.NewReplier(c.API, c.Outbound).Reply,
		People: c.People,
	}, nil
}

// serve completes what the console works with.
func (s setup) serve(out *console.Config, c client.Client, namespace string, sign func(wflo.Decision) wflo.Decision, signs *rounds) {
	out.Client, out.Metrics = c, signs.metrics.Handler()
	out.Desk = &desk.Desk{
		Client: c, Namespace: namespace, Records: s.records, Sign: sign, Terms: s.file.Approvals.Terms, Logger: s.logger,
	}
}

// rounds signs checkpoints while the console runs, where it has a key for them.
type rounds struct {
	signs   *audit.Checkpointer // nil without a key
	metrics *telemetry.Metrics
	logger  *slog.Logger
}

func (s setup) checkpoints() (*rounds, error) {
	r := &rounds{metrics: telemetry.NewMetrics(telemetry.Config{Logger: s.logger}), logger: s.logger}
	a := s.file.Audit
	if a.Checkpoints == "" {
		return r, nil
	}
	name, key, err := config.ReadKey(a.Key)
	if errors.Is(err, fs.ErrNotExist) {
		s.logger.Info("no checkpoints of the audit trail are made here: their key is not on this machine", "key", a.Key)
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit.key: %w", err)
	}
	r.signs = &audit.Checkpointer{
		Audit: s.records, Store: &audit.Directory{Path: a.Checkpoints},
		Sign: func(c wflo.Checkpoint) wflo.Checkpoint { return c.Sign(name, key) },
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
