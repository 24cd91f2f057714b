// Package pagerduty pages whoever is on call, by the Events API v2 (PagerDuty's
// documentation, "Send an Alert Event"). [New] makes the channel. All notices about
// one thing share a dedup key, so that they are one incident: what is asked triggers
// it, and a closed gate resolves it.
package pagerduty

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

const (
	// defaultURL takes events.
	defaultURL = "https://events.pagerduty.com/v2/enqueue"
	// maxDedup and maxSummary are PagerDuty's limits, in characters.
	maxDedup   = 255
	maxSummary = 1024
)

// Config says whom to page.
type Config struct {
	// RoutingKey is the integration key of a service. A secret.
	RoutingKey string
	// Console is the address of the console, for links; empty for none.
	Console string
	// URL replaces https://events.pagerduty.com/v2/enqueue, for the EU's region:
	// https://events.eu.pagerduty.com/v2/enqueue.
	URL string
	// Outbound is where connections may go.
	Outbound outbound.Config
}

var routingKey = regexp.MustCompile(`^[A-Za-z0-9]{32}$`)

// Validate says what is wrong with the configuration, if anything. It does not
// repeat the key.
func (c Config) Validate() error {
	if !routingKey.MatchString(c.RoutingKey) {
		return wflo.Invalid("pagerduty.routing_key", "is not 32 letters and digits", "give the integration key of an Events API v2 integration")
	}
	if c.URL != "" {
		if err := c.Outbound.CheckURL("pagerduty.url", c.URL); err != nil {
			return err
		}
	}
	if c.Console != "" {
		return outbound.Config{AllowHTTP: true}.CheckURL("pagerduty.console", c.Console)
	}
	return nil
}

// Channel pages one service.
type Channel struct {
	config Config
	http   *http.Client
}

// New makes a Channel.
func New(c Config) (*Channel, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.URL == "" {
		c.URL = defaultURL
	}
	return &Channel{config: c, http: outbound.New(c.Outbound)}, nil
}

// event is what PagerDuty takes.
type event struct {
	RoutingKey string   `json:"routing_key"`
	Action     string   `json:"event_action"`
	DedupKey   string   `json:"dedup_key"`
	Payload    *payload `json:"payload,omitempty"`
	Client     string   `json:"client,omitempty"`
	ClientURL  string   `json:"client_url,omitempty"`
	Links      []link   `json:"links,omitempty"`
}

type payload struct {
	Summary   string            `json:"summary"`
	Source    string            `json:"source"`
	Severity  wflo.Severity     `json:"severity"` // PagerDuty has the same four
	Timestamp string            `json:"timestamp,omitempty"`
	Class     string            `json:"class"`
	Details   map[string]string `json:"custom_details"`
}

type link struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

// newEvent makes the event of a notice, without the key.
func newEvent(n wflo.Notice, console string) event {
	e := event{Action: action(n), DedupKey: dedup(n)}
	if e.Action != "trigger" {
		return e
	}
	m := render.New(n, console)
	p := payload{
		Summary: m.Title, Source: "wflo", Severity: m.Severity, Class: string(n.Kind),
		Details: map[string]string{"notice": m.ID},
	}
	if m.Action != "" {
		p.Summary += ": " + m.Action
	}
	p.Summary = render.Short(p.Summary, maxSummary)
	if !n.At.IsZero() {
		p.Timestamp = n.At.UTC().Format(time.RFC3339)
	}
	if n.Gate != nil {
		p.Source = render.Line(n.Gate.WorkflowID)
	}
	for _, f := range m.Facts {
		p.Details[f.Name] = f.Value
	}
	add := func(name, text, note string) {
		if text != "" && note != "" {
			text += "\n[" + note + "]"
		}
		if text != "" {
			p.Details[name] = text
		}
	}
	add("Text", m.Text, "")
	add("What will be done", m.Payload.Text, m.Payload.Note())
	add("sha256", m.Payload.SHA256, "")
	add(render.AgentLabel, m.Agent, m.AgentNote())
	e.Payload = &p
	if m.Link != "" {
		e.Client, e.ClientURL, e.Links = "wflo", m.Link, []link{{Href: m.Link, Text: "Open in the console"}}
	}
	return e
}

// action is what a notice does to its incident. Somebody who looks at a gate has
// acknowledged it; what is told afterwards must not page others again.
func action(n wflo.Notice) string {
	switch {
	case n.Kind == wflo.NoticeClosed:
		return "resolve"
	case n.Gate != nil && n.Gate.AckedBy != "" && !n.Gate.Closed():
		return "acknowledge"
	}
	return "trigger"
}

// dedup is the thread, or its hash where PagerDuty would not take it.
func dedup(n wflo.Notice) string {
	thread := n.Thread
	if thread == "" {
		thread = n.ID
	}
	if len(thread) > maxDedup || thread != render.Line(thread) {
		sum := sha256.Sum256([]byte(thread))
		return hex.EncodeToString(sum[:])
	}
	return thread
}

// Deliver sends one event.
func (c *Channel) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	e := newEvent(n.Notice, c.config.Console)
	e.RoutingKey = c.config.RoutingKey
	body, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encode event: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return "", errors.New("the address of pagerduty does not parse")
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := outbound.Send(c.http, req)
	if err != nil {
		return "", fmt.Errorf("send to pagerduty: %w", err)
	}
	err = notify.Status("pagerduty", answer.Status)
	switch answer.Status {
	case http.StatusAccepted:
		return "", nil
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestEntityTooLarge:
		return "", fmt.Errorf("%w: %w", err, notify.ErrRefused)
	}
	return "", notify.RetryAfter(answer.Header, time.Now(), err)
}
