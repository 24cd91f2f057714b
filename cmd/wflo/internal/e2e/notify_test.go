//go:build integration

package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
)

// mailServer is Python's SMTP server, which keeps each mail in a file.
const mailServer = `
import asyncore, os, smtpd, sys
class Keep(smtpd.SMTPServer):
    n = 0
    def process_message(self, peer, sender, to, data, **kw):
        Keep.n += 1
        path = os.path.join(sys.argv[2], "%04d" % Keep.n)
        with open(path + ".new", "wb") as f:
            f.write(data)
        os.rename(path + ".new", path + ".eml")
Keep(("127.0.0.1", int(sys.argv[1])), None)
asyncore.loop()
`

// startMailServer gives the port of a server that keeps mails in dir.
func startMailServer(t *testing.T, dir string) string {
	t.Helper()
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, environment(dir), "/usr/bin/env", "python3", "-W", "ignore", "-c", mailServer, port, dir)
	awaitPort(t, "the mail server", address, p)
	return port
}

// awaitPort waits until a program that tells nothing takes connections.
func awaitPort(t *testing.T, what, address string, p *program) {
	t.Helper()
	await(t, what, func() bool {
		select {
		case <-p.ended:
			t.Fatalf("%s ended:\n%s", what, p.said())
		default:
		}
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// mailAbout waits for the mail about a run, and gives its text.
func (b *bureau) mailAbout(t *testing.T, id string) string {
	t.Helper()
	var found string
	await(t, "the mail about "+id, func() bool {
		files, err := filepath.Glob(filepath.Join(b.mails, "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if text := mailText(t, data); strings.Contains(text, id) {
				found = text
				return true
			}
		}
		return false
	})
	return found
}

// mailText is the subject and all text of a mail, decoded.
func mailText(t *testing.T, data []byte) string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v:\n%s", err, data)
	}
	var out strings.Builder
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&out, subject)
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		copyDecoded(t, &out, m.Header.Get("Content-Transfer-Encoding"), m.Body)
		return out.String()
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		copyDecoded(t, &out, part.Header.Get("Content-Transfer-Encoding"), part)
	}
}

func copyDecoded(t *testing.T, out io.Writer, encoding string, r io.Reader) {
	t.Helper()
	if strings.EqualFold(encoding, "quoted-printable") {
		r = quotedprintable.NewReader(r)
	}
	if _, err := io.Copy(out, r); err != nil {
		t.Fatal(err)
	}
}

// A mail is looked at by scanners, which follow its links, before a person does.
// They decide nothing.
func (b *bureau) testMail(t *testing.T) {
	id, g := b.atGate(t, "mail", "ops")
	text := b.mailAbout(t, id)
	links := regexp.MustCompile(`https?://[^\s"<>)]+`).FindAllString(text, -1)
	if len(links) == 0 {
		t.Fatalf("no link in %s", text)
	}
	own := 0
	for _, link := range links {
		if !strings.HasPrefix(link, b.url) {
			continue
		}
		own++
		for range 5 {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
				b.visitor(t).page(method, link, nil)
			}
		}
		// Even with the cookies of somebody who is logged in, as an extension of their
		// browser has them.
		ann := b.logIn(t)
		ann.page(http.MethodGet, link, nil)
		ann.page(http.MethodHead, link, nil)
	}
	if own == 0 {
		t.Fatalf("no link to the console in %v", links)
	}
	if s, ok := status(t, b.client(t), id); !ok || s.Gates[0].Status != wflo.GateOpen || len(s.Gates[0].Votes) != 0 || s.Gates[0].Digest != g.Digest {
		t.Fatalf("looking at links changed the gate: %+v", s.Gates)
	}
	if status, page := b.logIn(t).decide(g, "approve"); status != http.StatusOK {
		t.Errorf("approve: %d %s", status, page)
	}
	b.wantDone(t, id, "ann", "ldap")
}

// logIn is ann, by her password.
func (b *bureau) logIn(t *testing.T) *visitor {
	t.Helper()
	ann := b.visitor(t)
	if status, page := ann.page(http.MethodPost, "/login/password", url.Values{"name": {"ann"}, "password": {annPassword}}); status != http.StatusOK {
		t.Fatalf("log in: %d %s", status, page)
	}
	return ann
}

// card waits for the message about a gate.
func (b *bureau) card(t *testing.T, nonce, what string, ok func(notifytest.SlackMessage) bool) notifytest.SlackMessage {
	t.Helper()
	var found notifytest.SlackMessage
	await(t, what, func() bool {
		for _, m := range b.slack.Messages() {
			if strings.Contains(m.NoticeID, nonce) && ok(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// click sends what Slack sends for a click, signed with a secret at a time.
func (b *bureau) click(t *testing.T, button notifytest.SlackButton, user, secret string, at time.Time) int {
	t.Helper()
	payload, err := json.Marshal(map[string]any{
		"type": "block_actions", "user": map[string]string{"id": user, "team_id": slackTeam}, "team": map[string]string{"id": slackTeam},
		"trigger_id": "1.2.x", "response_url": b.replies.URL + "/actions/1",
		"actions": []any{map[string]string{"action_id": button.ActionID, "type": "button", "value": button.Value}},
	})
	if err != nil {
		t.Fatal(err)
	}
	body := url.Values{"payload": {string(payload)}}.Encode()
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/slack/interactions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Slack-Request-Timestamp", stamp)
	req.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A message has buttons until the gate is closed. Only Slack's own clicks count, when
// they are fresh, and only those of people who are known.
func (b *bureau) testSlack(t *testing.T) {
	id, g := b.atGate(t, "slack", "ops")
	m := b.card(t, g.Nonce, "a message with buttons", func(m notifytest.SlackMessage) bool { return len(m.Buttons()) > 1 })
	var approve notifytest.SlackButton
	for _, x := range m.Buttons() {
		if x.Text.Text == "Approve" {
			approve = x
		}
	}
	now := time.Now()
	for name, got := range map[string]int{
		"another secret": b.click(t, approve, slackUser, slackSecret+"x", now),
		"an old click":   b.click(t, approve, slackUser, slackSecret, now.Add(-time.Hour)),
	} {
		if got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	b.click(t, approve, "U0STRANGER", slackSecret, now)
	if s, ok := status(t, b.client(t), id); !ok || s.Gates[0].Status != wflo.GateOpen || len(s.Gates[0].Votes) != 0 {
		t.Fatalf("clicks that do not count changed the gate: %+v", s.Gates)
	}
	if got := b.click(t, approve, slackUser, slackSecret, now); got != http.StatusOK {
		t.Errorf("a click: %d", got)
	}
	b.wantDone(t, id, "ann", "slack")
	closed := b.card(t, g.Nonce, "the message without buttons", func(m notifytest.SlackMessage) bool { return m.Updates > 0 })
	for _, x := range closed.Buttons() {
		if x.Text.Text == "Approve" || x.Text.Text == "Reject" {
			t.Errorf("a closed gate has the button %s", x.Text.Text)
		}
	}
}
