package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/email"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
	"github.com/wflo-ai/wflo-go/internal/notify/pagerduty"
	"github.com/wflo-ai/wflo-go/internal/notify/slack"
	"github.com/wflo-ai/wflo-go/internal/notify/twilio"
	"github.com/wflo-ai/wflo-go/internal/notify/webhook"
)

// Channel is a place that notices go to. One of Slack, Email, PagerDuty, Webhook and
// SMS is set, by the scheme of its name: slack, email, pagerduty, webhook or sms. They
// are without their secrets, which Open puts in.
type Channel struct {
	Slack     *slack.Config
	Email     *email.Config
	PagerDuty *pagerduty.Config
	Webhook   *webhook.Config
	SMS       *twilio.Config
	// Secrets says where the secrets of the fields are.
	Secrets map[string][]Secret
	// CA is a file with the roots that verify a mail server; empty means the system's.
	CA string
	// Fallback is the channel that gets what this one could not deliver; empty means
	// none.
	Fallback string
}

// Open reads the channel's secrets and makes it. console is the address that links
// begin with; empty for none. Nothing is connected.
func (c Channel) Open(console string, logger *slog.Logger) (notify.Channel, error) {
	return c.open(console, logger, func(field string, s Secret) (string, error) { return s.Read(field) })
}

func (c Channel) open(console string, logger *slog.Logger, read func(field string, s Secret) (string, error)) (notify.Channel, error) {
	secrets := map[string][]string{}
	for field, all := range c.Secrets {
		for _, s := range all {
			value, err := read(field, s)
			if err != nil {
				return nil, err
			}
			secrets[field] = append(secrets[field], value)
		}
	}
	one := func(field string) string { return strings.Join(secrets[field], "") }
	switch {
	case c.Slack != nil:
		own := *c.Slack
		own.Console, own.Token = console, one("token")
		return slack.New(own)
	case c.Email != nil:
		own := *c.Email
		own.Console, own.Logger, own.Password = console, logger, one("password")
		var err error
		if own.TLS, err = roots(c.CA); err != nil {
			return nil, err
		}
		return email.New(own)
	case c.PagerDuty != nil:
		own := *c.PagerDuty
		own.Console, own.RoutingKey = console, one("routing_key")
		return pagerduty.New(own)
	case c.Webhook != nil:
		own := *c.Webhook
		own.Console, own.URL, own.Secrets = console, one("url"), secrets["secrets"]
		return webhook.New(own)
	case c.SMS != nil:
		own := *c.SMS
		own.Console, own.Logger, own.Secret = console, logger, one("secret")
		return twilio.New(own)
	}
	return nil, wflo.Invalid("channel", "has no kind", "give it one")
}

// roots reads certificates in PEM; nil means the system's.
func roots(path string) (*tls.Config, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // see above
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "name a readable file of certificates in PEM", "ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, wflo.Invalid("ca", "holds no certificate: "+path, "name a file of certificates in PEM")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// samples stand for secrets while a file is checked: they are of the right form.
var samples = map[string]string{ //nolint:gosec // secrets of nobody
	"token": "xoxb-sample", "password": "sample", "routing_key": strings.Repeat("0", 32), "url": "https://example.com/",
	"secrets": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)), "secret": "sample",
}

// channelList reads the mapping of names to channels.
func (r *reader) channelList(n ast.Node, f *File) error {
	values, err := r.pairs(n, "channels")
	if err != nil {
		return err
	}
	f.Channels = make(map[string]Channel, len(values))
	for _, v := range values {
		name := v.Key.GetToken().Value
		if f.Channels[name], err = r.channel(v.Key, v.Value, name); err != nil {
			return err
		}
	}
	for _, v := range values {
		name := v.Key.GetToken().Value
		to := f.Channels[name].Fallback
		if _, known := f.Channels[to]; to != "" && (!known || to == name) {
			return r.fail(v.Value, "name another one under channels", "the fallback of %s is %q, which is no other channel", short(name), short(to))
		}
	}
	return nil
}

