package slack

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

const (
	// MaxInteraction bounds a request of Slack's, in bytes. Read no more of it.
	MaxInteraction = 256 << 10
	// maxAge is how old a request of Slack's may be, and how far ahead its clock.
	maxAge = 5 * time.Minute
	// maxText bounds what is sent back, in bytes.
	maxText = 3000
)

// ErrSignature says that a request is not from Slack, or is too old. It does not
// say which: whoever tries learns nothing.
var ErrSignature = errors.New("the signature does not verify")

// Verify checks that a request is Slack's and fresh, by the scheme v0: an HMAC with
// SHA-256 over the time stamp and the body as it came. secret is the app's signing
// secret.
func Verify(secret string, header http.Header, body []byte, now time.Time) error {
	stamps, signatures := header.Values("X-Slack-Request-Timestamp"), header.Values("X-Slack-Signature")
	if secret == "" || len(stamps) != 1 || len(signatures) != 1 {
		return ErrSignature
	}
	seconds, err := strconv.ParseInt(stamps[0], 10, 64)
	if err != nil || seconds < 0 || strconv.FormatInt(seconds, 10) != stamps[0] {
		return ErrSignature
	}
	if age := now.Unix() - seconds; age > int64(maxAge/time.Second) || age < -int64(maxAge/time.Second) {
		return ErrSignature
	}
	given, ok := strings.CutPrefix(signatures[0], "v0=")
	if !ok {
		return ErrSignature
	}
	signature, err := hex.DecodeString(given)
	if err != nil {
		return ErrSignature
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:", stamps[0])
	mac.Write(body)
	if !hmac.Equal(signature, mac.Sum(nil)) {
		return ErrSignature
	}
	return nil
}

// Interaction is a click on one of our buttons.
type Interaction struct {
	// User and TeamID are Slack's IDs of who clicked, and where. A user's ID means
	// something only together with the team's.
	User, TeamID string
	// Nonce and Digest say what was shown.
	Nonce, Digest string
	// Verdict is approve or reject; empty for a click on Open, which Slack reports
	// too and which wants nothing but status 200.
	Verdict wflo.Verdict
	// ResponseURL takes an answer for [Channel.Reply]; TriggerID opens a dialogue,
	// within three seconds.
	ResponseURL, TriggerID string
}

// callback is what we read of Slack's block_actions payload.
type callback struct {
	Type string `json:"type"`
	User struct {
		ID     string `json:"id"`
		TeamID string `json:"team_id"`
	} `json:"user"`
	Team *struct {
		ID string `json:"id"`
	} `json:"team"`
	TriggerID   string `json:"trigger_id"`
	ResponseURL string `json:"response_url"`
	Actions     []struct {
		ActionID string `json:"action_id"`
		Type     string `json:"type"`
		Value    string `json:"value"`
	} `json:"actions"`
}

func malformed(what, hint string) error { return wflo.Invalid("slack interaction", what, hint) }

// ParseInteraction reads the body of a request that [Verify] passed: a form whose
// only payload is one click on one of our buttons.
func ParseInteraction(body []byte) (Interaction, error) {
	const app = "point the Slack app's interactivity at wflo only"
	if len(body) > MaxInteraction {
		return Interaction{}, malformed("is too large", app)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["payload"]) != 1 {
		return Interaction{}, malformed("has no single payload", app)
	}
	var c callback
	if err := json.Unmarshal([]byte(form["payload"][0]), &c); err != nil {
		return Interaction{}, malformed("has a payload that is not JSON", app)
	}
	team := c.User.TeamID
	if c.Team != nil && c.Team.ID != "" {
		team = c.Team.ID
	}
	switch {
	case c.Type != "block_actions":
		return Interaction{}, malformed("is no click on a button", app)
	case len(c.Actions) != 1 || c.Actions[0].Type != "button":
		return Interaction{}, malformed("is not one click on a button", app)
	case !plainID(c.User.ID) || !plainID(team):
		return Interaction{}, malformed("does not say who clicked", app)
	}
	i := Interaction{User: c.User.ID, TeamID: team, ResponseURL: c.ResponseURL, TriggerID: c.TriggerID}
	switch c.Actions[0].ActionID {
	case actionOpen:
		return i, nil
	case actionApprove:
		i.Verdict = wflo.VerdictApprove
	case actionReject:
		i.Verdict = wflo.VerdictReject
	default:
		return Interaction{}, malformed("is of a button that is not ours", app)
	}
	i.Nonce, i.Digest, err = readValue(c.Actions[0].Value)
	return i, err
}

// readValue reads what our button carried, and nothing else.
func readValue(value string) (nonce, digest string, err error) {
	const hint = "decide in the console"
	if len(value) > maxValue {
		return "", "", malformed("has a button's value that is not ours", hint)
	}
	dec := json.NewDecoder(strings.NewReader(value))
	dec.DisallowUnknownFields()
	var b button
	if err := dec.Decode(&b); err != nil || b.Nonce == "" || b.Digest == "" {
		return "", "", malformed("has a button's value that is not ours", hint)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", "", malformed("has a button's value that is not ours", hint)
	}
	return b.Nonce, b.Digest, nil
}

// plainID says that s looks like one of Slack's IDs.
func plainID(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}

// Replier answers clicks. It holds no token, and is for consoles.
type Replier struct{ c Channel }

// NewReplier makes a Replier. api is as in Config; empty for Slack's own.
func NewReplier(api string, out outbound.Config) *Replier {
	if api == "" {
		api = defaultAPI
	}
	return &Replier{Channel{config: Config{API: api}, http: outbound.New(out)}}
}

// Reply is [Channel.Reply], without replacing anything.
func (r *Replier) Reply(ctx context.Context, responseURL, text string) error {
	return r.c.Reply(ctx, responseURL, text, false)
}

// Reply answers a click through its response URL, visible to who clicked only. With
// replace, the text takes the place of the message and of its buttons, for all.
func (c *Channel) Reply(ctx context.Context, responseURL, text string, replace bool) error {
	u, err := url.Parse(responseURL)
	if err != nil || !c.answers(u) {
		return wflo.Invalid("slack response_url", "is not Slack's", "decide in the console")
	}
	body := map[string]any{"text": render.Mrkdwn(render.Short(render.Text(text), maxText))}
	if replace {
		body["replace_original"] = true
	} else {
		body["response_type"], body["replace_original"] = "ephemeral", false
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode reply: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(data))
	if err != nil {
		return errors.New("reply to slack: the address does not parse")
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("reply to slack: %w", outbound.Reason(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return notify.Status("slack", resp.StatusCode)
	}
	return nil
}

// answers says whether replies may go to the address: to Slack's host for them, or
// to the host that the configuration puts in Slack's place.
func (c *Channel) answers(u *url.URL) bool {
	if u.User != nil || u.Opaque != "" {
		return false
	}
	if u.Scheme == "https" && strings.EqualFold(u.Host, "hooks.slack.com") {
		return true
	}
	own, err := url.Parse(c.config.API)
	return err == nil && c.config.API != defaultAPI && u.Scheme == own.Scheme && strings.EqualFold(u.Host, own.Host)
}
