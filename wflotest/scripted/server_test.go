package scripted_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/openai/openai-go/v3"
	"google.golang.org/genai"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

var lookup = wflo.Tool{
	Name: "lookup", Description: "Finds an order.",
	Parameters: json.RawMessage(`{"properties":{"id":{"type":"string"}},"type":"object"}`),
}

func TestChat(t *testing.T) {
	each(t, scripted.Config{Script: scripted.Echo}, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
		text := "one two three, four: «fünf» sechs 7 " + strings.Repeat("and more ", 20) + "🙂"
		got := mustAsk(t, c, talk{system: "Be brief.", messages: user(text)}, stream)
		call := lastCall(t, srv)
		want := said{
			id: call.ResponseID, text: "echo: " + text, stop: wflo.StopEnd,
			usage: wflo.Usage{
				Input:  scripted.CountTokens("Be brief.") + scripted.CountTokens(text),
				Output: scripted.CountTokens("echo: " + text),
			},
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(said{})); diff != "" {
			t.Errorf("reply (-want +got):\n%s", diff)
		}
		wantCall := scripted.Call{
			Provider: c.provider(), Model: c.model(), Answer: scripted.Answer{Text: "echo: " + text}, Status: 200,
			ResponseID: got.id, Usage: want.usage, Completed: true,
			Turn: scripted.Turn{Provider: c.provider(), Model: c.model(), System: "Be brief.", Messages: user(text), Stream: stream, Call: 1},
		}
		if diff := cmp.Diff(wantCall, call, cmpopts.IgnoreFields(scripted.Turn{}, "Header", "MaxTokens")); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		for name, values := range call.Turn.Header {
			if strings.Contains(strings.Join(values, " "), "key") {
				t.Errorf("header %s holds the credential", name)
			}
		}
	})
}

// toolAgent calls lookup twice at once, then answers with what came back.
func toolAgent(t scripted.Turn) scripted.Answer {
	text, failed, ok := scripted.LastToolResult(t, "lookup")
	if !ok {
		return scripted.Answer{Text: "Let me look.", ToolCalls: []wflo.ToolCall{
			{ID: "a", Name: "lookup", Arguments: `{"id":"A-1"}`},
			{Name: "lookup", Arguments: `{"id":"B-2"}`},
		}}
	}
	return scripted.Answer{Text: fmt.Sprintf("%s failed=%t calls=%d", text, failed, scripted.ToolCallsMade(t))}
}

func TestToolsRoundTrip(t *testing.T) {
	each(t, scripted.Config{Script: toolAgent}, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
		q := talk{messages: user("where is my order?"), tools: []wflo.Tool{lookup}}
		first := mustAsk(t, c, q, stream)
		wantCalls := []wflo.ToolCall{
			{ID: "a", Name: "lookup", Arguments: `{"id":"A-1"}`},
			{ID: "call_000001_2", Name: "lookup", Arguments: `{"id":"B-2"}`},
		}
		if diff := cmp.Diff(wantCalls, first.calls, cmpopts.IgnoreFields(wflo.ToolCall{}, "Opaque")); diff != "" {
			t.Fatalf("tool calls (-want +got):\n%s", diff)
		}
		if first.stop != wflo.StopTools || first.text != "Let me look." {
			t.Errorf("got stop %q and text %q", first.stop, first.text)
		}
		tools := srv.Calls()[0].Turn.Tools
		if c.provider() != scripted.Anthropic {
			if diff := cmp.Diff([]wflo.Tool{lookup}, tools); diff != "" {
				t.Errorf("tools (-want +got):\n%s", diff)
			}
		}
		q.messages = append(q.messages, wflo.Message{Role: wflo.RoleAssistant, Text: first.text, ToolCalls: first.calls},
			wflo.Message{Role: wflo.RoleTool, Text: "shipped", ToolCallID: "a", ToolName: "lookup"},
			wflo.Message{Role: wflo.RoleTool, Text: "error: no such order", ToolCallID: "call_000001_2", ToolName: "lookup", ToolFailed: true})
		second := mustAsk(t, c, q, stream)
		if want := "error: no such order failed=true calls=2"; second.text != want {
			t.Errorf("got %q, want %q", second.text, want)
		}
		if diff := cmp.Diff(q.messages, lastCall(t, srv).Turn.Messages); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
		if second.usage.Input <= first.usage.Input {
			t.Errorf("the longer prompt costs %d tokens, the shorter %d", second.usage.Input, first.usage.Input)
		}
	})
}

