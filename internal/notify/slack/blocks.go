package slack

import (
	"encoding/json"

	slackapi "github.com/slack-go/slack"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

// Slack's limits, in characters, and how many fields a section takes
// (docs.slack.dev/reference/block-kit/blocks).
const (
	maxHeader  = 150
	maxSection = 3000
	maxField   = 2000
	maxFields  = 10
	maxValue   = 2000
)

// The names of the buttons.
const (
	actionApprove = "wflo_approve"
	actionReject  = "wflo_reject"
	actionOpen    = "wflo_open"
)

// button is what a button carries: which gate, and what of it was shown.
type button struct {
	Nonce  string `json:"nonce"`
	Digest string `json:"digest"`
}

// blocks lays a message out. All text is plain_text or in a preformatted block, in
// neither of which Slack reads markup: nothing in a message can mention people, hide
// a link or leave its code block.
func blocks(n wflo.Notice, m render.Message) []slackapi.Block {
	list := []slackapi.Block{slackapi.NewHeaderBlock(plain(m.Title, maxHeader))}
	for _, text := range []string{m.Action, m.Text} {
		if text != "" {
			list = append(list, slackapi.NewSectionBlock(plain(text, maxSection), nil, nil))
		}
	}
	for rest := m.Facts; len(rest) > 0; rest = rest[min(maxFields, len(rest)):] {
		var fields []*slackapi.TextBlockObject
		for _, f := range rest[:min(maxFields, len(rest))] {
			fields = append(fields, plain(f.Name+": "+f.Value, maxField))
		}
		list = append(list, slackapi.NewSectionBlock(nil, fields, nil))
	}
	if m.Payload.Text != "" {
		list = append(list, note("What will be done, sha256 "+m.Payload.SHA256), preformatted(m.Payload.Text))
		if more := m.Payload.Note(); more != "" {
			list = append(list, note(more))
		}
	}
	if m.Agent != "" {
		list = append(list, note(render.AgentLabel), preformatted(m.Agent))
		if more := m.AgentNote(); more != "" {
			list = append(list, note(more))
		}
	}
	if buttons := buttons(n, m); len(buttons) > 0 {
		list = append(list, slackapi.NewActionBlock("wflo", buttons...))
	}
	return list
}

func plain(s string, limit int) *slackapi.TextBlockObject {
	return slackapi.NewTextBlockObject(slackapi.PlainTextType, render.Short(s, limit), false, false)
}

func note(s string) slackapi.Block {
	return slackapi.NewContextBlock("", plain(s, maxField))
}

func preformatted(s string) slackapi.Block {
	text := slackapi.NewRichTextSectionTextElement(s, nil)
	return slackapi.NewRichTextBlock("", &slackapi.RichTextPreformatted{
		Type: slackapi.RTEPreformatted, Elements: []slackapi.RichTextSectionElement{text},
	})
}

// buttons are what the message offers: none that Slack would not carry whole.
func buttons(n wflo.Notice, m render.Message) []slackapi.BlockElement {
	var list []slackapi.BlockElement
	if n.Gate != nil {
		value, err := json.Marshal(button{Nonce: n.Gate.Nonce, Digest: n.Gate.Digest})
		if err == nil && len(value) <= maxValue && n.Gate.Nonce != "" && n.Gate.Digest != "" {
			if m.Approve {
				b := slackapi.NewButtonBlockElement(actionApprove, string(value), plain("Approve", 75))
				list = append(list, b.WithStyle(slackapi.StylePrimary))
			}
			if m.Reject {
				b := slackapi.NewButtonBlockElement(actionReject, string(value), plain("Reject", 75))
				list = append(list, b.WithStyle(slackapi.StyleDanger))
			}
		}
	}
	if m.Link != "" && len(m.Link) <= maxSection {
		list = append(list, slackapi.NewButtonBlockElement(actionOpen, "", plain("Open", 75)).WithURL(m.Link))
	}
	return list
}
