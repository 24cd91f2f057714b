package activities

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"github.com/wflo-ai/wflo-go"
)

// saysNothing is a provider that is only asked for its name.
type saysNothing struct{ Provider }

func (saysNothing) Name() string { return "google" }

// The names are those of the conventions, whose package this one does not import.
func TestChatSpanFollowsTheConventions(t *testing.T) {
	exported := tracetest.NewInMemoryExporter()
	ctx, around := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported)).Tracer("test").Start(t.Context(), "activity")
	l := &LLM{}
	c := &call{prompt: wflo.Prompt{Model: "m", System: "s", MaxTokens: 7, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "u"}}}, provider: saysNothing{}}
	_, span := l.traceChat(ctx, wflo.Run{WorkflowID: "w", FirstRunID: "1", Agent: "a"}, c, wflo.Hold{Granted: 5})
	span.answered(wflo.Reply{
		Model: "m-1", ResponseID: "r", Stop: wflo.StopMaxTokens, Text: "answer",
		Usage: wflo.Usage{Input: 1, CacheRead: 2, CacheWrite5m: 3, CacheWrite1h: 4, Output: 5, Reasoning: 6},
	}, nil)
	span.finish(9, nil)
	around.End()
	have := map[string]string{}
	for _, a := range exported.GetSpans()[0].Attributes {
		have[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{
		string(semconv.GenAIOperationNameKey): semconv.GenAIOperationNameChat.Value.AsString(), string(semconv.GenAIProviderNameKey): semconv.GenAIProviderNameGCPGemini.Value.AsString(),
		string(semconv.GenAIRequestModelKey): "m", string(semconv.GenAIRequestMaxTokensKey): "7", string(semconv.GenAIConversationIDKey): "w/1",
		string(semconv.GenAIAgentNameKey): "a", string(semconv.GenAIResponseModelKey): "m-1", string(semconv.GenAIResponseIDKey): "r",
		string(semconv.GenAIResponseFinishReasonsKey): `["length"]`, string(semconv.GenAIUsageInputTokensKey): "10", string(semconv.GenAIUsageOutputTokensKey): "11",
		string(semconv.GenAIUsageCacheReadInputTokensKey): "2", string(semconv.GenAIUsageCacheCreationInputTokensKey): "7", string(semconv.GenAIUsageReasoningOutputTokensKey): "6",
		"wflo.cost.nano_usd": "9", "wflo.budget.reserved.nano_usd": "5",
		string(semconv.GenAIInputMessagesKey): "", string(semconv.GenAIOutputMessagesKey): "", string(semconv.GenAISystemInstructionsKey): "",
	} {
		if have[key] != want {
			t.Errorf("%s is %q, want %q", key, have[key], want)
		}
	}
}

func TestCallErrorType(t *testing.T) {
	for want, err := range map[string]error{
		"429":                                   fmt.Errorf("ask: %w", &CallError{Status: http.StatusTooManyRequests, Err: errors.New("slow down")}),
		string(wflo.CodeBudgetExceeded):         wflo.Errorf(wflo.CodeBudgetExceeded, "", "no room"),
		"timeout":                               context.DeadlineExceeded,
		"cancelled":                             context.Canceled,
		semconv.ErrorTypeOther.Value.AsString(): errors.New("what"),
	} {
		if got := callErrorType(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

// Of a long conversation the latest messages are kept.
func TestMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("ü", maxContent/3)
	got := messagesText([]wflo.Message{{Role: wflo.RoleUser, Text: "first"}, {Role: wflo.RoleUser, Text: long}, {Role: wflo.RoleAssistant, Text: long}, {Role: wflo.RoleUser, Text: "last"}})
	if strings.Contains(got, "first") || !strings.HasSuffix(got, `"content":"last"}]}]`) || len(got) > maxContent+1000 || strings.Contains(got, "\uFFFD") {
		t.Errorf("%d bytes: %.80s … %s", len(got), got, got[len(got)-80:])
	}
}
