package email

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/textproto"
	"slices"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

// maxSubject bounds the subject line, in bytes.
const maxSubject = 180

// page is the HTML part. It loads nothing and runs nothing.
var page = template.Must(template.New("mail").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title></head>
<body style="font-family:sans-serif;max-width:42em">
<h2>{{.Title}}</h2>
{{with .Greeting}}<p>{{.}}</p>{{end}}
{{with .Action}}<p><strong>{{.}}</strong></p>{{end}}
{{with .Text}}<p style="white-space:pre-wrap">{{.}}</p>{{end}}
{{if .Facts}}<table>{{range .Facts}}<tr><th align="left" valign="top">{{.Name}}</th><td>{{.Value}}</td></tr>
{{end}}</table>{{end}}
{{if .Payload.Text}}<p>What will be done, sha256 {{.Payload.SHA256}}:</p>
<pre style="background:#f4f4f4;padding:8px;white-space:pre-wrap">{{.Payload.Text}}</pre>
{{with .Payload.Note}}<p><strong>{{.}}</strong></p>{{end}}{{end}}
{{if .Agent}}<p><em>{{.Label}}:</em></p>
<blockquote style="white-space:pre-wrap;border-left:3px solid #999;padding-left:8px">{{.Agent}}</blockquote>
{{with .AgentNote}}<p>{{.}}</p>{{end}}{{end}}
{{with .Link}}<p><a href="{{.}}">Open in the console</a> to decide. Opening the page decides nothing.</p>{{end}}
</body></html>
`))

// messageID is the same for every attempt of a notice.
func (c *Channel) messageID(notice string) string {
	sum := sha256.Sum256([]byte(notice))
	return hex.EncodeToString(sum[:16]) + "@" + c.domain
}

// compose makes the mail of a notice for one recipient.
func (c *Channel) compose(n wflo.NoticeRecord, to Recipient) (*gomail.Msg, error) {
	m := render.New(n.Notice, c.config.Console)
	msg := gomail.NewMsg(gomail.WithEncoding(gomail.EncodingQP), gomail.WithNoDefaultUserAgent())
	if err := errors.Join(msg.From(c.config.From), msg.To(to.Address)); err != nil {
		return nil, fmt.Errorf("compose the mail: an address does not parse: %w", notify.ErrRefused)
	}
	msg.Subject(render.Short("[wflo] "+m.Title, maxSubject))
	msg.SetMessageIDWithValue(c.messageID(n.ID))
	if id := n.Receipt; id != "" && !strings.ContainsAny(id, " <>\r\n\t") {
		msg.SetGenHeader(gomail.HeaderInReplyTo, "<"+id+">")
		msg.SetGenHeader(gomail.HeaderReferences, "<"+id+">")
	}
	if !n.At.IsZero() {
		msg.SetDateWithValue(n.At.UTC())
	}
	// RFC 3834: no automatic answers to what a program sent.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	hello := greeting(n.Notice, to)
	text := m.Plain()
	if hello != "" {
		text = hello + "\n\n" + text
	}
	if m.Link != "" {
		text += "Opening the page decides nothing.\n"
	}
	var html strings.Builder
	data := struct {
		render.Message
		Greeting, Label string
	}{m, hello, render.AgentLabel}
	if err := page.Execute(&html, data); err != nil {
		return nil, fmt.Errorf("compose the mail: %w", err)
	}
	msg.SetBodyString(gomail.TypeTextPlain, text)
	msg.AddAlternativeString(gomail.TypeTextHTML, html.String())
	return msg, nil
}

// greeting tells those behind the run that theirs is not the pair of eyes that is
// missing.
func greeting(n wflo.Notice, to Recipient) string {
	if to.Subject == "" || n.Gate == nil || n.Gate.Closed() {
		return ""
	}
	if n.Gate.Approval.FourEyes && slices.Contains(n.Gate.Requesters, to.Subject) {
		return render.Line(to.Subject) + ", this run acts for you: you may reject, and somebody else must approve."
	}
	return ""
}

// explain makes of the library's error one that may be stored: servers repeat
// addresses and logins in their texts, so only codes are kept. 5xx is for ever
// (RFC 5321, section 4.2.1).
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	var sent *gomail.SendError
	var answer *textproto.Error
	code := 0
	switch {
	case errors.As(err, &sent):
		code = sent.ErrorCode()
	case errors.As(err, &answer):
		code = answer.Code
	}
	var network net.Error
	switch {
	case errors.Is(err, outbound.ErrForbidden):
		return fmt.Errorf("%s to the mail server: %w", what, err)
	case code >= 500 && code <= 599:
		return fmt.Errorf("%s: the mail server answered %d: %w", what, code, notify.ErrRefused)
	case code > 0:
		return fmt.Errorf("%s: the mail server answered %d", what, code)
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("%s to the mail server: timed out", what)
	case strings.Contains(err.Error(), "STARTTLS"):
		return fmt.Errorf("%s to the mail server: it offers no STARTTLS", what)
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		return fmt.Errorf("%s to the mail server: %w", what, dial)
	}
	return fmt.Errorf("%s to the mail server: the connection or its certificate is not good", what)
}
