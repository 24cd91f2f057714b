package workflows

import (
	"errors"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// mostTalks bounds the conversations that a run remembers: as many as may go on side by
// side.
const mostTalks = 8

// talk is a conversation that the worker keeps, and the messages that it has.
type talk struct {
	messages []wflo.Message
	kept     wflo.Earlier
}

// talks are the conversations of a run, the latest last.
type talks []talk

// remember takes in a conversation that the worker keeps now. It takes the place of the
// one that it goes on with.
func (t *talks) remember(asked []wflo.Message, r wflo.Reply) {
	if r.Conversation == nil || r.Conversation.Messages != len(asked)+1 {
		return
	}
	now := talk{append(slices.Clone(asked), r.Message()), *r.Conversation}
	*t = append(slices.DeleteFunc(*t, func(old talk) bool { return begins(now.messages, old.messages) }), now)
	if len(*t) > mostTalks {
		*t = slices.Delete(*t, 0, 1)
	}
}

// forget makes a conversation that a worker could not find be sent whole.
func (t *talks) forget(messages []wflo.Message) {
	*t = slices.DeleteFunc(*t, func(old talk) bool { return begins(messages, old.messages) })
}

// shorten leaves out of a prompt what the worker has.
func (t talks) shorten(p wflo.Prompt) wflo.Prompt {
	if p.Earlier != nil {
		return p
	}
	for i := len(t) - 1; i >= 0; i-- {
		if had := t[i].messages; len(had) < len(p.Messages) && begins(p.Messages, had) {
			kept := t[i].kept
			p.Earlier, p.Messages = &kept, p.Messages[len(had):]
			return p
		}
	}
	return p
}

// begins says that all begins with the messages of some.
func begins(all, some []wflo.Message) bool {
	return len(some) <= len(all) && slices.EqualFunc(all[:len(some)], some, wflo.Message.Equal)
}

// shortened are the arguments of a call as they are sent: a prompt without what the
// worker has of it. Policies, the journal and people see it whole.
func (st *state) shortened(activity string, args []any) []any {
	if activity != string(step.LLMChat) || len(args) != 1 {
		return args
	}
	p, ok := args[0].(wflo.Prompt)
	if !ok {
		return args
	}
	return []any{st.talks.shorten(p)}
}

// chat makes the call of a model. Where the worker has lost what was said before, it is
// sent once more.
func (st *state) chat(ctx workflow.Context, p wflo.Prompt) (wflo.Reply, error) {
	reply, err := step.LLMChat.Do(ctx, p)
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.Type() == string(wflo.CodeForgotten) {
		st.talks.forget(p.Messages)
		reply, err = step.LLMChat.Do(ctx, p)
	}
	if err == nil {
		st.talks.remember(p.Messages, reply)
	}
	return reply, err
}
