package slack

import (
	"errors"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
)

// A console that holds no token answers clicks all the same, at Slack's addresses or
// those of the server in its place, and nowhere else.
func TestReplier(t *testing.T) {
	s := notifytest.NewReplies(t)
	r := NewReplier(s.URL+"/api/", notifytest.Local())
	if err := r.Reply(t.Context(), s.URL+"/actions/T/1/secret", "done"); err != nil {
		t.Fatal(err)
	}
	if got := s.Requests(); len(got) != 1 || got[0].Body != `{"replace_original":false,"response_type":"ephemeral","text":"done"}` {
		t.Errorf("sent %+v", got)
	}
	for name, other := range map[string]*Replier{"in Slack's place": r, "at Slack": NewReplier("", notifytest.Local())} {
		if err := other.Reply(t.Context(), "https://evil.example/x", "done"); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !NewReplier("", notifytest.Local()).c.answers(mustURL(t, "https://hooks.slack.com/actions/T/1/x")) {
		t.Error("Slack's own address is refused")
	}
}