func TestMalformedArguments(t *testing.T) {
	for _, raw := range []string{`{"id": "A-`, `["A-1"]`, `"text"`} {
		t.Run(raw, func(t *testing.T) {
			cfg := scripted.Config{Script: func(t scripted.Turn) scripted.Answer {
				if scripted.ToolCallsMade(t) > 0 {
					return scripted.Answer{Text: t.Messages[1].ToolCalls[0].Arguments}
				}
				return scripted.CallTool("x", "lookup", raw)
			}}
			each(t, cfg, "key", func(t *testing.T, _ *scripted.Server, c client, stream bool) {
				q := talk{messages: user("go"), tools: []wflo.Tool{lookup}}
				got := mustAsk(t, c, q, stream)
				want := raw
				if c.provider() == scripted.Anthropic || c.provider() == scripted.Google {
					b, err := json.Marshal(map[string]string{scripted.MalformedField: raw})
					if err != nil {
						t.Fatal(err)
					}
					want = string(b)
				}
				if len(got.calls) != 1 || got.calls[0].Arguments != want {
					t.Fatalf("got %+v, want arguments %q", got.calls, want)
				}
				q.messages = append(q.messages, wflo.Message{Role: wflo.RoleAssistant, ToolCalls: got.calls},
					wflo.Message{Role: wflo.RoleTool, Text: "error: bad arguments", ToolCallID: "x", ToolName: "lookup", ToolFailed: true})
				if back := mustAsk(t, c, q, stream); back.text != raw {
					t.Errorf("the raw arguments came back as %q, want %q", back.text, raw)
				}
			})
		})
	}
}

func TestUsage(t *testing.T) {
	answer := scripted.Answer{Text: "The answer is 42.", Reasoning: "Let me think about it.", CachedInput: 3}
	cfg := scripted.Config{Script: func(scripted.Turn) scripted.Answer { return answer }}
	each(t, cfg, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
		prompt := scripted.CountTokens("what is the answer to everything?")
		got := mustAsk(t, c, talk{messages: user("what is the answer to everything?")}, stream)
		want := wflo.Usage{
			Input: prompt - 3, CacheRead: 3,
			Output: scripted.CountTokens(answer.Text), Reasoning: scripted.CountTokens(answer.Reasoning),
		}
		if c.provider() == scripted.Cohere {
			want = wflo.Usage{Input: prompt, Output: want.Output + want.Reasoning}
		}
		if diff := cmp.Diff(want, got.usage); diff != "" {
			t.Errorf("usage that the client saw (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, lastCall(t, srv).Usage); diff != "" {
			t.Errorf("usage that was billed (-want +got):\n%s", diff)
		}
		if c.provider() != scripted.OpenAI && got.reasoning != answer.Reasoning {
			t.Errorf("got reasoning %q", got.reasoning)
		}
	})
}

func TestMaxTokens(t *testing.T) {
	answers := map[string]scripted.Answer{
		"text":      {Text: "one two three four five six seven"},
		"reasoning": {Reasoning: "one two three four five six", Text: "never"},
		"tool":      {Text: "one", ToolCalls: []wflo.ToolCall{{ID: "x", Name: "lookup", Arguments: `{"id":"A-1","why":"because"}`}}},
		"name":      {Text: "one two three", ToolCalls: []wflo.ToolCall{{ID: "x", Name: "a_tool_with_a_long_name", Arguments: `{}`}}},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			cfg := scripted.Config{Script: func(scripted.Turn) scripted.Answer { return answer }}
			each(t, cfg, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
				got := mustAsk(t, c, talk{messages: user("count"), tools: []wflo.Tool{lookup}, maxTokens: 5}, stream)
				// "name" stops short: a name is never cut.
				if out := got.usage.Output + got.usage.Reasoning; out > 5 || (out < 5 && name != "name") {
					t.Errorf("got %d output tokens, want 5: %+v", out, got)
				}
				if got.stop != wflo.StopMaxTokens {
					t.Errorf("got stop %q, want %q", got.stop, wflo.StopMaxTokens)
				}
				if got.usage != lastCall(t, srv).Usage {
					t.Errorf("the client saw %+v, billed were %+v", got.usage, lastCall(t, srv).Usage)
				}
			})
		})
	}
}

