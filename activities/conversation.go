package activities

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/wflo-ai/wflo-go"
)

// Conversations keeps what was said, in parts that never change. Its methods are called
// at the same time.
type Conversations interface {
	// Keep stores a part and gives its key.
	Keep(ctx context.Context, part ConversationPart) (key string, err error)
	// Part gives one back. A key that is not there is an error that matches
	// fs.ErrNotExist.
	Part(ctx context.Context, key string) (ConversationPart, error)
}

// ConversationPart is the end of a conversation.
type ConversationPart struct {
	// Earlier is the key of what comes before; empty for nothing.
	Earlier string `json:"earlier,omitempty"`
	// Parts is how many there are up to here.
	Parts    int            `json:"parts"`
	Messages []wflo.Message `json:"messages"`
}

const (
	// keptText is how much text a conversation has, in bytes, before it is kept: a short
	// one costs history less than a store is asked for.
	keptText = 8 << 10
	// mostParts bounds how many parts are read for one conversation. One that reaches it
	// is kept whole again.
	mostParts = 32
	// heldTalks and heldText bound what is held in memory: conversations, and bytes.
	heldTalks = 64
	heldText  = 32 << 20
)

// whole gives the prompt with all of its messages. What is not there any more, or is on
// another machine, is an *wflo.Error with wflo.CodeForgotten: the caller has it all, and
// sends it.
func (l *LLM) whole(ctx context.Context, p wflo.Prompt) (wflo.Prompt, error) {
	if p.Earlier == nil {
		return p, nil
	}
	key := p.Earlier.Key
	said, err := l.said(ctx, key)
	if err != nil {
		return p, err
	}
	p.Messages, p.Earlier = slices.Concat(said, p.Messages), nil
	return p, nil
}

// said gives the messages of a conversation.
func (l *LLM) said(ctx context.Context, key string) ([]wflo.Message, error) {
	if t, ok := l.talks.get(key); ok {
		return t.messages, nil
	}
	if l.Conversations == nil {
		return nil, errForgotten(key, errors.New("this worker keeps no conversations"))
	}
	var parts [][]wflo.Message
	for at := key; at != ""; {
		part, err := l.Conversations.Part(ctx, at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, errForgotten(key, err)
		case err != nil:
			return nil, err
		case len(parts) == mostParts:
			return nil, errForgotten(key, errors.New("it has too many parts"))
		}
		parts = append(parts, part.Messages)
		at = part.Earlier
	}
	slices.Reverse(parts)
	said := slices.Concat(parts...)
	l.talks.put(key, talk{messages: said, parts: len(parts), bytes: textOf(said)})
	return said, nil
}

func errForgotten(key string, why error) error {
	return wflo.Errorf(wflo.CodeForgotten, "send the whole conversation", "the conversation %.12s is not here: %w", key, why)
}

// keepTalk stores what was said, where it is long enough and goes on: the model called tools,
// or has answered before. A conversation that cannot be kept is sent whole the next time.
func (l *LLM) keepTalk(ctx context.Context, asked, p wflo.Prompt, reply wflo.Reply) *wflo.Earlier {
	goesOn := len(reply.ToolCalls) > 0 || slices.ContainsFunc(p.Messages, func(m wflo.Message) bool { return m.Role == wflo.RoleAssistant })
	if l.Conversations == nil || !goesOn {
		return nil
	}
	now := talk{messages: append(slices.Clip(p.Messages), reply.Message()), parts: 1}
	if now.bytes = textOf(now.messages); now.bytes < keptText {
		return nil
	}
	part := ConversationPart{Parts: 1, Messages: now.messages}
	if e := asked.Earlier; e != nil {
		if before, ok := l.talks.get(e.Key); ok && before.parts < mostParts {
			now.parts = before.parts + 1
			part = ConversationPart{Earlier: e.Key, Parts: now.parts, Messages: now.messages[len(before.messages):]}
		}
	}
	key, err := l.Conversations.Keep(ctx, part)
	if err != nil {
		l.log().WarnContext(ctx, "a conversation is not kept, and sent whole", "error", err.Error())
		return nil
	}
	l.talks.put(key, now)
	return &wflo.Earlier{Key: key, Messages: len(now.messages), Bytes: now.bytes}
}

// textOf is about how many bytes messages take.
func textOf(messages []wflo.Message) (n int64) {
	for _, m := range messages {
		n += int64(len(m.Text) + len(m.ToolName) + len(m.ToolCallID))
		for _, c := range m.ToolCalls {
			n += int64(len(c.ID) + len(c.Name) + len(c.Arguments) + len(c.Opaque))
		}
	}
	return n
}

// talk is a conversation. Nobody changes its messages.
type talk struct {
	messages []wflo.Message
	parts    int
	bytes    int64
}

// talks holds the conversations that were used last.
type talks struct {
	mu    sync.Mutex
	by    map[string]talk
	order []string // the longest unused first
	bytes int64
}

func (t *talks) get(key string) (talk, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	got, ok := t.by[key]
	if ok {
		t.use(key)
	}
	return got, ok
}

func (t *talks) put(key string, is talk) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.by[key]; ok {
		t.use(key)
		return
	}
	if t.by == nil {
		t.by = map[string]talk{}
	}
	t.by[key], t.order, t.bytes = is, append(t.order, key), t.bytes+is.bytes
	for len(t.order) > 1 && (len(t.order) > heldTalks || t.bytes > heldText) {
		t.bytes -= t.by[t.order[0]].bytes
		delete(t.by, t.order[0])
		t.order = slices.Delete(t.order, 0, 1)
	}
}

func (t *talks) use(key string) {
	at := slices.Index(t.order, key)
	t.order = append(slices.Delete(t.order, at, at+1), key)
}
