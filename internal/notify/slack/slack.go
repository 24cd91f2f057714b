// Package slack tells people in a Slack channel, with buttons, and reads what the
// buttons send back. [New] makes the channel; [Verify] and [ParseInteraction] are
// for whoever takes Slack's requests, and check them before anything else does.
//
// A click decides nothing here. It names the person, the gate and the digest that
// was shown, and the console makes of it a decision that it signs.
package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

// defaultAPI is where Slack's methods are.
const defaultAPI = "https://slack.com/api/"

// Config says where to post and as whom.
type Config struct {
	// Token is the bot's, "xoxb-...". It needs the scope chat:write. A secret.
	Token string
	// Channel is the ID of the conversation, such as C0123456789. IDs stay when a
	// channel is renamed, and chat.update takes nothing else.
	Channel string
	// Console is the address of the console, for links; empty for none.
	Console string
	// API replaces https://slack.com/api/; it ends with a slash.
	API string
	// Outbound is where connections may go.
	Outbound outbound.Config
}

var channelID = regexp.MustCompile(`^[CDG][A-Z0-9]{2,30}$`)

// Validate says what is wrong with the configuration, if anything. It does not
// repeat the token.
func (c Config) Validate() error {
	switch {
	case c.Token == "" || strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return wflo.Invalid("slack.token", "is empty or no token", "give the bot token, xoxb-..., through the environment or a file")
	case !channelID.MatchString(c.Channel):
		return wflo.Invalid("slack.channel", fmt.Sprintf("is %q", c.Channel), "give the ID, such as C0123456789; Slack shows it in the channel's details")
	}
	if c.API != "" {
		if err := c.Outbound.CheckURL("slack.api", c.API); err != nil {
			return err
		}
		if !strings.HasSuffix(c.API, "/") {
			return wflo.Invalid("slack.api", "has no slash at its end", "write it as https://slack.com/api/")
		}
	}
	if c.Console != "" {
		return outbound.Config{AllowHTTP: true}.CheckURL("slack.console", c.Console)
	}
	return nil
}

// Channel posts to one Slack channel.
type Channel struct {
	config Config
	client *slackapi.Client
	http   *http.Client
}

// New makes a Channel.
func New(c Config) (*Channel, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.API == "" {
		c.API = defaultAPI
	}
	client := outbound.New(c.Outbound)
	return &Channel{
		config: c, http: client,
		client: slackapi.New(c.Token, slackapi.OptionHTTPClient(client), slackapi.OptionAPIURL(c.API)),
	}, nil
}

// Deliver posts what is asked, answers in its thread to remind and escalate, and
// takes its buttons away when the gate has closed. The receipt is the time stamp of
// the message, which is its ID.
func (c *Channel) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	m := render.New(n.Notice, c.config.Console)
	options := c.options(n.Notice, m)
	if n.Kind == wflo.NoticeClosed && n.Receipt != "" {
		_, _, _, err := c.client.UpdateMessageContext(ctx, c.config.Channel, n.Receipt, options...)
		if err == nil || !gone(err) {
			return "", explain(err)
		}
		n.Receipt = "" // the message is gone, and people must still learn of it
	}
	if n.Receipt != "" {
		options = append(options, slackapi.MsgOptionTS(n.Receipt))
	}
	_, stamp, err := c.client.PostMessageContext(ctx, c.config.Channel, options...)
	if err != nil {
		return "", explain(err)
	}
	if n.Receipt != "" {
		return "", nil // the thread is the first message's
	}
	return stamp, nil
}

func (c *Channel) options(n wflo.Notice, m render.Message) []slackapi.MsgOption {
	fallback := m.Title
	if m.Action != "" {
		fallback += ": " + m.Action
	}
	return []slackapi.MsgOption{
		slackapi.MsgOptionText(render.Mrkdwn(fallback), false),
		slackapi.MsgOptionBlocks(blocks(n, m)...),
		slackapi.MsgOptionDisableLinkUnfurl(),
		slackapi.MsgOptionDisableMediaUnfurl(),
		slackapi.MsgOptionMetadata(slackapi.SlackMetadata{
			EventType:    "wflo_notice",
			EventPayload: map[string]any{"id": n.ID, "thread": n.Thread, "kind": string(n.Kind)},
		}),
	}
}

// hopeless are Slack's errors that another try meets again.
var hopeless = []string{
	"account_inactive", "channel_not_found", "invalid_arguments", "invalid_auth", "invalid_blocks", "invalid_blocks_format", "is_archived",
	"metadata_too_large", "missing_scope", "msg_blocks_too_long", "msg_too_long", "no_permission", "not_authed", "not_in_channel",
	"org_login_required", "restricted_action", "token_expired", "token_revoked",
}

// lost are Slack's errors for a message that cannot be changed any more.
var lost = []string{"cant_update_message", "edit_window_closed", "message_not_found"}

var code = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

func gone(err error) bool {
	var answer slackapi.SlackErrorResponse
	return errors.As(err, &answer) && slices.Contains(lost, answer.Err)
}

// explain makes of the library's error one that may be stored: Slack's code, the
// status, or why the connection failed.
func explain(err error) error {
	var limited *slackapi.RateLimitedError
	var answer slackapi.SlackErrorResponse
	var status slackapi.StatusCodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &limited):
		return &notify.Later{After: min(max(limited.RetryAfter, 0), 24*time.Hour), Err: notify.Status("slack", http.StatusTooManyRequests)}
	case errors.As(err, &answer):
		if !code.MatchString(answer.Err) {
			return errors.New("slack answered ok: false")
		}
		if slices.Contains(hopeless, answer.Err) {
			return fmt.Errorf("slack answered %s: %w", answer.Err, notify.ErrRefused)
		}
		return fmt.Errorf("slack answered %s", answer.Err)
	case errors.As(err, &status):
		return notify.Status("slack", status.Code)
	}
	return fmt.Errorf("post to slack: %w", outbound.Reason(err))
}