func TestStatusFaults(t *testing.T) {
	for _, status := range []int{400, 403, 429, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			fault := scripted.Fault{Status: status, RetryAfter: 1500 * time.Millisecond}
			cfg := scripted.Config{Script: func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: "x", Fault: fault} }}
			each(t, cfg, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
				_, err := c.ask(within(t), talk{model: c.model(), messages: user("go")}, stream)
				if got := c.status(err); got != status {
					t.Fatalf("got status %d, want %d: %v", got, status, err)
				}
				checkRetryAfter(t, err)
				call := lastCall(t, srv)
				if call.Usage != (wflo.Usage{}) || call.Status != status || !call.Completed {
					t.Errorf("got %+v", call)
				}
			})
		})
	}
}

// checkRetryAfter looks where each SDK leaves what the vendor asked for;
// Cohere's keeps nothing.
func checkRetryAfter(t *testing.T, err error) {
	t.Helper()
	var o *openai.Error
	var a *anthropic.Error
	var g genai.APIError
	switch {
	case errors.As(err, &o):
		if h := o.Response.Header; h.Get("Retry-After") != "2" || h.Get("Retry-After-Ms") != "1500" {
			t.Errorf("got Retry-After %q and Retry-After-Ms %q", h.Get("Retry-After"), h.Get("Retry-After-Ms"))
		}
	case errors.As(err, &a):
		if h := a.Response.Header; h.Get("Retry-After") != "2" {
			t.Errorf("got Retry-After %q", h.Get("Retry-After"))
		}
	case errors.As(err, &g):
		if len(g.Details) != 1 || g.Details[0]["retryDelay"] != "1.5s" {
			t.Errorf("got details %v", g.Details)
		}
	}
}

func TestDroppedConnection(t *testing.T) {
	for _, after := range []int{-1, 1, 60, 1 << 20} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			cfg := scripted.Config{Script: func(t scripted.Turn) scripted.Answer {
				return scripted.Answer{Text: "a longer text that is cut somewhere", Fault: scripted.Fault{DropAfter: after}}
			}}
			each(t, cfg, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
				got, err := c.ask(within(t), talk{model: c.model(), messages: user("go")}, stream)
				// A client may not care how a body ends once it has all of it.
				if err == nil && after != 1<<20 {
					t.Fatalf("got %+v, want an error", got)
				}
				if status := c.status(err); status != 0 {
					t.Errorf("got status %d, want a connection error: %v", status, err)
				}
				call := lastCall(t, srv)
				if call.Completed || call.Usage.Output != scripted.CountTokens("a longer text that is cut somewhere") {
					t.Errorf("got %+v", call)
				}
			})
		})
	}
}

func TestBrokenReplies(t *testing.T) {
	t.Run("malformed", func(t *testing.T) {
		cfg := scripted.Config{Script: func(scripted.Turn) scripted.Answer {
			return scripted.Answer{Text: "hello there", Fault: scripted.Fault{MalformedJSON: true}}
		}}
		each(t, cfg, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
			got, err := c.ask(within(t), talk{model: c.model(), messages: user("go")}, stream)
			if err == nil {
				t.Fatalf("got %+v, want an error", got)
			}
			if lastCall(t, srv).Usage.Output == 0 {
				t.Error("a malformed reply was not billed")
			}
		})
	})
	t.Run("body", func(t *testing.T) {
		cfg := scripted.Config{Script: func(scripted.Turn) scripted.Answer {
			return scripted.Answer{Fault: scripted.Fault{Status: 502, Body: "<html>bad gateway</html>"}}
		}}
		each(t, cfg, "key", func(t *testing.T, _ *scripted.Server, c client, stream bool) {
			_, err := c.ask(within(t), talk{model: c.model(), messages: user("go")}, stream)
			if err == nil || !strings.Contains(err.Error(), "502") {
				t.Errorf("got %v, want a 502", err)
			}
		})
	})
	t.Run("usage", func(t *testing.T) {
		cfg := scripted.Config{Script: func(scripted.Turn) scripted.Answer {
			return scripted.Answer{Text: "hello there", Fault: scripted.Fault{OmitUsage: true}}
		}}
		each(t, cfg, "key", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
			got := mustAsk(t, c, talk{messages: user("go")}, stream)
			if got.usage != (wflo.Usage{}) || got.text != "hello there" {
				t.Errorf("got %+v", got)
			}
			if call := lastCall(t, srv); call.Usage.Output == 0 || !call.Completed {
				t.Errorf("got %+v", call)
			}
		})
	})
}

