// Package twilio sends text messages by Twilio's Messages API. [New] makes the
// channel. A text message is read by whoever holds the phone and kept by carriers,
// so it says that something waits, and where, and never what will be done.
package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

const (
	// defaultAPI is where Twilio's methods are.
	defaultAPI = "https://api.twilio.com"
	// MaxText bounds a message, in UTF-16 units, which is how Twilio counts.
	MaxText = 320
	// maxTo bounds how many phones one channel has.
	maxTo = 20
)

// Config says whom to send to and on whose account.
type Config struct {
	// AccountSID is "AC" and 32 hexadecimal digits.
	AccountSID string
	// KeySID and Secret log in: an API key ("SK...") and its secret, or, with KeySID
	// empty, the account and its auth token. Secret is a secret.
	KeySID, Secret string
	// From is the sending number, such as +4930123456. MessagingServiceSID ("MG...")
	// takes its place. One of both.
	From, MessagingServiceSID string
	// To are the phones, in the same form.
	To []string
	// Console is the address of the console, for links; empty for none.
	Console string
	// API replaces https://api.twilio.com.
	API string
	// Outbound is where connections may go.
	Outbound outbound.Config
	// Logger gets the phones that Twilio refuses while others take the message; nil
	// for none.
	Logger *slog.Logger
}

var (
	phone = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`) // E.164
	sid   = regexp.MustCompile(`^(AC|SK|MG)[0-9a-fA-F]{32}$`)
)

func isSID(s, kind string) bool { return strings.HasPrefix(s, kind) && sid.MatchString(s) }

// Validate says what is wrong with the configuration, if anything. It does not
// repeat the secret.
func (c Config) Validate() error {
	switch {
	case !isSID(c.AccountSID, "AC"):
		return wflo.Invalid("twilio.account_sid", "is not AC and 32 hexadecimal digits", "copy it from Twilio's console")
	case c.KeySID != "" && !isSID(c.KeySID, "SK"):
		return wflo.Invalid("twilio.key_sid", "is not SK and 32 hexadecimal digits", "make an API key in Twilio's console")
	case c.Secret == "":
		return wflo.Invalid("twilio.secret", "is empty", "give the key's secret, or the account's auth token")
	case (c.From == "") == (c.MessagingServiceSID == ""):
		return wflo.Invalid("twilio.from", "or messaging_service_sid must be set, and not both", "give the sending number, such as +4930123456")
	case c.From != "" && !phone.MatchString(c.From):
		return wflo.Invalid("twilio.from", fmt.Sprintf("is %q", c.From), "write it as +4930123456")
	case c.MessagingServiceSID != "" && !isSID(c.MessagingServiceSID, "MG"):
		return wflo.Invalid("twilio.messaging_service_sid", "is not MG and 32 hexadecimal digits", "copy it from Twilio's console")
	case len(c.To) == 0 || len(c.To) > maxTo:
		return wflo.Invalid("twilio.to", fmt.Sprintf("has %d phones", len(c.To)), fmt.Sprintf("give 1 to %d", maxTo))
	}
	for i, to := range c.To {
		if !phone.MatchString(to) {
			return wflo.Invalid(fmt.Sprintf("twilio.to[%d]", i), fmt.Sprintf("is %q", to), "write it as +4930123456")
		}
	}
	if c.API != "" {
		if err := c.Outbound.CheckURL("twilio.api", c.API); err != nil {
			return err
		}
	}
	if c.Console != "" {
		return outbound.Config{AllowHTTP: true}.CheckURL("twilio.console", c.Console)
	}
	return nil
}

// Channel sends text messages to the phones of its configuration.
type Channel struct {
	config Config
	http   *http.Client
	sent   notify.Sent
}

// New makes a Channel.
func New(c Config) (*Channel, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.API == "" {
		c.API = defaultAPI
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Channel{config: c, http: outbound.New(c.Outbound)}, nil
}

// text is the message: what waits, how risky it is, until when, and where.
func text(n wflo.Notice, console string) string {
	m := render.New(n, console)
	end := ""
	if m.Link != "" && len(m.Link) <= MaxText/2 {
		end = " " + m.Link
	}
	begin := "wflo: " + m.Title
	if g := n.Gate; g != nil {
		begin += ", run " + render.Short(render.Line(g.WorkflowID), 80)
		if g.Approval.Risk != "" {
			begin += ", risk " + string(g.Approval.Risk)
		}
		if g.Closed() {
			begin += ", " + string(g.Status)
		} else {
			begin += ", decide until " + render.UTC(g.ExpiresAt)
		}
	}
	if units(begin)+len(end) > MaxText {
		begin = render.Short(begin, MaxText-len(end)) // bytes, of which there are at least as many
	}
	return begin + end
}

func units(s string) int { return len(utf16.Encode([]rune(s))) }

// Deliver sends one message to each phone. It fails while a phone could not be
// reached, and the others are left alone then.
func (c *Channel) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	body := text(n.Notice, c.config.Console)
	var retry, refused error
	took := 0
	for i, to := range c.config.To {
		if c.sent.Has(n.ID, to) {
			took++
			continue
		}
		err := c.send(ctx, to, body)
		switch {
		case err == nil:
			took++
			c.sent.Add(n.ID, to)
		case errors.Is(err, notify.ErrRefused):
			refused = fmt.Errorf("phone %d of %d: %w", i+1, len(c.config.To), err)
		default:
			retry = fmt.Errorf("phone %d of %d: %w", i+1, len(c.config.To), err)
		}
	}
	switch {
	case retry != nil:
		return "", retry
	case refused != nil && took == 0:
		return "", refused
	case refused != nil:
		c.config.Logger.Warn("a phone does not get a notice", "notice", n.ID, "error", refused)
	}
	return "", nil
}

func (c *Channel) send(ctx context.Context, to, body string) error {
	form := url.Values{"To": {to}, "Body": {body}}
	if c.config.From != "" {
		form.Set("From", c.config.From)
	} else {
		form.Set("MessagingServiceSid", c.config.MessagingServiceSID)
	}
	address := strings.TrimSuffix(c.config.API, "/") + "/2010-04-01/Accounts/" + c.config.AccountSID + "/Messages.json"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return errors.New("the address of twilio does not parse")
	}
	user := c.config.AccountSID
	if c.config.KeySID != "" {
		user = c.config.KeySID
	}
	req.SetBasicAuth(user, c.config.Secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := outbound.Send(c.http, req)
	if err != nil {
		return fmt.Errorf("send to twilio: %w", err)
	}
	return judge(answer, time.Now())
}

// judge reads Twilio's answer. Its error codes are numbers (twilio.com/docs/api/errors).
func judge(a outbound.Answer, now time.Time) error {
	if a.Status == http.StatusCreated {
		return nil
	}
	err := notify.Status("twilio", a.Status)
	var problem struct {
		Code int `json:"code"`
	}
	if json.Unmarshal(a.Body, &problem) == nil && problem.Code > 0 {
		err = fmt.Errorf("%w, error %d", err, problem.Code)
	}
	if a.Status >= 400 && a.Status < 500 && a.Status != http.StatusTooManyRequests && a.Status != http.StatusRequestTimeout {
		return fmt.Errorf("%w: %w", err, notify.ErrRefused)
	}
	return notify.RetryAfter(a.Header, now, err)
}
