package activities_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// said is an activities.Conversations in memory.
type said struct {
	mu    sync.Mutex
	parts map[string]activities.ConversationPart
	read  int
}

func (s *said) Keep(_ context.Context, part activities.ConversationPart) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil {
		s.parts = map[string]activities.ConversationPart{}
	}
	key := fmt.Sprintf("part-%d", len(s.parts))
	s.parts[key] = part
	return key, nil
}

func (s *said) Part(_ context.Context, key string) (activities.ConversationPart, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read++
	part, ok := s.parts[key]
	if !ok {
		return part, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	return part, nil
}

// turns has a conversation of n turns, each of which sends only what is new where it can,
// and gives the bytes of each prompt as it was sent.
func turns(t *testing.T, b *bench, n int, between func(turn int)) (sent []int) {
	t.Helper()
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		r, err := answered(p)
		r.Text = fmt.Sprintf("answer %d", len(p.Messages))
		return r, err
	}
	all := []wflo.Message{{Role: wflo.RoleUser, Text: strings.Repeat("long ", 4000)}}
	var kept *wflo.Earlier
	for i := range n {
		p := ask("")
		if p.Messages = all; kept != nil {
			p.Earlier, p.Messages = kept, all[kept.Messages:]
		}
		size := 0
		for _, m := range p.Messages {
			size += len(m.Text)
		}
		sent = append(sent, size)
		reply, err := b.chatAs(b.step(i), p)
		if err != nil {
			t.Fatalf("turn %d: %v", i, err)
		}
		if got := b.vendor.seen[len(b.vendor.seen)-1]; !cmp.Equal(got.Messages, all) || got.Earlier != nil {
			t.Fatalf("turn %d: the provider was sent %d messages, want %d", i, len(got.Messages), len(all))
		}
		all = append(slices.Clip(all), reply.Message(), wflo.Message{Role: wflo.RoleUser, Text: fmt.Sprint("go on ", i)})
		kept = reply.Conversation
		if between != nil {
			between(i)
		}
	}
	return sent
}

func TestTurnsSendWhatIsNew(t *testing.T) {
	b := newBench(t, 100*wflo.USD)
	store := &said{}
	b.llm.Conversations = store
	sent := turns(t, b, 50, nil)
	// The first answer is not known to be followed by anything.
	if sent[0] != 20_000 || sent[1] < sent[0] || slices.Max(sent[2:]) > 100 {
		t.Errorf("turns sent %v bytes", sent)
	}
	if store.read != 0 {
		t.Errorf("%d parts were read of what is in memory", store.read)
	}
	for key, part := range store.parts {
		if part.Parts > 32 {
			t.Errorf("%s is the part number %d", key, part.Parts)
		}
	}
}

func TestTurnsOfAnotherWorker(t *testing.T) {
	b := newBench(t, 100*wflo.USD)
	store := &said{}
	b.llm.Conversations = store
	turns(t, b, 40, func(int) {
		old := b.llm
		b.llm = &activities.LLM{Providers: old.Providers, Prices: old.Prices, Ledger: old.Ledger, Observer: old.Observer, Conversations: store}
	})
	if store.read == 0 {
		t.Error("no part was read")
	}
}

func TestWhatWasSaidIsGone(t *testing.T) {
	b := newBench(t, 100*wflo.USD)
	b.llm.Conversations = &said{}
	p := ask("go on")
	p.Earlier = &wflo.Earlier{Key: "gone", Messages: 2}
	_, err := b.chatAs(b.step(1), p)
	if wflo.CodeOf(err) != wflo.CodeForgotten || b.vendor.calls() != 0 {
		t.Errorf("%d calls were made, error %v", b.vendor.calls(), err)
	}
	b.llm.Conversations = nil
	if _, err := b.chatAs(b.step(2), p); wflo.CodeOf(err) != wflo.CodeForgotten {
		t.Errorf("error %v", err)
	}
}
