package meter_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdk "github.com/openai/openai-go/v3"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/meter"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// retried runs body as an activity that may be tried three times.
func retried(t *testing.T, body func(ctx context.Context) (string, error)) (string, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.RegisterActivity(body)
	env.ExecuteWorkflow(func(ctx workflow.Context) (string, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Millisecond, MaximumAttempts: 3},
		})
		var out string
		err := workflow.ExecuteActivity(ctx, body).Get(ctx, &out)
		return out, err
	})
	if err := env.GetWorkflowError(); err != nil {
		return "", err
	}
	var out string
	return out, env.GetWorkflowResult(&out)
}

// TestRetryOfAnActivityPaysOnce: the first attempt asks three times, two of them
// the same, and fails after it has paid; the second one gets the same answers.
func TestRetryOfAnActivityPaysOnce(t *testing.T) {
	srv := startModel(t, func(turn scripted.Turn) scripted.Answer {
		return scripted.Answer{Text: strings.Repeat("answer ", turn.Call)}
	})
	d := newDesk(t, wflo.USD, nil)
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	attempts := 0
	var first string
	got, err := retried(t, func(ctx context.Context) (string, error) {
		attempts++
		ctx = wflo.WithRun(ctx, d.run)
		var all string
		for _, text := range []string{"a", "b", "a"} {
			reply, err := client.Chat.Completions.New(ctx, ask(text))
			if err != nil {
				return "", err
			}
			all += reply.Choices[0].Message.Content + "|"
		}
		stream := client.Chat.Completions.NewStreaming(ctx, ask("c"))
		defer stream.Close()
		var whole sdk.ChatCompletionAccumulator
		for stream.Next() {
			whole.AddChunk(stream.Current())
		}
		if err := stream.Err(); err != nil {
			return "", err
		}
		all += whole.Choices[0].Message.Content
		if attempts == 1 {
			first = all
			return "", errors.New("the worker's disk is full")
		}
		return all, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if attempts != 2 || got != first || strings.Count(got, "answer") != 1+2+3+4 {
		t.Errorf("%d attempts, answers %q and then %q", attempts, first, got)
	}
	if calls, entries := len(srv.Calls()), len(d.books.Entries()); calls != 4 || entries != 4 {
		t.Errorf("%d calls, %d entries, want 4 of each", calls, entries)
	}
	d.check(t)
}

// TestRetryAfterARefusalOfTheVendor: a question that was not billed is asked
// again under its own key, so that a third attempt would find the answer.
func TestRetryAfterARefusalOfTheVendor(t *testing.T) {
	srv := startModel(t, func(turn scripted.Turn) scripted.Answer {
		if turn.Call == 1 {
			return scripted.Answer{Fault: scripted.Fault{Status: http.StatusTooManyRequests}}
		}
		return scripted.Answer{Text: "yes"}
	})
	d := newDesk(t, wflo.USD, nil)
	client := d.openAI(srv.BaseURL(scripted.OpenAI))
	attempts := 0
	_, err := retried(t, func(ctx context.Context) (string, error) {
		attempts++
		ctx = wflo.WithRun(ctx, d.run)
		// The SDK's own retry is this: the same question again.
		_, err := client.Chat.Completions.New(ctx, ask("a"))
		if err != nil {
			_, err = client.Chat.Completions.New(ctx, ask("a"))
		}
		if err == nil && attempts == 1 {
			err = errors.New("the worker's disk is full")
		}
		return "", err
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls, entries := len(srv.Calls()), d.books.Entries(); calls != 2 || len(entries) != 1 || attempts != 2 {
		t.Errorf("%d attempts, %d calls, entries %+v", attempts, calls, entries)
	}
	d.check(t)
}

// TestLargeAnswerIsNotKept: what is too large to be recorded is paid again, in
// the open, rather than lost.
func TestLargeAnswerIsNotKept(t *testing.T) {
	large := strings.Repeat("x", 2<<20)
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","model":"gpt-5.4-mini","choices":[{"message":{"content":"`+large+
			`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}`)
	}))
	defer srv.Close()
	d := newDesk(t, wflo.USD, nil)
	attempts := 0
	got, err := retried(t, func(ctx context.Context) (string, error) {
		attempts++
		body := `{"model":"gpt-5.4-mini","max_tokens":100,"messages":[]}`
		req, err := http.NewRequestWithContext(wflo.WithRun(ctx, d.run), http.MethodPost, srv.URL+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			return "", err
		}
		resp, err := d.http.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if resp.Header.Get(meter.HeaderReplayed) != "" {
			return "", errors.New("replayed")
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return "", err
		}
		if attempts == 1 {
			return "", errors.New("the worker's disk is full")
		}
		return "done", nil
	})
	if err != nil || got != "done" || calls != 2 || len(d.books.Entries()) != 2 {
		t.Errorf("%q, %v after %d calls, %d entries", got, err, calls, len(d.books.Entries()))
	}
	d.check(t)
}
