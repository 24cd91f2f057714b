// Package byosdk calls a model through the vendor's own SDK, inside an activity
// of its own, and is governed all the same: the SDK gets the plugin's HTTP
// client, and the activity's context says whose money it is.
//
// [Summarise] is the workflow, [Activities] the activity. Its test shows that the
// call is in the ledger, and that a budget stops it.
package byosdk

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"go.temporal.io/sdk/workflow"
)

// Activities call the model. Register a pointer to them.
type Activities struct{ client openai.Client }

// New makes them from the client of the plugin: guard.HTTPClient(). Further
// options are the SDK's. It does not retry, because Temporal does, and a call
// that a budget refuses would be refused again.
func New(governed *http.Client, opts ...option.RequestOption) *Activities {
	opts = append([]option.RequestOption{option.WithMaxRetries(0)}, opts...)
	opts = append(opts, option.WithHTTPClient(governed))
	return &Activities{client: openai.NewClient(opts...)}
}

// SummariseText asks for a summary of a text.
func (a *Activities) SummariseText(ctx context.Context, text string) (string, error) {
	reply, err := a.client.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model:               "gpt-5.4-mini",
		MaxCompletionTokens: openai.Int(300),
		Messages:            []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Summarise in one sentence:\n" + text)},
	})
	if err != nil {
		return "", fmt.Errorf("summarise: %w", err)
	}
	if len(reply.Choices) == 0 {
		return "", fmt.Errorf("summarise: the model gave no answer")
	}
	return reply.Choices[0].Message.Content, nil
}

// Summarise is a workflow around it.
func Summarise(ctx workflow.Context, text string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var a *Activities
	var out string
	err := workflow.ExecuteActivity(ctx, a.SummariseText, text).Get(ctx, &out)
	return out, err
}
