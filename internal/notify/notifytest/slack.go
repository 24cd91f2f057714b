package notifytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// SlackMessage is a message as it stands in the channel.
type SlackMessage struct {
	TS, Thread, Text, NoticeID string
	Blocks                     []SlackBlock
	Updates                    int
}

// SlackBlock is what the tests look at of a block.
type SlackBlock struct {
	Type     string          `json:"type"`
	Text     *SlackText      `json:"text"`
	Fields   []SlackText     `json:"fields"`
	Elements json.RawMessage `json:"elements"`
}

// SlackText is a text object.
type SlackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// SlackButton is a button of an actions block.
type SlackButton struct {
	Type     string    `json:"type"`
	ActionID string    `json:"action_id"`
	Value    string    `json:"value"`
	URL      string    `json:"url"`
	Text     SlackText `json:"text"`
}

// Buttons are those of the message.
func (m SlackMessage) Buttons() []SlackButton {
	var all []SlackButton
	for _, b := range m.Blocks {
		var buttons []SlackButton
		if b.Type == "actions" && json.Unmarshal(b.Elements, &buttons) == nil {
			all = append(all, buttons...)
		}
	}
	return all
}

// Preformatted are the texts of its code blocks.
func (m SlackMessage) Preformatted() []string {
	var all []string
	for _, b := range m.Blocks {
		var parts []struct {
			Type     string
			Elements []struct{ Type, Text string }
		}
		if b.Type != "rich_text" || json.Unmarshal(b.Elements, &parts) != nil {
			continue
		}
		for _, p := range parts {
			for _, e := range p.Elements {
				if p.Type == "rich_text_preformatted" && e.Type == "text" {
					all = append(all, e.Text)
				}
			}
		}
	}
	return all
}

// Slack is a workspace with one channel.
type Slack struct {
	*Server
	token, channel string
	messages       []*SlackMessage
}

// NewSlack starts a workspace that takes this token, and has this channel.
func NewSlack(t testing.TB, token, channel string) *Slack {
	s := &Slack{token: token, channel: channel}
	s.Server = begin(t, s.judge)
	return s
}

// Messages are those in the channel, in their order.
func (s *Slack) Messages() []SlackMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []SlackMessage
	for _, m := range s.messages {
		all = append(all, *m)
	}
	return all
}

func (s *Slack) judge(w http.ResponseWriter, r Request) {
	code, stamp := s.take(r)
	w.Header().Set("Content-Type", "application/json")
	if code != "" {
		fmt.Fprintf(w, `{"ok":false,"error":%q}`, code)
		return
	}
	fmt.Fprintf(w, `{"ok":true,"channel":%q,"ts":%q}`, s.channel, stamp)
}

// take checks a request as Slack does, and gives Slack's error code or the stamp.
func (s *Slack) take(r Request) (code, stamp string) {
	form, err := url.ParseQuery(r.Body)
	switch {
	case r.Method != http.MethodPost || err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		s.fail("%s %s is no form", r.Method, r.Path)
		return "invalid_form_data", ""
	case form.Get("token") != s.token && r.Header.Get("Authorization") != "Bearer "+s.token:
		return "invalid_auth", ""
	case form.Get("channel") != s.channel:
		return "channel_not_found", ""
	case form.Get("text") == "":
		s.fail("no text for notifications")
		return "no_text", ""
	}
	var blocks []SlackBlock
	if err := json.Unmarshal([]byte(form.Get("blocks")), &blocks); err != nil {
		s.fail("blocks: %v", err)
		return "invalid_blocks_format", ""
	}
	if problem := checkBlocks(blocks); problem != "" {
		s.fail("%s", problem)
		return "invalid_blocks", ""
	}
	var meta struct {
		EventType    string            `json:"event_type"`
		EventPayload map[string]string `json:"event_payload"`
	}
	if err := json.Unmarshal([]byte(form.Get("metadata")), &meta); err != nil || meta.EventType == "" {
		s.fail("metadata: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &SlackMessage{Thread: form.Get("thread_ts"), Text: form.Get("text"), Blocks: blocks, NoticeID: meta.EventPayload["id"]}
	switch r.Path {
	case "/api/chat.postMessage":
		m.TS = fmt.Sprintf("1700000000.%06d", len(s.messages)+1)
		s.messages = append(s.messages, m)
		return "", m.TS
	case "/api/chat.update":
		for _, old := range s.messages {
			if old.TS == form.Get("ts") {
				old.Blocks, old.Text, old.Updates = m.Blocks, m.Text, old.Updates+1
				return "", old.TS
			}
		}
		return "message_not_found", ""
	}
	return "unknown_method", ""
}

// checkBlocks holds blocks to the lengths of Slack's reference of Block Kit.
func checkBlocks(blocks []SlackBlock) string {
	if len(blocks) == 0 || len(blocks) > 50 {
		return fmt.Sprintf("%d blocks", len(blocks))
	}
	total := 0
	text := func(t *SlackText, limit int) string {
		n := utf8.RuneCountInString(t.Text)
		total += n
		if n == 0 || n > limit || t.Type != "plain_text" {
			return fmt.Sprintf("a %s of %d characters, limit %d", t.Type, n, limit)
		}
		return ""
	}
	for _, b := range blocks {
		switch {
		case b.Type == "header" && b.Text != nil:
			if p := text(b.Text, 150); p != "" {
				return "header: " + p
			}
		case b.Type == "section":
			if p := checkSection(b, text); p != "" {
				return "section: " + p
			}
		case b.Type == "actions":
			if p := checkActions(b); p != "" {
				return p
			}
		case b.Type == "context" || b.Type == "rich_text":
			total += len(b.Elements)
		default:
			return "a block of type " + b.Type
		}
	}
	if total > 13200 { // what chat.postMessage refuses with msg_blocks_too_long
		return fmt.Sprintf("blocks of %d characters", total)
	}
	return ""
}

func checkSection(b SlackBlock, text func(*SlackText, int) string) string {
	if b.Text == nil && len(b.Fields) == 0 || len(b.Fields) > 10 {
		return fmt.Sprintf("%d fields", len(b.Fields))
	}
	if b.Text != nil {
		if p := text(b.Text, 3000); p != "" {
			return p
		}
	}
	for _, f := range b.Fields {
		if p := text(&f, 2000); p != "" {
			return p
		}
	}
	return ""
}

func checkActions(b SlackBlock) string {
	var buttons []SlackButton
	if err := json.Unmarshal(b.Elements, &buttons); err != nil || len(buttons) == 0 || len(buttons) > 25 {
		return "actions are no buttons"
	}
	seen := map[string]bool{}
	for _, x := range buttons {
		n := utf8.RuneCountInString(x.Text.Text)
		if x.Type != "button" || seen[x.ActionID] || len(x.ActionID) > 255 || len(x.Value) > 2000 || len(x.URL) > 3000 || n == 0 || n > 75 {
			return "a button is not as documented: " + x.ActionID
		}
		seen[x.ActionID] = true
	}
	return ""
}

// NewReplies starts a server that takes replies to clicks, and answers "ok".
func NewReplies(t testing.TB) *Server {
	return begin(t, func(w http.ResponseWriter, _ Request) { io.WriteString(w, "ok") })
}