func TestHang(t *testing.T) {
	for _, after := range []int{0, 20} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			for _, one := range clients {
				ctx, goAway := context.WithCancel(within(t))
				srv := start(t, scripted.Config{Script: func(scripted.Turn) scripted.Answer {
					goAway()
					return scripted.Answer{Text: "never seen", Fault: scripted.Fault{Hang: true, DropAfter: after}}
				}})
				c := one.new(t, linkTo(t, srv, one.name, "key"))
				_, err := c.ask(ctx, talk{model: c.model(), messages: user("go")}, true)
				goAway()
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s: got %v from a call that hangs and was cancelled", one.name, err)
				}
				if err := srv.Close(); err != nil { // waits for the handler
					t.Fatal(err)
				}
				if call := lastCall(t, srv); call.Completed || call.Usage.Output != 0 {
					t.Errorf("%s: got %+v", one.name, call)
				}
			}
		})
	}
}

func TestCloseEndsHangingCalls(t *testing.T) {
	reached := make(chan struct{})
	srv := start(t, scripted.Config{Script: func(scripted.Turn) scripted.Answer {
		close(reached)
		return scripted.Answer{Fault: scripted.Fault{Hang: true}}
	}})
	c := newOpenAI(t, linkTo(t, srv, scripted.OpenAI, "key"))
	failed := make(chan error)
	go func() {
		_, err := c.ask(context.Background(), talk{model: c.model(), messages: user("go")}, false)
		failed <- err
	}()
	<-reached
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Error("got an answer from a closed server")
	}
}

func TestAuth(t *testing.T) {
	want := map[string]int{scripted.OpenAI: 401, scripted.Anthropic: 401, scripted.Google: 400, scripted.Cohere: 401}
	each(t, scripted.Config{Script: scripted.Echo, APIKey: "right"}, "wrong", func(t *testing.T, srv *scripted.Server, c client, stream bool) {
		_, err := c.ask(within(t), talk{model: c.model(), messages: user("go")}, stream)
		if got := c.status(err); got != want[c.provider()] {
			t.Errorf("got status %d: %v", got, err)
		}
		if len(srv.Calls()) != 0 {
			t.Error("a refused request was logged as a call")
		}
	})
	each(t, scripted.Config{Script: scripted.Echo, APIKey: "right"}, "right", func(t *testing.T, _ *scripted.Server, c client, stream bool) {
		mustAsk(t, c, talk{messages: user("go")}, stream)
	})
}

func TestStrictness(t *testing.T) {
	call := []wflo.ToolCall{{ID: "x", Name: "lookup", Arguments: "{}", Opaque: "c2ln"}}
	tests := map[string]talk{
		"unknown field": {messages: user("go"), extra: true},
		"no messages":   {system: "only a system text"},
		"unanswered call": {messages: append(user("go"), wflo.Message{Role: wflo.RoleAssistant, ToolCalls: call},
			wflo.Message{Role: wflo.RoleUser, Text: "well?"})},
		"result without call": {messages: append(user("go"), wflo.Message{Role: wflo.RoleTool, Text: "x", ToolCallID: "x", ToolName: "lookup"})},
		"bad tool name":       {messages: user("go"), tools: []wflo.Tool{{Name: "a tool!", Parameters: lookup.Parameters}}},
	}
	for name, q := range tests {
		t.Run(name, func(t *testing.T) {
			eachClient(t, scripted.Config{Script: scripted.Echo}, "key", false, func(t *testing.T, srv *scripted.Server, c client) {
				if name == "no messages" && c.provider() == scripted.OpenAI {
					return // a system text alone is enough for OpenAI
				}
				q.model = c.model()
				_, err := c.ask(within(t), q, false)
				if got := c.status(err); got != http.StatusBadRequest {
					t.Errorf("got status %d, want 400: %v", got, err)
				}
				if len(srv.Calls()) != 0 {
					t.Error("a refused request was logged as a call")
				}
			})
		})
	}
}

