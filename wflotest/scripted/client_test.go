package scripted_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// talk is what the tests ask, in words that every client can be told in.
type talk struct {
	model     string
	system    string
	messages  []wflo.Message
	tools     []wflo.Tool
	maxTokens int64
	// extra is a field that no vendor knows.
	extra bool
	// noUsage does not ask for usage in an OpenAI stream.
	noUsage bool
}

// said is what a client understood.
type said struct {
	id        string
	text      string
	reasoning string
	calls     []wflo.ToolCall
	stop      wflo.StopReason
	usage     wflo.Usage
}

// client drives one official SDK.
type client interface {
	provider() string
	model() string
	ask(ctx context.Context, q talk, stream bool) (said, error)
	// status is the HTTP status of an error of the SDK, 0 when it has none.
	status(err error) int
}

// link is how a client reaches a server.
type link struct {
	base string
	key  string
	http *http.Client
}

var clients = []struct {
	name string
	new  func(t *testing.T, l link) client
}{
	{scripted.OpenAI, newOpenAI},
	{scripted.Anthropic, newAnthropic},
	{scripted.Google, newGoogle},
	{scripted.Cohere, newCohere},
}

// start runs a server for the length of a test.
func start(t *testing.T, cfg scripted.Config) *scripted.Server {
	t.Helper()
	srv, err := scripted.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// each runs a test against every client, whole and streamed, with a server of
// its own.
func each(t *testing.T, cfg scripted.Config, key string, test func(t *testing.T, srv *scripted.Server, c client, stream bool)) {
	t.Helper()
	for _, stream := range []bool{false, true} {
		eachClient(t, cfg, key, stream, func(t *testing.T, srv *scripted.Server, c client) { test(t, srv, c, stream) })
	}
}

func eachClient(t *testing.T, cfg scripted.Config, key string, stream bool, test func(t *testing.T, srv *scripted.Server, c client)) {
	t.Helper()
	for _, one := range clients {
		name := one.name + "/whole"
		if stream {
			name = one.name + "/stream"
		}
		t.Run(name, func(t *testing.T) {
			srv := start(t, cfg)
			test(t, srv, one.new(t, linkTo(t, srv, one.name, key)))
		})
	}
}

func linkTo(t *testing.T, srv *scripted.Server, provider, key string) link {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return link{base: srv.BaseURL(provider), key: key, http: &http.Client{Transport: transport}}
}

// within bounds a call, so that a broken server fails a test and does not hang it.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func user(text string) []wflo.Message { return []wflo.Message{{Role: wflo.RoleUser, Text: text}} }

// mustAsk is ask for a call that must succeed.
func mustAsk(t *testing.T, c client, q talk, stream bool) said {
	t.Helper()
	q.model = c.model()
	got, err := c.ask(within(t), q, stream)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func lastCall(t *testing.T, srv *scripted.Server) scripted.Call {
	t.Helper()
	calls := srv.Calls()
	if len(calls) == 0 {
		t.Fatal("the server logged no call")
	}
	return calls[len(calls)-1]
}

var errNoReply = errors.New("the stream ended without a reply")

func stopOf(word string) wflo.StopReason {
	switch strings.ToLower(word) {
	case "stop", "end_turn", "complete":
		return wflo.StopEnd
	case "tool_calls", "tool_use", "tool_call":
		return wflo.StopTools
	case "length", "max_tokens":
		return wflo.StopMaxTokens
	}
	return wflo.StopOther
}
