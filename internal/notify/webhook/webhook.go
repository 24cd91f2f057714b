// Package webhook posts notices as JSON to an address of the user's, signed as
// Standard Webhooks has it (standardwebhooks.com). [New] makes the channel, and
// [Body] is what receivers get. Receivers verify with any library of that standard.
package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
)

const (
	// minSecret and maxSecret bound a secret, in bytes (Standard Webhooks,
	// "Signature scheme").
	minSecret, maxSecret = 24, 64
	// maxSecrets bounds the signatures of one request.
	maxSecrets = 5
	prefix     = "whsec_"
)

// Config says where to post.
type Config struct {
	// URL takes the notices. It may hold a token, and is treated as a secret.
	URL string
	// Secrets sign the requests: "whsec_" and 24 to 64 bytes in base64. Each signs,
	// so that a receiver may have the old or the new one while they are changed.
	Secrets []string
	// Console is the address of the console, for links; empty for none.
	Console string
	// Outbound is where connections may go.
	Outbound outbound.Config
}

// Validate says what is wrong with the configuration, if anything. It repeats
// neither the address nor a secret.
func (c Config) Validate() error {
	if err := c.Outbound.CheckURL("webhook.url", c.URL); err != nil {
		return err
	}
	if len(c.Secrets) == 0 || len(c.Secrets) > maxSecrets {
		return wflo.Invalid("webhook.secrets", fmt.Sprintf("are %d", len(c.Secrets)), fmt.Sprintf("give 1 to %d; receivers cannot trust what is not signed", maxSecrets))
	}
	for i, s := range c.Secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, prefix))
		if err != nil || !strings.HasPrefix(s, prefix) || len(key) < minSecret || len(key) > maxSecret {
			return wflo.Invalid(fmt.Sprintf("webhook.secrets[%d]", i), "is no secret of Standard Webhooks",
				fmt.Sprintf("write %s and %d to %d random bytes in base64", prefix, minSecret, maxSecret))
		}
	}
	if c.Console != "" {
		return outbound.Config{AllowHTTP: true}.CheckURL("webhook.console", c.Console)
	}
	return nil
}

// Channel posts to one address.
type Channel struct {
	config  Config
	signers []*standardwebhooks.Webhook
	http    *http.Client
	now     func() time.Time
}

// New makes a Channel.
func New(c Config) (*Channel, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	ch := &Channel{config: c, http: outbound.New(c.Outbound), now: time.Now}
	for _, s := range c.Secrets {
		signer, err := standardwebhooks.NewWebhook(s)
		if err != nil {
			return nil, wflo.Invalid("webhook.secrets", "cannot be used", "write whsec_ and random bytes in base64")
		}
		ch.signers = append(ch.signers, signer)
	}
	return ch, nil
}

// messageID is the notice's ID in a form that the signature cannot be led astray
// by: the standard signs id.timestamp.body, so an ID must not have a dot.
func messageID(notice string) string {
	sum := sha256.Sum256([]byte(notice))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// Deliver posts one notice. Every status but 2xx is tried again, as the standard
// says, and 410 never.
func (c *Channel) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	body, err := json.Marshal(NewBody(n.Notice, c.config.Console))
	if err != nil {
		return "", fmt.Errorf("encode notice: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return "", errors.New("the address of the webhook does not parse")
	}
	id, at := messageID(n.ID), c.now()
	var signatures []string
	for _, s := range c.signers {
		signature, err := s.Sign(id, at, body)
		if err != nil {
			return "", errors.New("sign the webhook: the secret cannot be used")
		}
		signatures = append(signatures, signature)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "wflo-webhook/1")
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	answer, err := outbound.Send(c.http, req)
	if err != nil {
		return "", fmt.Errorf("post to the webhook: %w", err)
	}
	if answer.Status >= 200 && answer.Status < 300 {
		return "", nil
	}
	err = notify.Status("the webhook", answer.Status)
	if answer.Status == http.StatusGone {
		return "", fmt.Errorf("%w: %w", err, notify.ErrRefused)
	}
	return "", notify.RetryAfter(answer.Header, c.now(), err)
}