func TestUnknownModel(t *testing.T) {
	cfg := scripted.Config{Scripts: map[string]scripted.Script{"known": scripted.Echo, "also": scripted.Echo}}
	eachClient(t, cfg, "key", false, func(t *testing.T, _ *scripted.Server, c client) {
		_, err := c.ask(within(t), talk{model: "other", messages: user("go")}, false)
		if got := c.status(err); got != http.StatusNotFound {
			t.Errorf("got status %d, want 404: %v", got, err)
		}
		if got, err := c.ask(within(t), talk{model: "known", messages: user("go")}, false); err != nil || got.text != "echo: go" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	srv := start(t, cfg)
	c := newOpenAI(t, linkTo(t, srv, scripted.OpenAI, "key")).(openAIClient)
	page, err := c.sdk.Models.List(within(t))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range page.Data {
		ids = append(ids, m.ID)
	}
	if diff := cmp.Diff([]string{"also", "known"}, ids); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
}

func TestScriptPanicIsTheVendors500(t *testing.T) {
	cfg := scripted.Config{Script: func(scripted.Turn) scripted.Answer { panic("oops") }}
	eachClient(t, cfg, "key", false, func(t *testing.T, _ *scripted.Server, c client) {
		_, err := c.ask(within(t), talk{model: c.model(), messages: user("go")}, false)
		if err == nil || !strings.Contains(err.Error(), "500") {
			t.Errorf("got %v, want a 500", err)
		}
	})
}

func TestConcurrentCalls(t *testing.T) {
	srv := start(t, scripted.Config{Script: scripted.Loop("lookup", map[string]int{"n": 1})})
	var wait sync.WaitGroup
	for _, one := range clients {
		c := one.new(t, linkTo(t, srv, one.name, "key"))
		for i := range 5 {
			wait.Go(func() {
				got, err := c.ask(within(t), talk{model: c.model(), messages: user("go")}, i%2 == 0)
				if err != nil || len(got.calls) != 1 || got.calls[0].Arguments != `{"n":1}` {
					t.Errorf("%s: got %+v, %v", one.name, got, err)
				}
			})
		}
	}
	wait.Wait()
	calls := srv.Calls()
	if len(calls) != 20 {
		t.Fatalf("got %d calls, want 20", len(calls))
	}
	for i, call := range calls {
		if call.Turn.Call != i+1 || !call.Completed || call.Answer.ToolCalls[0].ID != fmt.Sprintf("loop_%d", i+1) {
			t.Errorf("entry %d: got %+v", i, call)
		}
	}
}

func TestStreamWithoutUsageIsBilled(t *testing.T) {
	srv := start(t, scripted.Config{Script: scripted.Echo})
	c := newOpenAI(t, linkTo(t, srv, scripted.OpenAI, "key"))
	got := mustAsk(t, c, talk{messages: user("go"), noUsage: true}, true)
	if got.usage != (wflo.Usage{}) {
		t.Errorf("got usage %+v that nobody asked for", got.usage)
	}
	if lastCall(t, srv).Usage.Total() == 0 {
		t.Error("the call was not billed")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]scripted.Config{
		"no script":    {},
		"empty script": {Scripts: map[string]scripted.Script{"m": nil}},
	} {
		if srv, err := scripted.New(cfg); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%s: got %v, %v", name, srv, err)
		}
	}
	if srv, err := scripted.New(scripted.Config{Script: scripted.Echo, Addr: "nowhere:x"}); err == nil {
		t.Errorf("got %v for an address that is none", srv)
	}
}