// channel reads one channel, and opens it with samples for its secrets, so that what
// is wrong with it is known by its place in the file.
func (r *reader) channel(key, n ast.Node, name string) (c Channel, err error) {
	scheme, rest, _ := strings.Cut(name, "://")
	if rest == "" {
		return c, r.fail(key, "write SCHEME://NAME, such as slack://ops-channel", "the channel %q has no scheme", short(name))
	}
	c.Secrets = map[string][]Secret{}
	var out outbound.Config
	fields, prefix := []field(nil), scheme+"."
	switch scheme {
	case "slack":
		c.Slack = &slack.Config{}
		fields = r.slackFields(&c)
	case "email":
		c.Email = &email.Config{}
		fields = r.emailFields(&c)
	case "pagerduty":
		c.PagerDuty = &pagerduty.Config{}
		fields = []field{r.secretOf(&c, "routing_key"), r.textField("url", &c.PagerDuty.URL)}
	case "webhook":
		c.Webhook = &webhook.Config{}
		fields = []field{r.secretOf(&c, "url"), r.secretsOf(&c, "secrets")}
	case "sms":
		c.SMS = &twilio.Config{}
		fields, prefix = r.smsFields(&c), "twilio."
	default:
		return c, r.fail(key, "use slack, email, pagerduty, webhook or sms", "the channel %q is of no known kind", short(name))
	}
	fields = append(fields, r.textField("fallback", &c.Fallback), r.boolField("allow_http", &out.AllowHTTP), r.durationField("timeout", &out.Timeout),
		field{"allow_networks", func(n ast.Node) (err error) { out.Allow, err = r.networks(n); return err }})
	set, err := r.mapping(n, "a channel of kind "+scheme, fields...)
	if err != nil {
		return c, err
	}
	c.reach(out)
	sample := c
	sample.CA = "" // it may be on another machine than this
	_, err = sample.open("", slog.New(slog.DiscardHandler), func(field string, _ Secret) (string, error) { return samples[field], nil })
	return c, r.refused(n, set, prefix, err)
}

// reach says where the channel may connect to.
func (c *Channel) reach(out outbound.Config) {
	switch {
	case c.Slack != nil:
		c.Slack.Outbound = out
	case c.Email != nil:
		c.Email.Outbound = out
	case c.PagerDuty != nil:
		c.PagerDuty.Outbound = out
	case c.Webhook != nil:
		c.Webhook.Outbound = out
	case c.SMS != nil:
		c.SMS.Outbound = out
	}
}

func (r *reader) slackFields(c *Channel) []field {
	return []field{r.secretOf(c, "token"), r.textField("channel", &c.Slack.Channel), r.textField("api", &c.Slack.API)}
}

func (r *reader) emailFields(c *Channel) []field {
	m := c.Email
	return []field{
		r.textField("host", &m.Host), r.intField("port", &m.Port), r.textField("security", (*string)(&m.Security)),
		r.boolField("allow_plain", &m.AllowPlain), r.textField("user", &m.User), r.secretOf(c, "password"),
		r.textField("from", &m.From), r.textField("ca", &c.CA),
		{"to", func(n ast.Node) error {
			return r.list(n, "to", func(n ast.Node) error {
				var to email.Recipient
				_, err := r.mapping(n, "a recipient", r.textField("address", &to.Address), r.textField("subject", &to.Subject))
				m.To = append(m.To, to)
				return err
			})
		}},
	}
}

func (r *reader) smsFields(c *Channel) []field {
	m := c.SMS
	return []field{
		r.textField("account_sid", &m.AccountSID), r.textField("key_sid", &m.KeySID), r.secretOf(c, "secret"), r.textField("from", &m.From),
		r.textField("messaging_service_sid", &m.MessagingServiceSID), r.textsField("to", &m.To), r.textField("api", &m.API),
	}
}

// secretOf is a field that says where a secret of the channel is.
func (r *reader) secretOf(c *Channel, name string) field {
	return field{name, func(n ast.Node) error {
		s, err := r.secret(n, name)
		c.Secrets[name] = []Secret{s}
		return err
	}}
}

func (r *reader) secretsOf(c *Channel, name string) field {
	return field{name, func(n ast.Node) error {
		return r.list(n, name, func(n ast.Node) error {
			s, err := r.secret(n, name)
			c.Secrets[name] = append(c.Secrets[name], s)
			return err
		})
	}}
}

func (r *reader) intField(name string, into *int) field {
	return field{name, func(n ast.Node) error {
		v, err := r.integer(n, name)
		if err == nil && int64(int32(v)) != v {
			err = r.fail(n, "give a smaller number", "%s is out of bounds", name)
		}
		*into = int(v)
		return err
	}}
}

func (r *reader) networks(n ast.Node) (all []netip.Prefix, err error) {
	err = r.list(n, "allow_networks", func(n ast.Node) error {
		s, err := r.text(n, "a network")
		if err != nil {
			return err
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return r.fail(n, "write ADDRESS/BITS, such as 10.1.0.0/16", "a network is %q", short(s))
		}
		all = append(all, p)
		return nil
	})
	return all, err
}

var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// refused gives an error of a driver the place of the field that it names, prefix
// apart. What it quotes is left out: a secret may stand in the wrong field.
func (r *reader) refused(n ast.Node, set map[string]ast.Node, prefix string, err error) error {
	if err == nil {
		return nil
	}
	message, hint := wflo.Explain(err)
	for name, value := range set {
		if rest, ok := strings.CutPrefix(message, prefix+name); ok && (rest == "" || strings.ContainsAny(rest[:1], " [.")) {
			n = value
		}
	}
	return r.fail(n, hint, "%s", quoted.ReplaceAllString(message, `"…"`))
}
